//! A storm: while a job of some thousand lines runs on the whole stack, workers, nodes, the handler, the
//! host, replicas and the stack itself are killed (`kill -9`), over and over. What a platform would start
//! again is started again after a second. In the end every line has exactly one result, in order, with the
//! bytes of an undisturbed run.
//!
//! - [`strike`]: who is killed, how, and how often
//! - [`stack`]: `switchyard up`, its end and its next start over the same state folder
//! - [`client`]: a client that asks again until it is answered
//! - [`processes`]: who runs, as the kernel sees it
//! - [`check`]: what must hold once the job has ended
//! - [`versions`]: one version of the programs takes over from another, in the middle of a job
//! - [`volume`]: a million lines instead of a storm, and what they cost
//!
//! Who is next comes from a seed; when, from the job: a strike waits until the job has got further by a few
//! chunks since the last one. The seed is printed; SWITCHYARD_STORM_SEED gives another.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "starts the program under test, and is told its seed")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a failure is replayed from what is printed")]

mod check;
mod client;
mod processes;
mod stack;
mod strike;
mod versions;
mod volume;
#[path = "../wait/mod.rs"]
mod wait;

use std::time::Instant;

use serde_json::json;

use client::Client;
use stack::Stack;
use strike::{Kind, Random, Storm};
use wait::{PATIENCE, until};

/// Texts of a line: enough that a chunk takes a while, so that a kill strikes in the middle of one.
const TEXTS_A_LINE: usize = 3;
/// Lines for each strike: a strike waits for up to two chunks, and the job must outlast them all.
const LINES_A_STRIKE: usize = 190;
/// Long after every storm's end: rescues come because the job is promoted, not because it is late.
const DEADLINE: &str = "20h";

#[tokio::test]
async fn a_job_survives_a_storm() {
    let mut random = Random::new(seed());
    let (mut pool, mut realtime) = (Vec::new(), Vec::new());
    pool.extend(strike::shuffled(&Kind::POOL, &mut random));
    pool.extend(strike::shuffled(&Kind::POOL, &mut random));
    realtime.extend(strike::shuffled(&Kind::REALTIME, &mut random));
    storm(random, &pool, &realtime).await;
}

#[tokio::test]
#[ignore = "a long storm: SWITCHYARD_STORM_KILLS=N"]
async fn a_job_survives_a_long_storm() {
    let strikes = number("SWITCHYARD_STORM_KILLS").unwrap_or(100);
    let mut random = Random::new(seed());
    let mut rounds = |kinds: &[Kind], count: usize| {
        let round = std::iter::repeat_with(|| strike::shuffled(kinds, &mut random));
        round.flatten().take(count).collect::<Vec<Kind>>()
    };
    let count = usize::try_from(strikes).unwrap();
    let (pool, realtime) = (rounds(&Kind::POOL, count - count / 4), rounds(&Kind::REALTIME, count / 4));
    storm(random, &pool, &realtime).await;
}

/// The default keeps the order of strikes the same from run to run; their moments never are.
fn seed() -> u64 {
    let seed = number("SWITCHYARD_STORM_SEED").unwrap_or(4);
    println!("SWITCHYARD_STORM_SEED={seed}");
    seed
}

fn number(setting: &str) -> Option<u64> {
    let text = std::env::var(setting).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{setting} is no number: {text}")))
}

/// Strikes while the job runs in the pool, promotes it, and goes on striking in the realtime lane.
async fn storm(random: Random, pool: &[Kind], realtime: &[Kind]) {
    let began = Instant::now();
    processes::adopt_orphans();
    let lines = input((pool.len() + realtime.len()) * LINES_A_STRIKE);
    let mut stack = Stack::start().await;
    let undisturbed = stack.compute_by_hand(&lines);
    let client = Client::new(stack.ready_file());
    let job = submit(&client, &stack, &lines).await;

    let mut storm = Storm::new(stack.chunks_of(&job), random);
    // The one during the submit.
    storm.count(Kind::Handler);
    for kind in pool {
        storm.strike(*kind, &mut stack).await;
    }
    let promoted = client.post(&format!("/api/jobs/{job}/promote"), &json!({})).await;
    assert!(promoted["finished"].is_null(), "the job was over before it was promoted: {promoted}");
    for kind in realtime {
        storm.strike(*kind, &mut stack).await;
    }

    let ended = check::until_ended(&client, &job).await;
    let took = began.elapsed();
    check::results(&client, &ended, &undisturbed.results()).await;
    check::no_markers(&stack).await;
    stack.stop().await;
    println!("{} lines, {storm}; {:.0} s; 0 lost, 0 doubled", lines.len(), took.as_secs_f64());
    storm.assert_all_struck();
}

/// Lines in the OpenAI batch form, of texts that all differ.
fn input(count: usize) -> Vec<String> {
    let text = |line: usize, n: usize| {
        format!("sentence {n} of line {line}, whose words are of no matter to anybody but a tokenizer")
    };
    let line = |line: usize| {
        let texts: Vec<String> = (0..TEXTS_A_LINE).map(|n| text(line, n)).collect();
        // Base64 keeps the very bits of a vector.
        let body = json!({"model": local::stack::MODEL, "input": texts, "encoding_format": "base64"});
        let request =
            json!({"custom_id": format!("s{line}"), "method": "POST", "url": "/v1/embeddings", "body": body});
        request.to_string()
    };
    (0..count).map(line).collect()
}

/// The handler is killed while it accepts the job; the client asks again under the same key.
async fn submit(client: &Client, stack: &Stack, lines: &[String]) -> String {
    let file = client.upload(&(lines.join("\n") + "\n")).await;
    let wanted = json!({
        "input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h",
        "metadata": {"deadline": DEADLINE},
    });
    let create = async || client.post_with_key("/api/v1/batches", "storm", &wanted).await;
    let (batch, ()) = tokio::join!(create(), stack.kill_handler());
    let again = create().await;
    assert_eq!(batch["id"], again["id"], "the same key is the same job");
    batch["id"].as_str().unwrap().strip_prefix("batch_").unwrap().to_owned()
}
