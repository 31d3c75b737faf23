//! `switchyard demo`: real text through the real handler under the host contract, to real
//! replicas with a real model. Every scene checks its answers; the exit code tells.
//!
//! - `scenes`: what is shown, in order
//! - `deferred`: thousands of sentences by a deadline, on a clock that runs faster
//! - `day`: a day of the pool, from no node to none, through a storm
//! - `batch`: sentences through Files and Batches, and the check of what came of them
//! - `client`: an OpenAI client as small as it gets, which retries as the SDKs do
//! - `corpus`: sentences, questions and the neighbours that are right

mod batch;
mod client;
mod corpus;
mod day;
mod deferred;
mod scenes;

use std::path::PathBuf;
use std::time::Duration;

use clock::Clock;
use local::stack::{Options, Stack};
use serde::Serialize;

use crate::Failure;
use crate::cli;
use crate::place::Place;
use crate::print::Printer;
use client::Client;

/// Two show that a killed one is not missed.
const REPLICAS: u32 = 2;
/// Long enough to be seen, short enough to be waited for; a real one takes 20 to 90 s.
const COLD_START: Duration = Duration::from_secs(3);

/// Spot nodes of the pool.
const NODES: u32 = 2;
/// Until a node takes tasks; a real one takes minutes.
const BOOT: Duration = Duration::from_secs(3);

/// What a scene showed.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    what: &'static str,
    lane: String,
    reason: String,
    took_ms: u64,
    cost: String,
    /// What was checked, or what was wrong.
    #[serde(serialize_with = "as_ok_and_text")]
    checked: Result<String, String>,
}

fn as_ok_and_text<S: serde::Serializer>(
    checked: &Result<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (is_ok, text) = match checked {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    serde_json::json!({"ok": is_ok, "text": text}).serialize(serializer)
}

/// Starts a stack of its own, plays the scenes, ends it.
///
/// # Errors
/// When something could not be started, or a check failed.
pub async fn run(flags: cli::Demo, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let (programs, model) =
        tokio::try_join!(place.programs(flags.no_build, printer), place.model(flags.model, printer))?;
    let options = |state: &Scratch, clock: Clock, boot: Duration| Options {
        programs: programs.clone(),
        source: place.root(),
        model: model.clone(),
        state: state.0.clone(),
        port: 0,
        replicas: REPLICAS,
        cold_start: COLD_START,
        nodes: NODES,
        autoscale: false,
        boot,
        server_arguments: Vec::new(),
        webhook: None,
        catalogue: None,
        settings: Vec::new(),
        storage: None,
        clock,
        ready_file: None,
    };
    if flags.day {
        let clock = Clock::scaled(Clock::REAL.now_ms(), day::SPEED).map_err(Failure::of)?;
        let state = Scratch::make("day")?;
        std::fs::write(state.0.join("knobs.json"), day::KNOBS).map_err(Failure::of)?;
        let options = Options { autoscale: true, nodes: day::NODES, ..options(&state, clock, day::BOOT) };
        let play = async |stack: &Stack, client: &Client| day::play(stack, client, printer, clock).await;
        return report(&[on_a_stack(options, play).await?], printer);
    }
    let state = Scratch::make("realtime")?;
    let play = async |stack: &Stack, client: &Client| scenes::play(stack, client, printer).await;
    let mut outcomes = on_a_stack(options(&state, place.clock(), BOOT), play).await?;
    drop(state);

    let clock = Clock::scaled(Clock::REAL.now_ms(), deferred::SPEED).map_err(Failure::of)?;
    let (state, sentences) = (Scratch::make("deferred")?, flags.sentences as usize);
    let play = async |stack: &Stack, client: &Client| {
        deferred::play(stack, client, printer, (clock, sentences)).await
    };
    outcomes.push(on_a_stack(options(&state, clock, deferred::BOOT), play).await?);
    report(&outcomes, printer)
}

/// Starts a stack, plays on it and ends it, also when asked to stop.
async fn on_a_stack<T>(options: Options, play: impl AsyncFnOnce(&Stack, &Client) -> T) -> Result<T, Failure> {
    let stopped = || Failure("stopped before the end".to_owned());
    let stack = tokio::select! {
        started = Stack::start(options) => started.map_err(Failure::of)?,
        () = crate::asked_to_stop() => return Err(stopped()),
    };
    let client = Client::new(&stack.ready());
    let played = tokio::select! {
        played = play(&stack, &client) => Ok(played),
        () = crate::asked_to_stop() => Err(stopped()),
    };
    stack.stop().await;
    played
}

fn report(outcomes: &[Outcome], printer: &Printer) -> Result<(), Failure> {
    let row = |outcome: &Outcome| {
        let time = format!("{:.2} s", outcome.took_ms as f64 / 1000.0);
        let checked = match &outcome.checked {
            Ok(what) => what.clone(),
            Err(what) => format!("FAILED: {what}"),
        };
        [
            outcome.what.to_owned(),
            outcome.lane.clone(),
            // The first reason settled it; the scene above shows all.
            outcome.reason.split(", ").next().unwrap_or_default().to_owned(),
            time,
            outcome.cost.clone(),
            checked,
        ]
    };
    let rows: Vec<_> = outcomes.iter().map(row).collect();
    printer.say("");
    printer.table(["what", "lane", "reason", "time", "cost, USD", "checked"], &rows);
    printer.say("");
    outcomes.iter().for_each(|outcome| printer.record(outcome));
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| Some(format!("{}: {}", outcome.what, outcome.checked.as_ref().err()?)))
        .collect();
    if !failed.is_empty() {
        return Err(Failure(format!(
            "{} of {} scenes failed: {}",
            failed.len(),
            outcomes.len(),
            failed.join("; ")
        )));
    }
    printer.say(&format!(
        "All {} scenes were as they should be. `cargo up` keeps a stack running for you.",
        outcomes.len()
    ));
    Ok(())
}

/// A folder of the demo's own, so that a running `up` is not disturbed.
struct Scratch(PathBuf);

impl Scratch {
    fn make(part: &str) -> Result<Scratch, Failure> {
        let folder = std::env::temp_dir().join(format!("switchyard-demo-{part}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(Failure::of)?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(checked: Result<&str, &str>) -> Outcome {
        let own = |text: &str| text.to_owned();
        Outcome {
            what: "overload",
            lane: own("realtime"),
            reason: own("only_lane"),
            took_ms: 1500,
            cost: own("0.01"),
            checked: checked.map(own).map_err(own),
        }
    }

    #[test]
    fn one_wrong_scene_fails_the_demo_and_is_named() {
        let printer = Printer::new(true);
        assert!(report(&[outcome(Ok("fine"))], &printer).is_ok());
        let failure = report(&[outcome(Ok("fine")), outcome(Err("no vector"))], &printer).unwrap_err();
        assert_eq!(failure.to_string(), "1 of 2 scenes failed: overload: no vector");
    }

    #[test]
    fn programs_read_whether_a_scene_was_right() {
        let right = serde_json::to_value(outcome(Ok("fine"))).unwrap();
        assert_eq!(right["checked"], serde_json::json!({"ok": true, "text": "fine"}));
        let wrong = serde_json::to_value(outcome(Err("no vector"))).unwrap();
        assert_eq!(wrong["checked"], serde_json::json!({"ok": false, "text": "no vector"}));
    }
}
