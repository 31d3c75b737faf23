//! The tensors of a BERT encoder, read from a safetensors file into the layout that we multiply.

use safetensors::{Dtype, SafeTensors};

use crate::model::Shape;

/// All tensors that the encoder uses. `embeddings.position_ids` and the pooler are left in the file.
pub struct Weights {
    /// One row a token of the vocabulary.
    pub words: Vec<f32>,
    /// One row a position; the row of token type 0 is added already, as we never use another type.
    pub positions: Vec<f32>,
    /// After the sum of the embeddings.
    pub norm: Norm,
    /// From the embeddings up.
    pub layers: Vec<Layer>,
}

/// One encoder layer.
pub struct Layer {
    /// Query, key and value in one matrix of `3 × hidden` rows.
    pub qkv: Linear,
    /// Attention's output.
    pub mixed: Linear,
    /// After attention and its residual.
    pub mixed_norm: Norm,
    /// Hidden to inner.
    pub up: Linear,
    /// Inner to hidden.
    pub down: Linear,
    /// After the feed-forward part and its residual.
    pub down_norm: Norm,
}

/// `y = x · weight + bias`.
pub struct Linear {
    /// `inputs` rows of `outputs`: the file's matrix transposed, because a product reads it along
    /// its rows, and for short texts that reading is most of the time.
    pub weight: Vec<f32>,
    /// One an output.
    pub bias: Vec<f32>,
    /// Length of `x`.
    pub inputs: usize,
    /// Length of `y`.
    pub outputs: usize,
}

/// Scale and shift of a layer normalisation.
pub struct Norm {
    /// The scale.
    pub gain: Vec<f32>,
    /// The shift.
    pub bias: Vec<f32>,
}

impl Weights {
    /// Reads the tensors that a model of this shape needs, each checked for its type and size.
    ///
    /// # Errors
    /// A sentence that names the first tensor that is absent or unlike what `shape` says.
    pub fn read(file: &[u8], shape: &Shape) -> Result<Weights, String> {
        let tensors =
            SafeTensors::deserialize(file).map_err(|error| format!("is no safetensors file: {error}"))?;
        let prefix = match tensors.tensor("embeddings.word_embeddings.weight") {
            Ok(_) => "",
            Err(_) => "bert.",
        };
        let source = Source { tensors, prefix };
        let hidden = shape.hidden;
        let types = source.floats("embeddings.token_type_embeddings.weight", &[shape.types, hidden])?;
        let mut positions =
            source.floats("embeddings.position_embeddings.weight", &[shape.positions, hidden])?;
        for row in positions.chunks_exact_mut(hidden) {
            row.iter_mut().zip(&types[..hidden]).for_each(|(value, add)| *value += add);
        }
        Ok(Weights {
            words: source.floats("embeddings.word_embeddings.weight", &[shape.vocabulary, hidden])?,
            positions,
            norm: source.norm("embeddings.LayerNorm", hidden)?,
            layers: (0..shape.layers).map(|layer| source.layer(layer, shape)).collect::<Result<_, _>>()?,
        })
    }
}

/// The file, with the prefix that its names have.
struct Source<'a> {
    tensors: SafeTensors<'a>,
    prefix: &'static str,
}

impl Source<'_> {
    fn layer(&self, layer: usize, shape: &Shape) -> Result<Layer, String> {
        let (hidden, inner) = (shape.hidden, shape.inner);
        let at = |part: &str| format!("encoder.layer.{layer}.{part}");
        let qkv = ["query", "key", "value"].map(|part| at(&format!("attention.self.{part}")));
        Ok(Layer {
            qkv: self.linear(&qkv, hidden, hidden)?,
            mixed: self.linear(&[at("attention.output.dense")], hidden, hidden)?,
            mixed_norm: self.norm(&at("attention.output.LayerNorm"), hidden)?,
            up: self.linear(&[at("intermediate.dense")], hidden, inner)?,
            down: self.linear(&[at("output.dense")], inner, hidden)?,
            down_norm: self.norm(&at("output.LayerNorm"), hidden)?,
        })
    }

    /// The named matrices side by side, `outputs` each.
    fn linear(&self, names: &[String], inputs: usize, outputs: usize) -> Result<Linear, String> {
        let (mut rows, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            rows.extend(self.floats(&format!("{name}.weight"), &[outputs, inputs])?);
            bias.extend(self.floats(&format!("{name}.bias"), &[outputs])?);
        }
        let outputs = bias.len();
        let weight = transposed(&rows, inputs);
        Ok(Linear { weight, bias, inputs, outputs })
    }

    fn norm(&self, name: &str, size: usize) -> Result<Norm, String> {
        let gain = self.floats(&format!("{name}.weight"), &[size])?;
        Ok(Norm { gain, bias: self.floats(&format!("{name}.bias"), &[size])? })
    }

    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let name = format!("{}{name}", self.prefix);
        let tensor = self.tensors.tensor(&name).map_err(|_| format!("has no tensor `{name}`"))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(format!("has `{name}` as {:?}; only float32 weights are read", tensor.dtype()));
        }
        if tensor.shape() != shape {
            return Err(format!(
                "has `{name}` of shape {:?} where config.json says {shape:?}",
                tensor.shape()
            ));
        }
        let (words, _) = tensor.data().as_chunks::<4>();
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }
}

fn transposed(rows: &[f32], columns: usize) -> Vec<f32> {
    let count = rows.len() / columns;
    let mut out = vec![0.0; rows.len()];
    for (index, row) in rows.chunks_exact(columns).enumerate() {
        for (column, value) in row.iter().enumerate() {
            out[column * count + index] = *value;
        }
    }
    out
}
