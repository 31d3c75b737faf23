//! `switchyard demo`: real text through the real handler under the host contract, to real
//! replicas with a real model. Every scene checks its answers; the exit code tells.
//!
//! - `scenes`: what is shown, in order
//! - `client`: an OpenAI client as small as it gets, which retries as the SDKs do
//! - `corpus`: sentences, questions and the neighbours that are right

mod client;
mod corpus;
mod scenes;

use std::path::PathBuf;
use std::time::Duration;

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

/// What a scene showed.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    what: &'static str,
    lane: String,
    reason: String,
    took_ms: u64,
    cost: String,
    /// What was checked, or what was wrong.
    checked: Result<String, String>,
}

/// Starts a stack of its own, plays the scenes, ends it.
///
/// # Errors
/// When something could not be started, or a check failed.
pub async fn run(flags: cli::Demo, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let programs = place.programs(flags.no_build, printer).await?;
    let model = place.model(flags.model, printer).await?;
    let state = Scratch::make()?;
    let stack = Stack::start(Options {
        programs,
        source: place.root(),
        model,
        state: state.0.clone(),
        port: 0,
        replicas: REPLICAS,
        cold_start: COLD_START,
        server_arguments: Vec::new(),
        clock: place.clock(),
        ready_file: None,
    });
    let stack = stack.await.map_err(Failure::of)?;
    let client = Client::new(&stack.ready());
    let outcomes = tokio::select! {
        outcomes = scenes::play(&stack, &client, printer) => outcomes,
        () = crate::asked_to_stop() => {
            stack.stop().await;
            return Err(Failure("stopped before the end".to_owned()));
        }
    };
    stack.stop().await;
    report(&outcomes, printer)
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
            outcome.reason.clone(),
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
    fn make() -> Result<Scratch, Failure> {
        let folder = std::env::temp_dir().join(format!("switchyard-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(Failure::of)?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
