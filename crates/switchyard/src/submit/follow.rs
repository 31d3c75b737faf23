//! How far a job is, told until it ends: one line redrawn for people who watch, a line every few
//! seconds for a log, an object for programs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use clock::Clock;
use serde_json::json;
use wire::jobs::{Items, JobView};

use crate::Failure;
use crate::client::{Client, Error, JobId};
use crate::print::Printer;
use crate::render::{bar, count, instant_ms, percent, span, usd, when};
use crate::why::has_ended;

/// Between two looks: soon at first, as small jobs end soon.
const LOOK_FIRST: Duration = Duration::from_millis(250);
const LOOK_LAST: Duration = Duration::from_secs(5);
/// A look comes after this part of the time that was waited already: nobody waits a tenth longer for it.
const LOOKS_A_WAIT: u32 = 10;
/// Times on a line that people watch go on between two looks.
const REDRAWN_EVERY: Duration = Duration::from_secs(1);
/// Between two lines in a log.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How long nothing may answer: a deployment's new version, or a laptop that slept.
const PATIENCE: Duration = Duration::from_secs(600);
/// The rate is that of this time: long enough to hold several shards.
const RATE_OVER: Duration = Duration::from_secs(60);

/// How the following ended.
pub(super) enum Followed {
    /// As the job did.
    Ended(Box<JobView>),
    /// By ctrl-c; the job goes on.
    Interrupted,
}

/// Follows a job to its end.
///
/// # Errors
/// When nothing answers for ten minutes, or the job is gone.
pub(super) async fn follow(
    client: &Client,
    id: &JobId,
    clock: Clock,
    printer: &Printer,
) -> Result<Followed, Failure> {
    let mut stop = std::pin::pin!(crate::asked_to_stop());
    let mut teller = Teller { printer, clock, pace: Pace::default(), told: None, last: None, seen: None };
    let began = Instant::now();
    let mut answered = began;
    loop {
        let asked = tokio::select! {
            // First: an answer may be there at once, and ctrl-c is not heard before this is polled.
            biased;
            () = &mut stop => { printer.erase(); return Ok(Followed::Interrupted) }
            asked = client.job(id) => asked,
        };
        match asked {
            Ok(job) => {
                answered = Instant::now();
                teller.tell(&job);
                if has_ended(&job) {
                    printer.erase();
                    return Ok(Followed::Ended(Box::new(job)));
                }
            }
            Err(error) if error.may_pass() && answered.elapsed() < PATIENCE => teller.missed(&error),
            Err(error) => {
                printer.erase();
                return Err(Failure(format!("{error}; if the job is there it goes on: switchyard why {id}")));
            }
        }
        let look = (began.elapsed() / LOOKS_A_WAIT).clamp(LOOK_FIRST, LOOK_LAST);
        tokio::select! {
            () = teller.wait(look) => {}
            () = &mut stop => { printer.erase(); return Ok(Followed::Interrupted) }
        }
    }
}

/// Tells what changed.
struct Teller<'a> {
    printer: &'a Printer,
    clock: Clock,
    pace: Pace,
    /// When a line was last written.
    told: Option<Instant>,
    /// What programs were last told.
    last: Option<(String, Items)>,
    /// The last look, unless nothing has answered since.
    seen: Option<(JobView, Option<f64>)>,
}

impl Teller<'_> {
    fn tell(&mut self, job: &JobView) {
        let now = Instant::now();
        self.pace.saw(now, job.items.done);
        let rate = self.pace.per_second();
        let state = (job.status.clone(), job.items);
        if self.last.as_ref() != Some(&state) {
            self.printer.record(&json!({
                "event": "progress", "status": job.status, "items": job.items, "items_per_second": rate,
                "left_seconds": left(job, rate).map(|left| left.as_secs()), "cost": job.cost,
            }));
            self.last = Some(state);
        }
        self.write(now, &line(job, rate, self.clock.now_ms()));
        self.seen = Some((job.clone(), rate));
    }

    /// Waits for the next look. Who watches sees the time pass.
    async fn wait(&self, look: Duration) {
        let next = tokio::time::Instant::now() + look;
        while self.printer.is_watched() && tokio::time::Instant::now() + REDRAWN_EVERY < next {
            tokio::time::sleep(REDRAWN_EVERY).await;
            if let Some((job, rate)) = &self.seen {
                self.printer.redraw(&line(job, *rate, self.clock.now_ms()));
            }
        }
        tokio::time::sleep_until(next).await;
    }

    fn missed(&mut self, error: &Error) {
        self.seen = None;
        self.write(Instant::now(), &format!("asking again: {error}"));
    }

    fn write(&mut self, now: Instant, line: &str) {
        if self.printer.is_watched() {
            self.printer.redraw(line);
        } else if self.told.is_none_or(|told| now - told >= LINE_EVERY) {
            self.printer.progress(line);
            self.told = Some(now);
        }
    }
}

/// `█████░░░░ 7,432/12,000 62 %  118/s  38s left  ~$0.019 of ~$0.031  running`
fn line(job: &JobView, rate: Option<f64>, now_ms: u64) -> String {
    let Items { done, total, .. } = job.items;
    let mut parts =
        vec![format!("{} {}/{} {} %", bar(done, total), count(done), count(total), percent(done, total))];
    if done < total {
        parts.extend(rate.map(|rate| format!("{rate:.*}/s", usize::from(rate < 10.0))));
        parts.push(match left(job, rate) {
            Some(left) => format!("{} left", span(left.as_millis() as u64)),
            None => expected(job, now_ms),
        });
    }
    // What it came to is known at its end; until then the done share of what is expected.
    let expected = job.cost.estimate_usd;
    let so_far = expected * done as f64 / total.max(1) as f64;
    parts.push(match job.cost.usd {
        Some(paid) => usd(paid),
        None => format!("~{} of ~{}", usd(so_far), usd(expected)),
    });
    let reason = job.reasons.first().map(|reason| reason.code.as_str());
    parts.push(reason.unwrap_or(&job.status).to_owned());
    parts.join("  ")
}

fn expected(job: &JobView, now_ms: u64) -> String {
    match instant_ms(&job.eta.p50) {
        Some(at) if at < now_ms => format!("{} later than expected", span(now_ms - at)),
        _ => format!("expected {}", when(&job.eta.p50, now_ms)),
    }
}

/// How long the rest takes at this rate.
fn left(job: &JobView, rate: Option<f64>) -> Option<Duration> {
    let rest = job.items.total.saturating_sub(job.items.done) as f64;
    Duration::try_from_secs_f64(rest / rate?).ok()
}

/// How fast items get done.
#[derive(Debug, Default)]
struct Pace {
    seen: VecDeque<(Instant, u64)>,
}

impl Pace {
    fn saw(&mut self, now: Instant, done: u64) {
        self.seen.push_back((now, done));
        while self.seen.len() > 2 && now - self.seen[0].0 > RATE_OVER {
            self.seen.pop_front();
        }
    }

    /// None before two looks, and while nothing gets done.
    fn per_second(&self) -> Option<f64> {
        let ((began, first), (now, last)) = (self.seen.front()?, self.seen.back()?);
        let (done, seconds) = (last.saturating_sub(*first), (*now - *began).as_secs_f64());
        (done > 0 && seconds > 0.0).then(|| done as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::tests::{job, now_ms};

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        pace.saw(began, 100);
        assert_eq!(pace.per_second(), None);
        pace.saw(at(10), 100);
        assert_eq!(pace.per_second(), None, "nothing got done");
        pace.saw(at(20), 300);
        assert_eq!(pace.per_second(), Some(10.0));
        for second in (30..=300).step_by(10) {
            pace.saw(at(second), 300 + 5 * (second - 20));
        }
        assert_eq!(pace.per_second(), Some(5.0));
        assert!(pace.seen.len() <= 8, "what is older is forgotten: {}", pace.seen.len());
    }

    #[test]
    fn a_line_tells_the_most_of_it() {
        let bar = "████████████░░░░░░░░ 7,432/12,000 61 %";
        let mut job = job();
        let cases = [
            (Some(118.4), format!("{bar}  118/s  38s left  ~$0.019 of ~$0.031  running")),
            (Some(2.5), format!("{bar}  2.5/s  30m left  ~$0.019 of ~$0.031  running")),
            (None, format!("{bar}  expected in 2m20s  ~$0.019 of ~$0.031  running")),
        ];
        for (rate, expected) in cases {
            assert_eq!(line(&job, rate, now_ms()), expected);
        }
        let late = line(&job, None, now_ms() + 200_000);
        assert_eq!(late, format!("{bar}  1m00s later than expected  ~$0.019 of ~$0.031  running"));
        job.items.done = job.items.total;
        (job.cost.usd, job.status) = (Some(0.049), "completed".to_owned());
        job.reasons.clear();
        let done = "████████████████████ 12,000/12,000 100 %  $0.049  completed";
        assert_eq!(line(&job, Some(0.1), now_ms()), done, "the rate says nothing any more");
    }
}
