//! The deferred lane's story, on a clock that runs faster: thousands of sentences by a deadline, spot
//! nodes that are taken away while they work, the rest rescued in the realtime lane. Model, processes
//! and kills are real; boots and the clock are not.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clock::Clock;
use local::azure_batch::Capacity;
use local::stack::{MODEL, POOL, Stack};
use serde_json::{Value, json};

use super::Outcome;
use super::client::Client;
use crate::print::Printer;

/// Sentences, one a line; `data/README.md` says where they are from.
const BOOK: &str = include_str!("../../data/moby-dick.txt");
/// How many scaled seconds pass in a real one.
pub(super) const SPEED: f64 = 16.0;
/// Until a node takes tasks, by the clock; a real one takes this long too.
pub(super) const BOOT: Duration = Duration::from_secs(120);
/// The job's deadline, by the clock.
const DEADLINE: &str = "20m";
/// Results that exist when the first node is taken away, in percent, and when all are.
const FIRST_EVICTION_AT: u64 = 25;
const LAST_EVICTION_AT: u64 = 60;
/// How often the job is looked at, and how often something is said.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const SAY_EVERY: Duration = Duration::from_secs(4);
/// A story that takes longer has failed: its deadline is over by then.
const GIVE_UP_AFTER: Duration = Duration::from_secs(110);
/// Sentences whose vectors are compared with the realtime lane's.
const COMPARED: [usize; 3] = [0, 1_000, 2_999];
/// What the same text may differ by between two lanes.
const COSINE_MIN: f64 = 0.9999;

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

        let job = self.submit().await?;
        self.watch(&job).await?;
        self.check(&job).await
    }

    /// A line of the timeline, by the scaled clock.
    fn line(&self, what: &str, rest: &str) {
        self.printer.say(&format!("  {}  {what:<38} {rest}", time_of_day(self.clock.now_ms())));
    }

    async fn submit(&self) -> Result<String, String> {
        let line = |(n, text): (usize, &&str)| {
            let body = json!({"model": MODEL, "input": text, "encoding_format": "base64"});
            let line = json!({"custom_id": format!("s{n}"), "method": "POST", "url": "/v1/embeddings", "body": body});
            format!("{line}\n")
        };
        let text: String = self.sentences.iter().enumerate().map(line).collect();
        let file = self.client.upload("sentences.jsonl", &text).await?;
        let asked = json!({
            "input_file_id": file["id"],
            "endpoint": "/v1/embeddings",
            "completion_window": "24h",
            "metadata": {"deadline": DEADLINE},
        });
        let batch = self.client.post("/batches", &asked).await?;
        let id = batch["id"].as_str().and_then(|id| id.strip_prefix("batch_"));
        let id = id.ok_or_else(|| format!("no batch was made: {batch}"))?.to_owned();
        let job = self.client.job(&id).await?;
        let dollars = |name: &str| job["cost"][name].as_f64().unwrap_or(f64::NAN);
        let clock =
            |value: &Value| value.as_str().map_or("-", |text| text.get(11..16).unwrap_or("-")).to_owned();
        self.line(
            &format!("{} sentences by {}", self.sentences.len(), clock(&job["deadline"])),
            &format!(
                "deferred  eta {} (p95 {})  ${:.6}, realtime ${:.6}",
                clock(&job["eta"]["p50"]),
                clock(&job["eta"]["p95"]),
                dollars("estimate_usd"),
                dollars("all_realtime_usd"),
            ),
        );
        Ok(id)
    }

    /// Follows the job to its end, and takes nodes away on the way.
    async fn watch(&self, id: &str) -> Result<(), String> {
        let (began, mut said) = (Instant::now(), Instant::now());
        let (mut first, mut all, mut rescued) = (false, false, false);
        loop {
            let job = self.client.job(id).await?;
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
        let batch = self.stack.batch();
        batch.set_capacity(Capacity { spot: 0, ..Capacity::UNLIMITED });
        let mut taken = 0;
        while let Some(node) = batch.busiest_spot_node(POOL) {
            if batch.evict(POOL, &node).is_err() {
                break;
            }
            taken += 1;
        }
        self.line(&format!("no spot capacity; {taken} more evicted"), "what is left waits for nodes");
    }

    /// Every item once, in order, with the vector that the realtime lane gives.
    async fn check(&self, id: &str) -> Result<(String, String), String> {
        let ended = self.until_ended(id).await?;
        let batch = self.client.get(&format!("/batches/batch_{id}")).await?;
        let file = batch["output_file_id"].as_str().ok_or("the batch has no output file")?.to_owned();
        let output = self.client.text(&format!("/files/{file}/content")).await?;
        let lines: Vec<Value> = output
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for line in &lines {
            *seen.entry(line["custom_id"].as_str().unwrap_or_default()).or_default() += 1;
        }
        let total = self.sentences.len();
        let lost = (0..total).filter(|n| !seen.contains_key(format!("s{n}").as_str())).count();
        let doubled = seen.values().filter(|count| **count > 1).count();
        let in_order = lines.iter().enumerate().all(|(n, line)| line["custom_id"] == format!("s{n}"));
        self.compare(&lines).await?;

        let spare = spare(&ended);
        let paid = ended["cost"]["usd"].as_f64().unwrap_or(f64::NAN);
        let realtime = ended["cost"]["all_realtime_usd"].as_f64().unwrap_or(f64::NAN);
        self.line(
            &format!("{}/{total}  {lost} lost  {doubled} doubled", lines.len()),
            &format!("{spare} before the deadline"),
        );
        self.printer.say(&format!(
            "            paid ${paid:.6} | all realtime ${realtime:.6} | spot only: missed, no node came back"
        ));
        if lost + doubled > 0 || !in_order || lines.len() != total {
            return Err(format!(
                "{} lines, {lost} lost, {doubled} doubled, in order: {in_order}",
                lines.len()
            ));
        }
        Ok((format!("{paid:.6}"), format!("{total} results, each once, {spare} to spare")))
    }

    async fn until_ended(&self, id: &str) -> Result<Value, String> {
        let began = Instant::now();
        loop {
            let job = self.client.job(id).await?;
            match job["status"].as_str() {
                Some("completed") => return Ok(job),
                Some("failed" | "expired" | "cancelled") => {
                    return Err(format!("the job ended as {}", job["status"]));
                }
                _ if began.elapsed() > GIVE_UP_AFTER => return Err("the job was never ended".to_owned()),
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    async fn compare(&self, lines: &[Value]) -> Result<(), String> {
        let chosen: Vec<usize> = COMPARED.into_iter().filter(|n| *n < lines.len()).collect();
        let texts: Vec<&str> = chosen.iter().map(|n| self.sentences[*n]).collect();
        let realtime = self.client.embed(&texts, &|_| {}).await?.answer.vectors()?;
        for (n, expected) in chosen.iter().zip(realtime) {
            let encoded = lines[*n]["response"]["body"]["data"][0]["embedding"].as_str().unwrap_or_default();
            let found = super::client::floats(encoded).ok_or("a result holds no vector")?;
            let cosine: f64 = found.iter().zip(&expected).map(|(a, b)| a * b).sum();
            if found.len() != expected.len() || cosine < COSINE_MIN {
                return Err(format!(
                    "sentence {n} has another vector than in the realtime lane (cosine {cosine})"
                ));
            }
        }
        Ok(())
    }
}

/// How long before its deadline a job was done, as `2m39s`.
fn spare(job: &Value) -> String {
    let seconds = |name: &str| job[name].as_str().and_then(seconds_of_day).unwrap_or(0);
    let (deadline, finished) = (seconds("deadline"), seconds("finished"));
    // Past midnight the day wraps.
    let spare = (deadline + 86_400 - finished) % 86_400;
    format!("{}m{:02}s", spare / 60, spare % 60)
}

/// Of `2026-11-21T09:17:21Z`.
fn seconds_of_day(text: &str) -> Option<u64> {
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    Some(part(11..13)? * 3_600 + part(14..16)? * 60 + part(17..19)?)
}

fn time_of_day(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
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

    #[test]
    fn spare_time_is_told_across_midnight() {
        let job = json!({"deadline": "2026-11-21T09:20:00Z", "finished": "2026-11-21T09:17:21Z"});
        assert_eq!(spare(&job), "2m39s");
        let job = json!({"deadline": "2026-11-22T00:01:00Z", "finished": "2026-11-21T23:59:30Z"});
        assert_eq!(spare(&job), "1m30s");
        assert_eq!(time_of_day(1_793_534_400_000), "12:00:00");
    }
}
