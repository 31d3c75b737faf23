//! A batch of sentences through the OpenAI API, and the check of what came of it: every item once, in
//! order, with the vector that the realtime lane gives.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use local::stack::MODEL;
use serde_json::{Value, json};

use super::client::{self, Client};

/// How often a job is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Places of sentences whose vectors are compared, in percent of all.
const COMPARED: [usize; 3] = [0, 33, 99];
/// What the same text may differ by between two lanes.
const COSINE_MIN: f64 = 0.9999;

/// A batch that was accepted.
pub(super) struct Batch<'a> {
    client: &'a Client,
    sentences: &'a [&'static str],
    id: String,
}

/// What was found of an ended batch.
pub(super) struct Checked {
    /// The job at its end.
    pub(super) job: Value,
    /// Results.
    pub(super) lines: usize,
    /// Items without a result.
    pub(super) lost: usize,
    /// Items with several.
    pub(super) doubled: usize,
    /// Whether results stand in the order of the items.
    pub(super) in_order: bool,
}

impl<'a> Batch<'a> {
    /// Uploads the sentences and asks for their vectors by a deadline, as `20m`.
    pub(super) async fn submit(
        client: &'a Client,
        sentences: &'a [&'static str],
        deadline: &str,
    ) -> Result<Batch<'a>, String> {
        let line = |(n, text): (usize, &&str)| {
            let body = json!({"model": MODEL, "input": text, "encoding_format": "base64"});
            let line = json!({"custom_id": format!("s{n}"), "method": "POST", "url": "/v1/embeddings", "body": body});
            format!("{line}\n")
        };
        let text: String = sentences.iter().enumerate().map(line).collect();
        let file = client.upload("sentences.jsonl", &text).await?;
        let asked = json!({
            "input_file_id": file["id"],
            "endpoint": "/v1/embeddings",
            "completion_window": "24h",
            "metadata": {"deadline": deadline},
        });
        let batch = client.post("/batches", &asked).await?;
        let id = batch["id"].as_str().and_then(|id| id.strip_prefix("batch_"));
        let id = id.ok_or_else(|| format!("no batch was made: {batch}"))?.to_owned();
        Ok(Batch { client, sentences, id })
    }

    /// The job as its owner sees it now.
    pub(super) async fn job(&self) -> Result<Value, String> {
        self.client.job(&self.id).await
    }

    /// Waits until the job has ended, and looks at everything that came of it.
    pub(super) async fn check(&self, patience: Duration) -> Result<Checked, String> {
        let job = self.ended(patience).await?;
        let batch = self.client.get(&format!("/batches/batch_{}", self.id)).await?;
        let file = batch["output_file_id"].as_str().ok_or("the batch has no output file")?.to_owned();
        let output = self.client.text(&format!("/files/{file}/content")).await?;
        let lines: Result<Vec<Value>, _> = output.lines().map(serde_json::from_str).collect();
        let lines = lines.map_err(|error| error.to_string())?;
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for line in &lines {
            *seen.entry(line["custom_id"].as_str().unwrap_or_default()).or_default() += 1;
        }
        let total = self.sentences.len();
        let lost = (0..total).filter(|n| !seen.contains_key(format!("s{n}").as_str())).count();
        let doubled = seen.values().filter(|count| **count > 1).count();
        let in_order = lines.iter().enumerate().all(|(n, line)| line["custom_id"] == format!("s{n}"));
        self.compare(&lines).await?;
        Ok(Checked { job, lines: lines.len(), lost, doubled, in_order })
    }

    async fn ended(&self, patience: Duration) -> Result<Value, String> {
        let began = Instant::now();
        loop {
            let job = self.job().await?;
            match job["status"].as_str() {
                Some("completed") => return Ok(job),
                Some("failed" | "expired" | "cancelled") => {
                    return Err(format!("the job ended as {}", job["status"]));
                }
                _ if began.elapsed() > patience => return Err("the job was never ended".to_owned()),
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    async fn compare(&self, lines: &[Value]) -> Result<(), String> {
        let places = COMPARED.map(|percent| percent * self.sentences.len() / 100);
        let chosen: Vec<usize> = places.into_iter().filter(|n| *n < lines.len()).collect();
        let texts: Vec<&str> = chosen.iter().map(|n| self.sentences[*n]).collect();
        let realtime = self.client.embed(&texts, &|_| {}).await?.answer.vectors()?;
        for (n, expected) in chosen.iter().zip(realtime) {
            let encoded = lines[*n]["response"]["body"]["data"][0]["embedding"].as_str().unwrap_or_default();
            let found = client::floats(encoded).ok_or("a result holds no vector")?;
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

impl Checked {
    /// Whether every item has one result, in its place.
    pub(super) fn verdict(&self, total: usize) -> Result<(), String> {
        let Checked { lines, lost, doubled, in_order, .. } = self;
        if lost + doubled > 0 || !in_order || *lines != total {
            return Err(format!("{lines} lines, {lost} lost, {doubled} doubled, in order: {in_order}"));
        }
        Ok(())
    }

    /// A number of US dollars of the job's cost.
    pub(super) fn dollars(&self, name: &str) -> f64 {
        dollars(&self.job, name)
    }
}

/// A number of US dollars of a job's cost.
pub(super) fn dollars(job: &Value, name: &str) -> f64 {
    job["cost"][name].as_f64().unwrap_or(f64::NAN)
}

/// How long before its deadline a job was done, as `2m39s`; none: after it.
pub(super) fn spare(job: &Value) -> Option<String> {
    let at = |name: &str| job[name].as_str().and_then(crate::render::instant_ms);
    let spare = at("deadline")?.checked_sub(at("finished")?)? / 1_000;
    Some(format!("{}m{:02}s", spare / 60, spare % 60))
}

/// An instant as `09:08:40`.
pub(super) fn time_of_day(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_time_is_told_across_midnight() {
        let job = |deadline, finished| json!({"deadline": deadline, "finished": finished});
        let cases = [
            (job("2026-11-21T09:20:00Z", "2026-11-21T09:17:21Z"), Some("2m39s")),
            (job("2026-11-22T00:01:00Z", "2026-11-21T23:59:30Z"), Some("1m30s")),
            (job("2026-11-21T09:20:00Z", "2026-11-21T09:20:01Z"), None),
        ];
        for (job, expected) in cases {
            assert_eq!(spare(&job).as_deref(), expected, "{job}");
        }
        assert_eq!(time_of_day(1_793_534_400_000), "12:00:00");
    }
}
