//! Very many lines through files and batches on the whole stack: what the handler holds meanwhile, how fast
//! it goes and what a line costs; and the same with a handler that is killed again and again. Every line
//! comes out once, in order.
//!
//! SWITCHYARD_VOLUME_LINES, SWITCHYARD_VOLUME_KILLS and SWITCHYARD_VOLUME_SPEED say how much. At speed 1 the
//! cost is that of the time really taken.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::processes::Process;
use crate::stack::Stack;
use crate::{PATIENCE, number, processes};

/// Lines of one batch (the vendor's own limit).
const LINES_A_BATCH: u64 = 50_000;
/// Between two looks at all batches.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The handler's memory at any moment, in KiB: a few uploads' parts, chunks and summaries.
const RSS_MAX_KIB: u64 = 128 * 1024;
/// Far beyond the end: no line is rescued.
const DEADLINE: &str = "7d";

#[tokio::test]
#[ignore = "many lines: SWITCHYARD_VOLUME_LINES=N SWITCHYARD_VOLUME_KILLS=N"]
async fn many_lines_come_out_once_and_in_order() {
    let lines = number("SWITCHYARD_VOLUME_LINES").unwrap_or(100_000);
    let kills = number("SWITCHYARD_VOLUME_KILLS").unwrap_or(0);
    let speed = number("SWITCHYARD_VOLUME_SPEED").unwrap_or(1);
    processes::adopt_orphans();
    let stack = Stack::start_at(speed as f64).await;
    let client = Client::new(stack.ready_file());
    let began = Instant::now();
    let mut batches = Vec::new();
    for first in (0..lines).step_by(LINES_A_BATCH as usize) {
        batches.push(create(&client, first..lines.min(first + LINES_A_BATCH)).await);
    }
    let accepted = began.elapsed();
    println!("{} batches accepted after {:.0} s", batches.len(), accepted.as_secs_f64());

    let mut run = Run { stack: &stack, client: &client, kills, killed: 0, memory: Memory::default() };
    run.until_done(&batches, lines).await;
    let took = began.elapsed();
    let mut usd = 0.0;
    for (n, batch) in batches.iter().enumerate() {
        usd += check(&client, batch, n as u64 * LINES_A_BATCH).await;
        run.memory.sample(&stack);
    }
    let (killed, memory) = (run.killed, run.memory);
    stack.stop().await;
    println!(
        "{lines} lines in {} batches, {killed} handlers killed: {:.0} s ({:.0} lines/s), {:.3} USD by the \
         stack's clock at speed {speed} ({:.2} micro-USD a line); handler's memory {} KiB at first, at most \
         {} KiB in the first half and {} KiB in the second; 0 lost, 0 doubled",
        batches.len(),
        took.as_secs_f64(),
        lines as f64 / took.as_secs_f64(),
        usd,
        usd * 1e6 / lines as f64,
        memory.first,
        memory.halves.0,
        memory.halves.1,
    );
    assert_eq!(killed, kills);
    assert!(memory.halves.0.max(memory.halves.1) < RSS_MAX_KIB, "{memory:?}");
}

async fn create(client: &Client, numbers: std::ops::Range<u64>) -> String {
    let name = format!("volume-{}", numbers.start);
    let line = |n: u64| {
        let body = json!({ "model": local::stack::MODEL, "input": format!("line {n}"), "encoding_format": "base64" });
        let line =
            json!({ "custom_id": format!("v{n}"), "method": "POST", "url": "/v1/embeddings", "body": body });
        format!("{line}\n")
    };
    let file = client.upload(&numbers.map(line).collect::<String>()).await;
    let wanted = json!({
        "input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h",
        "metadata": { "deadline": DEADLINE, "project": "volume" },
    });
    let batch = client.post_with_key("/api/v1/batches", &name, &wanted).await;
    batch["id"].as_str().unwrap().to_owned()
}

struct Run<'a> {
    stack: &'a Stack,
    client: &'a Client,
    kills: u64,
    killed: u64,
    memory: Memory,
}

impl Run<'_> {
    /// Looks until every batch is completed, and strikes whenever a further share of the lines is done. It
    /// may take its time as long as it gets further.
    async fn until_done(&mut self, batches: &[String], lines: u64) {
        let (mut done, mut further) = (0, Instant::now());
        let mut open: Vec<&String> = batches.iter().collect();
        let mut closed = 0;
        while !open.is_empty() {
            let mut now = closed;
            let mut still = Vec::new();
            for id in open {
                let batch = self.client.get(&format!("/api/v1/batches/{id}")).await;
                let completed = batch["request_counts"]["completed"].as_u64().unwrap();
                now += completed;
                match batch["status"].as_str().unwrap() {
                    "completed" => closed += completed,
                    "validating" | "in_progress" | "finalizing" => still.push(id),
                    _ => panic!("{batch:#}"),
                }
            }
            open = still;
            if now > done {
                (done, further) = (now, Instant::now());
            }
            assert!(further.elapsed() < PATIENCE, "no further than {done} of {lines}");
            self.memory.is_second_half = done * 2 > lines;
            self.memory.sample(self.stack);
            if self.killed < self.kills && done * (self.kills + 1) >= lines * (self.killed + 1) {
                self.stack.kill_handler().await;
                self.killed += 1;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What the handler holds, in KiB.
#[derive(Debug, Default)]
struct Memory {
    first: u64,
    is_second_half: bool,
    halves: (u64, u64),
}

impl Memory {
    fn sample(&mut self, stack: &Stack) {
        // Between a kill and the next start there is none.
        let Some(rss) = stack.processes("handler").first().and_then(rss_kib) else { return };
        if self.first == 0 {
            self.first = rss;
        }
        let half = if self.is_second_half { &mut self.halves.1 } else { &mut self.halves.0 };
        *half = rss.max(*half);
    }
}

fn rss_kib(process: &Process) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Every line of a batch once and in order, each with a result; what it cost.
async fn check(client: &Client, id: &str, first: u64) -> f64 {
    let batch = client.get(&format!("/api/v1/batches/{id}")).await;
    assert_eq!(batch["error_file_id"], Value::Null, "{batch:#}");
    let file = batch["output_file_id"].as_str().unwrap();
    let output = client.text(&format!("/api/v1/files/{file}/content")).await;
    let mut count = 0;
    for (n, line) in (first..).zip(output.lines()) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["custom_id"], format!("v{n}"));
        assert_eq!(line["response"]["status_code"], 200, "{line}");
        count += 1;
    }
    assert_eq!(batch["request_counts"]["total"], count, "{batch:#}");
    let job = client.get(&format!("/api/jobs/{}", id.strip_prefix("batch_").unwrap())).await;
    job["cost"]["usd"].as_f64().unwrap()
}
