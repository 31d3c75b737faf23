//! A working day of the pool on a clock that runs faster: it begins with no node, grows for a job, goes back
//! to none, meets a storm of evictions in the middle of another one, and is empty again in the evening. Every
//! plan is shown with its reason and the formula that carries it out. Model, processes and kills are
//! real; boots and the clock are not.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use clock::Clock;
use local::azure_batch::Capacity;
use local::stack::{POOL, Stack};
use serde_json::Value;
use wire::status;

use super::Outcome;
use super::batch::{Batch, Checked, LOOK_EVERY, dollars, spare, time_of_day};
use super::client::Client;
use super::deferred::BOOK;
use crate::print::Printer;

/// How many scaled seconds pass in a real one: some hours in some minutes. Faster, and what is really
/// computed would take longer than any deadline.
pub(super) const SPEED: f64 = 40.0;
/// Until a node takes tasks, by the clock; a real one takes this long too.
pub(super) const BOOT: Duration = Duration::from_secs(150);
/// Nodes of both kinds at most.
pub(super) const NODES: u32 = 3;
/// Knobs of the day beside those of every stack.
pub(super) const KNOBS: &str = r#"{"max-dedicated-nodes": 2, "rescue-share": 13}"#;

/// Sentences of the two jobs, and by when they are to be done, by the clock.
const MORNING: (usize, &str) = (2_000, "4h");
const NOON: (usize, &str) = (3_000, "90m");
/// Results of the second job that exist when the storm comes, in percent.
const STORM_AT: u64 = 20;
/// No part of the day takes longer than this, by a real clock.
const PATIENCE: Duration = Duration::from_secs(240);

/// One play of the day.
struct Day<'a> {
    stack: &'a Stack,
    client: &'a Client,
    printer: &'a Printer,
    clock: Clock,
    told: Mutex<Told>,
}

/// What was said of the pool last, and what was ever seen of it.
#[derive(Default)]
struct Told {
    plan: String,
    nodes: String,
    most_dedicated: u32,
    plans: usize,
}

/// Plays the day; the outcome says what was checked.
pub(super) async fn play(stack: &Stack, client: &Client, printer: &Printer, clock: Clock) -> Outcome {
    let began = Instant::now();
    let day = Day { stack, client, printer, clock, told: Mutex::default() };
    let (cost, checked) = match day.tell().await {
        Ok((cost, checked)) => (format!("{cost:.6}"), Ok(checked)),
        Err(why) => ("-".to_owned(), Err(why)),
    };
    Outcome {
        what: "a day of the pool",
        lane: "deferred".to_owned(),
        reason: "demand".to_owned(),
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        cost,
        checked,
    }
}

impl Day<'_> {
    async fn tell(&self) -> Result<(f64, String), String> {
        self.printer.say(&format!(
            "\nA day of the pool. The clock runs {SPEED:.0} times as fast and boots are pretended; model, processes and kills are real."
        ));
        self.until("the first plan", async |pool| Ok(pool.formula.ours.then_some(()))).await?;

        let sentences: Vec<&str> = BOOK.lines().collect();
        let (morning, noon) = sentences.split_at(MORNING.0);
        let (first, _) = self.job(morning, MORNING.1, None).await?;
        self.until_empty().await?;

        let (second, rescued) = self.job(&noon[..NOON.0], NOON.1, Some(STORM_AT)).await?;
        self.stack.batch().set_capacity(Capacity::UNLIMITED);
        self.line("spot nodes are to be had again", "");
        self.until_empty().await?;

        let killed = self.stack.batch().killed_by_shrinking();
        if killed > 0 {
            return Err(format!("{killed} tasks were killed because the pool shrank"));
        }
        let told = self.told.lock().expect("no holder of this lock panics");
        if told.most_dedicated == 0 && rescued == 0 {
            return Err("the storm was met by neither dedicated nodes nor the realtime lane".to_owned());
        }
        let storm = match (told.most_dedicated, rescued) {
            (0, _) => "the realtime lane".to_owned(),
            (nodes, 0) => format!("{nodes} dedicated nodes"),
            (nodes, _) => format!("{nodes} dedicated nodes and the realtime lane"),
        };
        let checked = format!(
            "{} results, each once, in time; {} plans; none killed by shrinking; the storm met by {storm}; empty again",
            first.lines + second.lines,
            told.plans,
        );
        Ok((first.dollars("usd") + second.dollars("usd"), checked))
    }

    /// A line of the timeline, by the scaled clock.
    fn line(&self, what: &str, rest: &str) {
        self.printer.say(&format!("  {}  {what:<38} {rest}", time_of_day(self.clock.now_ms())));
    }

    /// Runs one job to its end; with a storm when so many percent of it are done. Says how many of its
    /// shards were taken to the realtime lane.
    async fn job(
        &self,
        sentences: &[&'static str],
        deadline: &str,
        mut storm_at: Option<u64>,
    ) -> Result<(Checked, u64), String> {
        let batch = Batch::submit(self.client, sentences, deadline).await?;
        let job = batch.job().await?;
        let (estimate, realtime) = (dollars(&job, "estimate_usd"), dollars(&job, "all_realtime_usd"));
        self.line(
            &format!("{} sentences within {deadline}", sentences.len()),
            &format!("deferred  ${estimate:.6}, realtime ${realtime:.6}"),
        );
        let number = |job: &Value, group: &str, name: &str| job[group][name].as_u64().unwrap_or(0);
        let mut rescued = 0;
        self.until("the end of the job", async |_| {
            let job = batch.job().await?;
            let done = number(&job, "items", "done");
            rescued = rescued.max(number(&job, "shards", "rescued"));
            if storm_at.is_some_and(|percent| 100 * done >= percent * sentences.len() as u64) {
                storm_at = None;
                self.storm(done);
            }
            Ok(job["finished"].is_string().then_some(()))
        })
        .await?;
        let checked = batch.check(PATIENCE).await?;
        checked.verdict(sentences.len())?;
        let spare = spare(&checked.job).ok_or("the deadline was missed")?;
        self.line(
            &format!("{}/{}  0 lost  0 doubled", checked.lines, sentences.len()),
            &format!("{spare} before the deadline; paid ${:.6}", checked.dollars("usd")),
        );
        Ok((checked, rescued))
    }

    /// Every spot node goes at once, and there is none to be had.
    fn storm(&self, done: u64) {
        let taken = self.stack.batch().take_all_spot(POOL);
        self.line(
            &format!("a storm: {taken} spot nodes evicted (kill -9)"),
            &format!("no spot to be had; {done} finished lines kept"),
        );
    }

    /// Waits until the pool has no node and wants none.
    async fn until_empty(&self) -> Result<(), String> {
        let is_empty = |nodes: &status::Nodes| nodes.target + nodes.usable + nodes.starting == 0;
        self.until("an empty pool", async |pool| {
            Ok((is_empty(&pool.spot) && is_empty(&pool.dedicated)).then_some(()))
        })
        .await
    }

    /// Looks at the pool again and again, tells what changes, and ends when `found` says so.
    async fn until<T>(
        &self,
        what: &str,
        mut found: impl AsyncFnMut(&status::Pool) -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        let began = Instant::now();
        loop {
            let page = self.client.status().await?;
            let pool = page.pools.into_iter().find(|pool| pool.name == POOL).unwrap_or_default();
            self.tell_changes(&pool);
            if let Some(found) = found(&pool).await? {
                return Ok(found);
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("no {what} within {} s; last seen: {pool:?}", PATIENCE.as_secs()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A plan with its reasons and its formula, and nodes that came or went, each when it is new.
    fn tell_changes(&self, pool: &status::Pool) {
        let mut told = self.told.lock().expect("no holder of this lock panics");
        let nodes = nodes(pool);
        if told.nodes != nodes {
            self.line(&format!("nodes: {nodes}"), "");
            told.nodes = nodes;
        }
        told.most_dedicated = told.most_dedicated.max(pool.dedicated.usable);
        let Some(planned) = &pool.planned else { return };
        let plan = plan(planned);
        if told.plan != plan {
            let reasons: Vec<String> = planned.reasons.iter().map(reason).collect();
            self.line(&plan, &reasons.join(", "));
            planned.formula.lines().for_each(|line| self.printer.say(&format!("            | {line}")));
            told.plan = plan;
            told.plans += 1;
        }
    }
}

fn nodes(pool: &status::Pool) -> String {
    let kind = |nodes: &status::Nodes| {
        let extra = [(nodes.starting, "starting"), (nodes.preempted, "preempted")];
        let extra = extra.into_iter().filter(|(count, _)| *count > 0);
        let extra: String = extra.map(|(count, what)| format!(" +{count} {what}")).collect();
        format!("{}{extra}", nodes.usable)
    };
    format!("{} spot, {} dedicated", kind(&pool.spot), kind(&pool.dedicated))
}

fn plan(planned: &status::Planned) -> String {
    match (planned.spot, planned.dedicated) {
        (Some(spot), Some(dedicated)) => format!("plan: {spot} spot, {dedicated} dedicated"),
        _ => format!("no plan ({})", planned.outcome),
    }
}

fn reason(reason: &status::Reason) -> String {
    let evidence = reason.evidence.iter().map(|(name, value)| format!("; {name}={value}"));
    reason.code.chars().chain(evidence.collect::<String>().chars()).collect()
}
