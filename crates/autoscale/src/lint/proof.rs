//! Rules that are shown by evaluating the formula on a pool that is made up for it.

use std::collections::BTreeSet;

use super::flow::Flow;
use super::trial::{Asked, Samples, Trial, total};
use super::{Found, Rule, assigned};
use crate::function::Function;
use crate::tree::{Expr, ExprKind, Position, Spelling, Variable};
use crate::{Deallocation, Formula, History, Interval, Targets, Timestamp, Value, World};

/// Samples of six hours. What formulas with longer windows do in the end is not told.
const WINDOW_MAX: usize = 720;
/// Samples of an hour, for what is told of formulas whose windows are longer or not known.
const WINDOW_UNKNOWN: usize = 120;
/// Moments that a formula is tried at, at most.
const MOMENTS_MAX: usize = 64;
/// Evaluations in a row after which a pool does not change any more.
const EVALUATIONS: usize = 40;
/// Tasks of the pool at work, and of the backlog that must make any pool grow.
const SOME_TASKS: u32 = 9;
const MANY_TASKS: u32 = 1_000;
/// A million tasks, a thousand nodes: twice of it must not be twice the nodes.
const FLOOD: (u32, u32) = (1_000_000, 1_000);
/// Tasks up to which nodes are counted for one task more.
const COUNTED_TASKS: u32 = 20;
/// Samples before the newest that are tried as the one that says 0.
const DIPS: [usize; 4] = [0, 1, 2, 4];

/// One formula, and what is needed to try it.
pub(super) struct Prover<'a> {
    formula: &'a Formula,
    flow: &'a Flow<'a>,
    slots: u32,
    moments: Vec<Timestamp>,
    /// Samples of the longest window; none where it is not known or longer than six hours.
    window: Option<usize>,
}

impl<'a> Prover<'a> {
    /// What it takes to try a formula on nodes of so many slots.
    pub fn new(formula: &'a Formula, flow: &'a Flow<'a>, slots: u32) -> Prover<'a> {
        Prover { formula, flow, slots, moments: moments(formula), window: window(formula, flow) }
    }

    /// Tries what can be tried.
    pub fn look(&self, found: &mut Found<'_>) {
        if self.is_heavy() {
            return;
        }
        self.kills(found);
        self.blind(found);
        self.unbounded(found);
        self.minimum(found);
        self.preempted(found);
        self.never_shrinks(found);
        self.never_grows(found);
        self.tasks_not_slots(found);
    }

    /// Whether the formula works on vectors that are longer than any window: it would take long to try.
    fn is_heavy(&self) -> bool {
        let history = History::new(Interval::from_ms(30_000));
        let world = World {
            now: Timestamp(0),
            history: &history,
            targets: Targets::default(),
            deallocation: Deallocation::default(),
            seed: 0,
        };
        let (_, steps) = self.formula.trace(&world);
        let long = |value: &Value| matches!(value, Value::Vector(elements) if elements.len() > WINDOW_MAX);
        steps.iter().any(|step| step.value.as_ref().is_some_and(long))
    }

    fn trial(&self, now: Timestamp, samples: Samples, nodes: Targets) -> Trial {
        let window = self.window.unwrap_or(WINDOW_UNKNOWN);
        Trial { now, samples, nodes, preempted: 0, slots: self.slots, window }
    }

    fn ask(&self, now: Timestamp, samples: Samples, nodes: Targets) -> Option<Asked> {
        self.trial(now, samples, nodes).ask(self.formula)
    }

    /// Where a target is assigned; the kind of which an evaluation showed something.
    fn target(&self, is_spot: bool) -> Option<Position> {
        let spot = |variable: &Variable| matches!(variable, Variable::LowPriority(_));
        let dedicated = |variable: &Variable| matches!(variable, Variable::Dedicated(_));
        assigned(self.formula, |variable| if is_spot { spot(variable) } else { dedicated(variable) })
    }

    /// Where either target is assigned.
    fn any_target(&self) -> Option<Position> {
        self.target(false).or_else(|| self.target(true))
    }

    fn reads_samples(&self) -> bool {
        let mut reads = false;
        self.formula.walk(&mut |expr| {
            reads |= matches!(expr.kind, ExprKind::Sample { .. } | ExprKind::Latest(_));
        });
        reads
    }

    /// A pool that has what the formula asked for, and then one that has more.
    fn kills(&self, found: &mut Found<'_>) {
        let Some(target) = self.any_target() else { return };
        let busy = Samples::Tasks(SOME_TASKS);
        let asked = self.moments.iter().filter_map(|now| self.ask(*now, busy, Targets::default()));
        let own = asked.map(|asked| asked.nodes).max_by_key(|nodes| total(*nodes)).unwrap_or_default();
        let more = Targets {
            dedicated: own.dedicated.saturating_add(5),
            low_priority: own.low_priority.saturating_add(5),
        };
        for (nodes, whose) in [(own, "it asked for"), (more, "a pool has when it is enabled")] {
            for samples in [Samples::Fading(SOME_TASKS), busy] {
                for now in &self.moments {
                    let Some(asked) = self.ask(*now, samples, nodes) else { continue };
                    let word = match asked.option {
                        Deallocation::Requeue => "killed and starts again",
                        Deallocation::Terminate => "killed and fails",
                        Deallocation::TaskCompletion | Deallocation::RetainedData => continue,
                    };
                    let (had, wants) = shrunk(nodes, asked.nodes);
                    if wants < had {
                        let option = assigned(self.formula, |variable| *variable == Variable::Deallocation);
                        let how = if option.is_some() { "" } else { ", which holds where none is assigned" };
                        let what = format!(
                            "of {had} nodes that {whose} it keeps {wants} while tasks run, and the option is {}{how}: \
                             what runs on the others is {word}",
                            asked.option.as_str()
                        );
                        found.add(Rule::KillsRunningTasks, option.unwrap_or(target), what);
                        return;
                    }
                }
            }
        }
    }

    fn blind(&self, found: &mut Found<'_>) {
        // What a formula does for a while after it was written is its plan; what stays is its rule.
        let Some(now) = self.moments.iter().max().copied().filter(|_| self.reads_samples()) else { return };
        let asked = |samples| self.ask(now, samples, Targets::default());
        let (Some(blind), Some(idle)) = (asked(Samples::None), asked(Samples::Tasks(0))) else { return };
        let kinds = [
            ("dedicated", blind.nodes.dedicated, idle.nodes.dedicated, self.target(false)),
            ("spot", blind.nodes.low_priority, idle.nodes.low_priority, self.target(true)),
        ];
        for (kind, blind, idle, at) in kinds {
            // Spot nodes kept by one who looked at the percentage are cheap and meant.
            let meant = kind == "spot" && !found.has(Rule::NoPercentageGuard);
            if let Some(at) = at.filter(|_| blind > idle && !meant) {
                let what = format!(
                    "without a single sample (a new pool, a gap) it asks for {blind} {kind} nodes; \
                     where the samples say that there is no task, for {idle}"
                );
                found.add(Rule::BuysWhenBlind, at, what);
            }
        }
    }

    fn unbounded(&self, found: &mut Found<'_>) {
        let Some(now) = self.moments.first().copied() else { return };
        let flood = |times: u32| {
            let nodes = Targets { dedicated: FLOOD.1 * times, low_priority: FLOOD.1 * times };
            self.ask(now, Samples::Tasks(FLOOD.0 * times), nodes)
        };
        let (Some(once), Some(twice)) = (flood(1), flood(2)) else { return };
        let kinds = [
            (false, once.nodes.dedicated, twice.nodes.dedicated),
            (true, once.nodes.low_priority, twice.nodes.low_priority),
        ];
        for (is_spot, once, twice) in kinds {
            let name = if is_spot { Variable::LowPriority } else { Variable::Dedicated };
            let capped = self.flow.variable(&name(Spelling::Full)).is_none_or(|nodes| nodes.high.is_finite());
            if let Some(at) = self.target(is_spot)
                && !capped
                && twice > once
                && twice > 2 * FLOOD.1
            {
                let what = format!(
                    "with {} tasks it asks for {once} nodes, with twice as many for {twice}: nothing caps it",
                    FLOOD.0
                );
                found.add(Rule::UnboundedGrowth, at, what);
            }
        }
    }

    fn minimum(&self, found: &mut Found<'_>) {
        let Some(now) = self.moments.first().copied() else { return };
        for name in [Variable::Dedicated(Spelling::Full), Variable::LowPriority(Spelling::Full)] {
            let is_spot = matches!(name, Variable::LowPriority(_));
            let nodes = |samples| {
                let nodes = self.ask(now, samples, Targets::default())?.nodes;
                Some(if is_spot { nodes.low_priority } else { nodes.dedicated })
            };
            let minima = self.flow.variable(&name).map(|known| known.minima.clone()).unwrap_or_default();
            let (Some(at), Some(steady)) = (minima.first(), nodes(Samples::All(SOME_TASKS))) else {
                continue;
            };
            let dips = DIPS.into_iter().filter_map(|age| nodes(Samples::Dip(SOME_TASKS, age)));
            if let Some(lowest) = dips.min().filter(|lowest| *lowest < steady) {
                let what = format!(
                    "min takes the smallest sample: where all say {SOME_TASKS} and one says 0 it asks for {lowest} \
                     nodes instead of {steady}, and it grows only when the whole window is above 0"
                );
                found.add(Rule::MinimumOverSamples, *at, what);
                return;
            }
        }
    }

    fn preempted(&self, found: &mut Found<'_>) {
        let (Some(now), Some(at)) = (self.moments.first().copied(), self.target(true)) else { return };
        let nodes = Targets { dedicated: 0, low_priority: 6 };
        let asked = |preempted| {
            let trial = Trial { preempted, ..self.trial(now, Samples::Tasks(SOME_TASKS), nodes) };
            trial.ask(self.formula).map(|asked| asked.nodes.low_priority)
        };
        if let (Some(none), Some(three)) = (asked(0), asked(3))
            && three > none
        {
            let what = format!(
                "of 6 spot nodes it asks for {three} when 3 of them are preempted and for {none} when none is; \
                 Batch brings preempted nodes back by itself, and $CurrentLowPriorityNodes counts them already"
            );
            found.add(Rule::PreemptedCountedTwice, at, what);
        }
    }

    /// What the pool comes to when the formula is evaluated again and again on the same samples.
    fn comes_to(&self, now: Timestamp, samples: Samples, mut nodes: Targets) -> Targets {
        for _ in 0..EVALUATIONS {
            // A failed evaluation leaves the pool as it is.
            let Some(asked) = self.ask(now, samples, nodes) else { break };
            if asked.nodes == nodes {
                break;
            }
            nodes = asked.nodes;
        }
        nodes
    }

    fn never_shrinks(&self, found: &mut Found<'_>) {
        let nodes = Targets { dedicated: 5, low_priority: 5 };
        if self.window.is_none() {
            return;
        }
        let ends: Vec<Targets> =
            self.moments.iter().map(|now| self.comes_to(*now, Samples::Tasks(0), nodes)).collect();
        let kinds = [
            (false, Variable::Dedicated(Spelling::Full), ends.iter().map(|end| end.dedicated).min()),
            (true, Variable::LowPriority(Spelling::Full), ends.iter().map(|end| end.low_priority).min()),
        ];
        for (is_spot, name, least) in kinds {
            // A floor that the text gives is meant.
            let may_end = self.flow.variable(&name).is_some_and(|known| known.low < 1.0);
            if let (Some(at), Some(least)) =
                (self.target(is_spot), least.filter(|least| *least > 0 && may_end))
            {
                let what = format!(
                    "without a task a pool of 5 nodes comes to {least} and stays there, and they are paid for"
                );
                found.add(Rule::NeverShrinks, at, what);
            }
        }
    }

    fn never_grows(&self, found: &mut Found<'_>) {
        let may = |name| self.flow.variable(&name).is_some_and(|known| known.high >= 1.0);
        let may_grow = may(Variable::Dedicated(Spelling::Full)) || may(Variable::LowPriority(Spelling::Full));
        let Some(at) = self.any_target().filter(|_| may_grow && self.reads_samples()) else { return };
        if self.window.is_none() {
            return;
        }
        let comes_to =
            |now: &Timestamp| total(self.comes_to(*now, Samples::Tasks(MANY_TASKS), Targets::default()));
        if self.moments.iter().all(|now| comes_to(now) == 0) {
            let what = format!("a pool without nodes stays without, although {MANY_TASKS} tasks wait");
            found.add(Rule::NeverGrows, at, what);
        }
    }

    fn tasks_not_slots(&self, found: &mut Found<'_>) {
        let (Some(now), Some(at)) = (self.moments.first().copied(), self.any_target()) else { return };
        if self.slots < 2 {
            return;
        }
        let nodes: Option<Vec<u64>> = (0..COUNTED_TASKS)
            .map(|tasks| self.ask(now, Samples::Tasks(tasks), Targets::default()).map(|asked| asked.total()))
            .collect();
        let nodes = nodes.unwrap_or_default();
        let each = nodes.windows(3).position(|three| three[1] > three[0] && three[2] > three[1]);
        if let Some(tasks) = each {
            let (less, more) = (nodes[tasks], nodes[tasks + 2]);
            let what = format!(
                "two tasks more, {} instead of {tasks}, are {more} nodes instead of {less}; a node of {} slots runs both",
                tasks + 2,
                self.slots
            );
            found.add(Rule::CountsTasksNotSlots, at, what);
        }
    }
}

/// Nodes that the pool had and those that are wanted, of the kind that shrinks.
fn shrunk(had: Targets, wanted: Targets) -> (u32, u32) {
    if wanted.dedicated < had.dedicated {
        (had.dedicated, wanted.dedicated)
    } else {
        (had.low_priority, wanted.low_priority)
    }
}

/// The samples of the longest window that the formula looks at.
fn window(formula: &Formula, flow: &Flow<'_>) -> Option<usize> {
    let mut longest = Some(0.0_f64);
    formula.walk(&mut |expr| {
        if let ExprKind::Sample { arguments, .. } = &expr.kind
            && !arguments.is_empty()
        {
            let count = || arguments.first().and_then(|count| flow.known(count)?.constant());
            let samples = flow.window_s(arguments).map(|(older, _)| older / 30.0);
            let is_count = arguments.iter().all(|argument| argument.ty == crate::types::Type::Double);
            let samples = if is_count { count() } else { samples };
            longest = longest.zip(samples).map(|(longest, samples)| longest.max(samples));
        }
    });
    longest.map(|samples| samples.max(0.0).ceil() as usize).filter(|samples| *samples <= WINDOW_MAX)
}

/// The moments that a formula tells apart, as far as its text says.
fn moments(formula: &Formula) -> Vec<Timestamp> {
    const HOUR: i64 = 3_600 * 10_000_000;
    /// Thursday 2026-01-01, noon.
    const USUAL: Timestamp = Timestamp(1_767_268_800 * 10_000_000);
    let mut named = BTreeSet::new();
    let mut calendar = false;
    formula.walk(&mut |expr: &Expr| match &expr.kind {
        ExprKind::Call(Function::Time, arguments) => {
            if let Some(ExprKind::Text(text)) = arguments.first().map(|argument| &argument.kind) {
                named.extend(Timestamp::parse(text));
            }
        }
        ExprKind::Member(..) => calendar = true,
        _ => {}
    });
    let mut moments = vec![USUAL];
    if calendar {
        // A week, every six hours.
        moments.extend((1..28).map(|n| Timestamp(USUAL.0 + n * 6 * HOUR)));
    }
    for at in named.iter().take((MOMENTS_MAX - moments.len()) / 3) {
        moments.extend([-1, 1, 24 * 366].map(|hours| Timestamp(at.0.saturating_add(hours * HOUR))));
    }
    moments
}
