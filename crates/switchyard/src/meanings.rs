//! What each reason says, for people at a terminal. `docs/operations.md` has the same, with what one can do.

/// What a reason says; none for a code that this version does not know.
pub(crate) fn meaning(code: &str) -> Option<&'static str> {
    MEANINGS.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning)
}

/// By code, in the order of the page.
const MEANINGS: &[(&str, &str)] = &[
    ("cheapest_meeting_deadline", "of the places that meet the deadline, this one costs least"),
    ("warm_replica", "no deadline was set and a warm replica answers within the target"),
    ("deadline_within_threshold", "the deadline lies within `realtime-threshold-ms`: realtime only"),
    ("above_cost_threshold", "realtime would cost more than `batch-cost-threshold`, so deferred was taken"),
    ("not_worth_deferring", "deferring would cost more than it saves"),
    ("lane_requested", "`Switchyard-Lane` asked for this lane"),
    ("tier_requested", "`service_tier` asked for it"),
    ("cannot_answer_later", "the client cannot take a 202"),
    ("cold_start", "served, but a replica must start first"),
    ("queued", "served after those before it: every slot is taken"),
    ("target_missed", "served later than the soft target for another cause"),
    ("retried", "an earlier try of this request failed before its first byte"),
    ("blind", "decided without a fresh view: own counters and catalogue numbers only"),
    ("overloaded", "refused: every realtime slot and waiting place is taken"),
    ("warming", "refused: a backend is starting and would answer too late"),
    ("backends_down", "refused: no backend may be tried (breakers are open)"),
    ("deadline_infeasible", "refused: no place meets the deadline"),
    ("deadline_passed", "refused and never run: the deadline lies in the past"),
    ("over_max_cost", "refused: every place costs more than `Switchyard-Max-Cost`"),
    (
        "budget_spent",
        "refused, nodes not bought, or a job kept from its pool: this hour's spend reaches `max-usd-per-hour`",
    ),
    ("not_served", "refused: no backend or pool serves this model"),
    ("deferred_unavailable", "refused: the deferred lane takes no work"),
    ("too_large_for_gpu", "refused: the model needs more than `gpu-memory-limit`"),
    ("residency_unmet", "refused: no place lies in the region that the data must stay in"),
    ("tenant_limit", "refused: the tenant's own limit is reached; the message names which"),
    ("waiting_for_room", "its shards wait for a task of the pool to end"),
    ("waiting_for_company", "too small for a task of its own; it leaves with others, or at the time given"),
    (
        "waiting_for_canary",
        "of eight shards or more, so its first one is run and its vectors checked before the rest leaves for the pool",
    ),
    ("canary_skipped", "all of it left for the pool unchecked, because its deadline does not let it wait"),
    (
        "canary_failed",
        "its first results are unsound (NaN, wrong length or norm, or not what the realtime lane answers); the rest was not run",
    ),
    ("waiting_for_node", "its tasks are added and no node has a free slot"),
    ("batch_unavailable", "azure Batch does not answer; nothing is lost"),
    ("waiting_to_retry", "its tries came to nothing; the next one waits a while"),
    ("look_broke_off", "the last look at it broke off, because a store or a service failed; nothing is lost"),
    ("doorbell_unheard", "the queue that tells of new work cannot be rung, so the sweep finds it"),
    ("running", "computed in the pool"),
    ("rescued", "taken to the realtime lane to keep its deadline"),
    ("promoted", "its owner asked for the realtime lane"),
    ("finishing", "every result exists; the summary is being written"),
    ("stopping", "asked to stop; what is missing is being filled with errors"),
    ("cancelled", "its owner cancelled it; what was missing was filled with errors"),
    ("expired", "its deadline passed before every result existed"),
    ("tries_used_up", "its shards failed too often"),
    ("demand", "as many as the work needs"),
    ("floor", "kept by `min-aca-replicas`, `min-spot-nodes`, `min-dedicated-nodes`"),
    ("ceiling", "held at `max-aca-replicas`, `max-batch-nodes` or the catalogue's limit"),
    ("cooldown", "used recently, kept a while: idling is cheaper than a new start"),
    ("idle", "none is needed"),
    ("scale_deadline", "dedicated ones, because a deadline cannot wait for spot"),
    (
        "dedicated_cheaper",
        "dedicated ones, because spot with its evictions costs more, or has no price and is not bought",
    ),
    (
        "left_to_realtime",
        "none is bought for some work, because realtime does it cheaper or no node is in time",
    ),
    (
        "spot_unavailable",
        "spot ones are missing: the region has none, or took them away. They stay asked for",
    ),
    ("quota_reached", "the account's core quota stops the pool"),
    ("nodes_never_usable", "three boots in a row ended unusable. None is bought but one, every 30 minutes"),
    ("step_limited", "more are needed than one plan may add; the next adds more"),
    ("alert", "an alert of Azure Monitor raised the plan or lowered its cap, for an hour or until resolved"),
    ("autoscale_stopped", "the service does not evaluate the formula any more; it is enabled anew"),
    ("nodes_booting", "they are on their way"),
    ("nobody_scales", "work waits, the pool has no node, and nobody buys one: `autoscale-mode` is not `act`"),
    ("plan_refused", "the plan cannot be carried out; `switchyard status` says why"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of the page as it stands here: without whom it concerns, and begun small.
    fn plain(row: &str) -> String {
        let about =
            ["Job: ", "Nodes: ", "Replicas or nodes: "].iter().find_map(|about| row.strip_prefix(about));
        let mut letters = about.unwrap_or(row).chars();
        letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect()
    }

    /// The page lists every code there is: the handler's tests see to that.
    #[test]
    fn meanings_are_those_of_the_operators_page() {
        let page = local::cargo::workspace_root().join("docs/operations.md");
        let page = std::fs::read_to_string(page).unwrap();
        let section = page.split("\n## ").find(|section| section.starts_with("Reason codes")).unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let documented: Vec<(&str, String)> =
            rows.map(|(code, rest)| (code, plain(rest.split(" |").next().unwrap()))).collect();
        let told: Vec<(&str, String)> =
            MEANINGS.iter().map(|(code, meaning)| (*code, (*meaning).to_owned())).collect();
        assert_eq!(documented, told);
    }
}
