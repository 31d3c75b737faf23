//! What the demo shows, in order. A scene sends requests, says what it sees, and checks it.

use std::time::{Duration, Instant};

use local::stack::Stack;
use tokio::task::JoinSet;

use super::Outcome;
use super::client::{Answer, Client, Final};
use super::corpus::{QUESTIONS, SENTENCES};
use crate::print::Printer;

/// Vectors have length 1, so their products are cosines.
const LENGTH_TOLERANCE: f64 = 1e-3;
/// More at once than two replicas and their waiting room take.
const CROWD: usize = 96;
/// Texts of each of them: enough work that the crowd does not dissolve by itself.
const CROWD_TEXTS: usize = 4;
/// Requests around the kill of a replica.
const AROUND_KILL: usize = 24;
/// A deadline that a large request cannot meet.
const TIGHT_DEADLINE: &str = "250ms";
const LARGE_REQUEST_TEXTS: usize = 512;
/// Nobody should wonder whether it still works.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// A killed replica is replaced in about a second.
const REPLACED_LIMIT: Duration = Duration::from_secs(30);

/// Plays every scene, whatever the others found.
pub(super) async fn play(stack: &Stack, client: &Client, printer: &Printer) -> Vec<Outcome> {
    vec![
        cold_start(client, printer).await,
        warm(client, printer).await,
        search(client, printer).await,
        deadline(client, printer).await,
        overload(client, printer).await,
        killed_replica(stack, client, printer).await,
    ]
}

/// Puts what was decided and what was checked into a row.
fn outcome(
    what: &'static str,
    answer: Option<&Answer>,
    took: Duration,
    checked: Result<String, String>,
) -> Outcome {
    let header = |name| answer.map_or("-".to_owned(), |answer| answer.header(name));
    Outcome {
        what,
        lane: header("switchyard-lane"),
        reason: header("switchyard-reason"),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        cost: answer.map_or("-".to_owned(), Answer::cost),
        checked,
    }
}

fn failed(what: &'static str, why: String) -> Outcome {
    outcome(what, None, Duration::ZERO, Err(why))
}

fn tell_decision(printer: &Printer, answer: &Answer, took: Duration) {
    let [lane, reason, eta, cost] =
        ["switchyard-lane", "switchyard-reason", "switchyard-eta", "switchyard-cost"]
            .map(|name| answer.header(name));
    printer.say(&format!("  decided: {lane}, because {reason}"));
    printer.say(&format!("  expected: {eta}; cost: {cost}; took {:.0} ms", took.as_secs_f64() * 1000.0));
}

async fn cold_start(client: &Client, printer: &Printer) -> Outcome {
    let what = "cold start";
    printer
        .say("\n1. Nothing runs yet. The first request waits for a replica, or is told when to come back.");
    let told = |why: &str| printer.progress(why);
    let first = [SENTENCES[0]];
    match patiently(client.embed(&first, &told), "a replica is starting", printer).await {
        Ok(Final { answer, refusals, took }) => {
            tell_decision(printer, &answer, took);
            let checked =
                unit_vectors(&answer, 1).map(|_| format!("a vector, after {} retries", refusals.len()));
            outcome(what, Some(&answer), took, checked)
        }
        Err(why) => failed(what, why),
    }
}

async fn warm(client: &Client, printer: &Printer) -> Outcome {
    let what = "warm request";
    printer.say("\n2. A replica is ready. The same request again.");
    match client.embed(&[SENTENCES[0]], &|why| printer.progress(why)).await {
        Ok(Final { answer, .. }) => {
            let took = answer.took;
            tell_decision(printer, &answer, took);
            let checked = unit_vectors(&answer, 1).map(|_| "a vector".to_owned());
            outcome(what, Some(&answer), took, checked)
        }
        Err(why) => failed(what, why),
    }
}

async fn search(client: &Client, printer: &Printer) -> Outcome {
    let what = "search by meaning";
    printer.say(&format!("\n3. {} first sentences of books, searched by meaning.", SENTENCES.len()));
    let questions = QUESTIONS.map(|(question, _)| question);
    let texts: Vec<&str> = SENTENCES.iter().chain(&questions).copied().collect();
    let told = |why: &str| printer.progress(why);
    match patiently(client.embed(&texts, &told), "the model reads", printer).await {
        Ok(Final { answer, took, .. }) => {
            let checked = unit_vectors(&answer, texts.len()).and_then(|vectors| nearest(&vectors, printer));
            outcome(what, Some(&answer), took, checked)
        }
        Err(why) => failed(what, why),
    }
}

/// Each question's nearest sentence must be the one that it is about.
fn nearest(vectors: &[Vec<f64>], printer: &Printer) -> Result<String, String> {
    let (sentences, questions) = vectors.split_at(SENTENCES.len());
    let mut wrong = Vec::new();
    for ((question, expected), vector) in QUESTIONS.iter().zip(questions) {
        let cosines: Vec<f64> = sentences.iter().map(|sentence| dot(sentence, vector)).collect();
        let best = (0..cosines.len()).max_by(|&a, &b| cosines[a].total_cmp(&cosines[b])).unwrap_or(0);
        let begin: String = SENTENCES[best].chars().take(60).collect();
        printer.say(&format!("  {:.2}  \"{question}\"  →  \"{begin}…\"", cosines[best]));
        if best != *expected {
            wrong.push(format!("\"{question}\" found sentence {best} instead of {expected}"));
        }
    }
    let right = format!("{} of {} neighbours", QUESTIONS.len() - wrong.len(), QUESTIONS.len());
    if wrong.is_empty() { Ok(right) } else { Err(wrong.join(", ")) }
}

async fn deadline(client: &Client, printer: &Printer) -> Outcome {
    let what = "impossible deadline";
    printer.say(&format!("\n4. {LARGE_REQUEST_TEXTS} long texts within {TIGHT_DEADLINE}: refused at once, with what is possible."));
    let long = SENTENCES.join(" ");
    let texts = vec![long.as_str(); LARGE_REQUEST_TEXTS];
    match client.embed_once(&texts, &[("Switchyard-Deadline", TIGHT_DEADLINE)]).await {
        Ok(answer) => {
            let error = &answer.body["error"];
            printer.say(&format!(
                "  {}: {}",
                answer.status,
                error["message"].as_str().unwrap_or("no message")
            ));
            let code = answer.code().to_owned();
            let earliest = &error["alternatives"]["earliest"];
            printer.say(&format!("  earliest: {} ms, {} USD", earliest["eta_p50_ms"], earliest["cost_usd"]));
            let checked = match (answer.status, code.as_str()) {
                (422, "deadline_infeasible") if earliest.is_object() => {
                    Ok("refused, with what is possible".to_owned())
                }
                (422, "deadline_infeasible") => Err("the refusal names no alternative".to_owned()),
                (status, code) => Err(format!("answered {status} {code} instead of 422 deadline_infeasible")),
            };
            let took = answer.took;
            Outcome { reason: code, ..outcome(what, Some(&answer), took, checked) }
        }
        Err(why) => failed(what, why),
    }
}

async fn overload(client: &Client, printer: &Printer) -> Outcome {
    let what = "overload";
    printer.say(&format!(
        "\n5. {CROWD} requests at once: what does not fit is refused with a pause, and retried."
    ));
    let texts: Vec<&str> = SENTENCES.iter().cycle().take(CROWD_TEXTS).copied().collect();
    let (answers, took) = crowd(client, CROWD, texts, printer).await;
    let refusals: usize = answers.iter().flatten().map(|done| done.refusals.len()).sum();
    printer.say(&format!("  {refusals} refusals on the way"));
    let checked = same_vectors(&answers).and_then(|()| match refusals {
        0 => Err("nothing was refused".to_owned()),
        _ => Ok(format!("{CROWD} right, {refusals} retried")),
    });
    let shown = answers.iter().flatten().next().map(|done| &done.answer);
    outcome(what, shown, took, checked)
}

async fn killed_replica(stack: &Stack, client: &Client, printer: &Printer) -> Outcome {
    let what = "killed replica";
    printer.say("\n6. A replica is killed while requests are in flight.");
    let victims = stack.front().replicas();
    let Some((id, pid)) = victims.iter().find_map(|replica| Some((replica.id, replica.pid?))) else {
        return failed(what, "there was no replica to kill".to_owned());
    };
    let texts = SENTENCES.to_vec();
    let (under_way, killed) = tokio::join!(crowd(client, AROUND_KILL, texts.clone(), printer), async {
        let busy =
            || stack.front().replicas().iter().any(|replica| replica.id == id && replica.in_flight > 0);
        await_until(busy).await;
        kill(pid)
    });
    let (answers, took) = under_way;
    let replaced = await_until(|| {
        let replicas = stack.front().replicas();
        let gone = replicas.iter().all(|replica| replica.id != id);
        gone && replicas.iter().any(|replica| replica.url.is_some())
    });
    let is_replaced = patiently(replaced, "waiting for its replacement", printer).await;
    let retried: usize = answers.iter().flatten().map(|done| done.refusals.len()).sum();
    printer.say(&format!("  killed process {pid}; {retried} requests were retried"));
    let checked = match (killed, is_replaced) {
        (Err(why), _) => Err(format!("could not kill process {pid}: {why}")),
        (_, false) => Err("it was not replaced".to_owned()),
        _ => same_vectors(&answers).map(|()| format!("{AROUND_KILL} right, {retried} retried")),
    };
    let shown = answers.iter().flatten().next().map(|done| &done.answer);
    outcome(what, shown, took, checked)
}

/// Says every now and then that something is still under way.
async fn patiently<T>(work: impl Future<Output = T>, what: &str, printer: &Printer) -> T {
    let began = Instant::now();
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    tick.tick().await;
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = tick.tick() => printer.progress(&format!("{what} ({} s)", began.elapsed().as_secs())),
        }
    }
}

/// The same request from many clients at once.
async fn crowd(
    client: &Client,
    size: usize,
    texts: Vec<&'static str>,
    printer: &Printer,
) -> (Vec<Result<Final, String>>, Duration) {
    let began = Instant::now();
    let mut requests = JoinSet::new();
    for _ in 0..size {
        let (client, texts) = (client.clone(), texts.clone());
        requests.spawn(async move { client.embed(&texts, &|_| {}).await });
    }
    let mut answers = Vec::with_capacity(size);
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    tick.tick().await;
    loop {
        tokio::select! {
            answer = requests.join_next() => match answer {
                Some(answer) => answers.push(answer.unwrap_or_else(|panic| Err(panic.to_string()))),
                None => return (answers, began.elapsed()),
            },
            _ = tick.tick() => printer.progress(&format!("{} of {size} answered", answers.len())),
        }
    }
}

/// Whether all came to the same vectors: a text's vector must not depend on its neighbours.
fn same_vectors(answers: &[Result<Final, String>]) -> Result<(), String> {
    let mut first: Option<Vec<Vec<f64>>> = None;
    for answer in answers {
        let vectors = answer.as_ref().map_err(Clone::clone)?.answer.vectors()?;
        match &first {
            None => first = Some(vectors),
            Some(first) if *first == vectors => {}
            Some(_) => return Err("the same text got different vectors".to_owned()),
        }
    }
    first.map(|_| ()).ok_or_else(|| "nothing was answered".to_owned())
}

fn unit_vectors(answer: &Answer, count: usize) -> Result<Vec<Vec<f64>>, String> {
    let vectors = answer.vectors()?;
    if vectors.len() != count {
        return Err(format!("{} vectors instead of {count}", vectors.len()));
    }
    match vectors
        .iter()
        .map(|vector| dot(vector, vector))
        .find(|square| (square - 1.0).abs() > LENGTH_TOLERANCE)
    {
        None => Ok(vectors),
        Some(square) => Err(format!("a vector has length {:.4} instead of 1", square.sqrt())),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

async fn await_until(condition: impl Fn() -> bool) -> bool {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(REPLACED_LIMIT, met).await.is_ok()
}

fn kill(pid: u32) -> Result<(), String> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).ok_or("no such pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).map_err(|error| error.to_string())
}
