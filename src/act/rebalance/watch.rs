//! What happened to a pool between two looks, from what was seen at each: pure. Boots and evictions
//! pass between looks, and errors outlive the target that they stopped; here they are told apart.

use facts::ledger::Came;
use facts::view::pool::{
    BOOTS_MAX, ERRORS_MAX, EVICTIONS_MAX, NodesView, STARTING_MAX, SizeError, SizeView, SpendView,
};
use policy::units::{MicroUsd, UnixMs};

use crate::azure::batch::{Node, NodeState, Problem};

const HOUR_MS: u64 = 3_600_000;
/// A gap between two looks that is longer says nothing of what was in it: ten sweeps.
const GAP_MAX_MS: u64 = 300_000;

/// Two looks: Unix ms of the one before (0: there was none) and of this.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// The one before.
    pub last: u64,
    /// This one.
    pub now: u64,
}

impl Looks {
    /// Time between them that was seen through.
    fn between(self) -> u64 {
        if self.last == 0 { 0 } else { self.now.saturating_sub(self.last).min(GAP_MAX_MS) }
    }
}

/// How a boot ended.
enum Boot {
    Good { took_ms: u64 },
    Unusable,
}

/// Boots and evictions, after `seen`. A list that was cut off tells nothing of nodes beyond it.
pub fn nodes(before: &NodesView, seen: &[Node], usable_spot: u32, looks: Looks) -> NodesView {
    let mut after = idle(before, usable_spot, looks);
    let mut ended: Vec<(u64, Boot)> = Vec::new();
    after.starting.clear();
    for node in seen {
        let since = node.since.map_or(looks.now, |at| at.0);
        let allocated = node.allocated.map_or(0, |at| at.0);
        let began = before.starting.get(&node.id).copied();
        // A node that came and was ready between two looks was never seen on its way.
        let began = began.or((allocated > 0 && allocated > looks.last).then_some(allocated));
        match node.state {
            NodeState::Starting if after.starting.len() < STARTING_MAX => {
                let began = began.unwrap_or_else(|| allocated.max(looks.last).min(since));
                after.starting.insert(node.id.clone(), began);
            }
            NodeState::Usable => {
                let took = began.map(|began| Boot::Good { took_ms: since.saturating_sub(began) });
                ended.extend(took.map(|boot| (since, boot)));
            }
            NodeState::Broken if began.is_some() => ended.push((since, Boot::Unusable)),
            NodeState::Preempted => {
                let eviction = (since, node.id.clone());
                if looks.now.saturating_sub(since) < HOUR_MS && !after.evictions.contains(&eviction) {
                    after.evictions.push(eviction);
                }
            }
            NodeState::Starting | NodeState::Broken | NodeState::Other => {}
        }
    }
    ended.sort_by_key(|(at, _)| *at);
    for (at, boot) in ended {
        match boot {
            Boot::Good { took_ms } => {
                after.boots_ms.push(took_ms);
                after.unusable_boots = 0;
            }
            Boot::Unusable => {
                after.unusable_boots += 1;
                after.last_unusable = Some(at);
            }
        }
    }
    after.evictions.sort_unstable();
    keep_newest(&mut after.evictions, EVICTIONS_MAX);
    keep_newest(&mut after.boots_ms, BOOTS_MAX);
    after
}

/// The same, where nodes could not be listed or there are none: time passes, and old evictions go.
pub fn idle(before: &NodesView, usable_spot: u32, looks: Looks) -> NodesView {
    let mut after = before.clone();
    after.evictions.retain(|(at, _)| looks.now.saturating_sub(*at) < HOUR_MS);
    let passed = looks.between();
    let kept = u128::from(before.spot_node_ms) * u128::from(HOUR_MS - passed) / u128::from(HOUR_MS);
    after.spot_node_ms = u64::try_from(kept).unwrap_or(u64::MAX) + u64::from(usable_spot) * passed;
    after
}

/// Spot and dedicated nodes that came of late, by when the service gave them to the pool first. One that was taken
/// away and came back keeps that time, and is then taken to have been there.
pub fn came(seen: &[Node], now_ms: u64) -> (Came, Came) {
    let (mut spot, mut dedicated) = (Came::default(), Came::default());
    let paid = |state| matches!(state, NodeState::Starting | NodeState::Usable | NodeState::Broken);
    for node in seen.iter().filter(|node| paid(node.state)) {
        let kind = if node.is_dedicated { &mut dedicated } else { &mut spot };
        if let Some(allocated) = node.allocated {
            kind.note(allocated.0, now_ms);
        }
    }
    (spot, dedicated)
}

fn keep_newest<T>(all: &mut Vec<T>, most: usize) {
    all.drain(..all.len().saturating_sub(most));
}

/// Errors of a change of size, each with the target that it stopped. The service gives them no time:
/// an error that was there before the target and stays is an old one, unless a change of size has
/// ended since (`settled`: when the pool last came to rest; none: it is changing now).
pub fn size(
    before: &SizeView,
    targets: (u32, u32),
    errors: &[Problem],
    settled: Option<UnixMs>,
    looks: Looks,
) -> SizeView {
    let mut after = before.clone();
    if targets != before.targets || before.generation == 0 {
        // It was changed at some time since the last look.
        let since = if looks.last == 0 { looks.now } else { looks.last };
        after = SizeView { targets, since, generation: before.generation + 1, errors: Vec::new() };
    }
    let has_settled = settled.is_some_and(|at| at.0 > after.since);
    let seen = |problem: &Problem| {
        let known = before.errors.iter().find(|known| known.code == problem.code);
        let stale = known.filter(|known| known.generation < after.generation && !has_settled);
        let same = known.filter(|known| known.generation == after.generation);
        SizeError {
            code: problem.code.clone(),
            message: problem.message.clone(),
            since: stale.or(same).map_or(looks.now, |known| known.since),
            generation: stale.map_or(after.generation, |known| known.generation),
        }
    };
    after.errors = errors.iter().take(ERRORS_MAX).map(seen).collect();
    after
}

/// What nodes cost in the current hour. `each` is a count of nodes and the price of one for an hour.
pub fn spend(before: SpendView, each: &[(u32, MicroUsd)], looks: Looks) -> SpendView {
    let hour = looks.now / HOUR_MS;
    let before = if before.hour == hour { before.micro_usd } else { 0 };
    // What passed before the hour turned belongs to the one before.
    let passed = looks.between().min(looks.now % HOUR_MS);
    let cost = |(count, price): &(u32, MicroUsd)| price.scaled(u64::from(*count) * passed, HOUR_MS).0;
    SpendView { hour, micro_usd: before + each.iter().map(cost).sum::<u64>() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: u64 = 10 * HOUR_MS;

    fn node(id: &str, state: NodeState, since: u64, allocated: u64) -> Node {
        let (since, allocated) = (Some(UnixMs(since)), Some(UnixMs(allocated)));
        Node { id: id.to_owned(), state, since, allocated, is_dedicated: false }
    }

    fn looks(now: u64) -> Looks {
        Looks { last: now - 30_000, now }
    }

    #[test]
    fn a_boot_is_measured_from_its_first_look_to_its_good_end() {
        let early = node("a", NodeState::Starting, LOOK - 20_000, LOOK - 25_000);
        let seen = nodes(&NodesView::default(), &[early], 0, looks(LOOK));
        assert_eq!(seen.starting, [("a".to_owned(), LOOK - 25_000)].into());
        let still = node("a", NodeState::Starting, LOOK + 10_000, LOOK - 25_000);
        let seen = nodes(&seen, &[still], 0, looks(LOOK + 30_000));
        let ready = node("a", NodeState::Usable, LOOK + 55_000, LOOK - 25_000);
        let seen = nodes(&seen, std::slice::from_ref(&ready), 1, looks(LOOK + 60_000));
        assert_eq!((seen.boots_ms.as_slice(), seen.starting.len()), (&[80_000][..], 0));
        let later = nodes(&seen, &[ready], 1, looks(LOOK + 90_000));
        assert_eq!(later.boots_ms, [80_000], "once");
    }

    #[test]
    fn nodes_that_came_of_late_are_told_by_kind() {
        let at = |minutes: u64| LOOK - minutes * 60_000;
        let dedicated = Node { is_dedicated: true, ..node("d", NodeState::Usable, LOOK, at(1)) };
        let unknown = Node { allocated: None, ..node("u", NodeState::Usable, LOOK, 0) };
        let seen = [
            node("a", NodeState::Starting, LOOK, at(0)),
            node("b", NodeState::Usable, LOOK, at(0)),
            node("c", NodeState::Broken, LOOK, at(4)),
            node("old", NodeState::Usable, LOOK, at(5)),
            node("gone", NodeState::Preempted, LOOK, at(0)),
            dedicated,
            unknown,
        ];
        assert_eq!(came(&seen, LOOK), (Came([2, 0, 0, 0, 1]), Came([0, 1, 0, 0, 0])));
    }

    #[test]
    fn a_boot_between_two_looks_is_measured_too() {
        let quick = node("a", NodeState::Usable, LOOK - 5_000, LOOK - 12_000);
        let old = node("b", NodeState::Usable, LOOK - 5_000, LOOK - HOUR_MS);
        let seen = nodes(&NodesView::default(), &[quick, old], 0, looks(LOOK));
        assert_eq!(seen.boots_ms, [7_000], "the other only began another task");
    }

    #[test]
    fn unusable_boots_are_counted_until_a_good_one() {
        let on_their_way = ["a", "b", "c"].map(|id| node(id, NodeState::Starting, LOOK, LOOK));
        let started = nodes(&NodesView::default(), &on_their_way, 0, looks(LOOK));
        let broken = ["a", "b"].map(|id| node(id, NodeState::Broken, LOOK + 20_000, LOOK));
        let seen = nodes(&started, &broken, 0, looks(LOOK + 30_000));
        assert_eq!(seen.unusable_boots, 2);
        let again = nodes(&seen, &broken, 0, looks(LOOK + 60_000));
        assert_eq!(again.unusable_boots, 2, "each once");
        let mut all = broken.to_vec();
        all.push(node("c", NodeState::Usable, LOOK + 25_000, LOOK));
        assert_eq!(nodes(&started, &all, 0, looks(LOOK + 30_000)).unusable_boots, 0);
    }

    #[test]
    fn an_eviction_is_seen_once_and_forgotten_after_an_hour() {
        let gone = node("a", NodeState::Preempted, LOOK - 10_000, LOOK - HOUR_MS);
        let seen = nodes(&NodesView::default(), std::slice::from_ref(&gone), 2, looks(LOOK));
        let seen = nodes(&seen, &[gone], 2, looks(LOOK + 30_000));
        assert_eq!(seen.evictions.len(), 1);
        let back = node("a", NodeState::Starting, LOOK + 40_000, LOOK - HOUR_MS);
        let seen = nodes(&seen, &[back], 2, looks(LOOK + 60_000));
        assert_eq!((seen.evictions.len(), seen.starting["a"]), (1, LOOK + 30_000), "not its first boot");
        let again = node("a", NodeState::Preempted, LOOK + 70_000, LOOK - HOUR_MS);
        let seen = nodes(&seen, &[again], 2, looks(LOOK + 90_000));
        assert_eq!((seen.evictions.len(), seen.unusable_boots), (2, 0));
        assert_eq!(idle(&seen, 0, looks(LOOK + HOUR_MS)).evictions.len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let many: Vec<Node> = (0..STARTING_MAX + 9)
            .map(|n| node(&format!("n{n:04}"), NodeState::Starting, LOOK, LOOK))
            .collect();
        assert_eq!(nodes(&NodesView::default(), &many, 0, looks(LOOK)).starting.len(), STARTING_MAX);
        let gone: Vec<Node> = (0..EVICTIONS_MAX as u64 + 9)
            .map(|n| node(&format!("n{n}"), NodeState::Preempted, LOOK - 1_000 + n, 0))
            .collect();
        let seen = nodes(&NodesView::default(), &gone, 0, looks(LOOK));
        assert_eq!((seen.evictions.len(), seen.evictions[0].0), (EVICTIONS_MAX, LOOK - 991));
    }

    #[test]
    fn node_time_grows_with_nodes_and_decays() {
        let mut view = NodesView::default();
        for n in 0..1_000 {
            view = idle(&view, 3, looks(LOOK + n * 30_000));
        }
        let hours = view.spot_node_ms as f64 / HOUR_MS as f64;
        assert!((2.9..=3.1).contains(&hours), "{hours} node-hours of the last hour");
        let blind = idle(&view, 3, Looks { last: 0, now: LOOK });
        assert_eq!(blind.spot_node_ms, view.spot_node_ms, "the first look sees no time");
    }

    fn problem(code: &str) -> Problem {
        Problem { code: code.to_owned(), message: "m".to_owned() }
    }

    #[test]
    fn an_error_belongs_to_the_target_that_it_stopped() {
        let quota = [problem("AccountCoreQuotaReached")];
        let first = size(&SizeView::default(), (4, 0), &[], None, looks(LOOK));
        let seen = size(&first, (4, 0), &quota, Some(UnixMs(LOOK)), looks(LOOK + 30_000));
        assert_eq!((seen.errors[0].since, seen.fresh().count()), (LOOK + 30_000, 1));
        let still = size(&seen, (4, 0), &quota, Some(UnixMs(LOOK)), looks(LOOK + 60_000));
        assert_eq!(still.errors[0].since, LOOK + 30_000, "since its first look");

        // A new target, and the pool has not come to rest since: the error is the old one's.
        let stale = size(&still, (2, 0), &quota, Some(UnixMs(LOOK)), looks(LOOK + 90_000));
        assert_eq!((stale.generation, stale.errors.len(), stale.fresh().count()), (2, 1, 0));
        let stale = size(&stale, (2, 0), &quota, Some(UnixMs(LOOK)), looks(LOOK + 120_000));
        assert_eq!(stale.fresh().count(), 0, "and stays so");

        // It came to rest with the same error again: now it is this target's.
        let settled = Some(UnixMs(LOOK + 125_000));
        let fresh = size(&stale, (2, 0), &quota, settled, looks(LOOK + 150_000));
        assert_eq!((fresh.fresh().count(), fresh.errors[0].since), (1, LOOK + 150_000));
        assert!(size(&fresh, (2, 0), &[], settled, looks(LOOK + 180_000)).errors.is_empty());
    }

    #[test]
    fn nodes_cost_what_their_time_costs_and_hours_begin_at_nothing() {
        let each = [(2, MicroUsd(360_000)), (1, MicroUsd(720_000))];
        let first = spend(SpendView::default(), &each, looks(LOOK + 60_000));
        assert_eq!(first, SpendView { hour: 10, micro_usd: 12_000 });
        let second = spend(first, &each, looks(LOOK + 90_000));
        assert_eq!(second.micro_usd, 24_000);
        let turned = spend(second, &each, looks(LOOK + HOUR_MS + 15_000));
        assert_eq!(turned, SpendView { hour: 11, micro_usd: 6_000 }, "only what lies in the new hour");
    }
}
