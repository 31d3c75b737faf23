//! `switchyard jobs`: a table of jobs, the newest first.

use std::time::Duration;

use wire::jobs::JobView;

use crate::Failure;
use crate::cli::Jobs;
use crate::client::Client;
use crate::place::Place;
use crate::print::Printer;
use crate::render;

/// How often `--watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// How often in a row `--watch` may get no answer.
const MISSES_MAX: u32 = 30;
/// Jobs of a page of `--all`: the most that the server gives.
const PAGE: u32 = 100;
/// Pages that `--all` turns at most.
const PAGES_MAX: usize = 1_000;

/// Shows the jobs, once or until ctrl-c.
///
/// # Errors
/// When nothing answers, or it refuses.
pub async fn run(flags: Jobs, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let client = Client::find(&flags.target, place)?;
    if flags.watch {
        return watch(&client, &flags, place, printer).await;
    }
    let (pages, limit) = if flags.all { (PAGES_MAX, PAGE) } else { (1, flags.limit) };
    let mut rows = Vec::new();
    let mut after: Option<String> = None;
    let mut has_more = true;
    for _ in 0..pages {
        let page = client.jobs(limit, after.as_deref()).await?;
        rows.extend(show(&page.data, place.clock().now_ms(), printer));
        after = page.data.last().map(|job| job.id.clone());
        has_more = page.has_more && after.is_some();
        if !has_more {
            break;
        }
    }
    table(&rows, printer);
    if has_more {
        printer.say("there are older ones; --all shows them");
    }
    Ok(())
}

async fn watch(client: &Client, flags: &Jobs, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let mut stop = std::pin::pin!(crate::asked_to_stop());
    let mut misses = 0;
    loop {
        let asked = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            asked = client.jobs(flags.limit, None) => asked,
        };
        match asked {
            Ok(page) => {
                misses = 0;
                let rows = show(&page.data, place.clock().now_ms(), printer);
                printer.clear();
                table(&rows, printer);
            }
            Err(error) if error.may_pass() && misses < MISSES_MAX => {
                misses += 1;
                printer.progress(&format!("asking again: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            () = &mut stop => return Ok(()),
        }
    }
}

const HEAD: [&str; 6] = ["job", "status", "items", "deadline/end", "reason", "cost"];

fn table(rows: &[[String; 6]], printer: &Printer) {
    if rows.is_empty() {
        printer.say("no jobs; `switchyard submit FILE` makes one");
    } else {
        printer.table(HEAD, rows);
    }
}

/// Tells programs at once, and hands back what people see.
fn show(jobs: &[JobView], now_ms: u64, printer: &Printer) -> Vec<[String; 6]> {
    jobs.iter().for_each(|job| printer.record(job));
    jobs.iter().map(|job| row(job, now_ms)).collect()
}

/// What it came to, or `~` and what is expected.
pub(crate) fn cost(job: &JobView) -> String {
    let expected = || format!("~{}", render::usd(job.cost.estimate_usd));
    job.cost.usd.map_or_else(expected, render::usd)
}

fn row(job: &JobView, now_ms: u64) -> [String; 6] {
    let ended = job.finished.as_ref().map(|at| format!("ended {}", render::when(at, now_ms)));
    [
        job.id.clone(),
        job.status.clone(),
        format!("{}/{}", render::count(job.items.done), render::count(job.items.total)),
        ended.unwrap_or_else(|| render::when(&job.deadline, now_ms)),
        job.reasons.first().map_or_else(|| "-".to_owned(), |reason| reason.code.clone()),
        cost(job),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const NOW: &str = "2026-11-21T09:08:40Z";

    /// A job on its way, as the API shows it.
    pub(crate) fn job() -> JobView {
        serde_json::from_str(include_str!("../tests/data/job.json")).unwrap()
    }

    pub(crate) fn now_ms() -> u64 {
        render::instant_ms(NOW).unwrap()
    }

    #[test]
    fn a_row_tells_the_most_of_a_job() {
        let id = "kb3rdp2ktfxlq7zr6s5m4oe2ia";
        let running = [id, "running", "7,432/12,000", "in 11m", "running", "~$0.031"];
        assert_eq!(row(&job(), now_ms()), running);
        let mut ended = job();
        ended.status = "completed".to_owned();
        ended.finished = Some("2026-11-21T09:05:40Z".to_owned());
        ended.cost.usd = Some(0.049);
        ended.reasons.clear();
        let ended = row(&ended, now_ms());
        assert_eq!(ended, [id, "completed", "7,432/12,000", "ended 3m00s ago", "-", "$0.049"]);
    }
}
