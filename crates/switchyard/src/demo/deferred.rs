//! The deferred lane's story, on a clock that runs faster: thousands of sentences by a deadline, spot
//! nodes that are taken away while they work, the rest rescued in the realtime lane. Model, processes
//! and kills are real; boots and the clock are not.

use std::time::{Duration, Instant};

use clock::Clock;
use local::stack::{POOL, Stack};
use serde_json::Value;

use super::Outcome;
use super::batch::{Batch, LOOK_EVERY, dollars, spare, time_of_day};
use super::client::Client;
use crate::print::Printer;

/// Sentences, one a line; `data/README.md` says where they are from.
pub(super) const BOOK: &str = include_str!("../../data/moby-dick.txt");
/// How many scaled seconds pass in a real one.
pub(super) const SPEED: f64 = 16.0;
/// Until a node takes tasks, by the clock; a real one takes this long too.
pub(super) const BOOT: Duration = Duration::from_secs(120);
/// The job's deadline, by the clock.
const DEADLINE: &str = "20m";
/// Results that exist when the first node is taken away, in percent, and when all are.
const FIRST_EVICTION_AT: u64 = 25;
const LAST_EVICTION_AT: u64 = 75;
/// How often something is said.
const SAY_EVERY: Duration = Duration::from_secs(4);
/// A story that takes longer has failed: its deadline is over by then.
const GIVE_UP_AFTER: Duration = Duration::from_secs(110);

/// One play of the story.
struct Story<'a> {
    stack: &'a Stack,
    client: &'a Client,
    printer: &'a Printer,
    clock: Clock,
    sentences: Vec<&'static str>,
}

/// Plays the story; the outcome says what was checked.
pub(super) async fn play(
    stack: &Stack,
    client: &Client,
    printer: &Printer,
    (clock, sentences): (Clock, usize),
) -> Outcome {
    let began = Instant::now();
    let sentences: Vec<&str> = BOOK.lines().take(sentences).collect();
    let story = Story { stack, client, printer, clock, sentences };
    let told = story.tell().await;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (cost, checked) = match told {
        Ok((cost, checked)) => (cost, Ok(checked)),
        Err(why) => ("-".to_owned(), Err(why)),
    };
    Outcome {
        what: "deferred job",
        lane: "deferred".to_owned(),
        reason: "rescued".to_owned(),
        took_ms,
        cost,
        checked,
    }
}

impl Story<'_> {
    async fn tell(&self) -> Result<(String, String), String> {
        let speed = SPEED;
        self.printer.say(&format!(
            "\n7. The deferred lane. The clock runs {speed:.0} times as fast and boots are pretended; model, processes and kills are real."
        ));
        let hello = self.client.embed(&["hello"], &|why| self.printer.progress(why)).await?.answer;
        let ms = hello.took.as_millis();
        let reason = hello.header("switchyard-reason").split(", ").next().unwrap_or("-").to_owned();
        self.line("embeddings \"hello\"", &format!("realtime  {ms} ms  ${}  {reason}", hello.cost()));

        let batch = self.submit().await?;
        self.watch(&batch).await?;
        self.check(&batch).await
    }

    /// A line of the timeline, by the scaled clock.
    fn line(&self, what: &str, rest: &str) {
        self.printer.say(&format!("  {}  {what:<38} {rest}", time_of_day(self.clock.now_ms())));
    }

    async fn submit(&self) -> Result<Batch<'_>, String> {
        let batch = Batch::submit(self.client, &self.sentences, DEADLINE).await?;
        let job = batch.job().await?;
        let clock =
            |value: &Value| value.as_str().map_or("-", |text| text.get(11..16).unwrap_or("-")).to_owned();
        self.line(
            &format!("{} sentences by {}", self.sentences.len(), clock(&job["deadline"])),
            &format!(
                "deferred  eta {} (p95 {})  ${:.6}, realtime ${:.6}",
                clock(&job["eta"]["p50"]),
                clock(&job["eta"]["p95"]),
                dollars(&job, "estimate_usd"),
                dollars(&job, "all_realtime_usd"),
            ),
        );
        Ok(batch)
    }

    /// Follows the job to its end, and takes nodes away on the way.
    async fn watch(&self, batch: &Batch<'_>) -> Result<(), String> {
        let (began, mut said) = (Instant::now(), Instant::now());
        let (mut first, mut all, mut rescued) = (false, false, false);
        loop {
            let job = batch.job().await?;
            let number = |group: &str, name: &str| job[group][name].as_u64().unwrap_or(0);
            let (done, total) = (number("items", "done"), number("items", "total").max(1));
            if job["finished"].is_string() {
                return Ok(());
            }
            if !first && 100 * done >= FIRST_EVICTION_AT * total {
                first = true;
                self.evict_one(done)?;
            } else if !all && 100 * done >= LAST_EVICTION_AT * total {
                all = true;
                self.evict_all();
            }
            if !rescued && number("shards", "rescued") > 0 {
                rescued = true;
                let left = job["reasons"][0]["evidence"]["until_deadline"].as_str().unwrap_or("-").to_owned();
                self.line(
                    &format!("no spot node; {left} to the deadline"),
                    "what is left is promoted to realtime",
                );
            }
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                let waits = job["reasons"][0]["code"].as_str().unwrap_or("-");
                self.printer.progress(&format!("{done} of {total} results; {waits}"));
            }
            if began.elapsed() > GIVE_UP_AFTER {
                return Err(format!("not done within {} s; last seen: {job}", GIVE_UP_AFTER.as_secs()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn evict_one(&self, done: u64) -> Result<(), String> {
        let batch = self.stack.batch();
        let node = batch.busiest_spot_node(POOL).ok_or("there was no spot node to take away")?;
        batch.evict(POOL, &node).map_err(|error| error.to_string())?;
        self.line(
            "a spot node is evicted (kill -9)",
            &format!("its task runs again, {done} finished lines kept"),
        );
        Ok(())
    }

    fn evict_all(&self) {
        let taken = self.stack.batch().take_all_spot(POOL);
        self.line(&format!("no spot capacity; {taken} more evicted"), "what is left waits for nodes");
    }

    /// Every item once, in order, with the vector that the realtime lane gives, before the deadline.
    async fn check(&self, batch: &Batch<'_>) -> Result<(String, String), String> {
        let checked = batch.check(GIVE_UP_AFTER).await?;
        let total = self.sentences.len();
        let spare = spare(&checked.job).ok_or("the deadline was missed")?;
        let (paid, realtime) = (checked.dollars("usd"), checked.dollars("all_realtime_usd"));
        self.line(
            &format!("{}/{total}  {} lost  {} doubled", checked.lines, checked.lost, checked.doubled),
            &format!("{spare} before the deadline"),
        );
        self.printer.say(&format!(
            "            paid ${paid:.6} | all realtime ${realtime:.6} | spot only: missed, no node came back"
        ));
        checked.verdict(total)?;
        Ok((format!("{paid:.6}"), format!("{total} results, each once, {spare} to spare")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_has_enough_sentences_and_none_twice() {
        let lines: Vec<&str> = BOOK.lines().collect();
        assert_eq!(lines.len(), 12_000);
        let once: std::collections::HashSet<&&str> = lines.iter().collect();
        assert_eq!(once.len(), lines.len());
    }
}
