//! `switchyard status`: what is broken, at risk and wasted, in three lines, then pools and backends.

use serde::Deserialize as _;
use wire::status::{Backend, Nodes, Pool, Status, Tenant};

use crate::Failure;
use crate::cli;
use crate::client::Client;
use crate::place::Place;
use crate::print::Printer;
use crate::render::{count, relative, span, usd};

/// Shows the status page.
///
/// # Errors
/// When nothing answers, or the key is no operator's.
pub async fn run(flags: cli::Status, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let page = Client::find_as_operator(&flags.target, place)?.status().await?;
    printer.record(&page);
    let status = Status::deserialize(&page)
        .map_err(|error| Failure(format!("the status page is not understood: {error}")))?;
    for line in lines(&status) {
        printer.say(&line);
    }
    if !status.pools.is_empty() {
        printer.say("");
        let rows: Vec<_> = status.pools.iter().map(pool_row).collect();
        printer.table(POOL_HEAD, &rows);
        status
            .pools
            .iter()
            .flat_map(|pool| notes(pool, status.now_unix_ms))
            .for_each(|note| printer.say(&note));
    }
    if flags.formula {
        for pool in &status.pools {
            printer.say("");
            printer.say(&format!("formula of pool {}", pool.name));
            let written =
                pool.planned.as_ref().map_or("none was written", |planned| planned.formula.as_str());
            written.lines().for_each(|line| printer.say(&format!("  {line}")));
        }
    }
    if !status.backends.is_empty() {
        printer.say("");
        let rows: Vec<_> = status.backends.iter().map(backend_row).collect();
        printer.table(["backend", "ready", "starting", "in flight", "breaker", "speed"], &rows);
    }
    let tenants: Vec<_> = status.tenants.iter().filter(|tenant| has_money(tenant)).map(tenant_row).collect();
    if !tenants.is_empty() {
        printer.say("");
        printer.table(["tenant", "counted today", "of it jobs", "limit a day"], &tenants);
    }
    Ok(())
}

fn lines(status: &Status) -> Vec<String> {
    let spent = format!("spent this hour: {}", usd(status.spent_this_hour_usd));
    status.lines.iter().cloned().chain([spent]).collect()
}

const POOL_HEAD: [&str; 8] = ["pool", "spot", "dedicated", "used", "tasks", "work", "plan", "outcome"];

/// `2/4`: usable of those wanted, and what is on its way or lost.
fn nodes(nodes: &Nodes) -> String {
    let extra = [(nodes.starting, "starting"), (nodes.preempted, "preempted"), (nodes.broken, "broken")];
    let extra = extra.into_iter().filter(|(count, _)| *count > 0);
    let extra: String = extra.map(|(count, what)| format!(" +{count} {what}")).collect();
    format!("{}/{}{extra}", nodes.usable, nodes.target)
}

fn pool_row(pool: &Pool) -> [String; 8] {
    let planned = pool.planned.as_ref();
    let plan = planned.and_then(|planned| Some((planned.spot?, planned.dedicated?)));
    let none = || "-".to_owned();
    [
        pool.name.clone(),
        nodes(&pool.spot),
        nodes(&pool.dedicated),
        pool.utilization_percent.map_or_else(none, |percent| format!("{percent} %")),
        format!("{} run, {} wait", count(pool.running_tasks), count(pool.queued_tasks)),
        span(pool.backlog_s * 1_000),
        plan.map_or_else(none, |(spot, dedicated)| format!("{spot} spot, {dedicated} dedicated")),
        planned.map_or_else(none, |planned| format!("{} ({})", planned.outcome, planned.mode)),
    ]
}

/// What a row has no place for.
fn notes(pool: &Pool, now_ms: u64) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(error) = &pool.error {
        notes.push(format!("cannot be seen: {error}"));
    }
    for error in pool.resize_errors.iter().filter(|error| !error.stale) {
        let since = relative(error.since_unix_ms, now_ms);
        notes.push(format!("stops short of its target since {since}: {} {}", error.code, error.message));
    }
    if let Some(planned) = &pool.planned {
        notes.extend(planned.error.clone());
        for reason in &planned.reasons {
            let then = [&reason.next, &reason.remedy].into_iter().flatten().cloned().collect::<Vec<_>>();
            let then = if then.is_empty() { String::new() } else { format!(": {}", then.join("; or ")) };
            notes.push(format!("{}{then}", reason.code));
        }
    }
    if pool.formula.enabled && !pool.formula.ours {
        notes.push("its formula is not ours".to_owned());
        notes.extend(pool.formula.findings.iter().map(|finding| format!("its formula: {finding}")));
    }
    if let Some(at) = pool.formula.evaluated_unix_ms {
        let error = pool.formula.error.as_ref().map(|error| format!(", and failed: {error}"));
        let error = error.unwrap_or_default();
        notes.push(format!("its formula was evaluated {}{error}", relative(at, now_ms)));
    }
    notes.into_iter().map(|note| format!("  {}: {note}", pool.name)).collect()
}

fn backend_row(backend: &Backend) -> [String; 6] {
    [
        backend.name.clone(),
        backend.ready_replicas.to_string(),
        backend.starting_replicas.to_string(),
        backend.in_flight.to_string(),
        backend.breaker.state.clone(),
        speed(backend),
    ]
}

/// Whether there is anything to say of a tenant's money.
fn has_money(tenant: &Tenant) -> bool {
    tenant.usd_per_day.is_some() || tenant.spent_today_usd > 0.0
}

fn tenant_row(tenant: &Tenant) -> [String; 4] {
    [
        tenant.name.clone(),
        usd(tenant.spent_today_usd),
        usd(tenant.jobs_today_usd),
        tenant.usd_per_day.map_or_else(|| "none".to_owned(), usd),
    ]
}

/// What was measured, against the catalogue.
fn speed(backend: &Backend) -> String {
    match backend.pace_percent {
        // Handlers before this one did not say.
        0 => "-".to_owned(),
        // Within a tenth nobody changes the catalogue.
        90..=110 => "as the catalogue says".to_owned(),
        percent => format!("{:.1} times the catalogue's time", f64::from(percent) / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tenants_are_told_that_have_a_limit_or_spent_something() {
        let tenants: Vec<Tenant> = serde_json::from_value(json!([
            { "name": "limited", "usd_per_day": 2.5, "spent_today_usd": 1.25, "jobs_today_usd": 1.0 },
            { "name": "idle", "usd_per_day": 2.5 },
            { "name": "free", "usd_per_day": null, "spent_today_usd": 3.0, "newer": 1 },
            { "name": "quiet" },
        ]))
        .unwrap();
        let rows: Vec<_> = tenants.iter().filter(|tenant| has_money(tenant)).map(tenant_row).collect();
        let expected = [
            ["limited", "$1.25", "$1.00", "$2.50"],
            ["idle", "$0", "$0", "$2.50"],
            ["free", "$3.00", "$0", "none"],
        ];
        assert_eq!(rows, expected.map(|row| row.map(str::to_owned)));
    }

    #[test]
    fn a_pool_is_told_in_a_row_and_notes() {
        let pool: Pool = serde_json::from_value(json!({
            "name": "spot", "spot": { "target": 4, "usable": 2, "busy": 1, "starting": 1, "preempted": 1 },
            "utilization_percent": 50, "queued_tasks": 3, "running_tasks": 1, "backlog_s": 754,
            "resize_errors": [
                { "code": "AllocationFailed", "message": "no capacity", "since_unix_ms": 40_000 },
                { "code": "Old", "message": "", "since_unix_ms": 1, "stale": true },
            ],
            "planned": { "mode": "act", "spot": 4, "dedicated": 1, "outcome": "enabled",
                "reasons": [{ "code": "spot_unavailable", "next": "n", "remedy": "r" }, { "code": "demand" }] },
            "formula": { "enabled": true, "ours": true, "evaluated_unix_ms": 70_000, "error": "E: x" },
            "something_newer": 1,
        }))
        .unwrap();
        let row = [
            "spot",
            "2/4 +1 starting +1 preempted",
            "0/0",
            "50 %",
            "1 run, 3 wait",
            "12m",
            "4 spot, 1 dedicated",
            "enabled (act)",
        ];
        assert_eq!(pool_row(&pool), row);
        assert_eq!(
            notes(&pool, 100_000),
            [
                "  spot: stops short of its target since 1m00s ago: AllocationFailed no capacity",
                "  spot: spot_unavailable: n; or r",
                "  spot: demand",
                "  spot: its formula was evaluated 30s ago, and failed: E: x",
            ]
        );
    }

    #[test]
    fn the_measured_speed_stands_beside_the_catalogues() {
        let speed = |percent| speed(&Backend { pace_percent: percent, ..Backend::default() });
        assert_eq!([0, 100, 110].map(speed), ["-", "as the catalogue says", "as the catalogue says"]);
        assert_eq!(
            [50, 290].map(speed),
            ["0.5 times the catalogue's time", "2.9 times the catalogue's time"]
        );
    }

    #[test]
    fn what_is_wrong_with_a_foreign_formula_is_told() {
        let pool = json!({ "name": "p", "formula": { "enabled": true, "findings": ["never_grows: x"] } });
        let pool: Pool = serde_json::from_value(pool).unwrap();
        assert_eq!(notes(&pool, 1), ["  p: its formula is not ours", "  p: its formula: never_grows: x"]);
    }

    #[test]
    fn a_pool_that_nobody_looked_at_is_told_too() {
        let pool = Pool { name: "p".to_owned(), ..Pool::default() };
        assert_eq!(pool_row(&pool), ["p", "0/0", "0/0", "-", "0 run, 0 wait", "0s", "-", "-"]);
        assert!(notes(&pool, 1).is_empty());
    }
}
