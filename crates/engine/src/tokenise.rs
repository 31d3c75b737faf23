//! Texts or token ids to sequences that the model accepts.
//!
//! Longer input is cut as sentence-transformers cuts it: the first tokens stay and `[SEP]` still ends
//! the sequence. Padding and truncation that are baked into `tokenizer.json` are cleared, because
//! published files carry limits of other training runs. A text that spells `[CLS]` or `[MASK]` gets
//! that special token, as with every BERT tokeniser.

use tokenizers::Tokenizer;

/// Text to token ids.
#[derive(Clone)]
pub struct Tokeniser {
    inner: Tokenizer,
    vocabulary: usize,
    max_tokens: usize,
    first: u32,
    last: u32,
}

/// One input, ready to run: `[CLS] … [SEP]`, within the model's vocabulary and length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    ids: Vec<u32>,
    uncut: usize,
}

impl Sequence {
    /// The token ids that run.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Tokens that the input had before it was cut, with the two special ones.
    pub fn uncut(&self) -> usize {
        self.uncut
    }
}

/// Why an input cannot be tokenised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A token id that the model does not have.
    #[error(
        "token id {id} at position {position} is not in the model's vocabulary; give ids below {vocabulary}, made by this model's tokenizer"
    )]
    OutOfRange {
        /// The id.
        id: u32,
        /// Where it stands.
        position: usize,
        /// Ids below this exist.
        vocabulary: usize,
    },
    /// The tokenizer library failed.
    #[error("text cannot be tokenised: {0}")]
    Failed(String),
}

/// Why the inputs of one request cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputsError {
    /// One of them cannot be tokenised.
    #[error("input {index}: {error}")]
    Input {
        /// Which.
        index: usize,
        /// Why.
        error: TokenError,
    },
    /// Together they are too long.
    #[error(
        "the inputs up to {index} have {tokens} tokens; give at most {max} a request and split larger ones"
    )]
    TooLong {
        /// The input that was too much.
        index: usize,
        /// Tokens up to it, before cutting.
        tokens: usize,
        /// Tokens that a request may have.
        max: usize,
    },
}

/// Tokenises the inputs of one request, at most `tokens_max` tokens before cutting.
///
/// # Errors
/// With the first input that cannot run.
pub fn gather(
    inputs: impl Iterator<Item = Result<Sequence, TokenError>>,
    tokens_max: usize,
) -> Result<Vec<Sequence>, InputsError> {
    let mut tokens = 0;
    let check = |(index, sequence): (usize, Result<Sequence, TokenError>)| {
        let sequence = sequence.map_err(|error| InputsError::Input { index, error })?;
        tokens += sequence.uncut();
        if tokens > tokens_max {
            return Err(InputsError::TooLong { index, tokens, max: tokens_max });
        }
        Ok(sequence)
    };
    inputs.enumerate().map(check).collect()
}

impl Tokeniser {
    pub(crate) fn read(file: &[u8], vocabulary: usize, max_tokens: usize) -> Result<Tokeniser, String> {
        let mut inner = Tokenizer::from_bytes(file).map_err(|error| format!("is no tokenizer: {error}"))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| format!("keeps its truncation: {error}"))?;
        if inner.get_vocab_size(true) > vocabulary {
            return Err(format!(
                "has {} tokens where config.json says {vocabulary}",
                inner.get_vocab_size(true)
            ));
        }
        let special = |token: &str| inner.token_to_id(token).ok_or_else(|| format!("has no token `{token}`"));
        let (first, last) = (special("[CLS]")?, special("[SEP]")?);
        Ok(Tokeniser { inner, vocabulary, max_tokens, first, last })
    }

    /// Tokenises one text. Takes about 2 µs a token: call it off the async threads.
    ///
    /// # Errors
    /// When the tokenizer library fails.
    pub fn text(&self, text: &str) -> Result<Sequence, TokenError> {
        let encoding =
            self.inner.encode_fast(text, true).map_err(|error| TokenError::Failed(error.to_string()))?;
        Ok(self.cut(encoding.get_ids().to_vec()))
    }

    /// Accepts token ids that a client made. `[CLS]` and `[SEP]` are added where they are missing.
    ///
    /// # Errors
    /// When an id is not in the vocabulary.
    pub fn ids(&self, ids: &[u32]) -> Result<Sequence, TokenError> {
        if let Some(position) = ids.iter().position(|id| *id as usize >= self.vocabulary) {
            let (id, vocabulary) = (ids[position], self.vocabulary);
            return Err(TokenError::OutOfRange { id, position, vocabulary });
        }
        let mut whole = Vec::with_capacity(ids.len() + 2);
        if ids.first() != Some(&self.first) {
            whole.push(self.first);
        }
        whole.extend_from_slice(ids);
        // A lone `[CLS]` that is also `[SEP]` cannot be: they are two tokens.
        if whole.last() != Some(&self.last) {
            whole.push(self.last);
        }
        Ok(self.cut(whole))
    }

    fn cut(&self, mut ids: Vec<u32>) -> Sequence {
        let uncut = ids.len();
        if uncut > self.max_tokens {
            ids.truncate(self.max_tokens - 1);
            ids.push(self.last);
            ids.shrink_to_fit();
        }
        Sequence { ids, uncut }
    }
}
