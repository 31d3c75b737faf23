//! Every metric that leaves the process, as data: its name, unit, kind, labels and meaning. Nothing is
//! measured under another name, no label has a value outside its source, and the table of
//! `docs/operations.md` is this one (a test compares them).
//!
//! Application Insights carries no unit, so a name ends in its own where it is not a plain count. Both lanes
//! share names: `lane` says which, and `backend` names the realtime backend or the pool.

use policy::reason::Code;

/// How values of a metric add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What happened since the last report; adds up over time and processes.
    Counter,
    /// What is so at the moment.
    Gauge,
    /// Count, sum, least and greatest of what was measured since the last report.
    Histogram,
}

impl Kind {
    /// As the documents have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Where a label's values come from. What is in none of them becomes [`OTHER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// These alone.
    Listed(&'static [&'static str]),
    /// Codes of `policy::reason`.
    Reasons,
    /// Names in the catalogue: its backends, pools, models, tenants or teams.
    Catalogue(&'static str),
}

impl Values {
    /// As the documents have it.
    pub fn told(self) -> String {
        match self {
            Values::Listed(values) => values.join(", "),
            Values::Reasons => "the reason codes".to_owned(),
            Values::Catalogue(what) => format!("{what} of the catalogue"),
        }
    }

    /// `value`, or [`OTHER`] where the source cannot hold it. The catalogue's own names are taken as they
    /// come: its readers pass nothing else.
    pub(crate) fn bounded(self, value: &str) -> &str {
        let is_known = match self {
            Values::Listed(values) => values.contains(&value),
            Values::Reasons => Code::ALL.iter().any(|code| code.as_str() == value),
            Values::Catalogue(_) => true,
        };
        if is_known { value } else { OTHER }
    }
}

/// What stands for every value that a label's source does not hold.
pub const OTHER: &str = "other";

/// A label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What is counted or measured.
    pub unit: &'static str,
    /// How values add up.
    pub kind: Kind,
    /// Its labels; every value carries all of them.
    pub labels: &'static [Label],
    /// What it says.
    pub meaning: &'static str,
}

const fn listed(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values: Values::Listed(values) }
}

const fn of_catalogue(name: &'static str, what: &'static str) -> Label {
    Label { name, values: Values::Catalogue(what) }
}

const LANE: Label = listed("lane", &["realtime", "deferred"]);
const DECIDED_LANE: Label = listed("lane", &["realtime", "deferred", "refused"]);
const PLACE: Label = of_catalogue("backend", "backends and pools");
const BACKEND: Label = of_catalogue("backend", "backends");
const POOL: Label = of_catalogue("pool", "pools");
const MODEL: Label = of_catalogue("model", "models");
const ROUTE: Label = listed("route", &["embeddings", "chat_completions", "completions"]);
const CLASS: Label = listed("class", &["interactive", "standard", "bulk"]);

macro_rules! metrics {
    ($($id:ident = $name:literal, $unit:literal, $kind:ident, [$($label:expr),*], $meaning:literal;)*) => {
        $(#[doc = $meaning]
        pub const $id: Metric = Metric {
            name: $name,
            unit: $unit,
            kind: Kind::$kind,
            labels: &[$($label),*],
            meaning: $meaning,
        };)*

        /// All of them, in the order of the documents.
        pub const ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    ANSWERS = "switchyard.answers", "answers", Counter,
        [listed("status", &["1xx", "2xx", "3xx", "4xx", "5xx"])],
        "Answers to requests and invocations, by the first digit of their status";
    DECISIONS = "switchyard.decisions", "decisions", Counter,
        [DECIDED_LANE, MODEL, CLASS,
            Label { name: "reason", values: Values::Reasons }],
        "Decisions about requests, by the reason that settled them";
    RETRIES = "switchyard.retries", "tries", Counter, [],
        "Tries after one that failed before its first byte";
    LATENCY = "switchyard.latency_ms", "ms", Histogram,
        [listed("stage", &["decide", "first_byte", "total", "queue_wait", "compute"]), DECIDED_LANE, ROUTE, MODEL,
            listed("tier", &["default", "priority", "flex", "batch"])],
        "How long a stage took. Of a request: deciding (the one stage of a refused one), a backend's headers, from the request to the answer's headers; of a job: until its first try, from there to its last result, all of it";
    COLD_STARTS = "switchyard.cold_starts", "starts", Counter, [BACKEND],
        "First good answers of a backend that had no replica, where the decision foresaw a start";
    IN_FLIGHT = "switchyard.in_flight", "requests, tasks", Gauge, [LANE, PLACE],
        "Requests under way at a backend, of this process; tasks that run in a pool";
    QUEUE_DEPTH = "switchyard.queue_depth", "requests, tasks", Gauge,
        [LANE, PLACE, listed("state", &["waiting", "total"])],
        "Work that waits for a slot, and with it what has one. At a backend: requests that found no replica lately, of this process";
    QUEUE_JOBS = "switchyard.queue_jobs", "jobs", Gauge, [POOL],
        "Jobs with parts that no task has yet";
    QUEUE_ITEMS = "switchyard.queue_items", "items", Gauge, [of_catalogue("tenant", "tenants")],
        "Items of jobs that have not ended";
    QUEUE_MESSAGES = "switchyard.queue_messages", "messages", Gauge, [listed("queue", &["doorbell"])],
        "About how many messages the storage queue holds, hidden ones included: the platform's own metric of it is hourly and a day late";
    OLDEST_AGE = "switchyard.oldest_age_s", "s", Gauge, [POOL],
        "Age of the oldest job with parts that no task has; 0: none waits";
    BACKLOG = "switchyard.backlog_gpu_seconds", "GPU seconds", Gauge,
        [POOL, listed("state", &["waiting", "running"])],
        "Expected work of jobs that wait, and what is left in tasks, each taken for 120 s of a slot";
    UTILIZATION = "switchyard.utilization_percent", "%", Gauge, [LANE, PLACE],
        "Of slots of ready replicas, those in use; of usable nodes, those that run something. Missing while there are none";
    GPU_UTILIZATION = "switchyard.gpu_utilization_percent", "%", Gauge, [LANE, PLACE],
        "What NVML says on the machine that answered last, or on a node of the pool. Missing where there is no GPU, or nobody tells";
    BREAKER = "switchyard.breaker_state", "0, 1, 2", Gauge, [BACKEND],
        "0 closed, 1 half open, 2 open, in this process";
    POOL_NODES = "switchyard.pool_nodes", "nodes", Gauge,
        [POOL, listed("kind", &["spot", "dedicated"]),
            listed("state", &["target", "busy", "idle", "starting", "preempted", "broken"])],
        "Nodes by what they are doing, and how many are wanted";
    POOL_TASKS = "switchyard.pool_tasks", "tasks", Gauge,
        [POOL, listed("outcome", &["waiting", "running", "succeeded", "failed"])],
        "Tasks that the service still lists, by what became of them";
    EVICTIONS = "switchyard.pool_evictions_last_hour", "nodes", Gauge, [POOL],
        "Spot nodes that the platform took away within the last hour";
    JOBS_ENDED = "switchyard.jobs_ended", "jobs", Counter,
        [POOL, CLASS, listed("outcome", &["completed", "failed", "expired", "cancelled"])],
        "Jobs that ended, once each";
    TRIES = "switchyard.tries", "tries", Counter, [POOL, listed("outcome", &["done", "lost"])],
        "Tries of parts of jobs that ended: those that left their last result, and those before them";
    DUPLICATE = "switchyard.duplicate_gpu_seconds", "GPU seconds", Counter,
        [POOL, listed("cause", &["evicted", "duplicate"])],
        "Machine time of jobs that ended whose results nobody uses: lost with the try that computed them, or computed twice";
    COST = "switchyard.estimated_usd", "USD", Counter, [LANE, of_catalogue("team", "teams")],
        "Money: of requests what their tries came to, told when they ended; of jobs their bills, then too";
    COST_RATE = "switchyard.usd_per_hour", "USD/h", Gauge, [LANE, of_catalogue("team", "teams")],
        "Money of the time since the last report, as an hourly rate. Of pools what their nodes cost now, by the teams' open items; `other` where nobody has any";
    WEBHOOKS = "switchyard.webhooks", "attempts", Counter,
        [listed("outcome", &["delivered", "retrying", "gave_up", "gone"])],
        "Attempts to tell an endpoint of the end of a batch";
    DEAD_LETTERS = "switchyard.dead_letters", "messages", Counter,
        [listed("reason", &["tries_used_up", "no_ticket", "empty_message", "base64_no_ticket", "base64_no_text", "ticket_version", "unknown_owner"])],
        "Messages that were kept as dead letters";
    UNRECORDED = "switchyard.decisions_not_recorded", "decisions", Counter, [],
        "Lines of the audit that were lost: too many waited, or the store did not take them";
    KNOBS_AGE = "switchyard.knobs_age_s", "s", Gauge, [],
        "Since the knobs in force were read";
    KNOBS_REFUSED = "switchyard.knobs_refused", "reads", Counter, [],
        "Reads of knobs that were refused or failed; the last good set stayed in force";
    CATALOGUE_REFUSED = "switchyard.catalogue_refused", "reads", Counter, [],
        "Reads of the catalogue that were refused or failed; the last good one stayed in force";
    VIEW_AGE = "switchyard.view_age_s", "s", Gauge, [],
        "Since Sweep merged what is seen of backends and pools; above 180 decisions are made blind";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ours_and_unique_and_labels_are_bounded() {
        let mut names: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let rest = metric.name.strip_prefix("switchyard.").expect(metric.name);
            assert!(rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{rest}");
            // A document's cell ends at this.
            assert!(!metric.meaning.contains('|'), "{}", metric.name);
        }
    }

    #[test]
    fn a_value_of_no_source_is_other() {
        assert_eq!(LANE.values.bounded("realtime"), "realtime");
        assert_eq!(LANE.values.bounded("what a client wrote"), OTHER);
        assert_eq!(Values::Reasons.bounded("warm_replica"), "warm_replica");
        assert_eq!(Values::Reasons.bounded("x"), OTHER);
    }
}
