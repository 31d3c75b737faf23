//! One set of knobs: what each is called, what it may be, and how a given set becomes one that is in
//! force, or is refused as a whole.

use std::sync::LazyLock;

use policy::Knobs;
use policy::knobs::AutoscaleMode;
use policy::units::{MicroUsd, Millis};
use serde_json::{Map, Value, json};

/// What was given, by name: text, or numbers where a file holds them.
pub type Given = Map<String, Value>;

/// A knob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name: a key of the file, a secret of the vault.
    pub name: &'static str,
    /// What it may be, for people.
    pub wanted: String,
}

/// Every knob, in the order of the documentation.
pub fn known() -> &'static [Known] {
    static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
        let mut reader = Reader { given: Map::new(), known: Vec::new(), problems: Vec::new() };
        reader.knobs();
        reader.known
    });
    &KNOWN
}

/// What is in force until a set was ever read: the defaults, which buy no node and keep no replica
/// warm. Nothing is deleted early meanwhile, because that could not be undone.
pub fn unread() -> Knobs {
    Knobs { retention_days: RETENTION_DAYS_MAX, ..Knobs::default() }
}

/// The longest that job facts are kept.
const RETENTION_DAYS_MAX: u32 = 365;

/// Turns the text of a knobs file into knobs; absent ones have their defaults.
///
/// # Errors
/// Every problem: bad JSON, unknown names, wrong types, values out of range.
pub fn parse(text: &str) -> Result<Knobs, Vec<String>> {
    let given: Given =
        serde_json::from_str(text).map_err(|error| vec![format!("not a JSON object: {error}")])?;
    of(given)
}

/// As [`parse`], from what was given by name.
///
/// # Errors
/// Every problem: unknown names, wrong types, values out of range.
pub fn of(given: Given) -> Result<Knobs, Vec<String>> {
    let mut reader = Reader { given, known: Vec::new(), problems: Vec::new() };
    let knobs = reader.knobs();
    reader.finish(knobs)
}

/// Knobs under the names that operators set them by.
pub fn shown(knobs: &Knobs) -> Value {
    json!({
        "realtime-threshold-ms": knobs.realtime_threshold.0,
        "batch-cost-threshold": knobs.batch_cost_threshold.usd(),
        "max-aca-replicas": knobs.max_replicas,
        "min-aca-replicas": knobs.min_replicas,
        "max-batch-nodes": knobs.max_nodes,
        "max-dedicated-nodes": knobs.max_dedicated_nodes,
        "min-spot-nodes": knobs.min_spot_nodes,
        "min-dedicated-nodes": knobs.min_dedicated_nodes,
        "model-version": knobs.model_version,
        "gpu-memory-limit": knobs.gpu_memory_limit_mib,
        "max-usd-per-hour": knobs.max_usd_per_hour.map(|cap| cap.usd()),
        "rescue-share": knobs.rescue_share_percent,
        "autoscale-mode": match knobs.autoscale {
            AutoscaleMode::Observe => "observe",
            AutoscaleMode::Recommend => "recommend",
            AutoscaleMode::Act => "act",
        },
        "autoscale-interval-minutes": knobs.autoscale_interval_minutes,
        "retention-days": knobs.retention_days,
        "confidence-percent": knobs.confidence_percent,
    })
}

struct Reader {
    given: Given,
    /// What was asked for.
    known: Vec<Known>,
    problems: Vec<String>,
}

impl Reader {
    fn knobs(&mut self) -> Knobs {
        let default = Knobs::default();
        Knobs {
            realtime_threshold: self
                .count("realtime-threshold-ms", 1, 3_600_000)
                .map_or(default.realtime_threshold, Millis),
            batch_cost_threshold: self.usd("batch-cost-threshold").unwrap_or(default.batch_cost_threshold),
            max_replicas: self.small("max-aca-replicas", 1_000).unwrap_or(default.max_replicas),
            min_replicas: self.small("min-aca-replicas", 1_000).unwrap_or(default.min_replicas),
            max_nodes: self.small("max-batch-nodes", 10_000).unwrap_or(default.max_nodes),
            max_dedicated_nodes: self
                .small("max-dedicated-nodes", 10_000)
                .unwrap_or(default.max_dedicated_nodes),
            min_spot_nodes: self.small("min-spot-nodes", 10_000).unwrap_or(default.min_spot_nodes),
            min_dedicated_nodes: self
                .small("min-dedicated-nodes", 10_000)
                .unwrap_or(default.min_dedicated_nodes),
            model_version: self.word("model-version").unwrap_or(default.model_version),
            gpu_memory_limit_mib: self
                .count("gpu-memory-limit", 1, 1 << 24)
                .unwrap_or(default.gpu_memory_limit_mib),
            max_usd_per_hour: self.usd("max-usd-per-hour").or(default.max_usd_per_hour),
            rescue_share_percent: self.small("rescue-share", 100).unwrap_or(default.rescue_share_percent),
            autoscale: self.autoscale("autoscale-mode").unwrap_or(default.autoscale),
            autoscale_interval_minutes: self
                .count("autoscale-interval-minutes", 5, 10_080)
                .map_or(default.autoscale_interval_minutes, |minutes| {
                    u32::try_from(minutes).unwrap_or(10_080)
                }),
            retention_days: self
                .count("retention-days", 1, u64::from(RETENTION_DAYS_MAX))
                .map_or(default.retention_days, |days| u32::try_from(days).unwrap_or(RETENTION_DAYS_MAX)),
            confidence_percent: self
                .count("confidence-percent", 50, 99)
                .map_or(default.confidence_percent, |percent| u32::try_from(percent).unwrap_or(99)),
        }
    }

    /// Takes a knob out: numbers may come as text, because vault secrets are text.
    fn take<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Option<T>, wanted: &str) -> Option<T> {
        self.known.push(Known { name, wanted: wanted.to_owned() });
        let given = self.given.shift_remove(name)?;
        let (text, value) = match given {
            Value::String(text) => (text.clone(), parse(text.trim())),
            Value::Number(number) => (number.to_string(), parse(&number.to_string())),
            // Neither a text nor a number: a word must not become `null`.
            other => (other.to_string(), None),
        };
        if value.is_none() {
            self.problems.push(format!("{name} is `{text}`; give {wanted}"));
        }
        value
    }

    fn count(&mut self, name: &'static str, min: u64, max: u64) -> Option<u64> {
        let parse = |text: &str| text.parse().ok().filter(|value| (min..=max).contains(value));
        self.take(name, parse, &format!("a whole number from {min} to {max}"))
    }

    fn small(&mut self, name: &'static str, max: u32) -> Option<u32> {
        let parse = |text: &str| text.parse().ok().filter(|value| *value <= max);
        self.take(name, parse, &format!("a whole number from 0 to {max}"))
    }

    fn usd(&mut self, name: &'static str) -> Option<MicroUsd> {
        let parse = |text: &str| text.parse().ok().and_then(micro_usd);
        self.take(name, parse, "US dollars, from 0 to 1000000")
    }

    fn word(&mut self, name: &'static str) -> Option<String> {
        let fits = |text: &str| (!text.is_empty() && text.len() <= 64).then(|| text.to_owned());
        self.take(name, fits, "a text of at most 64 bytes")
    }

    fn autoscale(&mut self, name: &'static str) -> Option<AutoscaleMode> {
        let parse = |text: &str| match text {
            "observe" => Some(AutoscaleMode::Observe),
            "recommend" => Some(AutoscaleMode::Recommend),
            "act" => Some(AutoscaleMode::Act),
            _ => None,
        };
        self.take(name, parse, "observe, recommend or act")
    }

    fn finish(mut self, knobs: Knobs) -> Result<Knobs, Vec<String>> {
        for name in self.given.keys() {
            self.problems.push(format!("{name} is no knob; remove it"));
        }
        if knobs.min_replicas > knobs.max_replicas {
            let (min, max) = (knobs.min_replicas, knobs.max_replicas);
            self.problems.push(format!("min-aca-replicas is {min}, above max-aca-replicas {max}"));
        }
        let floors = u64::from(knobs.min_spot_nodes) + u64::from(knobs.min_dedicated_nodes);
        if floors > u64::from(knobs.max_nodes) {
            let max = knobs.max_nodes;
            let text =
                format!("min-spot-nodes and min-dedicated-nodes are {floors}, above max-batch-nodes {max}");
            self.problems.push(text);
        }
        if knobs.min_dedicated_nodes > knobs.max_dedicated_nodes {
            let (min, max) = (knobs.min_dedicated_nodes, knobs.max_dedicated_nodes);
            self.problems.push(format!("min-dedicated-nodes is {min}, above max-dedicated-nodes {max}"));
        }
        if self.problems.is_empty() { Ok(knobs) } else { Err(self.problems) }
    }
}

/// Dollars as millionths; none when negative, not finite or above a million.
pub fn micro_usd(usd: f64) -> Option<MicroUsd> {
    (usd.is_finite() && (0.0..=1e6).contains(&usd)).then(|| MicroUsd((usd * 1e6).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_knob_is_known_by_name_and_range() {
        let names: Vec<&str> = known().iter().map(|known| known.name).collect();
        assert_eq!(names.len(), 16, "{names:?}");
        for known in known() {
            let given = Map::from_iter([(known.name.to_owned(), Value::Null)]);
            let problems = of(given).unwrap_err();
            assert_eq!(problems, [format!("{} is `null`; give {}", known.name, known.wanted)]);
            let as_secret = known.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            assert!(as_secret, "a vault takes letters, digits and hyphens: {}", known.name);
        }
    }

    #[test]
    fn what_is_shown_is_every_knob_and_can_be_given_again() {
        let shown = shown(&Knobs::default());
        let names: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, known().iter().map(|known| known.name).collect::<Vec<_>>());
        let given = shown.as_object().unwrap().clone().into_iter().filter(|(_, value)| !value.is_null());
        assert_eq!(of(given.collect()), Ok(Knobs::default()));
    }

    #[test]
    fn nothing_is_bought_or_deleted_before_a_set_was_read() {
        let unread = unread();
        assert_ne!(unread.autoscale, AutoscaleMode::Act);
        assert_eq!((unread.min_replicas, unread.min_spot_nodes, unread.min_dedicated_nodes), (0, 0, 0));
        assert_eq!(unread.retention_days, RETENTION_DAYS_MAX);
    }

    #[test]
    fn no_knobs_means_every_default() {
        assert_eq!(parse("{}"), Ok(Knobs::default()));
    }

    #[test]
    fn numbers_may_come_as_text() {
        let knobs =
            parse(r#"{"realtime-threshold-ms":"1500","batch-cost-threshold":0.25,"max-usd-per-hour":"3"}"#);
        let knobs = knobs.unwrap();
        assert_eq!(knobs.realtime_threshold, Millis(1_500));
        assert_eq!(knobs.batch_cost_threshold, MicroUsd(250_000));
        assert_eq!(knobs.max_usd_per_hour, Some(MicroUsd(3_000_000)));
    }

    #[test]
    fn every_problem_is_told() {
        let problems = parse(
            r#"{"realtime-threshold-ms":0,"batch-cost-threshold":-1,"rescue-share":101,"autoscale-mode":"maybe",
                "max-replicas":3,"min-aca-replicas":5,"max-aca-replicas":4,"retention-days":null,
                "max-batch-nodes":4,"min-spot-nodes":2,"min-dedicated-nodes":3}"#,
        )
        .unwrap_err();
        let wrong =
            ["realtime-threshold-ms", "batch-cost", "rescue-share", "autoscale-mode", "retention-days"];
        assert_eq!(problems.len(), wrong.len() + 4, "{problems:?}");
        for name in wrong.into_iter().chain([
            "max-replicas is no knob",
            "above max-aca-replicas",
            "above max-batch-nodes",
            "above max-dedicated-nodes",
        ]) {
            assert!(problems.iter().any(|problem| problem.contains(name)), "{name} in {problems:?}");
        }
        assert!(parse("[]").is_err() && parse("").is_err());
    }
}
