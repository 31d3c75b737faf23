//! The body of an inference request, as far as routing looks at it: which model, how much work.
//! Texts are counted, not copied; the client's own bytes are what is sent on.
//!
//! Tokens of text are estimated at four bytes a token, the usual figure for English; a backend
//! counts for real. Token ids are counted exactly.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use policy::request::{Operation, Tier};
use policy::units::Tokens;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;
use wire::openai::{EncodingFormat, INPUTS_MAX};
use wire::whole::Whole;

use crate::catalogue::Model;
use crate::failure::Failure;

/// Bytes of text that count as one token.
const BYTES_PER_TOKEN: u64 = 4;
/// Tokens of one embeddings request, at most (the vendor's own limit).
const TOKENS_SUM_MAX: u64 = 300_000;
/// A text is refused here only when it is too long at any plausible length of a token, in bytes.
const LONGEST_TOKEN_BYTES: u64 = 32;
/// Tokens that a completion brings where the request sets no limit.
const TOKENS_OUT_USUAL: u64 = 256;
/// Completions of one request, at most (the vendor's own limit).
const CHOICES_MAX: u64 = 128;

/// What a body asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape<'a> {
    /// The name of the model as the client wrote it.
    pub model: Cow<'a, str>,
    /// The model's value in the body, quotes included.
    model_raw: &'a str,
    /// Inputs.
    pub items: u64,
    /// Tokens that go in.
    pub tokens_in: Tokens,
    /// Tokens that may come out.
    pub tokens_out: Tokens,
    /// `service_tier`.
    pub tier: Tier,
    /// Whether the client named it: then the answer says which one was used.
    pub tier_named: bool,
    /// Whether events are wanted instead of one answer.
    pub stream: bool,
    dimensions: Option<u32>,
    longest_text_bytes: u64,
    longest_ids: u64,
}

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    dimensions: Option<&'a RawValue>,
    #[serde(borrow)]
    encoding_format: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
}

/// Reads the body of `operation`.
///
/// # Errors
/// 400 that names the field and the remedy.
pub fn read(operation: Operation, body: &[u8]) -> Result<Shape<'_>, Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::invalid("body", "empty_body", "the body is empty; send a JSON object"));
    }
    let top: Top<'_> = serde_json::from_slice(body).map_err(|error| {
        Failure::invalid("body", "invalid_json", format!("the body is no JSON object: {error}"))
    })?;
    let model_raw = top.model.ok_or_else(|| missing("model"))?.get();
    let model: Text<'_> =
        serde_json::from_str(model_raw).map_err(|_| invalid("model", "must be text: a model's id"))?;
    if model.0.is_empty() {
        return Err(invalid("model", "is empty; give a model's id, `GET /v1/models` lists them"));
    }
    let tier = tier(field::<Text<'_>>("service_tier", top.service_tier, "must be text")?)?;
    let stream = field::<bool>("stream", top.stream, "must be true or false")?;
    let mut shape = Shape {
        model: model.0,
        model_raw,
        items: 1,
        tokens_in: Tokens(0),
        tokens_out: Tokens(0),
        tier,
        tier_named: top.service_tier.is_some_and(|given| given.get() != "null"),
        stream: stream.unwrap_or(false),
        dimensions: None,
        longest_text_bytes: 0,
        longest_ids: 0,
    };
    match operation {
        Operation::Embeddings => embeddings(&mut shape, &top)?,
        Operation::ChatCompletions => {
            let messages = top.messages.ok_or_else(|| missing("messages"))?;
            let listed: Vec<&RawValue> =
                serde_json::from_str(messages.get()).map_err(|_| invalid("messages", "must be a list"))?;
            if listed.iter().any(|message| !message.get().starts_with('{')) {
                return Err(invalid("messages", "must be a list of objects"));
            }
            if listed.is_empty() {
                return Err(invalid("messages", "is empty; give at least one message"));
            }
            completion(&mut shape, &top, messages.get().len(), 1)?;
        }
        Operation::Completions => {
            let prompt = top.prompt.ok_or_else(|| missing("prompt"))?;
            if !is_prompt(prompt) {
                return Err(invalid("prompt", WANTED));
            }
            completion(&mut shape, &top, prompt.get().len(), 0)?;
        }
    }
    Ok(shape)
}

impl Shape<'_> {
    /// Checks what only the model can tell.
    ///
    /// # Errors
    /// 400 that names the field and the remedy.
    pub fn check(&self, model: &Model) -> Result<(), Failure> {
        if let (Some(wanted), Some(most)) = (self.dimensions, model.spec.dimensions)
            && wanted > most
        {
            return Err(invalid(
                "dimensions",
                &format!("is {wanted}, but `{}` has {most}; give at most that", model.spec.id),
            ));
        }
        if let Some(most) = model.spec.max_input_tokens
            && (self.longest_ids > most || self.longest_text_bytes > most.saturating_mul(LONGEST_TOKEN_BYTES))
        {
            let what = format!(
                "has an input of more than {most} tokens, the most `{}` takes; split it",
                model.spec.id
            );
            return Err(Failure { code: "input_too_long", ..invalid("input", &what) });
        }
        Ok(())
    }

    /// The body with the model's own id where the client wrote an alias; else the client's bytes.
    pub fn named(&self, body: &Bytes, id: &str) -> Bytes {
        if self.model == id {
            return body.clone();
        }
        let at = self.model_raw.as_ptr() as usize - body.as_ptr() as usize;
        let name = serde_json::to_string(id).expect("text serializes");
        [&body[..at], name.as_bytes(), &body[at + self.model_raw.len()..]].concat().into()
    }
}

fn embeddings(shape: &mut Shape<'_>, top: &Top<'_>) -> Result<(), Failure> {
    let input = top.input.ok_or_else(|| missing("input"))?;
    let mut json = serde_json::Deserializer::from_str(input.get());
    let counted = Count.deserialize(&mut json).map_err(|error| {
        // The position would be that inside `input`, which tells the client nothing.
        let what = error.to_string();
        invalid("input", what.split(" at line ").next().unwrap_or_default())
    })?;
    shape.items = counted.items;
    shape.tokens_in = Tokens(counted.text_tokens + counted.ids);
    (shape.longest_text_bytes, shape.longest_ids) = (counted.longest_text_bytes, counted.longest_ids);
    // Half of the estimate is the least that such a text can have in practice.
    if counted.text_tokens / 2 + counted.ids > TOKENS_SUM_MAX {
        let what = format!("has more than {TOKENS_SUM_MAX} tokens in all; send it in several requests");
        return Err(Failure { code: "input_too_long", ..invalid("input", &what) });
    }
    shape.dimensions = whole("dimensions", top.dimensions, "must be a whole number from 1")?;
    if shape.dimensions == Some(0) {
        return Err(invalid("dimensions", "must be a whole number from 1"));
    }
    field::<EncodingFormat>("encoding_format", top.encoding_format, "must be `float` or `base64`")?;
    Ok(())
}

/// A completion with limits of at least `least` tokens: only the older operation can be asked for none.
fn completion(shape: &mut Shape<'_>, top: &Top<'_>, bytes: usize, least: u32) -> Result<(), Failure> {
    let tokens = |name, given| {
        let limit = whole::<u32>(name, given, &format!("must be a whole number from {least}"))?;
        if limit.is_some_and(|limit| limit < least) {
            return Err(invalid(name, &format!("must be a whole number from {least}")));
        }
        Ok(limit.map(u64::from))
    };
    let older = tokens("max_tokens", top.max_tokens)?;
    let limit = tokens("max_completion_tokens", top.max_completion_tokens)?.or(older);
    let n = whole("n", top.n, "must be a whole number from 1")?.unwrap_or(1);
    if n == 0 || n > CHOICES_MAX {
        return Err(invalid("n", &format!("must be from 1 to {CHOICES_MAX}")));
    }
    shape.tokens_in = Tokens(u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(BYTES_PER_TOKEN));
    shape.tokens_out = Tokens(limit.unwrap_or(TOKENS_OUT_USUAL).saturating_mul(n));
    Ok(())
}

fn field<'a, T: Deserialize<'a>>(
    name: &'static str,
    raw: Option<&'a RawValue>,
    wanted: &str,
) -> Result<Option<T>, Failure> {
    raw.map(|raw| serde_json::from_str(raw.get()).map_err(|_| invalid(name, wanted))).transpose()
}

fn whole<T: TryFrom<u64>>(
    name: &'static str,
    raw: Option<&RawValue>,
    wanted: &str,
) -> Result<Option<T>, Failure> {
    Ok(field(name, raw, wanted)?.map(|Whole(number)| number))
}

fn tier(given: Option<Text<'_>>) -> Result<Tier, Failure> {
    match given.as_ref().map_or("default", |text| &text.0) {
        // The vendor's further names: `fast` is its newer priority, `scale` its reserved capacity.
        "priority" | "fast" => Ok(Tier::Priority),
        "default" | "auto" | "scale" => Ok(Tier::Default),
        "flex" => Ok(Tier::Flex),
        _ => Err(invalid("service_tier", "must be priority, default, auto or flex")),
    }
}

fn missing(name: &'static str) -> Failure {
    let message = format!("`{name}` is missing; add it to the body");
    Failure::invalid(name, "missing_required_parameter", message)
}

fn invalid(name: &'static str, what: &str) -> Failure {
    Failure::invalid(name, "invalid_value", format!("`{name}` {what}"))
}

/// Text that borrows where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The shapes of `prompt` beside a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt<'a> {
    #[serde(borrow)]
    Texts(Vec<Cow<'a, str>>),
    Ids(Vec<Whole<u32>>),
    IdLists(Vec<Vec<Whole<u32>>>),
}

fn is_prompt(given: &RawValue) -> bool {
    let several = 1..=INPUTS_MAX;
    given.get().starts_with('"')
        || serde_json::from_str(given.get()).is_ok_and(|prompt| match prompt {
            Prompt::Texts(texts) => several.contains(&texts.len()),
            Prompt::Ids(ids) => !ids.is_empty(),
            Prompt::IdLists(lists) => {
                several.contains(&lists.len()) && lists.iter().all(|ids| !ids.is_empty())
            }
        })
}

/// What `input` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    items: u64,
    text_tokens: u64,
    ids: u64,
    longest_text_bytes: u64,
    longest_ids: u64,
}

impl Counted {
    fn text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        if text.is_empty() {
            return Err(E::custom("has an empty text; leave it out"));
        }
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.text_tokens += bytes.div_ceil(BYTES_PER_TOKEN);
        self.longest_text_bytes = self.longest_text_bytes.max(bytes);
        self.item()
    }

    fn list<E: Error>(&mut self, ids: u64) -> Result<(), E> {
        if ids == 0 {
            return Err(E::custom("has an empty list of token ids; leave it out"));
        }
        self.ids += ids;
        self.longest_ids = self.longest_ids.max(ids);
        self.item()
    }

    fn item<E: Error>(&mut self) -> Result<(), E> {
        self.items += 1;
        if self.items > INPUTS_MAX as u64 {
            return Err(E::custom(format_args!("has more than {INPUTS_MAX} inputs; send several requests")));
        }
        Ok(())
    }
}

const WANTED: &str = "must be a text, a list of texts, a list of token ids, or a list of such lists";

/// Counts `input` without keeping it.
struct Count;

impl<'de> DeserializeSeed<'de> for Count {
    type Value = Counted;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Counted, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count {
    type Value = Counted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WANTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Counted, E> {
        let mut counted = Counted::default();
        counted.text(text)?;
        Ok(counted)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Counted, A::Error> {
        let mut counted = Counted::default();
        let mut flat_ids = 0;
        while let Some(element) = list.next_element_seed(ElementSeed { counted: &mut counted })? {
            flat_ids += u64::from(element == Element::Id);
            if flat_ids > 0 && counted.items > 0 {
                return Err(A::Error::custom(WANTED));
            }
        }
        if flat_ids > 0 {
            counted.list(flat_ids)?;
        }
        if counted.items == 0 {
            return Err(A::Error::custom("is empty; give at least one text"));
        }
        Ok(counted)
    }
}

#[derive(PartialEq, Eq)]
enum Element {
    Item,
    Id,
}

struct ElementSeed<'a> {
    counted: &'a mut Counted,
}

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = Element;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Element, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementSeed<'_> {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WANTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Element, E> {
        self.counted.text(text)?;
        Ok(Element::Item)
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<Element, E> {
        if id > u64::from(u32::MAX) {
            Err(E::custom("has a token id that no vocabulary has"))
        } else {
            Ok(Element::Id)
        }
    }

    fn visit_f64<E: Error>(self, id: f64) -> Result<Element, E> {
        let Whole(id) = Whole::try_from(id).map_err(|_| E::custom(WANTED))?;
        self.visit_u64(id)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut ids: A) -> Result<Element, A::Error> {
        let mut count = 0;
        while ids.next_element::<Whole<u32>>().map_err(|_| A::Error::custom(WANTED))?.is_some() {
            count += 1;
        }
        self.counted.list(count)?;
        Ok(Element::Item)
    }
}

#[cfg(test)]
mod tests;
