//! What operators tune while the system runs: read from KNOBS_FILE, typed and ranged, refused as
//! a whole when one is wrong; the last good set stays.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use policy::Knobs;
use policy::knobs::AutoscaleMode;
use policy::units::{MicroUsd, Millis};
use serde_json::{Map, Value};

/// A file larger than this is no knobs file.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// The set in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The knobs.
    pub knobs: Arc<Knobs>,
    /// When they were last read, in Unix ms of the handler's clock; none: these are the defaults,
    /// because no good set was read so far.
    pub read_ms: Option<u64>,
    /// Why the newest set was refused; none when it is in force.
    pub refused: Option<String>,
}

/// Reads and keeps knobs.
#[derive(Debug)]
pub struct Source {
    file: PathBuf,
    in_force: RwLock<InForce>,
}

impl Source {
    /// Knobs of `file`, not yet read.
    pub fn new(file: PathBuf) -> Source {
        let knobs = Arc::new(Knobs::default());
        Source { file, in_force: RwLock::new(InForce { knobs, read_ms: None, refused: None }) }
    }

    /// The set in force.
    pub fn now(&self) -> InForce {
        self.in_force.read().expect("no reader or writer panics while holding it").clone()
    }

    /// The knobs in force.
    pub fn knobs(&self) -> Arc<Knobs> {
        Arc::clone(&self.in_force.read().expect("no reader or writer panics while holding it").knobs)
    }

    /// Reads the file again.
    ///
    /// # Errors
    /// Every problem in one text; the last good set stays in force.
    pub async fn refresh(&self, now_ms: u64) -> Result<(), String> {
        let read = read_file(&self.file).await.and_then(|text| parse(&text).map_err(|all| all.join("; ")));
        let mut in_force = self.in_force.write().expect("no reader or writer panics while holding it");
        match read {
            Ok(knobs) => {
                *in_force = InForce { knobs: Arc::new(knobs), read_ms: Some(now_ms), refused: None };
                Ok(())
            }
            Err(problem) => {
                in_force.refused = Some(problem.clone());
                Err(problem)
            }
        }
    }
}

async fn read_file(file: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|error| format!("KNOBS_FILE cannot be read: {error}"))?;
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("KNOBS_FILE has {} bytes; {FILE_BYTES_MAX} is the most", text.len()));
    }
    Ok(text)
}

/// Turns the text of a knobs file into knobs; absent ones have their defaults.
///
/// # Errors
/// Every problem: bad JSON, unknown names, wrong types, values out of range.
pub fn parse(text: &str) -> Result<Knobs, Vec<String>> {
    let given: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| vec![format!("not a JSON object: {error}")])?;
    let mut reader = Reader { given, problems: Vec::new() };
    let default = Knobs::default();
    let knobs = Knobs {
        realtime_threshold: reader
            .count("realtime-threshold-ms", 1, 3_600_000)
            .map_or(default.realtime_threshold, Millis),
        batch_cost_threshold: reader.usd("batch-cost-threshold").unwrap_or(default.batch_cost_threshold),
        max_replicas: reader.small("max-aca-replicas", 1_000).unwrap_or(default.max_replicas),
        min_replicas: reader.small("min-aca-replicas", 1_000).unwrap_or(default.min_replicas),
        max_nodes: reader.small("max-batch-nodes", 10_000).unwrap_or(default.max_nodes),
        max_dedicated_nodes: reader
            .small("max-dedicated-nodes", 10_000)
            .unwrap_or(default.max_dedicated_nodes),
        min_spot_nodes: reader.small("min-spot-nodes", 10_000).unwrap_or(default.min_spot_nodes),
        min_dedicated_nodes: reader
            .small("min-dedicated-nodes", 10_000)
            .unwrap_or(default.min_dedicated_nodes),
        model_version: reader.word("model-version").unwrap_or(default.model_version),
        gpu_memory_limit_mib: reader
            .count("gpu-memory-limit", 1, 1 << 24)
            .unwrap_or(default.gpu_memory_limit_mib),
        max_usd_per_hour: reader.usd("max-usd-per-hour").or(default.max_usd_per_hour),
        rescue_share_percent: reader.small("rescue-share", 100).unwrap_or(default.rescue_share_percent),
        autoscale: reader.autoscale("autoscale-mode").unwrap_or(default.autoscale),
        autoscale_interval_minutes: reader
            .count("autoscale-interval-minutes", 5, 10_080)
            .map_or(default.autoscale_interval_minutes, |minutes| u32::try_from(minutes).unwrap_or(10_080)),
        retention_days: reader
            .count("retention-days", 1, 365)
            .map_or(default.retention_days, |days| u32::try_from(days).unwrap_or(365)),
        confidence_percent: reader
            .count("confidence-percent", 50, 99)
            .map_or(default.confidence_percent, |percent| u32::try_from(percent).unwrap_or(99)),
    };
    reader.finish(knobs)
}

struct Reader {
    given: Map<String, Value>,
    problems: Vec<String>,
}

impl Reader {
    /// Takes a knob out: numbers may come as text, because vault secrets are text.
    fn take<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>, wanted: &str) -> Option<T> {
        let text = match self.given.shift_remove(name)? {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            other => other.to_string(),
        };
        let value = parse(text.trim());
        if value.is_none() {
            self.problems.push(format!("{name} is `{text}`; give {wanted}"));
        }
        value
    }

    fn count(&mut self, name: &str, min: u64, max: u64) -> Option<u64> {
        let parse = |text: &str| text.parse().ok().filter(|value| (min..=max).contains(value));
        self.take(name, parse, &format!("a whole number from {min} to {max}"))
    }

    fn small(&mut self, name: &str, max: u32) -> Option<u32> {
        let parse = |text: &str| text.parse().ok().filter(|value| *value <= max);
        self.take(name, parse, &format!("a whole number from 0 to {max}"))
    }

    fn usd(&mut self, name: &str) -> Option<MicroUsd> {
        let parse = |text: &str| text.parse().ok().and_then(micro_usd);
        self.take(name, parse, "US dollars, from 0 to 1000000")
    }

    fn word(&mut self, name: &str) -> Option<String> {
        let fits = |text: &str| (!text.is_empty() && text.len() <= 64).then(|| text.to_owned());
        self.take(name, fits, "a text of at most 64 bytes")
    }

    fn autoscale(&mut self, name: &str) -> Option<AutoscaleMode> {
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

    #[tokio::test]
    async fn a_bad_set_leaves_the_last_good_one() {
        let file = std::env::temp_dir().join(format!("switchyard-knobs-{}.json", std::process::id()));
        let source = Source::new(file.clone());
        std::fs::write(&file, r#"{"max-aca-replicas":7}"#).unwrap();
        source.refresh(5).await.unwrap();
        std::fs::write(&file, r#"{"max-aca-replicas":"many"}"#).unwrap();
        assert!(source.refresh(9).await.is_err());
        std::fs::remove_file(&file).unwrap();
        let now = source.now();
        assert_eq!((now.knobs.max_replicas, now.read_ms), (7, Some(5)));
        assert!(now.refused.unwrap().contains("max-aca-replicas"));
    }
}
