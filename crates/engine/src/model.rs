//! A sentence encoder's folder, as sentence-transformers writes it, read and checked.
//!
//! Five files are read: `config.json`, `model.safetensors`, `tokenizer.json`,
//! `sentence_bert_config.json` and `1_Pooling/config.json`. What we do not compute (another
//! activation, another pooling) is refused here, never approximated. Vectors are always normalised.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::tokenise::Tokeniser;
use crate::weights::Weights;

/// A loaded model.
pub struct Model {
    /// Its dimensions.
    pub shape: Shape,
    /// Its tensors.
    pub weights: Weights,
    /// Text to token ids, cut at [`Model::max_tokens`].
    pub tokeniser: Tokeniser,
    /// SHA-256 of `model.safetensors` in lowercase hex: two models are the same when this is.
    pub digest: String,
    /// Longest sequence that runs, with its first and last special token.
    pub max_tokens: usize,
}

/// Dimensions of a BERT encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Length of a token's state and of the vectors.
    pub hidden: usize,
    /// Length of the feed-forward part's middle.
    pub inner: usize,
    /// Attention heads; they divide `hidden`.
    pub heads: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Tokens that exist.
    pub vocabulary: usize,
    /// Positions that exist: no sequence can be longer.
    pub positions: usize,
    /// Token types in the file; only the first is used.
    pub types: usize,
    /// Added to a variance before its root.
    pub epsilon: f32,
}

/// Why a model's folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is not there or cannot be read.
    #[error("cannot read {path}: {source}; point the model folder at one that holds config.json, model.safetensors, tokenizer.json, sentence_bert_config.json and 1_Pooling/config.json", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{path} {problem}; fetch the model again", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The model is sound, but of a kind that we do not compute.
    #[error("{path} asks for {found}; only {supported} is supported: choose another model", path = path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        found: String,
        /// What would be accepted.
        supported: &'static str,
    },
    /// The length asked for is outside what the model can run.
    #[error(
        "max tokens is {asked}; give a number from 3 to {positions}, which is all the positions the model has"
    )]
    MaxTokens {
        /// What was asked for.
        asked: usize,
        /// What the model has.
        positions: usize,
    },
}

#[derive(Deserialize)]
struct Config {
    model_type: String,
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f32,
}

#[derive(Deserialize)]
struct SentenceConfig {
    max_seq_length: usize,
}

#[derive(Deserialize)]
struct PoolingConfig {
    pooling_mode_mean_tokens: bool,
    #[serde(flatten)]
    others: std::collections::BTreeMap<String, serde_json::Value>,
}

impl Model {
    /// Reads a model's folder.
    ///
    /// `max_tokens` of `None` takes the limit of `sentence_bert_config.json`, as
    /// sentence-transformers does; a number may go up to the positions that the model has.
    ///
    /// # Errors
    /// When a file is missing, malformed or asks for what we do not compute, or when `max_tokens`
    /// is out of range.
    pub fn load(folder: &Path, max_tokens: Option<usize>) -> Result<Model, LoadError> {
        let shape = read_shape(&folder.join("config.json"))?;
        check_pooling(&folder.join("1_Pooling/config.json"))?;
        let own_limit: SentenceConfig = read_json(&folder.join("sentence_bert_config.json"))?;
        let max_tokens = max_tokens.unwrap_or(own_limit.max_seq_length.min(shape.positions));
        if !(3..=shape.positions).contains(&max_tokens) {
            return Err(LoadError::MaxTokens { asked: max_tokens, positions: shape.positions });
        }

        let path = folder.join("tokenizer.json");
        let tokeniser = Tokeniser::read(&read(&path)?, shape.vocabulary, max_tokens)
            .map_err(|problem| LoadError::Malformed { path, problem })?;
        let path = folder.join("model.safetensors");
        let file = read(&path)?;
        let weights =
            Weights::read(&file, &shape).map_err(|problem| LoadError::Malformed { path, problem })?;
        Ok(Model { shape, weights, tokeniser, digest: hex(&Sha256::digest(&file)), max_tokens })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, LoadError> {
    serde_json::from_slice(&read(path)?).map_err(|error| LoadError::Malformed {
        path: path.to_owned(),
        problem: format!("does not parse: {error}"),
    })
}

fn read_shape(path: &Path) -> Result<Shape, LoadError> {
    let config: Config = read_json(path)?;
    let unsupported =
        |found: String, supported| Err(LoadError::Unsupported { path: path.to_owned(), found, supported });
    if config.model_type != "bert" {
        return unsupported(format!("model_type `{}`", config.model_type), "`bert`");
    }
    if config.hidden_act != "gelu" {
        return unsupported(format!("hidden_act `{}`", config.hidden_act), "`gelu`");
    }
    if let Some(kind) = config.position_embedding_type.filter(|kind| kind != "absolute") {
        return unsupported(format!("position_embedding_type `{kind}`"), "`absolute`");
    }
    let shape = Shape {
        hidden: config.hidden_size,
        inner: config.intermediate_size,
        heads: config.num_attention_heads,
        layers: config.num_hidden_layers,
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings,
        types: config.type_vocab_size,
        epsilon: config.layer_norm_eps,
    };
    let sizes = [shape.hidden, shape.inner, shape.heads, shape.vocabulary, shape.positions, shape.types];
    if sizes.contains(&0) || !shape.hidden.is_multiple_of(shape.heads) {
        let problem = "has a size of 0 or a hidden_size that num_attention_heads does not divide".to_owned();
        return Err(LoadError::Malformed { path: path.to_owned(), problem });
    }
    Ok(shape)
}

fn check_pooling(path: &Path) -> Result<(), LoadError> {
    let pooling: PoolingConfig = read_json(path)?;
    let other = pooling.others.iter().find(|(name, on)| name.starts_with("pooling_mode_") && **on == true);
    let found = match (pooling.pooling_mode_mean_tokens, other) {
        (true, None) => return Ok(()),
        (_, Some((name, _))) => format!("`{name}`"),
        (false, None) => "no pooling".to_owned(),
    };
    Err(LoadError::Unsupported {
        path: path.to_owned(),
        found,
        supported: "`pooling_mode_mean_tokens` alone",
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNTHETIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/synthetic-bert");

    /// A copy of the synthetic model, ended with the test.
    struct Copy(PathBuf);

    impl Copy {
        fn new(name: &str) -> Copy {
            let folder = std::env::temp_dir().join(format!("engine-model-{}-{name}", std::process::id()));
            std::fs::create_dir_all(folder.join("1_Pooling")).unwrap();
            for file in [
                "config.json",
                "model.safetensors",
                "tokenizer.json",
                "sentence_bert_config.json",
                "1_Pooling/config.json",
            ] {
                std::fs::copy(Path::new(SYNTHETIC).join(file), folder.join(file)).unwrap();
            }
            Copy(folder)
        }

        fn replace(&self, file: &str, from: &str, to: &str) {
            let text = std::fs::read_to_string(self.0.join(file)).unwrap();
            assert!(text.contains(from), "{file} has no {from}");
            std::fs::write(self.0.join(file), text.replace(from, to)).unwrap();
        }
    }

    impl Drop for Copy {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn error(folder: &Path, max_tokens: Option<usize>) -> String {
        Model::load(folder, max_tokens).err().expect("the folder must be refused").to_string()
    }

    #[test]
    fn a_sound_folder_loads_with_its_own_limit_or_the_one_asked_for() {
        let model = Model::load(Path::new(SYNTHETIC), None).unwrap();
        assert_eq!((model.shape.hidden, model.shape.layers, model.max_tokens), (32, 2, 64));
        assert_eq!(model.digest.len(), 64);
        assert_eq!(Model::load(Path::new(SYNTHETIC), Some(128)).unwrap().max_tokens, 128);
    }

    #[test]
    fn errors_name_the_file_and_the_remedy() {
        let cases: &[(&str, &str, &str, &[&str])] = &[
            (
                "config.json",
                "\"bert\"",
                "\"t5\"",
                &["config.json", "model_type `t5`", "`bert`", "another model"],
            ),
            ("config.json", "\"gelu\"", "\"relu\"", &["hidden_act `relu`", "`gelu`"]),
            ("config.json", "\"absolute\"", "\"rotary\"", &["position_embedding_type `rotary`"]),
            ("config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5", &["does not divide"]),
            (
                "config.json",
                "\"intermediate_size\": 64",
                "\"intermediate_size\": 63",
                &["model.safetensors", "shape"],
            ),
            (
                "config.json",
                "\"num_hidden_layers\": 2",
                "\"num_hidden_layers\": 3",
                &["encoder.layer.2", "fetch"],
            ),
            (
                "1_Pooling/config.json",
                "mean_tokens",
                "cls_token",
                &["1_Pooling/config.json", "does not parse"],
            ),
            (
                "1_Pooling/config.json",
                "\"pooling_mode_mean_tokens\": true",
                "\"pooling_mode_mean_tokens\": false, \"pooling_mode_cls_token\": true",
                &["pooling_mode_cls_token", "pooling_mode_mean_tokens"],
            ),
            ("tokenizer.json", "[SEP]", "[END]", &["tokenizer.json", "[SEP]"]),
            ("sentence_bert_config.json", "max_seq_length", "max", &["sentence_bert_config.json"]),
        ];
        for (index, (file, from, to, expected)) in cases.iter().enumerate() {
            let copy = Copy::new(&index.to_string());
            copy.replace(file, from, to);
            let found = error(&copy.0, None);
            for part in *expected {
                assert!(found.contains(part), "{file} with {to}: `{found}` lacks `{part}`");
            }
        }
    }

    #[test]
    fn missing_and_broken_files_and_wrong_limits_are_refused() {
        let copy = Copy::new("broken");
        std::fs::write(copy.0.join("model.safetensors"), b"version https://git-lfs").unwrap();
        assert!(error(&copy.0, None).contains("model.safetensors is no safetensors file"));
        std::fs::remove_file(copy.0.join("tokenizer.json")).unwrap();
        assert!(error(&copy.0, None).contains("tokenizer.json"));
        for asked in [0, 2, 129] {
            assert!(error(Path::new(SYNTHETIC), Some(asked)).contains("from 3 to 128"));
        }
    }
}
