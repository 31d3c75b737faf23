//! One embeddings request, checked field by field, and its answer: the same for the server, which
//! answers at once, and the worker, which answers in lines of a chunk.
//!
//! The fields are read one by one and not through a derived type, because a caller must be told
//! which field is wrong and what would be right. Unknown fields are ignored, as the vendor does.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::openai::{
    Embedding, EmbeddingsResponse, EncodingFormat, ErrorBody, ErrorDetail, INPUTS_MAX, Usage, Vector,
};
use crate::whole::Whole;

/// Tokens of one request, before cutting (the vendor's own limit).
pub const TOKENS_MAX: usize = 300_000;

/// A request that makes sense by itself.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// The model's id or alias, as given.
    pub model: String,
    /// What to embed.
    pub inputs: Inputs,
    /// How vectors are written.
    pub format: EncodingFormat,
    /// To how many values vectors are shortened.
    pub dimensions: Option<usize>,
}

/// 1 to [`INPUTS_MAX`] inputs, none empty.
#[derive(Debug, PartialEq)]
pub enum Inputs {
    /// Texts.
    Texts(Vec<String>),
    /// Token ids.
    Tokens(Vec<Vec<u32>>),
}

impl Inputs {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Inputs::Texts(texts) => texts.len(),
            Inputs::Tokens(lists) => lists.len(),
        }
    }

    /// Whether there are none; never true of a checked request.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a request makes no sense: the field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field.
    pub param: &'static str,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl Invalid {
    /// A field that is wrong, and what would be right.
    pub fn new(param: &'static str, message: impl Into<String>) -> Invalid {
        Invalid { param, message: message.into() }
    }

    /// The body of its answer, which has status 400.
    pub fn body(self) -> ErrorBody {
        let (kind, param) = ("invalid_request_error".into(), Some(self.param.into()));
        ErrorBody {
            error: ErrorDetail { message: self.message, kind, param, code: None, alternatives: None },
        }
    }
}

impl Request {
    /// Checks what only the model knows: the length of its vectors.
    ///
    /// # Errors
    /// When vectors of the asked length cannot be made of its own.
    pub fn check_dimensions(&self, own: usize) -> Result<(), Invalid> {
        match self.dimensions {
            Some(asked) if !(1..=own).contains(&asked) => Err(Invalid::new(
                "dimensions",
                format!("`dimensions` is {asked}; give 1 to {own}, or leave it out"),
            )),
            _ => Ok(()),
        }
    }
}

/// The answer: `vectors` have the asked length already, `tokens` is how many ran.
pub fn answer(
    model: String,
    format: EncodingFormat,
    vectors: Vec<Vec<f32>>,
    tokens: u64,
) -> EmbeddingsResponse {
    let write = |(index, vector): (usize, Vec<f32>)| {
        let embedding = match format {
            EncodingFormat::Float => Vector::Float(vector),
            EncodingFormat::Base64 => Vector::Base64(base64(&vector)),
        };
        Embedding { object: "embedding".into(), index, embedding }
    };
    EmbeddingsResponse {
        object: "list".into(),
        data: vectors.into_iter().enumerate().map(write).collect(),
        model,
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    }
}

fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

type Fields<'a> = HashMap<String, &'a RawValue>;

/// Reads a body.
///
/// # Errors
/// With the first field that is wrong.
pub fn read(body: &[u8]) -> Result<Request, Invalid> {
    let fields: Fields<'_> = serde_json::from_slice(body).map_err(|error| {
        Invalid::new(
            "body",
            format!("the body is no JSON object: {error}; send {{\"model\": …, \"input\": …}}"),
        )
    })?;
    Ok(Request {
        model: model(&fields)?,
        inputs: inputs(&fields)?,
        format: format(&fields)?,
        dimensions: dimensions(&fields)?,
    })
}

/// A field that is there and not null.
fn field<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a str> {
    fields.get(name).map(|value| value.get()).filter(|value| *value != "null")
}

fn parse<T: DeserializeOwned>(text: &str, param: &'static str, wanted: &str) -> Result<T, Invalid> {
    serde_json::from_str(text)
        .map_err(|error| Invalid::new(param, format!("`{param}` must be {wanted}: {error}")))
}

fn model(fields: &Fields<'_>) -> Result<String, Invalid> {
    let text = field(fields, "model").ok_or_else(|| {
        Invalid::new("model", "`model` is missing; give the id of a model, see GET /v1/models")
    })?;
    parse(text, "model", "the id of a model, as text")
}

fn format(fields: &Fields<'_>) -> Result<EncodingFormat, Invalid> {
    let text = field(fields, "encoding_format");
    text.map_or(Ok(EncodingFormat::Float), |text| parse(text, "encoding_format", "`float` or `base64`"))
}

fn dimensions(fields: &Fields<'_>) -> Result<Option<usize>, Invalid> {
    let text = field(fields, "dimensions");
    let number = |text| parse(text, "dimensions", "a whole number from 1 to the model's own");
    text.map(|text| number(text).map(|Whole(number)| number)).transpose()
}

fn ids(given: Vec<Whole<u32>>) -> Vec<u32> {
    given.into_iter().map(|Whole(id)| id).collect()
}

fn inputs(fields: &Fields<'_>) -> Result<Inputs, Invalid> {
    const WANTED: &str = "a text, a list of texts, a list of token ids or a list of such lists";
    let text = field(fields, "input")
        .ok_or_else(|| Invalid::new("input", format!("`input` is missing; give {WANTED}")))?;
    let within = text.strip_prefix('[').map(|rest| rest.trim_start().as_bytes()[0]);
    // What the first element is decides what all must be, so that the error can say which is not.
    let inputs = match (text.as_bytes()[0], within) {
        (b'"', _) => Inputs::Texts(vec![parse(text, "input", "a text")?]),
        (_, Some(b'"')) => Inputs::Texts(parse(text, "input", "a list of texts alone")?),
        (_, Some(b'[')) => Inputs::Tokens(
            parse::<Vec<_>>(text, "input", "a list of lists of token ids alone")?
                .into_iter()
                .map(ids)
                .collect(),
        ),
        (_, Some(b'0'..=b'9' | b'-')) => {
            Inputs::Tokens(vec![ids(parse(text, "input", "a list of token ids alone")?)])
        }
        (_, Some(b']')) => Inputs::Texts(Vec::new()),
        _ => return Err(Invalid::new("input", format!("`input` must be {WANTED}"))),
    };
    if !(1..=INPUTS_MAX).contains(&inputs.len()) {
        let message =
            format!("`input` has {} inputs; give 1 to {INPUTS_MAX} and split larger requests", inputs.len());
        return Err(Invalid::new("input", message));
    }
    let empty = match &inputs {
        Inputs::Texts(texts) => texts.iter().position(String::is_empty),
        Inputs::Tokens(lists) => lists.iter().position(Vec::is_empty),
    };
    match empty {
        None => Ok(inputs),
        Some(index) => {
            Err(Invalid::new("input", format!("input {index} is empty; leave it out or give it a text")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_shapes_of_input_are_read() {
        let lists = |lists: &[&[u32]]| Inputs::Tokens(lists.iter().map(|list| list.to_vec()).collect());
        let texts = |texts: &[&str]| Inputs::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
        for (input, expected) in [
            (r#""a""#, texts(&["a"])),
            (r#"[ "a", "b\n" ]"#, texts(&["a", "b\n"])),
            ("[1, 2.0]", lists(&[&[1, 2]])),
            ("[[1], [2, 3.0]]", lists(&[&[1], &[2, 3]])),
        ] {
            let body = format!(r#"{{"input": {input}, "model": "m", "user": {{}}, "dimensions": 8.0}}"#);
            let request = Request {
                model: "m".into(),
                inputs: expected,
                format: EncodingFormat::Float,
                dimensions: Some(8),
            };
            assert_eq!(read(body.as_bytes()), Ok(request), "{input}");
        }
    }
}
