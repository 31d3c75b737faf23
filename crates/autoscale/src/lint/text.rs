//! Rules that the text shows, with the bounds of [`Flow`].

use std::collections::{BTreeMap, BTreeSet};

use super::flow::{Flow, Known, LATE_S, percent_there};
use super::{Found, Rule, assigned};
use crate::function::Function;
use crate::sample::Method;
use crate::time::Unit;
use crate::tree::{Action, Expr, ExprKind, Position, Spelling, Variable};
use crate::types::Type;
use crate::{Deallocation, Metric, Undocumented};

/// The service samples every 30 s.
const PERIOD_S: f64 = 30.0;
/// Ends of windows from here to 100 seconds are taken for percentages.
const PERCENTAGE_LIKE_MIN: f64 = 50.0;
/// Percentages that people write are multiples of this.
const PERCENTAGE_STEP: f64 = 5.0;

/// Looks at every expression and at the assignments.
pub(super) fn look(flow: &Flow<'_>, found: &mut Found<'_>) {
    flow.formula.walk(&mut |expr| match &expr.kind {
        ExprKind::Sample { metric, method, arguments } => {
            samples(flow, (expr, *metric, *method), arguments, found);
        }
        ExprKind::Call(function, arguments) => bounds(flow, (expr, *function), arguments, found),
        ExprKind::Binary(operator, left, right) if operator.compares() => {
            compared(flow, left, right, found);
        }
        ExprKind::Deallocation(Deallocation::RetainedData) => {
            let what = "retaineddata is deprecated, and api-versions from 2026-10-01 refuse it".to_owned();
            found.add(Rule::RetainedData, expr.at, what);
        }
        _ => {}
    });
    targets(flow, found);
    unread(flow, found);
    undocumented(flow, found);
}

fn samples(
    flow: &Flow<'_>,
    (expr, metric, method): (&Expr, Metric, Method),
    arguments: &[Expr],
    found: &mut Found<'_>,
) {
    let takes_window = arguments.iter().any(|argument| argument.ty != Type::Double);
    if !takes_window {
        return;
    }
    let window = flow.window_s(arguments);
    let percentage = arguments.last().filter(|last| last.ty == Type::Double);
    if method == Method::GetSample && percentage.is_none() {
        let as_time = percentage_as_time(flow, expr, arguments, found);
        if !flow.is_guarded(expr) {
            let of = window.map_or_else(|| "of its window".to_owned(), told);
            let also = if as_time { ": the second argument is no percentage" } else { "" };
            let what = format!(
                "the samples of {metric} {of} are used however few there are, one or (undocumented) none{also}"
            );
            found.add(Rule::NoPercentageGuard, expr.at, what);
        }
    }
    let short = window.filter(|(older, newer)| older - newer.max(LATE_S) < 2.0 * PERIOD_S);
    if let Some((older, newer)) = short {
        let most = ((older - newer.max(LATE_S)) / PERIOD_S).ceil().max(0.0);
        let what = format!(
            "a window {} holds at most {most} samples: one is taken every 30 s and seen a minute later",
            told((older, newer))
        );
        found.add(Rule::ShortWindow, expr.at, what);
    }
    if let Some(percentage) = percentage.filter(|_| method == Method::GetSample) {
        wanted(flow, percentage, window.filter(|_| short.is_none()), found);
    }
}

/// `from 180 s to 70 s ago`.
fn told((older, newer): (f64, f64)) -> String {
    if newer == 0.0 { format!("of the last {older} s") } else { format!("from {older} s to {newer} s ago") }
}

/// Whether the second of two ends is one only by mistake: `GetSample(180 * TimeInterval_Second, 70 *
/// TimeInterval_Second)`.
fn percentage_as_time(flow: &Flow<'_>, expr: &Expr, arguments: &[Expr], found: &mut Found<'_>) -> bool {
    let [start, end] = arguments else { return false };
    let (Some(start), Some(newer)) = (flow.age_s(start), flow.age_s(end)) else { return false };
    let like = (PERCENTAGE_LIKE_MIN..=100.0).contains(&newer) && newer % PERCENTAGE_STEP == 0.0;
    let in_seconds = end.to_string().contains(Unit::Second.name());
    // Whoever writes the newer end first means two ends.
    let is = like && in_seconds && start > newer;
    if is {
        let count = (start - newer) / PERIOD_S;
        let what = format!(
            "{newer} s is the end of the window, not a percentage: it takes the {} or {} samples {}, and \
             requires none of them",
            count.floor(),
            count.ceil(),
            told((start, newer))
        );
        found.add(Rule::PercentageAsTime, expr.at, what);
    }
    is
}

/// A percentage that is passed to `GetSample`.
fn wanted(flow: &Flow<'_>, percentage: &Expr, window: Option<(f64, f64)>, found: &mut Found<'_>) {
    let Some(value) = flow.known(percentage).and_then(Known::constant) else { return };
    let there = window.map_or(100.0, percent_there);
    let odd = match value {
        ..1.0 => "asks for next to nothing",
        100.1.. => "is never there, so every evaluation fails",
        _ if there < value => return late(percentage.at, there, value, found),
        _ => return,
    };
    found.add(Rule::PercentageOutOfScale, percentage.at, format!("{value} % of the samples {odd}"));
}

/// A percentage that was looked at, compared with a limit.
fn compared(flow: &Flow<'_>, left: &Expr, right: &Expr, found: &mut Found<'_>) {
    let (Some(one), Some(other)) = (flow.known(left), flow.known(right)) else { return };
    for (percent, limit, at) in [(one, other, right.at), (other, one, left.at)] {
        let is_percent = percent.counted.len() == 1 && percent.low == 0.0 && percent.high <= 100.0;
        let Some(limit) = limit.constant().filter(|limit| is_percent && *limit > 0.0) else { continue };
        if (1.0..=100.0).contains(&limit) {
            if percent.high < limit {
                late(at, percent.high, limit, found);
            }
        } else {
            let what = format!("a percentage from 0 to 100 is compared with {limit}");
            found.add(Rule::PercentageOutOfScale, at, what);
        }
    }
}

fn late(at: Position, there: f64, wanted: f64, found: &mut Found<'_>) {
    let what = format!(
        "samples are seen about a minute late, so this window has some {there:.0} % of its samples at most, \
         and {wanted} % are wanted"
    );
    found.add(Rule::LateSamples, at, what);
}

/// Caps that a lower bound beside them makes idle.
fn bounds(flow: &Flow<'_>, (call, function): (&Expr, Function), arguments: &[Expr], found: &mut Found<'_>) {
    let Some(known) = flow.known(call) else { return };
    let follows_samples = !known.carried.is_empty();
    if !matches!(function, Function::Min | Function::Max) || !follows_samples {
        return;
    }
    // A cap of 0 nodes is a way to say none.
    if let Some(always) = known.constant().filter(|always| *always != 0.0) {
        let what = format!("{call} is {always} whatever is sampled: its bounds leave nothing between them");
        found.add(Rule::UnreachableCap, call.at, what);
        return;
    }
    if function == Function::Max {
        return;
    }
    for (n, cap) in arguments.iter().enumerate() {
        let Some(limit) = flow.known(cap).and_then(Known::constant) else { continue };
        let others = arguments
            .iter()
            .enumerate()
            .filter(|(other, argument)| *other != n && argument.ty == Type::Double);
        let others = others.filter_map(|(_, argument)| flow.known(argument));
        let lowest = others.map(|other| other.high).fold(f64::INFINITY, f64::min);
        if lowest < limit {
            let what = format!("the cap of {limit} is never reached: what it caps is at most {lowest}");
            found.add(Rule::UnreachableCap, cap.at, what);
        }
    }
}

fn targets(flow: &Flow<'_>, found: &mut Found<'_>) {
    let position = |wanted: &Variable| assigned(flow.formula, |variable| variable == wanted);
    let mut places = [None, None];
    for (place, kind) in places.iter_mut().zip([Variable::Dedicated, Variable::LowPriority]) {
        let (full, alias) = (position(&kind(Spelling::Full)), position(&kind(Spelling::Alias)));
        if let (Some(_), Some(at)) = (full, alias) {
            let (kept, lost) = (kind(Spelling::Full), kind(Spelling::Alias));
            let what =
                format!("{} is an alias of {}, which wins; this does nothing", lost.name(), kept.name());
            found.add(Rule::BothNames, at, what);
        }
        *place = full.or(alias);
    }
    let dedicated = flow.variable(&Variable::Dedicated(Spelling::Full)).is_some_and(|nodes| nodes.high > 0.0);
    match (places, flow.formula.statements().first()) {
        ([None, None], Some(first)) => {
            found.add(
                Rule::NoTarget,
                first.at,
                "no target is assigned, so the pool keeps its size".to_owned(),
            );
        }
        ([Some(at), None], _) if dedicated => {
            let what =
                "only dedicated nodes are asked for, at the full price; none is a spot node".to_owned();
            found.add(Rule::NeverBuysSpot, at, what);
        }
        _ => {}
    }
}

fn unread(flow: &Flow<'_>, found: &mut Found<'_>) {
    if found.has(Rule::NoTarget) {
        return;
    }
    let mut first: BTreeMap<&Variable, Position> = BTreeMap::new();
    let mut read: BTreeSet<&Variable> = BTreeSet::new();
    for statement in flow.formula.statements() {
        let Action::Assign { to, value } = &statement.action else { continue };
        if matches!(to, Variable::User(_)) {
            first.entry(to).or_insert(statement.at);
        }
        value.walk(&mut |expr| match &expr.kind {
            // What only feeds itself feeds nothing.
            ExprKind::Read(variable) if variable != to => drop(read.insert(variable)),
            _ => {}
        });
    }
    for (variable, at) in first.into_iter().filter(|(variable, _)| !read.contains(variable)) {
        let what = format!("{} is assigned and never read, so it changes nothing", variable.name());
        found.add(Rule::NeverRead, at, what);
    }
}

/// What the service does not document, each kind once, where it first stands.
fn undocumented(flow: &Flow<'_>, found: &mut Found<'_>) {
    let mut windows = BTreeSet::new();
    flow.formula.walk(&mut |expr| {
        if let ExprKind::Sample { arguments, .. } = &expr.kind
            && arguments.iter().any(|argument| argument.ty != Type::Double)
        {
            windows.insert(expr.at);
        }
    });
    let mut told = BTreeSet::new();
    for caution in flow.formula.undocumented() {
        // Of windows another rule speaks, unless they are guarded.
        let spoken_of = caution.what == Undocumented::EmptyWindow && windows.contains(&caution.at);
        if !spoken_of && told.insert(caution.what) {
            found.add(Rule::Undocumented, caution.at, caution.what.text().to_owned());
        }
    }
}
