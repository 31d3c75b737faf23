//! One shard run in the realtime lane: claimed as a try, run line by line at a backend, put chunk by
//! chunk under the same keys as the pool's workers use. Whoever puts a chunk first has put it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use facts::job::{Place, Shard, Try};
use facts::key::{self, JobKeys};
use facts::store::Claim;
use facts::{Job, JobId, id, line};
use futures_util::{StreamExt as _, stream};
use policy::rescue::{self, At, RESCUE_WITHIN, SILENT_AFTER};
use policy::units::{Millis, UnixMs};
use serde_json::value::{RawValue, to_raw_value};

use super::look::{World, is_served};
use super::survey::{Pass, Survey};
use super::{Jobs, Trouble, text};
use crate::failure::{Failure, Kind};

/// A rescue stops by itself this long before its try is over.
const MARGIN: Millis = Millis::from_secs(40);
/// Tries of one line.
const LINE_TRIES: usize = 4;
/// What is shown of a refusal that is no JSON.
const SHOWN_CHARS: usize = 200;
/// Between them.
const LINE_GAP: Duration = Duration::from_millis(500);

/// What a rescue came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescued {
    /// The ticket asks for nothing that is due: forged, late or overtaken.
    NotDue,
    /// Every chunk of the shard exists.
    Done,
    /// It ran out of time, was overtaken or the backend failed; the sweep rings again.
    Broke,
}

/// The answer to one line.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// JSON, or what else was answered.
    pub body: Bytes,
}

/// Sends one line's request to the realtime lane; none: it failed and may be tried again.
pub trait Ask: Sync {
    /// Lines that may be asked for beside each other; at least 1.
    fn at_once(&self) -> usize;

    /// Asks for `url` with this body.
    fn ask(&self, job: &Job, body: &RawValue) -> impl Future<Output = Option<Answer>> + Send;
}

impl Jobs {
    /// Claims and runs try `k` of a shard. The same ticket again runs the same try again. While this
    /// process runs the shard already and its lines are being answered, nothing is due: several looks at once
    /// ring for the same rescue, and one that is slower than was expected is no silent one.
    ///
    /// # Errors
    /// [`Trouble`]; the sweep rings again.
    pub async fn rescue(
        &self,
        world: World<'_>,
        (tenant, id): (&str, &JobId),
        (shard, k): (u32, u32),
        ask: &impl Ask,
    ) -> Result<Rescued, Trouble> {
        let keys = JobKeys::new(tenant, id);
        let Some(under_way) = UnderWay::begin(self, format!("{}{shard}", keys.folder())) else {
            return Ok(Rescued::NotDue);
        };
        let Some(survey) = self.survey(tenant, id, &Pass::of(world)).await? else {
            return Ok(Rescued::NotDue);
        };
        let Some(not_after) = self.claim_rescue(world, &survey, &keys, (shard, k)).await? else {
            return Ok(Rescued::NotDue);
        };
        let job = &survey.job;
        let (Some(part), Some(seen)) =
            (job.shards.get(shard as usize), survey.state.shards.get(shard as usize))
        else {
            return Ok(Rescued::NotDue);
        };
        let until = not_after - MARGIN;
        for c in seen.missing() {
            let (newer, stop, chunk) = (keys.try_(shard, k + 1), keys.stop(), keys.chunk(shard, c));
            let (newer, stopped, exists) = futures_util::try_join!(
                self.store().exists(&newer),
                self.store().exists(&stop),
                self.store().exists(&chunk)
            )?;
            if newer || stopped || self.now() >= until {
                return Ok(Rescued::Broke);
            }
            // A task that was left running, or another rescue, may be ahead.
            if exists {
                continue;
            }
            let left = self.0.clock.real(Duration::from_millis(until.since(self.now()).0));
            let computed =
                tokio::time::timeout(left, self.compute(job, part, c, &Heard { ask, under_way: &under_way }))
                    .await;
            let Ok(Some(chunk)) = computed.map_err(|_| ()).and_then(|chunk| chunk.map_err(|_| ())) else {
                return Ok(Rescued::Broke);
            };
            self.store().create(&keys.chunk(shard, c), chunk).await?;
        }
        self.store().create(&key::due(key::NOW, tenant, id), "").await?;
        Ok(Rescued::Done)
    }

    /// When the try is over that this caller may run; none where nothing is due.
    async fn claim_rescue(
        &self,
        world: World<'_>,
        survey: &Survey,
        keys: &JobKeys,
        (shard, k): (u32, u32),
    ) -> Result<Option<UnixMs>, Trouble> {
        let Some(open) = survey.open.iter().find(|open| open.shard == shard) else { return Ok(None) };
        if !is_served(world, survey) {
            return Ok(None);
        }
        let now = self.now();
        if open.k == k {
            let newest: Option<Try> = self.fact(&keys.try_(shard, k)).await?;
            return Ok(match newest.map(|newest| newest.place) {
                Some(Place::Realtime { not_after_ms, .. }) if now.0 < not_after_ms => {
                    Some(UnixMs(not_after_ms))
                }
                _ => None,
            });
        }
        let due = rescue::due(&super::look::shard_for_rescue(survey, open), now);
        if open.k + 1 != k || !due {
            return Ok(None);
        }
        let not_after = now + RESCUE_WITHIN;
        let why = if survey.promoted {
            "promoted"
        } else if matches!(open.at, At::Rescue { .. }) {
            "silent"
        } else {
            "rescue"
        };
        let tried = Try {
            v: facts::VERSION,
            by: id::random(),
            place: Place::Realtime { not_after_ms: not_after.0, work_ms: open.left.0 },
            why: why.to_owned(),
            at_ms: now.0,
        };
        let claim = self.store().claim(&keys.try_(shard, k), text(&tried)).await?;
        Ok((claim == Claim::Won).then_some(not_after))
    }

    /// One chunk; none where a line could not be had.
    async fn compute(
        &self,
        job: &Job,
        shard: &Shard,
        c: u32,
        ask: &impl Ask,
    ) -> Result<Option<String>, Trouble> {
        let lines = self.lines(job, shard).await?;
        let range = shard.chunk_range(job.chunk_lines, c);
        let runs: Vec<_> = lines.numbered(range).map(|(n, text)| run_line(job, n, text, ask)).collect();
        let results: Vec<Option<String>> = stream::iter(runs).buffered(ask.at_once().max(1)).collect().await;
        Ok(results.into_iter().collect::<Option<_>>().map(line::chunk))
    }
}

/// A shard that this process runs, for as long as this lives.
struct UnderWay<'a> {
    jobs: &'a Jobs,
    shard: String,
    /// When its newest line was answered, or it began: Unix ms.
    heard: Arc<AtomicU64>,
}

impl UnderWay<'_> {
    /// None where this process runs the shard already, and hears of it.
    fn begin(jobs: &Jobs, shard: String) -> Option<UnderWay<'_>> {
        let now = jobs.now();
        let mut running = jobs.0.rescuing.lock().expect("no holder of this lock panics");
        if let Some(other) = running.get(&shard)
            && now.since(UnixMs(other.load(Ordering::Relaxed))) < SILENT_AFTER
        {
            return None;
        }
        let heard = Arc::new(AtomicU64::new(now.0));
        running.insert(shard.clone(), Arc::clone(&heard));
        Some(UnderWay { jobs, shard, heard })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut running = self.jobs.0.rescuing.lock().expect("no holder of this lock panics");
        // Another may have taken its place.
        if running.get(&self.shard).is_some_and(|there| Arc::ptr_eq(there, &self.heard)) {
            running.remove(&self.shard);
        }
    }
}

/// Asks, and notes when an answer came.
struct Heard<'a, A> {
    ask: &'a A,
    under_way: &'a UnderWay<'a>,
}

impl<A: Ask> Ask for Heard<'_, A> {
    fn at_once(&self) -> usize {
        self.ask.at_once()
    }

    async fn ask(&self, job: &Job, body: &RawValue) -> Option<Answer> {
        let answer = self.ask.ask(job, body).await;
        if answer.is_some() {
            self.under_way.heard.store(self.under_way.jobs.now().0, Ordering::Relaxed);
        }
        answer
    }
}

/// The result of one line; none where the realtime lane did not give one.
async fn run_line(job: &Job, n: u64, text: &[u8], ask: &impl Ask) -> Option<String> {
    let Ok(given) = serde_json::from_slice::<line::InLine<'_>>(text) else {
        return Some(line::error(
            n,
            &super::lines::custom_id(text),
            "invalid_line",
            "the line is no request",
        ));
    };
    for attempt in 0..LINE_TRIES {
        if attempt > 0 {
            tokio::time::sleep(LINE_GAP * (1 << attempt)).await;
        }
        let Some(Answer { status, body }) = ask.ask(job, given.body).await else { continue };
        let body = match line::flat(body.into()) {
            Ok(body) => body,
            // What is good and no JSON may be better the next time; a refusal stays one.
            Err(_) if (200..300).contains(&status) => continue,
            Err(text) => refused(&text),
        };
        return Some(line::result(n, &given.custom_id, status, "", &body));
    }
    None
}

/// A refusal that is no JSON, as of a proxy before the backend, in the form that the worker gives it too.
fn refused(text: &[u8]) -> Box<RawValue> {
    let shown: String = String::from_utf8_lossy(text).chars().take(SHOWN_CHARS).collect();
    let told = Failure::new(Kind::Invalid, "upstream_refused", shown).body();
    to_raw_value(&told).expect("an error body has only texts")
}
