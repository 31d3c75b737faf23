//! What the facts of an uploaded file say.

use serde::{Deserialize, Serialize};

/// `meta.json`: commits a file. The content was written before, under the same id.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct FileMeta {
    /// [`crate::VERSION`].
    pub v: u32,
    /// Its id, without the `file-` that clients see.
    pub file: String,
    /// Whose it is.
    pub tenant: String,
    /// As the client gave it.
    pub filename: String,
    /// As the client gave it: `batch`.
    pub purpose: String,
    /// Its length.
    pub bytes: u64,
    /// `sha256` of the content, in hex.
    pub sha256: String,
    /// When it was committed, Unix ms.
    pub created_ms: u64,
    /// When it goes by itself, Unix ms; none, in older facts: when the account's lifecycle rule takes it.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// What its lines ask for; none where it is no input of a batch.
    #[serde(default)]
    pub lines: Option<Lines>,
}

/// What was learnt of a file's lines while it came in, so that nothing reads it again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Lines {
    /// As `/v1/embeddings`, the same in every line.
    pub url: String,
    /// As the lines name it, the same in every line.
    pub model: String,
    /// What is wrong with the file as an input, line by line; the first hundred.
    pub errors: Vec<LineError>,
    /// A sparse index: consecutive blocks that cover all lines.
    pub blocks: Vec<Block>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct LineError {
    /// Its number, from 1.
    pub line: u64,
    /// For programs, as `invalid_json_line`.
    pub code: String,
    /// For people.
    pub message: String,
    /// The member that is wrong.
    #[serde(default)]
    pub param: Option<String>,
}

/// Consecutive lines, about 64 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Block {
    /// Where it begins in the content.
    pub offset: u64,
    /// How long it is there, line feeds included.
    pub bytes: u64,
    /// Its first line, from 0.
    pub first_line: u64,
    /// Lines in it.
    pub lines: u32,
    /// Inputs (texts, prompts) in it: an embedding request may hold many.
    pub items: u64,
    /// Tokens that go in; an estimate.
    pub tokens_in: u64,
    /// Tokens that may come out.
    pub tokens_out: u64,
}

impl Lines {
    /// Lines of all blocks.
    pub fn count(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.lines)).sum()
    }
}
