//! What is asked for beside the requests: when, for how much, under which names; and what would be
//! possible where that is refused.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::Value;

use crate::render::usd;

/// Names and values that a batch may have, and their lengths (the vendor's own limits).
const PAIRS_MAX: usize = 16;
const NAME_CHARS_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 512;
/// The name under which a batch's metadata has the deadline.
const DEADLINE: &str = "deadline";

/// A span or an instant, as it was given: the server reads it, so that its clock is the one that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline(String);

impl FromStr for Deadline {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Deadline, Self::Err> {
        let is_span = text.find(|c: char| !c.is_ascii_digit()).is_some_and(|at| {
            let (number, unit) = text.split_at(at);
            number.parse::<u64>().is_ok_and(|number| number > 0)
                && matches!(unit, "ms" | "s" | "m" | "h" | "d")
        });
        if is_span || text.parse::<jiff::Timestamp>().is_ok() {
            return Ok(Deadline(text.to_owned()));
        }
        Err("give a span as 30s, 20m or 2h, or an instant as 2026-11-21T10:00:00Z")
    }
}

/// US dollars, as they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxCost(String);

impl MaxCost {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MaxCost {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<MaxCost, Self::Err> {
        match text.parse::<f64>() {
            Ok(cost) if cost.is_finite() && cost > 0.0 => Ok(MaxCost(text.to_owned())),
            _ => Err("give US dollars above 0, as 0.25"),
        }
    }
}

/// `NAME=VALUE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    name: String,
    value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Label, String> {
        let (name, value) = text.split_once('=').ok_or("give NAME=VALUE")?;
        if name == DEADLINE {
            return Err("the deadline has a flag of its own, --deadline".to_owned());
        }
        let fits =
            (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && value.chars().count() <= VALUE_CHARS_MAX;
        let limits =
            || format!("a name has from 1 to {NAME_CHARS_MAX} characters, a value at most {VALUE_CHARS_MAX}");
        if fits { Ok(Label { name: name.to_owned(), value: value.to_owned() }) } else { Err(limits()) }
    }
}

/// What the model does with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Endpoint {
    /// A vector.
    #[value(name = "/v1/embeddings")]
    Embeddings,
    /// An answer to the text as a user's message.
    #[value(name = "/v1/chat/completions")]
    ChatCompletions,
    /// The text, continued.
    #[value(name = "/v1/completions")]
    Completions,
}

impl Endpoint {
    /// As `/v1/embeddings`.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Embeddings => "/v1/embeddings",
            Endpoint::ChatCompletions => "/v1/chat/completions",
            Endpoint::Completions => "/v1/completions",
        }
    }
}

/// A batch's metadata: the deadline and the labels; none where there is neither.
pub(super) fn metadata(
    deadline: Option<&Deadline>,
    labels: &[Label],
) -> Result<Option<BTreeMap<String, String>>, String> {
    let mut metadata = BTreeMap::new();
    for label in labels {
        if metadata.insert(label.name.clone(), label.value.clone()).is_some() {
            return Err(format!("--label {} stands there twice; give it once", label.name));
        }
    }
    if let Some(Deadline(deadline)) = deadline {
        metadata.insert(DEADLINE.to_owned(), deadline.clone());
    }
    match metadata.len() {
        0 => Ok(None),
        1..=PAIRS_MAX => Ok(Some(metadata)),
        _ => Err(format!("a job has at most {PAIRS_MAX} labels, the deadline included")),
    }
}

/// What a refusal says would be possible instead, a line each.
pub(super) fn alternatives(alternatives: &Value) -> Vec<String> {
    let told = |(name, each): (&String, &Value)| {
        if each.is_null() {
            return None;
        }
        let finish =
            each["finish_unix_ms"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let (Some(finish), Some(cost), Some(lane)) =
            (finish, each["cost_usd"].as_f64(), each["lane"].as_str())
        else {
            return Some(format!("possible instead: {name} {each}"));
        };
        // To the second, rounded up: asked for again as a deadline, it can be met.
        let second = jiff::Timestamp::from_second(finish.as_second() + 1).unwrap_or(finish);
        Some(format!("possible instead ({name}): done by {second} for {}, {lane}", usd(cost)))
    };
    match alternatives.as_object() {
        Some(each) => each.iter().filter_map(told).collect(),
        None => vec![format!("possible instead: {alternatives}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_told_from_mistakes() {
        for good in ["500ms", "30s", "20m", "2h", "1d", "2026-11-21T10:00:00Z"] {
            assert!(good.parse::<Deadline>().is_ok(), "{good}");
        }
        for wrong in ["", "20", "m", "0m", "-5m", "20 m", "soon", "2026-11-21"] {
            assert!(wrong.parse::<Deadline>().is_err(), "{wrong}");
        }
        for wrong in ["", "0", "-1", "NaN", "inf", "$1"] {
            assert!(wrong.parse::<MaxCost>().is_err(), "{wrong}");
        }
        for wrong in
            ["team", "=x", "deadline=2h", &format!("{}=x", "n".repeat(65)), &format!("n={}", "v".repeat(513))]
        {
            assert!(wrong.parse::<Label>().is_err(), "{wrong}");
        }
        assert_eq!("a=b=c".parse(), Ok(Label { name: "a".to_owned(), value: "b=c".to_owned() }));
    }

    #[test]
    fn metadata_has_its_bounds() {
        let label = |name: usize| Label { name: name.to_string(), value: String::new() };
        let labels: Vec<Label> = (0..16).map(label).collect();
        assert_eq!(metadata(None, &labels).unwrap().unwrap().len(), 16);
        assert!(metadata(Some(&Deadline("2h".to_owned())), &labels).is_err());
        assert!(metadata(None, &[label(1), label(1)]).is_err());
    }

    #[test]
    fn what_is_possible_instead_is_told() {
        let both = serde_json::json!({
            "earliest": { "lane": "realtime", "finish_unix_ms": 1_763_715_600_500_i64, "eta_p50_ms": 1, "cost_usd": 0.118 },
            "cheapest": null,
            "later": "perhaps",
        });
        assert_eq!(
            alternatives(&both),
            [
                "possible instead (earliest): done by 2025-11-21T09:00:01Z for $0.118, realtime",
                "possible instead: later \"perhaps\"",
            ]
        );
    }
}
