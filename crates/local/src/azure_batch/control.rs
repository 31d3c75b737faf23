//! What goes wrong on request: evictions, shortages, throttling, lost answers, a service that is
//! down. In Rust as methods of [`Server`](super::Server); over HTTP without a signature, because only this
//! machine can reach it:
//!
//! - `POST /standin/evict` `{"pool", "node"?}`: without a node, the spot node that runs most
//! - `POST /standin/capacity` `{"dedicated"?, "lowPriority"?}`: machines there are; none is no limit
//! - `POST /standin/faults` `{"down"?, "throttle"?: {"status", "retryAfter"?, "times"}, "lost"?: {"times"}}`

use std::sync::{Mutex, PoisonError};

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::account::pool::{Kind, NodeState};
use super::account::{Account, Capacity, NodeRefusal};
use super::fault::Code;
use crate::loopback::{self, Body};

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
    down: bool,
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
    pub(super) fn meet(&self) -> Met {
        let mut switched = self.switched();
        if switched.down {
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
        self.switched().down = down;
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

    fn read(&self, asked: &Value) -> Option<()> {
        if let Some(throttle) = asked.get("throttle") {
            let status @ (429 | 503) = throttle.get("status")?.as_u64()? else { return None };
            let small =
                |name: &str| throttle.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
            self.set_throttle(Throttle {
                status: u16::try_from(status).ok()?,
                retry_after_s: small("retryAfter"),
                times: small("times")?,
            });
        }
        if let Some(lost) = asked.get("lost") {
            self.set_lost(Lost { times: u32::try_from(lost.get("times")?.as_u64()?).ok()? });
        }
        if let Some(down) = asked.get("down") {
            self.set_down(down.as_bool()?);
        }
        Some(())
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
    let told = |status: StatusCode, text: &str| loopback::json(status, &json!({"message": text}));
    let Ok(asked) = serde_json::from_slice::<Value>(body) else {
        return told(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    match path {
        ["evict"] => match evict(&asked, account, now_ms) {
            Ok(node) => loopback::json(StatusCode::OK, &json!({"node": node})),
            Err(refusal) => told(StatusCode::CONFLICT, &refusal.to_string()),
        },
        ["capacity"] => {
            let machines = |name: &str| {
                let given = asked.get(name).and_then(Value::as_u64);
                given.map_or(usize::MAX, |number| usize::try_from(number).unwrap_or(usize::MAX))
            };
            account
                .set_capacity(Capacity { dedicated: machines("dedicated"), spot: machines("lowPriority") });
            loopback::json(StatusCode::OK, &json!({}))
        }
        ["faults"] => match faults.read(&asked) {
            Some(()) => loopback::json(StatusCode::OK, &json!({})),
            None => told(
                StatusCode::BAD_REQUEST,
                "give `down` as true or false, `throttle` with `status` (429 or 503) and `times`, `lost` with `times`",
            ),
        },
        _ => told(StatusCode::NOT_FOUND, "there are /standin/evict, /standin/capacity and /standin/faults"),
    }
}

fn evict(asked: &Value, account: &mut Account, now_ms: u64) -> Result<String, NodeRefusal> {
    let pool = asked.get("pool").and_then(Value::as_str).unwrap_or_default();
    let node = match asked.get("node").and_then(Value::as_str) {
        Some(node) => node.to_owned(),
        None => busiest_spot_node(account, pool).ok_or(NodeRefusal::NoSuchNode)?,
    };
    account.evict(pool, &node, now_ms).map(|()| node)
}

/// The spot node of a pool that runs most tasks; the oldest of several.
pub(super) fn busiest_spot_node(account: &Account, pool: &str) -> Option<String> {
    let pool = account.pool(pool).ok()?;
    let there =
        pool.nodes.iter().filter(|(_, node)| node.kind == Kind::Spot && node.state != NodeState::Preempted);
    there.min_by_key(|(id, node)| (std::cmp::Reverse(node.runs.len()), *id)).map(|(id, _)| id.clone())
}
