//! Why a decision is what it is: a closed list of codes, each with its evidence, what happens
//! next and what one can do. Header, log line, metric label, `/explain` and ledger render this value.

use crate::units::{MicroUsd, Millis, Tokens, UnixMs};

/// One reason. The first of a decision is the one that settled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What it is.
    pub code: Code,
    /// Since when it holds, where that is known.
    pub since: Option<UnixMs>,
    /// The numbers looked at, by name.
    pub evidence: Vec<(&'static str, Evidence)>,
    /// What happens next by itself, and when.
    pub next: Option<Next>,
    /// What one can do about it, and what that costs.
    pub remedy: Option<Remedy>,
}

/// A number or word that a decision looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A span of time.
    Time(Millis),
    /// An instant.
    At(UnixMs),
    /// Money.
    Cost(MicroUsd),
    /// Tokens.
    Tokens(Tokens),
    /// A count.
    Count(u64),
    /// A name from the catalogue or a closed list; never user text.
    Name(String),
}

/// What happens by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// A sentence without a full stop.
    pub what: &'static str,
    /// When, if that is known.
    pub at: Option<UnixMs>,
}

/// What one can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// A sentence without a full stop, in the imperative.
    pub what: &'static str,
    /// What it costs, if that is known.
    pub cost: Option<MicroUsd>,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The closed list of reasons.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All codes, in the order of the documentation.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The name in headers, logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The cheapest place that meets the deadline at the wanted confidence.
    CheapestMeetingDeadline = "cheapest_meeting_deadline",
    /// No deadline: a warm replica answers within the target.
    WarmReplica = "warm_replica",
    /// The deadline lies within `realtime-threshold-ms`.
    DeadlineWithinThreshold = "deadline_within_threshold",
    /// Realtime would cost more than `batch-cost-threshold`.
    AboveCostThreshold = "above_cost_threshold",
    /// Deferring costs more than it saves.
    NotWorthDeferring = "not_worth_deferring",
    /// The client asked for this lane.
    LaneRequested = "lane_requested",
    /// `service_tier` asked for it.
    TierRequested = "tier_requested",
    /// The client cannot take a 202.
    CannotAnswerLater = "cannot_answer_later",
    /// Served all the same, but a replica must start first.
    ColdStart = "cold_start",
    /// Every slot is taken; served after those before it.
    Queued = "queued",
    /// The soft target is missed for another cause.
    TargetMissed = "target_missed",
    /// An earlier try of this request failed.
    Retried = "retried",
    /// Decided without a fresh view.
    Blind = "blind",
    /// Refused: every realtime slot is taken.
    Overloaded = "overloaded",
    /// Refused: the backend is starting and would answer too late.
    Warming = "warming",
    /// Refused: no backend may be tried now.
    BackendsDown = "backends_down",
    /// Refused: no place meets the deadline.
    DeadlineInfeasible = "deadline_infeasible",
    /// Refused: the deadline has passed.
    DeadlinePassed = "deadline_passed",
    /// Refused: every place costs more than `Switchyard-Max-Cost`.
    OverMaxCost = "over_max_cost",
    /// Refused, or nodes not bought: the spend of this hour reaches `max-usd-per-hour`.
    BudgetSpent = "budget_spent",
    /// Refused: no backend or pool serves this model.
    NotServed = "not_served",
    /// Refused: the deferred lane takes no work.
    DeferredUnavailable = "deferred_unavailable",
    /// Refused: the model needs more than `gpu-memory-limit`.
    TooLargeForGpu = "too_large_for_gpu",
    /// Refused: data may not leave its region.
    ResidencyUnmet = "residency_unmet",
    /// Refused: the tenant's own limit.
    TenantLimit = "tenant_limit",
    /// Job: its shards wait for a task to end.
    WaitingForRoom = "waiting_for_room",
    /// Job: too small for a task of its own, and nothing leaves with it yet.
    WaitingForCompany = "waiting_for_company",
    /// Job: its first part is run and checked before the rest leaves for the pool.
    WaitingForCanary = "waiting_for_canary",
    /// Job: all of it left unchecked, because its deadline does not let it wait.
    CanarySkipped = "canary_skipped",
    /// Job: its first results are unsound; the rest was not run.
    CanaryFailed = "canary_failed",
    /// Job: its tasks are added and no node has a free slot.
    WaitingForNode = "waiting_for_node",
    /// Job: Azure Batch does not answer; nothing is lost.
    BatchUnavailable = "batch_unavailable",
    /// Job: its tries came to nothing; the next one waits a while.
    WaitingToRetry = "waiting_to_retry",
    /// Job: the last look at it broke off, because a store or a service failed; nothing is lost.
    LookBrokeOff = "look_broke_off",
    /// Job: the queue that tells of new work cannot be rung, so the sweep finds it.
    DoorbellUnheard = "doorbell_unheard",
    /// Job: computed in the pool.
    Running = "running",
    /// Job: taken to the realtime lane to keep its deadline.
    Rescued = "rescued",
    /// Job: its owner asked for the realtime lane.
    Promoted = "promoted",
    /// Job: every result exists; the summary is being written.
    Finishing = "finishing",
    /// Job: asked to stop; what is missing is being filled with errors.
    Stopping = "stopping",
    /// Job: its owner cancelled it; what was missing was filled with errors.
    Cancelled = "cancelled",
    /// Job: its deadline passed before every result existed.
    Expired = "expired",
    /// Job: its shards failed too often.
    TriesUsedUp = "tries_used_up",
    /// Replicas or nodes: as many as the work needs.
    Demand = "demand",
    /// Replicas or nodes: kept by a knob.
    Floor = "floor",
    /// Replicas or nodes: held at a limit.
    Ceiling = "ceiling",
    /// Replicas or nodes: fewer would do, kept through the cooldown.
    Cooldown = "cooldown",
    /// Replicas or nodes: nothing to do.
    Idle = "idle",
    /// Nodes: dedicated ones, because a deadline cannot wait for spot.
    ScaleDeadline = "scale_deadline",
    /// Nodes: dedicated ones, because spot with its evictions costs more, or is not bought.
    DedicatedCheaper = "dedicated_cheaper",
    /// Nodes: none is bought for some work, because realtime does it cheaper or no node is in time.
    LeftToRealtime = "left_to_realtime",
    /// Nodes: spot ones are missing; the region has none, or took them away.
    SpotUnavailable = "spot_unavailable",
    /// Nodes: the account's core quota stops the pool.
    QuotaReached = "quota_reached",
    /// Nodes: three boots in a row ended unusable; no more are bought.
    NodesNeverUsable = "nodes_never_usable",
    /// Nodes: more are needed than one plan may add.
    StepLimited = "step_limited",
    /// Nodes: an alert of Azure Monitor changed the plan.
    Alert = "alert",
    /// Nodes: the service does not evaluate the pool's formula any more.
    AutoscaleStopped = "autoscale_stopped",
    /// Nodes: they are on their way.
    NodesBooting = "nodes_booting",
    /// Nodes: work waits, there is none, and nobody buys one: `autoscale-mode` is not `act`.
    NobodyScales = "nobody_scales",
    /// Nodes: the pool's plan cannot be carried out.
    PlanRefused = "plan_refused",
}

impl Reason {
    /// A reason of this code alone.
    pub fn new(code: Code) -> Reason {
        Reason { code, since: None, evidence: Vec::new(), next: None, remedy: None }
    }

    /// Adds a number that was looked at.
    #[must_use]
    pub fn with(mut self, name: &'static str, evidence: Evidence) -> Reason {
        self.evidence.push((name, evidence));
        self
    }

    /// Says what happens next by itself.
    #[must_use]
    pub fn next(mut self, what: &'static str, at: Option<UnixMs>) -> Reason {
        self.next = Some(Next { what, at });
        self
    }

    /// Says what one can do.
    #[must_use]
    pub fn remedy(mut self, what: &'static str, cost: Option<MicroUsd>) -> Reason {
        self.remedy = Some(Remedy { what, cost });
        self
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Evidence::Time(time) => time.fmt(f),
            Evidence::At(at) => write!(f, "{}", at.0),
            Evidence::Cost(cost) => write!(f, "{}", cost.usd()),
            Evidence::Tokens(tokens) => write!(f, "{}", tokens.0),
            Evidence::Count(count) => write!(f, "{count}"),
            Evidence::Name(name) => f.write_str(name),
        }
    }
}

impl std::fmt::Display for Reason {
    /// For a header or a log line: `cold_start; eta=85s`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code.as_str())?;
        self.evidence.iter().try_for_each(|(name, value)| write!(f, "; {name}={value}"))
    }
}
