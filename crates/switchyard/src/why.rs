//! `switchyard why`, `promote` and `cancel`: a job told to a person: how far it is, why it is where it
//! is, what happens next, and what one can do at what cost.

use serde_json::json;
use wire::jobs::{JobView, ReasonView, Shards};

use crate::Failure;
use crate::cli::{One, Why};
use crate::client::{Act, Client};
use crate::meanings::meaning;
use crate::place::Place;
use crate::print::Printer;
use crate::render::{bar, count, instant_ms, percent, span, usd, when};
use crate::trace;

/// Lines shown of what tasks wrote.
const LOG_LINES: usize = 20;
/// What a batch's metadata calls its deadline.
const DEADLINE: &str = "deadline";

/// Explains a job.
///
/// # Errors
/// When nothing answers, or there is no such job.
pub async fn run(flags: Why, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let client = Client::find(&flags.target, place)?;
    let job = client.job(&flags.job).await?;
    show(&job, place, printer);
    if flags.logs {
        let logs = client.logs(&flags.job).await?;
        printer.say("");
        printer.say(&format!("the last {LOG_LINES} lines of its tasks"));
        for line in last(&logs, LOG_LINES) {
            printer.record(&json!({ "object": "log_line", "line": line }));
            printer.say(&format!("  {}", trace::readable(line)));
        }
    }
    if flags.trace {
        trace::show(&job, (&flags, &client), place, printer).await?;
    }
    Ok(())
}

/// Asks something of a job, and explains it as it is then.
///
/// # Errors
/// When nothing answers, there is no such job, or it cannot be done.
pub async fn act(flags: One, act: Act, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let client = Client::find(&flags.target, place)?;
    let job = client.act(&flags.job, act).await?;
    printer.say(done(&job, act));
    show(&job, place, printer);
    Ok(())
}

/// An ended job is left as it is, and the answer is no error.
fn done(job: &JobView, act: Act) -> &'static str {
    match act {
        _ if has_ended(job) => "it has ended already; nothing was changed",
        Act::Promote => "promoted: what has no result yet goes to the realtime lane",
        Act::Cancel => "cancelled: what is done is kept, the rest is closed with errors",
    }
}

/// Whether nothing more will happen to it.
pub(crate) fn has_ended(job: &JobView) -> bool {
    matches!(job.status.as_str(), "completed" | "cancelled" | "expired" | "failed")
}

/// Whether it was asked to end, and has not yet.
fn is_stopping(job: &JobView) -> bool {
    job.status == "stopping"
}

fn show(job: &JobView, place: &Place, printer: &Printer) {
    printer.record(job);
    lines(job, place.clock().now_ms()).iter().for_each(|line| printer.say(line));
}

fn lines(job: &JobView, now_ms: u64) -> Vec<String> {
    let mut lines = vec![format!("job {}  {}", job.id, job.status)];
    let rows = [
        ("items", Some(items(job))),
        ("shards", Some(shards(&job.shards))),
        ("what", Some(format!("{} of model {} ({})", job.url, job.model, job.kind))),
        ("class", Some(job.class.clone()).filter(|class| !class.is_empty())),
        ("created", Some(at(&job.created, now_ms))),
        ("deadline", Some(at(&job.deadline, now_ms))),
        ("expected", (job.finished.is_none() && !is_stopping(job)).then(|| expected(job, now_ms))),
        ("finished", job.finished.as_ref().map(|finished| finish(job, finished, now_ms))),
        ("cost", Some(cost(job))),
        ("labels", Some(labels(job)).filter(|labels| !labels.is_empty())),
        ("trace", job.trace_id.clone()),
    ];
    let rows = rows.into_iter().filter_map(|(what, value)| Some(format!("  {what:<9} {}", value?)));
    lines.extend(rows);
    if !job.reasons.is_empty() {
        lines.extend([String::new(), "why".to_owned()]);
        lines.extend(job.reasons.iter().flat_map(|reason| explain(reason, now_ms)));
    }
    let ways = ways(job);
    if !ways.is_empty() {
        lines.extend([String::new(), "what you can do".to_owned()]);
        lines.extend(ways);
    }
    lines
}

fn items(job: &JobView) -> String {
    let (done, total) = (job.items.done, job.items.total);
    let mut text =
        format!("{} {} of {} ({} %)", bar(done, total), count(done), count(total), percent(done, total));
    for (number, what) in [(job.items.failed, "failed"), (job.items.unfinished, "unfinished")] {
        if number > 0 {
            text.push_str(&format!(", {} {what}", count(number)));
        }
    }
    text
}

fn shards(shards: &Shards) -> String {
    let places = [
        (shards.running, "running in the pool"),
        (shards.rescued, "in the realtime lane"),
        (shards.queued, "waiting for a node"),
        (shards.waiting, "in no task"),
    ];
    let places = places.iter().filter(|(number, _)| *number > 0);
    let places = places.map(|(number, what)| format!("; {} {what}", count(*number)));
    let again = match shards.retries {
        0 => String::new(),
        1 => "; 1 was tried again".to_owned(),
        again => format!("; {} were tried again", count(again)),
    };
    format!("{} of {} done{}{again}", count(shards.done), count(shards.total), places.collect::<String>())
}

fn at(text: &str, now_ms: u64) -> String {
    format!("{text} ({})", when(text, now_ms))
}

fn expected(job: &JobView, now_ms: u64) -> String {
    let text = format!("{}, 19 of 20 such jobs by {}", at(&job.eta.p50, now_ms), job.eta.p95);
    format!("{text}{}", against(&job.eta.p95, &job.deadline))
}

fn finish(job: &JobView, finished: &str, now_ms: u64) -> String {
    format!("{}{}", at(finished, now_ms), against(finished, &job.deadline))
}

/// How an instant lies to the deadline.
fn against(text: &str, deadline: &str) -> String {
    match (instant_ms(text), instant_ms(deadline)) {
        (Some(at), Some(deadline)) if at <= deadline => {
            format!(": {} before the deadline", span(deadline - at))
        }
        (Some(at), Some(deadline)) => format!(": {} AFTER the deadline", span(at - deadline)),
        _ => String::new(),
    }
}

fn cost(job: &JobView) -> String {
    let cost = &job.cost;
    let mut text = match cost.usd {
        Some(paid) => format!("{} (expected {})", usd(paid), usd(cost.estimate_usd)),
        None => format!("{} expected", usd(cost.estimate_usd)),
    };
    for (what, told) in [("evicted", "lost to evictions"), ("duplicate", "done twice")] {
        let lost: f64 = cost.parts.iter().filter(|part| part.what == what).map(|part| part.usd).sum();
        if lost > 0.0 {
            text.push_str(&format!(", {} of it {told}", usd(lost)));
        }
    }
    if let Some(realtime) = cost.all_realtime_usd {
        text.push_str(&format!(", all realtime {}", usd(realtime)));
        let own = cost.usd.unwrap_or(cost.estimate_usd);
        if realtime > own {
            text.push_str(&format!(": {:.0} % saved", (1.0 - own / realtime) * 100.0));
        }
    }
    text
}

fn labels(job: &JobView) -> String {
    // The deadline has a row of its own.
    let labels = job.labels.iter().filter(|(name, _)| *name != DEADLINE);
    let labels = labels.map(|(name, value)| format!("{name}={value}"));
    labels.collect::<Vec<_>>().join(" ")
}

fn explain(reason: &ReasonView, now_ms: u64) -> Vec<String> {
    let meaning = meaning(&reason.code).map(|meaning| format!(": {meaning}")).unwrap_or_default();
    let mut lines = vec![format!("  {}{meaning}", reason.code)];
    if let Some(since) = &reason.since {
        lines.push(format!("    since {}", at(since, now_ms)));
    }
    if !reason.evidence.is_empty() {
        let evidence = reason.evidence.iter().map(|(name, value)| {
            // Instants among the numbers, as `asked` and `since`, are easier read from now.
            let value = instant_ms(value).map_or_else(|| value.clone(), |_| at(value, now_ms));
            format!("{} {value}", name.replace('_', " "))
        });
        lines.push(format!("    seen  {}", evidence.collect::<Vec<_>>().join(", ")));
    }
    if let Some(next) = &reason.next {
        let time = reason.next_at.as_ref().map(|time| format!(" {}", at(time, now_ms))).unwrap_or_default();
        lines.push(format!("    next  {next}{time}"));
    }
    if let Some(remedy) = &reason.remedy {
        lines.push(format!("    help  {remedy}"));
    }
    lines
}

/// The commands that change or tell more of it.
fn ways(job: &JobView) -> Vec<String> {
    let id = &job.id;
    if has_ended(job) || is_stopping(job) {
        return Vec::new();
    }
    let mut ways = Vec::new();
    let is_promoted = job.reasons.iter().any(|reason| reason.code == "promoted");
    if let (Some(realtime), false) = (job.cost.all_realtime_usd, is_promoted) {
        let left = job.items.total.saturating_sub(job.items.done) as f64 / job.items.total.max(1) as f64;
        let promote = format!("sooner: what is left costs about {} there", usd(realtime * left));
        ways.push(format!("  switchyard promote {id}   {promote}"));
    }
    ways.push(format!("  switchyard cancel {id}    what is done is kept and paid for"));
    ways.push(format!("  switchyard why {id} --logs"));
    ways
}

fn last(text: &str, lines: usize) -> impl Iterator<Item = &str> {
    let skip = text.lines().count().saturating_sub(lines);
    text.lines().skip(skip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::tests::{job, now_ms};

    #[test]
    fn a_job_on_its_way_is_explained() {
        let expected = include_str!("../tests/data/why.txt");
        assert_eq!(lines(&job(), now_ms()).join("\n") + "\n", expected);
    }

    #[test]
    fn an_ended_job_needs_nothing() {
        let mut job = job();
        job.status = "completed".to_owned();
        job.finished = Some("2026-11-21T09:21:00Z".to_owned());
        job.reasons.clear();
        job.items.done = job.items.total;
        job.cost.usd = Some(0.049);
        let text = lines(&job, now_ms()).join("\n");
        for part in [
            "12,000 of 12,000 (100 %)",
            "1m00s AFTER the deadline",
            "$0.049 (expected $0.031), all realtime $0.118: 58 % saved",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("switchyard "), "{text}");
        assert_eq!(done(&job, Act::Cancel), "it has ended already; nothing was changed");
    }

    #[test]
    fn a_job_that_stops_is_left_alone() {
        let mut job = job();
        job.status = "stopping".to_owned();
        job.labels =
            [("deadline", "20m"), ("team", "search")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let text = lines(&job, now_ms()).join("\n");
        assert!(!text.contains("switchyard ") && !text.contains("  expected "), "{text}");
        assert!(text.contains("  labels    team=search\n"), "the deadline stands above: {text}");
    }

    #[test]
    fn logs_end_with_their_last_lines() {
        let text = (1..=5).map(|line| format!("line {line}\n")).collect::<String>();
        assert_eq!(last(&text, 2).collect::<Vec<_>>(), ["line 4", "line 5"]);
        assert_eq!(last("one", 2).collect::<Vec<_>>(), ["one"]);
    }
}
