//! `switchyard dead`: messages that nobody works on, listed, shown, replayed and deleted.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::Value;
use wire::dead::{
    DeadLetter, DeadLetterDetail, DeadLetterList, LETTERS_MAX, LetterReport, LetterState, Outcome,
    ReplayReport, ReplayWish,
};

use crate::Failure;
use crate::cli::{Dead, DeadCommand, DeadDelete, DeadFilter, DeadList, DeadReplay, DeadShow, LetterId};
use crate::client::Client;
use crate::place::Place;
use crate::print::Printer;
use crate::render::{count, relative};

/// Digits of an id that a table shows: two letters that share them are one in 10^14.
const SHOWN_DIGITS: usize = 12;
/// Characters of a text that is shown in a line.
const TEXT_CHARS_MAX: usize = 400;
/// Pages that are turned to find a letter by how its id begins: more than ten days at their bound.
const PAGES_MAX: usize = 100;

/// Does what is asked for; the exit code.
///
/// # Errors
/// When nothing answers, it refuses, or a letter cannot be told from others.
pub async fn run(flags: Dead, place: &Place, printer: &Printer) -> Result<ExitCode, Failure> {
    match flags.command {
        None => list(&flags.list, place, printer).await,
        Some(DeadCommand::Show(flags)) => show(&flags, place, printer).await,
        Some(DeadCommand::Replay(flags)) => replay(&flags, place, printer).await,
        Some(DeadCommand::Delete(flags)) => delete(&flags, place, printer).await,
    }
}

async fn list(flags: &DeadList, place: &Place, printer: &Printer) -> Result<ExitCode, Failure> {
    let client = Client::find_as_operator(&flags.target, place)?;
    let now_ms = place.clock().now_ms();
    let since = flags.filter.since.map(|since| since.unix_ms(now_ms).to_string());
    let state = flags.waiting.then_some("waiting");
    let mut rows = Vec::new();
    let mut after: Option<String> = None;
    let mut left = flags.limit;
    let (has_more, not_kept) = loop {
        let limit = left.min(LETTERS_MAX).to_string();
        let pairs = [
            ("reason", flags.filter.reason.as_deref()),
            ("model", flags.filter.model.as_deref()),
            ("tenant", flags.filter.tenant.as_deref()),
            ("since_unix_ms", since.as_deref()),
            ("state", state),
            ("limit", Some(limit.as_str())),
            ("after", after.as_deref()),
        ];
        let page: DeadLetterList = client.json(|| client.query(LETTERS, &pairs)).await?;
        page.data.iter().for_each(|letter| printer.record(letter));
        rows.extend(page.data.iter().map(|letter| row(letter, now_ms)));
        left -= left.min(page.data.len() as u32);
        after = page.next;
        if left == 0 || after.is_none() {
            break (page.has_more, page.not_kept_today);
        }
    };
    if rows.is_empty() {
        printer.say("no dead letters");
    } else {
        printer.table(["letter", "kept", "reason", "tenant", "model", "job", "state"], &rows);
    }
    if has_more {
        printer.say("there are older ones; --limit shows more");
    }
    if not_kept > 0 {
        printer.say(&format!(
            "{} more of today are in the queue batch-inference-dlq alone: the day has its 1,000",
            count(not_kept)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

const LETTERS: &[&str] = &["operate", "dead"];

fn row(letter: &DeadLetter, now_ms: u64) -> [String; 7] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        short(&letter.id),
        relative(letter.at_unix_ms, now_ms),
        letter.reason.clone(),
        or_none(&letter.tenant),
        or_none(&letter.model),
        or_none(&letter.job),
        state(letter),
    ]
}

fn state(letter: &DeadLetter) -> String {
    match (letter.state, letter.replays) {
        (LetterState::Waiting, 0) => "waiting".to_owned(),
        (LetterState::Waiting, replays) => {
            format!("back after {}", crate::render::of(replays.into(), "replay"))
        }
        (LetterState::Replayed, 1) => "replayed".to_owned(),
        (LetterState::Replayed, replays) => format!("replayed {replays} times"),
    }
}

fn short(id: &str) -> String {
    id.chars().take(SHOWN_DIGITS).collect()
}

async fn show(flags: &DeadShow, place: &Place, printer: &Printer) -> Result<ExitCode, Failure> {
    let client = Client::find_as_operator(&flags.target, place)?;
    let id = whole(&client, std::slice::from_ref(&flags.letter)).await?.remove(0);
    let detail: DeadLetterDetail =
        client.json(|| client.request(Method::GET, &["operate", "dead", &id])).await?;
    printer.record(&detail);
    for line in lines(&detail, place.clock().now_ms()) {
        printer.say(&line);
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(detail: &DeadLetterDetail, now_ms: u64) -> Vec<String> {
    let letter = &detail.letter;
    let mut lines = vec![
        format!("letter  {}", letter.id),
        format!("kept    {}, {}", relative(letter.at_unix_ms, now_ms), letter.reason),
    ];
    if let Some(job) = &letter.job {
        let tenant = letter.tenant.as_deref().unwrap_or("-");
        let model = letter.model.as_deref().map(|model| format!(", {model}")).unwrap_or_default();
        let status = detail.job_status.as_deref().unwrap_or("not there");
        lines.push(format!("job     {job} of {tenant}{model}: {status}"));
    }
    if let Some(inserted) = &letter.inserted {
        let times =
            letter.dequeue_count.map(|n| format!(", delivered {}", crate::render::of(n.into(), "time")));
        lines.push(format!("queued  {inserted}{} (as the host says)", times.unwrap_or_default()));
    }
    if let Some(last) = &letter.last_replay {
        let by = last.by.as_deref().unwrap_or("an unknown key");
        lines.push(format!("state   {}; last {} by {by}", state(letter), relative(last.at_unix_ms, now_ms)));
    }
    // A terminal obeys some characters; and a text may be long.
    let body: String = letter.body.chars().take(TEXT_CHARS_MAX).flat_map(char::escape_default).collect();
    lines.push(format!("text    {body}"));
    if letter.body_is_cut || letter.body.chars().count() > TEXT_CHARS_MAX {
        lines.push(format!("        … of {} bytes; --json shows what is kept", count(letter.body_bytes)));
    }
    lines.push(format!("replay  {}: {}", detail.replay.as_str(), detail.advice));
    lines
}

async fn replay(flags: &DeadReplay, place: &Place, printer: &Printer) -> Result<ExitCode, Failure> {
    let client = Client::find_as_operator(&flags.target, place)?;
    let (reports, has_more) = if flags.letters.is_empty() {
        replay_found(&client, flags, place.clock().now_ms()).await?
    } else {
        let ids = whole(&client, &flags.letters).await?;
        let mut reports = Vec::new();
        for ids in ids.chunks(LETTERS_MAX as usize) {
            let wish =
                ReplayWish { ids: Some(ids.to_vec()), dry_run: Some(flags.dry_run), ..Default::default() };
            reports.extend(ask(&client, &wish).await?.letters);
        }
        (reports, false)
    };
    reports.iter().for_each(|report| printer.record(report));
    let rows: Vec<_> = reports.iter().map(replayed).collect();
    if rows.is_empty() {
        printer.say("no letter waits that fits");
    } else {
        printer.table(["letter", "job", "outcome", "what that says"], &rows);
    }
    if has_more {
        printer.say("there may be more; the same again goes on with them, or --limit takes more at once");
    }
    let is_trouble =
        |report: &LetterReport| matches!(report.outcome, Outcome::Failed | Outcome::NoSuchLetter);
    Ok(if reports.iter().any(is_trouble) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Replays page by page what fits, and says whether others may.
async fn replay_found(
    client: &Client,
    flags: &DeadReplay,
    now_ms: u64,
) -> Result<(Vec<LetterReport>, bool), Failure> {
    let DeadFilter { reason, model, tenant, since } = &flags.filter;
    let mut wish = ReplayWish {
        reason: reason.clone(),
        model: model.clone(),
        tenant: tenant.clone(),
        since_unix_ms: since.map(|since| since.unix_ms(now_ms)),
        dry_run: Some(flags.dry_run),
        ..Default::default()
    };
    let mut reports = Vec::new();
    let mut left = flags.limit;
    while left > 0 {
        wish.limit = Some(left.min(LETTERS_MAX));
        let report = ask(client, &wish).await?;
        left -= left.min(report.letters.len() as u32);
        reports.extend(report.letters);
        wish.after = report.next;
        if wish.after.is_none() {
            return Ok((reports, false));
        }
    }
    Ok((reports, true))
}

async fn ask(client: &Client, wish: &ReplayWish) -> Result<ReplayReport, Failure> {
    let asked = client.json(|| client.request(Method::POST, &["operate", "dead", "replay"]).json(wish));
    asked.await.map_err(Failure::from)
}

fn replayed(report: &LetterReport) -> [String; 4] {
    let job = report.job.clone().unwrap_or_else(|| "-".to_owned());
    [short(&report.id), job, report.outcome.as_str().to_owned(), report.advice.clone()]
}

async fn delete(flags: &DeadDelete, place: &Place, printer: &Printer) -> Result<ExitCode, Failure> {
    let client = Client::find_as_operator(&flags.target, place)?;
    for id in whole(&client, &flags.letters).await? {
        let gone: Value = client.json(|| client.request(Method::DELETE, &["operate", "dead", &id])).await?;
        printer.record(&gone);
        printer.say(&format!("{} is deleted", short(&id)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whole ids of letters that may be named by how they begin.
async fn whole(client: &Client, named: &[LetterId]) -> Result<Vec<String>, Failure> {
    if named.iter().all(LetterId::is_whole) {
        return Ok(named.iter().map(|id| id.as_str().to_owned()).collect());
    }
    let mut known: Vec<String> = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let limit = LETTERS_MAX.to_string();
        let pairs = [("limit", Some(limit.as_str())), ("after", after.as_deref())];
        let page: DeadLetterList = client.json(|| client.query(LETTERS, &pairs)).await?;
        known.extend(page.data.into_iter().map(|letter| letter.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    named.iter().map(|id| one(id, &known)).collect()
}

fn one(id: &LetterId, known: &[String]) -> Result<String, Failure> {
    if id.is_whole() {
        return Ok(id.as_str().to_owned());
    }
    let mut found = known.iter().filter(|known| known.starts_with(id.as_str()));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => {
            Err(Failure(format!("no letter begins with {}; `switchyard dead` lists them", id.as_str())))
        }
        (Some(_), Some(_)) => {
            Err(Failure(format!("several letters begin with {}; give more of it", id.as_str())))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn letter() -> DeadLetter {
        let letter = json!({
            "id": "ab".repeat(32), "object": "dead_letter", "at_unix_ms": 60_000, "reason": "tries_used_up",
            "tenant": "dev", "job": "j", "model": "m", "body": "{\u{1b}[2J", "body_bytes": 5_000,
            "body_is_cut": true, "dequeue_count": 5, "inserted": "2026-11-21T02:05:45+00:00",
            "state": "waiting", "replays": 1, "last_replay": { "at_unix_ms": 90_000, "by": "operator" },
        });
        serde_json::from_value(letter).unwrap()
    }

    #[test]
    fn a_row_and_a_page_tell_what_there_is() {
        let cells = ["abababababab", "2m00s ago", "tries_used_up", "dev", "m", "j", "back after 1 replay"];
        assert_eq!(row(&letter(), 180_000), cells);
        let detail = DeadLetterDetail {
            letter: letter(),
            job_status: Some("waiting".to_owned()),
            replay: Outcome::WouldRing,
            advice: "a".to_owned(),
        };
        let page = lines(&detail, 180_000).join("\n");
        for part in [
            "job     j of dev, m: waiting",
            "delivered 5 times (as the host says)",
            "back after 1 replay; last 1m30s ago by operator",
            "text    {\\u{1b}[2J\n        … of 5,000 bytes",
            "replay  would_ring: a",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn a_letter_is_found_by_how_its_id_begins() {
        let known = ["aaaaaaaa1", "aaaaaaaa2", "bbbbbbbb1"].map(str::to_owned);
        let find = |text: &str| one(&text.parse().unwrap(), &known).map_err(|failure| failure.to_string());
        assert_eq!(find("bbbbbbbb").unwrap(), "bbbbbbbb1");
        assert!(find("aaaaaaaa").unwrap_err().contains("several"));
        assert!(find("cccccccc").unwrap_err().contains("no letter begins with"));
        let whole = "c".repeat(64);
        assert_eq!(find(&whole).unwrap(), whole, "the server knows");
    }
}
