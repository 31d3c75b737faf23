//! This machine's clock against those of the services: signatures and tokens are refused when they are far
//! apart, and "in time" is judged by the store's clock.

use std::time::{Duration, Instant};

use url::Url;
use wire::doctor::Finding;

use super::CHECK_MAX;
use super::check::{Check, of};
use crate::settings::{Blobs, Knobs, Settings};

/// Beyond this, services refuse what is signed or dated by this clock; they allow 15 minutes, and tokens
/// are checked more closely.
const BROKEN: Duration = Duration::from_secs(5 * 60);
/// Beyond this, deadlines are judged wrongly by as much.
const WARNING: Duration = Duration::from_secs(5);
/// A `Date` is told in whole seconds.
const DATE_STEP_MS: i64 = 1_000;

/// Compares clocks with each service that settings name; each is asked once, without any credential.
pub async fn look(settings: &Settings, http: &reqwest::Client) -> Vec<Finding> {
    if settings.clock.is_scaled() {
        return vec![Check::Clock.needs("real time; SWITCHYARD_SPEED is set")];
    }
    let services = services(settings);
    if services.is_empty() {
        return vec![
            Check::Clock.needs("a service with a clock of its own; everything is on this machine's disk"),
        ];
    }
    let asked = services.into_iter().map(|(name, url)| async move {
        let skew = tokio::time::timeout(CHECK_MAX, ask(settings, http, url)).await;
        of(name, judge(skew.ok().flatten()))
    });
    futures_util::future::join_all(asked).await
}

/// Origins alone: paths and queries may hold a SAS.
fn services(settings: &Settings) -> Vec<(&'static str, Url)> {
    let blobs = match &settings.blobs {
        Blobs::Container { url, .. } => Url::parse(url.reveal()).ok(),
        Blobs::Folder(_) => None,
    };
    let vault = match &settings.knobs {
        Knobs::Vault(url) => Some(url.clone()),
        Knobs::File(_) => None,
    };
    let queue = settings.doorbell.as_ref().map(|doorbell| doorbell.storage.queues.clone());
    let batch = settings.batch.as_ref().map(|account| account.endpoint.clone());
    let named = [("blob", blobs), ("queue", queue), ("vault", vault), ("batch", batch)];
    let origin = |url: Url| Url::parse(&url.origin().ascii_serialization()).ok();
    named.into_iter().filter_map(|(name, url)| Some((name, origin(url?)?))).collect()
}

/// How far this clock is ahead, in ms; none where the service tells no date.
async fn ask(settings: &Settings, http: &reqwest::Client, url: Url) -> Option<i64> {
    let (before, began) = (settings.clock.now_ms(), Instant::now());
    let answer = http.get(url).send().await.ok()?;
    let took = i64::try_from(began.elapsed().as_millis()).ok()?;
    let date = answer.headers().get(reqwest::header::DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_millisecond();
    Some(ahead(i64::try_from(before).ok()?, took, theirs))
}

/// The least that explains what was seen: the date was written at some moment of the call, and may be up to
/// a second younger than it says.
fn ahead(before: i64, took: i64, theirs: i64) -> i64 {
    if before > theirs + DATE_STEP_MS {
        before - theirs - DATE_STEP_MS
    } else {
        (before + took - theirs).min(0)
    }
}

fn judge(ahead_ms: Option<i64>) -> Finding {
    let Some(ahead_ms) = ahead_ms else {
        return Check::Clock.needs("an answer of the service with a date");
    };
    let skew = Duration::from_millis(ahead_ms.unsigned_abs());
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let found = format!("this machine is {}s {side} the service's clock", skew.as_secs());
    let remedy = "let the machine keep its time by NTP: `timedatectl set-ntp true`";
    match skew {
        skew if skew > BROKEN => Check::Clock.broken(found, remedy),
        skew if skew > WARNING => Check::Clock.warning(found, remedy),
        _ => Check::Clock.ok("within 5s of the service's clock"),
    }
}

#[cfg(test)]
mod tests {
    use wire::doctor::Outcome;

    use super::*;

    #[test]
    fn a_clock_is_only_blamed_for_what_a_call_cannot_explain() {
        let cases = [
            (10_000, 200, 10_000, 0),
            (10_900, 200, 10_000, 0),
            (10_000, 4_000, 13_000, 0),
            (20_000, 100, 10_000, 9_000),
            (10_000, 500, 20_000, -9_500),
        ];
        for (before, took, theirs, expected) in cases {
            assert_eq!(ahead(before, took, theirs), expected, "{before} {took} {theirs}");
        }
    }

    #[test]
    fn skew_is_judged_by_what_it_breaks() {
        let cases = [
            (Some(0), Outcome::Ok),
            (Some(5_000), Outcome::Ok),
            (Some(-5_001), Outcome::Warning),
            (Some(300_000), Outcome::Warning),
            (Some(300_001), Outcome::Broken),
            (None, Outcome::NotChecked),
        ];
        for (ahead_ms, outcome) in cases {
            assert_eq!(judge(ahead_ms).outcome, outcome, "{ahead_ms:?}");
        }
    }
}
