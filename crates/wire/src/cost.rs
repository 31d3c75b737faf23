//! What a month cost, as operators and `switchyard report` read it. Money is millionths of a US dollar, so
//! that rows add up exactly. Readers ignore what they do not know.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A month. Groups and what nobody used sum to the total.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Report {
    /// Always `cost_report`.
    pub object: String,
    /// As `2026-11`, in UTC.
    pub month: String,
    /// What groups are told apart by, as `team`.
    pub by: String,
    /// Now, by the handler's clock.
    pub now_unix_ms: u64,
    /// Always `USD`.
    pub currency: String,
    /// Who used something, the dearest first.
    pub groups: Vec<Group>,
    /// What was paid for and nobody used, by place.
    pub unused: Vec<Unused>,
    /// All of it.
    pub total_micro_usd: u64,
    /// The same work, all of it in the realtime lane: requests and jobs as estimated there, and what
    /// nobody used of that lane as it is.
    pub all_realtime_micro_usd: u64,
    /// Prices that it was counted with.
    pub prices: Vec<Price>,
    /// How much of the month was seen.
    pub seen: Seen,
    /// What a reader should know before using the numbers.
    pub notes: Vec<String>,
}

/// One team, tenant, lane, model, job or whatever groups are told apart by.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Group {
    /// Its name; `(none)` where there is no such label.
    pub name: String,
    /// Work whose results are used.
    pub useful_micro_usd: u64,
    /// Work that was lost with the try that did it.
    pub evicted_micro_usd: u64,
    /// Work that another try did too.
    pub duplicate_micro_usd: u64,
    /// All of it.
    pub total_micro_usd: u64,
    /// The same work in the realtime lane, as estimated.
    pub all_realtime_micro_usd: u64,
    /// Requests and jobs.
    pub requests: u64,
    /// Inputs of requests and lines of jobs.
    pub items: u64,
    /// Tokens of realtime requests.
    pub tokens: u64,
    /// Whether any of it rests on a price or a time that was taken and not read or seen.
    pub assumed: bool,
}

/// What was paid for and nobody used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Unused {
    /// `boots`, `idle`, or `unattributed`: machines that were busy beyond the work that is known.
    pub what: String,
    /// `realtime` or `deferred`.
    pub lane: String,
    /// The backend's or pool's name.
    pub place: String,
    /// What it cost.
    pub micro_usd: u64,
    /// Whether it rests on a price or a count that was taken and not read or seen.
    pub assumed: bool,
}

/// A price that was used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Price {
    /// `realtime` or `deferred`.
    pub lane: String,
    /// The backend's or pool's name.
    pub place: String,
    /// `replica`, `spot` or `dedicated`; none: the price is of work whose machine nobody saw.
    pub machine: Option<String>,
    /// Of a machine for an hour.
    pub micro_usd_per_hour: u64,
    /// When it was read, as `2026-11-01`.
    pub read_on: String,
    /// How long ago that was; none: nobody knows.
    pub age_days: Option<u32>,
    /// Whether it is to be looked up again: older than 90 days, or of an unknown day.
    pub is_old: bool,
    /// Whether it, or what it is multiplied with, was taken and not read or seen.
    pub assumed: bool,
}

/// How much of the month was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Seen {
    /// Minutes in which somebody looked at the machines.
    pub minutes: u64,
    /// Minutes between the first and the last of them in which nobody did. Up to five in a row are taken
    /// to be as their neighbours; for more, nothing but the work is charged.
    pub missing: u64,
}
