//! What goes wrong on request: evictions, shortages, bad boots, throttling, lost answers, a service
//! that is down. In Rust as methods of [`Server`](super::Server); over HTTP without a signature, because
//! only this machine can reach it, as `POST` with a JSON object. Times are the account's; `pool` is
//! its id; a member with `?` may be left out:
//!
//! - `/standin/evict` `{pool, node?}`: one node; without its id, the spot node that runs most
//! - `/standin/evict` `{pool, nodes, waves?, everySeconds?}`: so many at once, in so many waves; the
//!   first comes now, a wave each minute unless told otherwise; 0 waves end a storm
//! - `/standin/capacity` `{dedicated?, lowPriority?}`: machines there are; none is no limit
//! - `/standin/quota` `{dedicatedCores?, lowPriorityCores?}`: the account's; none is no limit
//! - `/standin/boots` `{pool?, end?: usable | unusable | starttaskfailed, bootSeconds?, times?}`:
//!   what the next boots are like; `{}` makes them as before
//! - `/standin/resizeerrors` `{pool, codes: […]}`: errors that stay whatever resizes do
//! - `/standin/autoscale` `{pool, evaluating}`: false stops the evaluations
//! - `/standin/faults` `{down?, downSeconds?, throttle?: {status, retryAfter?, times}, lost?: {times}}`

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::account::pool::{Kind, ResizeError};
use super::account::{Account, BootEnd, Boots, Capacity, NodeRefusal, Quota, Storm};
use super::fault::{Code, Fault};
use crate::loopback::{self, Body};

/// From one wave of evictions to the next unless told otherwise.
const WAVE_S: u64 = 60;

/// Requests that are refused although nothing is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// 429 or 503.
    pub status: u16,
    /// The value of `Retry-After`, in seconds of real time; none leaves the header out.
    pub retry_after_s: Option<u32>,
    /// How many requests.
    pub times: u32,
}

/// Requests that are carried out and answered 500 all the same, as when a connection breaks
/// between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// How many requests.
    pub times: u32,
}

/// The failures that are switched on.
#[derive(Default)]
pub(super) struct Faults(Mutex<Switched>);

#[derive(Default)]
struct Switched {
    /// Down before this time.
    down_until_ms: u64,
    throttle: Option<Throttle>,
    lost: u32,
}

/// What a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    Nothing,
    /// It is not carried out; after so many seconds the client may come again.
    Refused(Code, Option<u32>),
    /// It is carried out and its answer is lost.
    LostAnswer,
}

impl Faults {
    /// What the next request meets; counts it.
    pub(super) fn meet(&self, now_ms: u64) -> Met {
        let mut switched = self.switched();
        if now_ms < switched.down_until_ms {
            return Met::Refused(Code::ServerBusy, None);
        }
        if let Some(throttle) = &mut switched.throttle
            && throttle.times > 0
        {
            throttle.times -= 1;
            let code = if throttle.status == 429 { Code::TooManyRequests } else { Code::ServerBusy };
            return Met::Refused(code, throttle.retry_after_s);
        }
        if switched.lost > 0 {
            switched.lost -= 1;
            return Met::LostAnswer;
        }
        Met::Nothing
    }

    pub(super) fn set_down(&self, down: bool) {
        self.set_down_until(if down { u64::MAX } else { 0 });
    }

    pub(super) fn set_down_until(&self, until_ms: u64) {
        self.switched().down_until_ms = until_ms;
    }

    pub(super) fn set_throttle(&self, throttle: Throttle) {
        self.switched().throttle = Some(throttle);
    }

    pub(super) fn set_lost(&self, lost: Lost) {
        self.switched().lost = lost.times;
    }

    fn switched(&self) -> std::sync::MutexGuard<'_, Switched> {
        // Each change is one assignment: nothing can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, asked: FaultsAsked, now_ms: u64) -> Result<Value, Refused> {
        if let Some(ThrottleAsked { status, retry_after, times }) = asked.throttle {
            if ![429, 503].contains(&status) {
                return Err(Refused::asked("`status` is 429 or 503"));
            }
            self.set_throttle(Throttle { status, retry_after_s: retry_after, times });
        }
        if let Some(LostAsked { times }) = asked.lost {
            self.set_lost(Lost { times });
        }
        if let Some(down) = asked.down {
            self.set_down(down);
        }
        if let Some(seconds) = asked.down_seconds {
            self.set_down_until(now_ms.saturating_add(seconds.saturating_mul(1000)));
        }
        Ok(json!({}))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FaultsAsked {
    down: Option<bool>,
    down_seconds: Option<u64>,
    throttle: Option<ThrottleAsked>,
    lost: Option<LostAsked>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ThrottleAsked {
    status: u16,
    retry_after: Option<u32>,
    times: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LostAsked {
    times: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EvictAsked {
    pool: String,
    node: Option<String>,
    nodes: Option<usize>,
    waves: Option<u32>,
    every_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CapacityAsked {
    dedicated: Option<usize>,
    low_priority: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QuotaAsked {
    dedicated_cores: Option<usize>,
    low_priority_cores: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BootsAsked {
    pool: Option<String>,
    end: Option<String>,
    boot_seconds: Option<u64>,
    times: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResizeErrorsAsked {
    pool: String,
    codes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AutoscaleAsked {
    pool: String,
    evaluating: bool,
}

/// Why a control was not carried out: as a status, and what to do about it.
struct Refused(StatusCode, String);

impl Refused {
    fn asked(text: &str) -> Refused {
        Refused(StatusCode::BAD_REQUEST, text.to_owned())
    }
}

impl From<NodeRefusal> for Refused {
    fn from(refusal: NodeRefusal) -> Refused {
        Refused(StatusCode::CONFLICT, refusal.to_string())
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused(StatusCode::CONFLICT, fault.code.told().2.to_owned())
    }
}

/// A request under `/standin/`.
pub(super) fn answer(
    path: &[&str],
    body: &[u8],
    account: &mut Account,
    faults: &Faults,
    now_ms: u64,
) -> Response<Body> {
    let done = match path {
        ["evict"] => read(body).and_then(|asked| evict(asked, account, now_ms)),
        ["capacity"] => read(body).map(|asked| set_capacity(&asked, account)),
        ["quota"] => read(body).map(|asked| set_quota(&asked, account)),
        ["boots"] => read(body).and_then(|asked| set_boots(asked, account)),
        ["resizeerrors"] => read(body).and_then(|asked| keep_resize_errors(&asked, account)),
        ["autoscale"] => read(body).and_then(|AutoscaleAsked { pool, evaluating }| {
            Ok(account.set_evaluating(&pool, evaluating, now_ms).map(|()| json!({}))?)
        }),
        ["faults"] => read(body).and_then(|asked| faults.set(asked, now_ms)),
        _ => Err(Refused(
            StatusCode::NOT_FOUND,
            "there are /standin/evict, capacity, quota, boots, resizeerrors, autoscale and faults".to_owned(),
        )),
    };
    match done {
        Ok(told) => loopback::json(StatusCode::OK, &told),
        Err(Refused(status, message)) => loopback::json(status, &json!({"message": message})),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused::asked(&error.to_string()))
}

fn evict(asked: EvictAsked, account: &mut Account, now_ms: u64) -> Result<Value, Refused> {
    let pool = &asked.pool;
    if let Some(nodes) = asked.nodes {
        let every = Duration::from_secs(asked.every_seconds.unwrap_or(WAVE_S));
        let taken = account.storm(pool, Storm { nodes, waves: asked.waves.unwrap_or(1), every }, now_ms)?;
        return Ok(json!({"nodes": taken}));
    }
    let busiest = || account.pool(pool).ok()?.spot_nodes_by_load().into_iter().next();
    let node = asked.node.or_else(busiest).ok_or(NodeRefusal::NoSuchNode)?;
    account.evict(pool, &node, now_ms)?;
    Ok(json!({"node": node}))
}

fn set_capacity(asked: &CapacityAsked, account: &mut Account) -> Value {
    let unlimited = Capacity::UNLIMITED;
    account.set_capacity(Capacity {
        dedicated: asked.dedicated.unwrap_or(unlimited.dedicated),
        spot: asked.low_priority.unwrap_or(unlimited.spot),
    });
    json!({})
}

fn set_quota(asked: &QuotaAsked, account: &mut Account) -> Value {
    let unlimited = Quota::UNLIMITED;
    account.set_quota(Quota {
        dedicated_cores: asked.dedicated_cores.unwrap_or(unlimited.dedicated_cores),
        spot_cores: asked.low_priority_cores.unwrap_or(unlimited.spot_cores),
    });
    json!({})
}

fn set_boots(asked: BootsAsked, account: &mut Account) -> Result<Value, Refused> {
    let end = match asked.end.as_deref() {
        None | Some("usable") => BootEnd::Usable,
        Some("unusable") => BootEnd::Unusable,
        Some("starttaskfailed") => BootEnd::StartTaskFailed,
        Some(_) => return Err(Refused::asked("`end` is usable, unusable or starttaskfailed")),
    };
    let boot = asked.boot_seconds.map(Duration::from_secs);
    account.set_boots(Boots { pool: asked.pool, end, boot, times: asked.times });
    Ok(json!({}))
}

fn keep_resize_errors(asked: &ResizeErrorsAsked, account: &mut Account) -> Result<Value, Refused> {
    let error = |code: &String| match code.as_str() {
        "AccountCoreQuotaReached" => Some(ResizeError::QuotaReached(Kind::Dedicated)),
        "AccountLowPriorityCoreQuotaReached" => Some(ResizeError::QuotaReached(Kind::Spot)),
        "AllocationFailed" => Some(ResizeError::AllocationFailed(Kind::Spot)),
        _ => None,
    };
    let errors: Option<Vec<ResizeError>> = asked.codes.iter().map(error).collect();
    let known =
        "`codes` are AccountCoreQuotaReached, AccountLowPriorityCoreQuotaReached and AllocationFailed";
    account.keep_resize_errors(&asked.pool, errors.ok_or_else(|| Refused::asked(known))?)?;
    Ok(json!({}))
}
