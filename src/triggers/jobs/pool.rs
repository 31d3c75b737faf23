//! Why a job that waits for a node gets none: its pool's reasons, from the view. Pure.

use facts::view::PoolView;
use facts::view::pool::{Planned, Why};
use policy::reason::{Code, Evidence, Reason};
use policy::units::UnixMs;
use wire::jobs::ReasonView;

use super::view::{instant, reason_view};

/// Reasons of a plan that say why there are fewer nodes than work; the others say why there are as
/// many as there are.
const TELLING: &[Code] = &[
    Code::Blind,
    Code::BudgetSpent,
    Code::Ceiling,
    Code::LeftToRealtime,
    Code::SpotUnavailable,
    Code::QuotaReached,
    Code::NodesNeverUsable,
    Code::StepLimited,
    Code::AutoscaleStopped,
];

/// What of a pool concerns a job that waits for it, the most telling first.
pub fn reasons(seen: &PoolView) -> Vec<ReasonView> {
    let planned = seen.planned.as_ref();
    let mut reasons = Vec::new();
    reasons.extend(nobody_scales(seen).as_ref().map(reason_view));
    reasons.extend(planned.and_then(refused).as_ref().map(reason_view));
    let telling = |why: &&Why| TELLING.iter().any(|code| code.as_str() == why.code);
    reasons.extend(planned.iter().flat_map(|planned| &planned.reasons).filter(telling).map(shown));
    reasons.extend(booting(seen).as_ref().map(reason_view));
    reasons
}

fn nobody_scales(seen: &PoolView) -> Option<Reason> {
    let mode = seen.planned.as_ref().map_or("", |planned| planned.mode.as_str());
    let has_or_gets = seen.spot.target + seen.dedicated.target + seen.ready_nodes > 0;
    if seen.seen_at == 0 || has_or_gets || seen.formula.enabled || mode == "act" {
        return None;
    }
    let remedy = "set autoscale-mode to act, or resize the pool by hand";
    let reason = Reason::new(Code::NobodyScales).remedy(remedy, None);
    Some(if mode.is_empty() { reason } else { reason.with("mode", Evidence::Name(mode.to_owned())) })
}

fn refused(planned: &Planned) -> Option<Reason> {
    (planned.outcome == "refused").then(|| {
        Reason::new(Code::PlanRefused)
            .next("the next rebalance tries again", None)
            .remedy("look at `switchyard status`", None)
    })
}

fn booting(seen: &PoolView) -> Option<Reason> {
    let starting = seen.spot.starting + seen.dedicated.starting;
    let first = seen.nodes.starting.values().min();
    let ready = first.zip(seen.nodes.boots()).map(|(began, boot)| UnixMs(began + boot.p50));
    (starting > 0).then(|| {
        Reason::new(Code::NodesBooting)
            .with("nodes", Evidence::Count(starting.into()))
            .next("the first of them takes work", ready)
    })
}

/// A reason of the rebalancer's, which was written as text.
fn shown(why: &Why) -> ReasonView {
    ReasonView {
        code: why.code.clone(),
        since: why.since.map(|at| instant(UnixMs(at))),
        evidence: why.evidence.clone(),
        next: why.next.clone(),
        next_at: why.next_at.map(|at| instant(UnixMs(at))),
        remedy: why.remedy.clone(),
        remedy_usd: None,
    }
}

#[cfg(test)]
mod tests {
    use facts::view::pool::KindView;

    use super::*;

    fn codes(seen: &PoolView) -> Vec<String> {
        reasons(seen).into_iter().map(|reason| reason.code).collect()
    }

    fn planned(mode: &str, codes: &[Code]) -> Option<Planned> {
        let why = |code: &Code| Why { code: code.as_str().to_owned(), ..Why::default() };
        let reasons = codes.iter().map(why).collect();
        Some(Planned { mode: mode.to_owned(), reasons, outcome: "enabled".to_owned(), ..Planned::default() })
    }

    #[test]
    fn a_waiting_job_is_told_what_keeps_its_nodes_away() {
        let wanted = KindView { target: 2, starting: 1, ..KindView::default() };
        let empty = PoolView { seen_at: 1, ..PoolView::default() };
        assert_eq!(codes(&PoolView::default()), [""; 0], "nothing is known of it");
        assert_eq!(codes(&empty), ["nobody_scales"]);
        let mut seen = PoolView { planned: planned("recommend", &[Code::Demand]), ..empty.clone() };
        assert_eq!(codes(&seen), ["nobody_scales"]);
        assert_eq!(reasons(&seen)[0].evidence["mode"], "recommend");
        seen.planned = planned("act", &[Code::Demand, Code::SpotUnavailable]);
        assert_eq!(codes(&seen), ["spot_unavailable"]);
        seen.spot = wanted;
        assert_eq!(codes(&seen), ["spot_unavailable", "nodes_booting"]);
        seen.planned.as_mut().unwrap().outcome = "refused".to_owned();
        assert_eq!(codes(&seen), ["plan_refused", "spot_unavailable", "nodes_booting"]);
        let by_hand = PoolView { spot: wanted, ..empty };
        assert_eq!(codes(&by_hand), ["nodes_booting"]);
    }
}
