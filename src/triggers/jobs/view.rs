//! A job as its owner sees it: pure, from its facts and what its tasks came to.

use std::collections::BTreeMap;

use facts::fold::Phase;
use facts::job::{End, Kind, Spent, Status, Stop};
use facts::view::PoolView;
use policy::canary::Gate;
use policy::dispatch;
use policy::reason::{Code, Evidence, Reason};
use policy::rescue::At;
use policy::units::{MicroUsd, Millis, UnixMs};
use wire::jobs::{Cost, CostPart, Eta, Items, JobView, Links, ReasonView, Shards};

use super::pool;
use crate::act::jobs::held_up::HeldUp;
use crate::act::jobs::survey::{Open, Survey};
use crate::act::jobs::trace::trace_id;
use crate::act::jobs::turns;

/// What is known beside the survey.
#[derive(Debug, Default)]
pub struct Beside {
    /// Why it was asked to stop.
    pub stop: Option<Stop>,
    /// How it ended.
    pub end: Option<End>,
    /// What its pool offers.
    pub offer: Offer,
    /// How the looks at it are held up, if they are.
    pub held_up: Option<HeldUp>,
    /// Whether the doorbell could not be rung when it was tried last.
    pub is_unrung: bool,
    /// What was seen of its pool; none: not looked at, or too long ago.
    pub pool: Option<PoolView>,
}

/// What is known of what a pool offers.
#[derive(Clone, Debug, Default)]
pub enum Offer {
    /// Nobody asked: the job was accepted a moment ago.
    #[default]
    NotAsked,
    /// It could not be asked, or takes no work.
    None,
    /// This.
    Of(dispatch::Pool),
    /// Nothing is sent to pools now, for this reason.
    Paused(Reason),
}

/// Renders a job.
pub fn view(survey: &Survey, beside: &Beside, now: UnixMs) -> JobView {
    let (job, state) = (&survey.job, &survey.state);
    let end = beside.end.as_ref();
    let counts = end.map(|end| end.counts).unwrap_or_default();
    let dollars = |micro: u64| micro as f64 / 1e6;
    let id = job.job.to_string();
    let link = |what: &str| format!("/api/jobs/{id}{what}");
    JobView {
        object: "job".to_owned(),
        kind: match job.kind {
            Kind::Request => "request",
            Kind::OpenaiBatch { .. } => "openai_batch",
        }
        .to_owned(),
        status: status(state.phase(), end).to_owned(),
        url: job.url.clone(),
        model: job.model.clone(),
        class: turns::class(job.class).as_str().to_owned(),
        created: instant(UnixMs(job.created_ms)),
        deadline: instant(UnixMs(job.deadline_ms)),
        finished: end.map(|end| instant(UnixMs(end.finished_ms))),
        items: Items {
            total: job.lines(),
            // A line that was filled because the job stopped is no outcome of its item.
            done: state.lines_done(job).saturating_sub(counts.unfinished),
            failed: counts.failed,
            unfinished: counts.unfinished,
        },
        shards: shards(survey),
        eta: Eta { p50: instant(UnixMs(job.estimate.p50_ms)), p95: instant(UnixMs(job.estimate.p95_ms)) },
        cost: Cost {
            estimate_usd: dollars(job.estimate.cost_micro_usd),
            usd: end.map(|end| dollars(end.cost_micro_usd)),
            all_realtime_usd: job.estimate.realtime_cost_micro_usd.map(dollars),
            parts: end.map(|end| end.spent.iter().map(part).collect()).unwrap_or_default(),
        },
        reasons: shown_reasons(survey, beside, now),
        labels: job.labels.clone(),
        trace_id: trace_id(job).map(str::to_owned),
        links: Links { job: link(""), result: link("/result"), logs: link("/logs") },
        id,
    }
}

fn part(part: &Spent) -> CostPart {
    CostPart {
        lane: part.lane.as_str().to_owned(),
        place: part.place.clone(),
        what: part.what.as_str().to_owned(),
        usd: part.micro_usd as f64 / 1e6,
        assumed: part.price.assumed,
    }
}

/// Where a job is in its life, as clients read it.
pub fn status(phase: Phase, end: Option<&End>) -> &'static str {
    match (phase, end.map(|end| end.status)) {
        (_, Some(Status::Completed)) => "completed",
        (_, Some(Status::Cancelled)) => "cancelled",
        (_, Some(Status::Expired)) => "expired",
        (_, Some(Status::Failed)) => "failed",
        (Phase::Waiting, None) => "waiting",
        (Phase::Running, None) => "running",
        (Phase::Stopping, None) => "stopping",
        (Phase::Finishing | Phase::Ended, None) => "finishing",
    }
}

/// Why a job is where it is, the most telling first; none once it has ended well.
pub fn reasons(survey: &Survey, beside: &Beside, now: UnixMs) -> Vec<Reason> {
    let job = &survey.job;
    if let (Some(stop), true) = (&beside.stop, beside.end.is_none() || beside.is_stopped()) {
        let code = match stop.why {
            facts::job::StopWhy::Cancelled if beside.end.is_some() => Code::Cancelled,
            facts::job::StopWhy::Cancelled => Code::Stopping,
            facts::job::StopWhy::Expired => Code::Expired,
            facts::job::StopWhy::Failed if stop.code.as_deref() == Some(Code::CanaryFailed.as_str()) => {
                Code::CanaryFailed
            }
            facts::job::StopWhy::Failed => Code::TriesUsedUp,
        };
        return vec![Reason::new(code).with("asked", Evidence::At(UnixMs(stop.at_ms)))];
    }
    match survey.phase() {
        Phase::Ended => return Vec::new(),
        Phase::Finishing => return vec![Reason::new(Code::Finishing).next("the next look writes it", None)],
        Phase::Waiting | Phase::Running | Phase::Stopping => {}
    }
    let count = |test: &dyn Fn(&Open) -> bool| survey.open.iter().filter(|open| test(open)).count() as u64;
    let mut reasons = Vec::new();
    let rescued = count(&|open| matches!(open.at, At::Rescue { .. }));
    if survey.promoted || rescued > 0 {
        let code = if survey.promoted { Code::Promoted } else { Code::Rescued };
        reasons.push(Reason::new(code).with("shards", Evidence::Count(rescued)));
    }
    let running = count(&|open| open.at == At::Running);
    if running > 0 {
        reasons.push(Reason::new(Code::Running).with("shards", Evidence::Count(running)));
    }
    let queued = count(&|open| open.at == At::Queued);
    if queued > 0 {
        let reason = Reason::new(Code::WaitingForNode)
            .with("shards", Evidence::Count(queued))
            .next("a node takes it, or it is rescued", rescue_at(survey))
            .remedy("promote the job to realtime", None);
        reasons.push(reason);
    }
    let unknown = count(&|open| open.unknown);
    if unknown > 0 {
        let reason = Reason::new(Code::BatchUnavailable).with("shards", Evidence::Count(unknown));
        reasons.push(reason.next("it is asked again", None));
    }
    reasons.extend(retry(survey));
    reasons.extend(canary(survey));
    if let Some(open) = survey.may_leave().next() {
        let waiting = dispatch::Waiting {
            class: turns::class(job.class),
            work: open.left,
            since: UnixMs(job.created_ms),
            deadline: UnixMs(job.deadline_ms),
            realtime: survey.realtime_left().unwrap_or_default(),
        };
        match &beside.offer {
            Offer::NotAsked => {}
            Offer::Paused(reason) => reasons.push(reason.clone()),
            Offer::Of(offer) => reasons.push(dispatch::waiting_reason(&waiting, offer)),
            Offer::None => {
                let reason = Reason::new(Code::BatchUnavailable);
                reasons.push(reason.next("it is rescued", rescue_at(survey)));
            }
        }
    }
    reasons.extend(beside.held_up.as_ref().map(HeldUp::reason));
    if beside.is_unrung && survey.phase() == Phase::Waiting {
        reasons.push(Reason::new(Code::DoorbellUnheard).next("the sweep finds it, within 30 s", None));
    }
    let left = Evidence::Time(UnixMs(job.deadline_ms).since(now));
    if let Some(first) = reasons.first_mut() {
        first.evidence.push(("until_deadline", left));
    }
    for reason in &mut reasons {
        if matches!(reason.code, Code::WaitingForRoom | Code::WaitingForCompany) {
            reason.since = Some(UnixMs(job.created_ms));
        }
        if let Some(remedy) = reason.remedy.as_mut().filter(|_| promotion_cures(reason.code)) {
            remedy.cost = promotion_cost(survey);
        }
    }
    reasons
}

/// Whether the realtime lane is the remedy, and its price the remedy's.
fn promotion_cures(code: Code) -> bool {
    use Code::{WaitingForCanary, WaitingForCompany, WaitingForNode, WaitingForRoom};
    matches!(code, WaitingForNode | WaitingForRoom | WaitingForCompany | WaitingForCanary)
}

/// Why what waits of a job is not tried again yet.
fn retry(survey: &Survey) -> Option<Reason> {
    let pausing: Vec<&Open> = survey.waiting().filter(|open| open.pauses_until.is_some()).collect();
    let most = pausing.iter().max_by_key(|open| open.k)?;
    let mut reason = Reason::new(Code::WaitingToRetry)
        .with("shards", Evidence::Count(pausing.len() as u64))
        .with("tries", Evidence::Count(most.k.into()));
    if let Some(exit) = most.exit {
        reason = reason.with("exit_code", Evidence::Name(exit.to_string()));
    }
    let next = pausing.iter().filter_map(|open| open.pauses_until).min();
    Some(reason.next("it is tried again", next).remedy("read the job's logs", None))
}

/// Why the rest of a large job does not leave yet, or left unchecked.
fn canary(survey: &Survey) -> Option<Reason> {
    let others = survey.waiting().filter(|open| open.shard > 0).count() as u64;
    match survey.gate {
        Gate::Held { until } if others > 0 => Some(
            Reason::new(Code::WaitingForCanary)
                .with("shards", Evidence::Count(others))
                .next("the rest leaves once the first part is checked, then at the latest", Some(until))
                .remedy("promote the job to realtime", None),
        ),
        Gate::Hurried if others > 0 => {
            Some(Reason::new(Code::CanarySkipped).with("shards", Evidence::Count(others)))
        }
        _ => None,
    }
}

impl Beside {
    fn is_stopped(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.status != Status::Completed)
    }
}

/// What is left of the job, all in the realtime lane.
fn promotion_cost(survey: &Survey) -> Option<MicroUsd> {
    let whole = MicroUsd(survey.job.estimate.realtime_cost_micro_usd?);
    let all = survey.job.shards.iter().fold(0_u64, |sum, shard| sum.saturating_add(shard.work_ms));
    Some(whole.scaled(survey.state.work_left_ms(&survey.job), all.max(1)))
}

fn rescue_at(survey: &Survey) -> Option<UnixMs> {
    let realtime = survey.realtime_left()?;
    Some(UnixMs(survey.job.deadline_ms) - (realtime + policy::rescue::RESCUE_WITHIN))
}

fn shards(survey: &Survey) -> Shards {
    let mut shards = Shards { total: survey.state.shards.len() as u64, ..Shards::default() };
    for seen in &survey.state.shards {
        shards.done += u64::from(seen.is_done());
        shards.retries += u64::from(seen.tries.saturating_sub(1));
    }
    for open in &survey.open {
        match open.at {
            At::Nowhere => shards.waiting += 1,
            At::Queued => shards.queued += 1,
            At::Running => shards.running += 1,
            At::Rescue { .. } => shards.rescued += 1,
        }
    }
    shards
}

/// The job's own reasons, and behind them those of the pool that it waits for.
fn shown_reasons(survey: &Survey, beside: &Beside, now: UnixMs) -> Vec<ReasonView> {
    let own = reasons(survey, beside, now);
    let waits = |reason: &Reason| matches!(reason.code, Code::WaitingForNode | Code::WaitingForRoom);
    let pool = beside.pool.as_ref().filter(|_| own.iter().any(waits));
    own.iter().map(reason_view).chain(pool.into_iter().flat_map(pool::reasons)).collect()
}

/// A reason as clients read it.
pub fn reason_view(reason: &Reason) -> ReasonView {
    let shown = |value: &Evidence| match value {
        Evidence::At(at) => instant(*at),
        Evidence::Cost(cost) => format!("{} USD", cost.usd()),
        other => other.to_string(),
    };
    let evidence: BTreeMap<String, String> =
        reason.evidence.iter().map(|(name, value)| ((*name).to_owned(), shown(value))).collect();
    ReasonView {
        code: reason.code.as_str().to_owned(),
        since: reason.since.map(instant),
        evidence,
        next: reason.next.as_ref().map(|next| next.what.to_owned()),
        next_at: reason.next.as_ref().and_then(|next| next.at).map(instant),
        remedy: reason.remedy.as_ref().map(|remedy| remedy.what.to_owned()),
        remedy_usd: reason.remedy.as_ref().and_then(|remedy| remedy.cost).map(|cost| cost.usd()),
    }
}

/// An instant as RFC 3339, to the second.
pub fn instant(at: UnixMs) -> String {
    let whole = i64::try_from(Millis(at.0).0 / 1_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(whole).unwrap_or(jiff::Timestamp::MAX).to_string()
}
