//! What a pool is doing, what stops its size and what sets it: pure, with the meaning of each of the
//! service's codes.

use std::time::Duration;

use autoscale::lint::{Severity, lint};
use policy::Knobs;
use policy::knobs::AutoscaleMode;
use wire::doctor::Finding;

use super::account::{Wanted, stopped_after};
use super::check::Check;
use crate::azure::batch::pool::{Counts, PoolState};
use crate::azure::batch::{AutoScaleRun, NodeCounts, Pool, Problem};

/// What a judgement takes besides the pool.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// What is tuned.
    pub knobs: &'a Knobs,
    /// Now, in Unix ms.
    pub now_ms: u64,
    /// Whether nodes cost nothing: they are processes of this machine.
    pub is_free: bool,
    /// The pool's id.
    pub pool: &'a str,
}

/// Whether the pool takes work as the catalogue believes, and what its nodes are doing.
pub fn state(world: &World<'_>, wanted: &Wanted, pool: &Pool, nodes: &NodeCounts) -> Finding {
    if pool.state == PoolState::Deleting {
        return Check::Pool
            .broken("it is being deleted", "create it under a new name and put that into the catalogue");
    }
    let image = wanted.worker.as_ref().and_then(|worker| worker.image.as_ref());
    if let Some(worker) = &wanted.worker
        && pool.containers != worker.image.is_some()
    {
        let (found, remedy) = match image {
            None => (
                "it runs tasks in containers, and the catalogue names no image for them",
                "give the pool's `worker.image` in the catalogue",
            ),
            Some(_) => (
                "it runs no containers, and the catalogue names an image for its tasks",
                "take `worker.image` out of the catalogue, or give the pool a containerConfiguration",
            ),
        };
        return Check::Pool.broken(found, remedy);
    }
    let broken = |counts: &Counts| counts.start_task_failed + counts.unusable;
    let lost = broken(&nodes.dedicated) + broken(&nodes.low_priority);
    if lost > 0 {
        return Check::Pool.warning(
            format!("{}; {lost} unusable or with a failed start task", counted(pool, nodes)),
            format!("az batch node list --pool-id {} --filter \"state eq 'unusable' or state eq 'starttaskfailed'\", and read their startup/stderr.txt", world.pool),
        );
    }
    if pool.task_slots_per_node != wanted.slots {
        return Check::Pool.warning(
            format!(
                "a node has {} task slots, and the catalogue believes {}",
                pool.task_slots_per_node, wanted.slots
            ),
            format!("set the pool's slots_per_node to {} in the catalogue", pool.task_slots_per_node),
        );
    }
    if wanted.worker.is_none() {
        return Check::Pool.warning(
            format!(
                "{}; but the catalogue does not say how its nodes run work, so none is sent",
                counted(pool, nodes)
            ),
            "give the pool's `worker` in the catalogue",
        );
    }
    Check::Pool.ok(counted(pool, nodes))
}

fn counted(pool: &Pool, nodes: &NodeCounts) -> String {
    let kind = |name: &str, current: u32, target: u32| format!("{name} {current} of {target}");
    let sum = |of: fn(&Counts) -> u32| of(&nodes.dedicated) + of(&nodes.low_priority);
    let doing = [
        (sum(|counts| counts.running), "running"),
        (sum(|counts| counts.idle), "idle"),
        (sum(|counts| counts.creating + counts.starting + counts.waiting_for_start_task), "starting"),
        (sum(|counts| counts.preempted), "preempted"),
    ];
    let doing: String = doing
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!(", {count} {what}"))
        .collect();
    let spot = kind("spot", pool.low_priority.current, pool.low_priority.target);
    let dedicated = kind("dedicated", pool.dedicated.current, pool.dedicated.target);
    format!("active, {}; nodes: {spot}, {dedicated}{doing}", format!("{:?}", pool.allocation).to_lowercase())
}

/// Why the last change of size came to less than was asked for, in words.
pub fn resize(world: &World<'_>, pool: &Pool) -> Vec<Finding> {
    if pool.resize_errors.is_empty() {
        return vec![Check::Resize.ok("the last change of size came to what was asked for")];
    }
    let has_none = pool.dedicated.current + pool.low_priority.current == 0;
    let told = |problem: &Problem| {
        let Meaning { what, remedy } = meaning(&problem.code, world.pool);
        let found = format!("{what} ({}: {})", problem.code, problem.message);
        if has_none { Check::Resize.broken(found, remedy) } else { Check::Resize.warning(found, remedy) }
    };
    pool.resize_errors.iter().map(told).collect()
}

struct Meaning {
    what: &'static str,
    remedy: String,
}

/// What the service means by a code of a change of size.
fn meaning(code: &str, pool: &str) -> Meaning {
    let of = |what, remedy: &str| Meaning { what, remedy: remedy.to_owned() };
    let is_spot = code.contains("LowPriority") || code.contains("Spot");
    match code {
        code if code.contains("Quota") && is_spot => of(
            "the account's quota of spot cores stops the pool",
            "ask for low-priority cores: portal, the Batch account, Quotas, Request quota increase; until then lower max-batch-nodes",
        ),
        code if code.contains("Quota") => of(
            "the account's quota of dedicated cores (or of its VM family) stops the pool",
            "ask for dedicated cores of the VM's family: portal, the Batch account, Quotas, Request quota increase; until then lower max-dedicated-nodes",
        ),
        "AllocationFailed" => of(
            "the region gave no machine of this size",
            "nothing, if it passes: Batch goes on trying; else use another region or size, or raise max-dedicated-nodes",
        ),
        "AllocationTimedOut" | "AllocationTimedout" => of(
            "machines did not come within the pool's resize time-out",
            "nothing, if it passes: the next evaluation asks again; else use another region or size",
        ),
        "ResizeStopped" => Meaning {
            what: "somebody stopped the change of size",
            remedy: format!(
                "az batch pool autoscale enable --pool-id {pool}, or let Rebalance do it: switchyard knobs set autoscale-mode=act"
            ),
        },
        code if code.contains("Subnet") || code.contains("VirtualNetwork") || code.contains("PublicIP") => {
            of(
                "the pool's network has no room or does not let Batch in",
                "look at the subnet: free addresses, delegation, network security group, NAT gateway",
            )
        }
        code if code.contains("Image") || code.contains("Marketplace") => of(
            "the pool's image cannot be used",
            "use an image of `az batch pool supported-images list` in a new pool",
        ),
        _ => of(
            "the pool stops short of its target",
            "read the service's words; `az batch pool show` has all of them",
        ),
    }
}

/// What sets the pool's size, and whether it does.
pub fn autoscale(world: &World<'_>, pool: &Pool) -> Finding {
    if !pool.auto_scale {
        return fixed(world, pool);
    }
    let interval = pool.interval.unwrap_or(Duration::from_secs(15 * 60));
    let every = format!("a formula sets its size every {} minutes", interval.as_secs() / 60);
    let run = pool.auto_scale_run.as_ref();
    if let Some(problem) = run.and_then(|run| run.error.as_ref()) {
        return failed(world, problem);
    }
    let age = run.and_then(|run| run.at).map(|at| Duration::from_millis(world.now_ms.saturating_sub(at.0)));
    if age.is_some_and(|age| age > stopped_after(interval)) {
        let minutes = age.unwrap_or_default().as_secs() / 60;
        return Check::Autoscale.broken(
            format!("{every}, but the last evaluation was {minutes} minutes ago: the service has stopped"),
            format!("az batch pool autoscale disable --pool-id {0}, then az batch pool autoscale enable --pool-id {0} --auto-scale-formula FORMULA", world.pool),
        );
    }
    let formula = pool.formula.as_deref().unwrap_or_default();
    match unwise(formula, pool.task_slots_per_node) {
        Some((what, remedy)) => Check::Autoscale.warning(format!("{every}; it is unwise: {what}"), remedy),
        None => Check::Autoscale.ok(match run {
            Some(AutoScaleRun { results, .. }) if !results.is_empty() => {
                format!("{every}; last result {}", targets(results))
            }
            _ => format!("{every}; it was not evaluated yet"),
        }),
    }
}

/// A formula that asks for what is not there is told by its code; it is evaluated again by itself.
fn failed(world: &World<'_>, problem: &Problem) -> Finding {
    let found = format!("the last evaluation failed ({}: {})", problem.code, problem.message);
    if problem.code == "InsufficientSampleData" {
        return Check::Autoscale.warning(
            found,
            "nothing, if the pool is new: samples come; else ask GetSamplePercent first, see `switchyard formula lint`",
        );
    }
    let remedy = format!(
        "az batch pool show --pool-id {} --select autoScaleFormula, and switchyard formula check",
        world.pool
    );
    Check::Autoscale.broken(found, remedy)
}

/// A pool without a formula.
fn fixed(world: &World<'_>, pool: &Pool) -> Finding {
    let nodes = pool.dedicated.target + pool.low_priority.target;
    let remedy = format!(
        "switchyard knobs set autoscale-mode=act, so that Rebalance enables its formula, or az batch pool autoscale enable --pool-id {} --auto-scale-formula FORMULA",
        world.pool
    );
    match (world.knobs.autoscale, nodes) {
        (AutoscaleMode::Act, _) => Check::Autoscale.warning(
            "autoscale is off; Rebalance enables its formula within five minutes, as knob autoscale-mode is act",
            "run doctor again in five minutes; if it stays, `switchyard status` says what keeps Rebalance from it",
        ),
        (_, 0) => Check::Autoscale.broken("autoscale is off and the pool has no node: work waits for ever", remedy),
        (_, nodes) if world.is_free => Check::Autoscale.ok(format!("autoscale is off: a fixed size of {nodes}, on this machine")),
        (_, nodes) => Check::Autoscale.warning(format!("autoscale is off: {nodes} nodes are paid for round the clock"), remedy),
    }
}

/// The worst that the linter says of a formula, notes left out.
pub fn unwise(formula: &str, slots: u32) -> Option<(String, String)> {
    let parsed = match autoscale::parse(formula) {
        Ok(parsed) => parsed,
        Err(error) => {
            return Some((
                format!("it cannot be read: {error}"),
                "switchyard formula check FILE says where".to_owned(),
            ));
        }
    };
    let mut findings = lint(&parsed, Some(slots));
    findings.retain(|finding| finding.severity != Severity::Note);
    findings.sort_by_key(|finding| (finding.severity != Severity::Error, finding.at));
    let more = findings.len().saturating_sub(1);
    let first = findings.into_iter().next()?;
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    Some((format!("{}: {}{more}", first.rule, first.what), first.remedy))
}

/// Of a result only the targets: the variables of ours would fill the line.
fn targets(results: &str) -> String {
    results.split(';').filter(|part| part.starts_with("$Target")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "sizing_tests.rs"]
mod tests;
