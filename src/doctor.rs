//! `handler --doctor --json`: what is wrong with settings and services, each line with its remedy.
//!
//! It uses the handler's own settings and clients, so what it finds is what the handler would meet. Checks
//! run side by side, each within [`CHECK_MAX`], and none hides another: what depends on something that does
//! not work says what it needs.
//!
//! - [`check`]: the closed list; [`asked`]: what is asked for; [`given`]: settings, as far as they can be read
//! - [`steps`]: which check waits for which
//! - [`tokens`], [`role`], [`denied`]: who we are, what we may, and what a refusal means
//! - [`skew`], [`tuning`], [`blob`], [`queue`], [`models`]: clock, knobs, store, doorbell, catalogue
//! - [`account`], [`sizing`], [`machine`], [`usage`]: pools, their size, their machines, their quotas
//! - [`lanes`], [`reach`]: backends and parity, telemetry and the app that serves
//!
//! It writes one object, `state/doctor-….json`, and deletes it; asking a backend for its models starts a
//! replica where it has none. Everything else is read.

pub mod account;
pub mod asked;
pub mod blob;
pub mod check;
pub mod denied;
pub mod given;
pub mod lanes;
pub mod machine;
pub mod models;
pub mod queue;
pub mod reach;
pub mod role;
pub mod sizing;
pub mod skew;
pub mod steps;
pub mod tokens;
pub mod tuning;
pub mod usage;

use std::time::Duration;

use futures_util::future::join_all;
use wire::doctor::{Finding, Report, VERSION};

use asked::Asked;
use given::Given;

/// Longest call of a check. Longer than any service takes that is well, shorter than one's patience.
pub const CHECK_MAX: Duration = Duration::from_secs(10);

/// What of a call came within [`CHECK_MAX`].
async fn within<T>(call: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(CHECK_MAX, call).await.ok()
}

/// Looks at everything. `tell` hears each finding as soon as it and all before it are known.
pub async fn run(asked: Asked, given: Given, mut tell: impl FnMut(&Finding)) -> Report {
    let read = given::read(&given);
    let mut findings = read.findings.clone();
    findings.iter().for_each(&mut tell);
    let steps = steps::of_report(asked, read);
    let all = join_all(steps.iter().cloned());
    let in_order = async {
        for step in steps.clone() {
            for finding in step.await.iter() {
                tell(finding);
                findings.push(finding.clone());
            }
        }
    };
    tokio::join!(all, in_order);
    Report { v: VERSION, handler: env!("CARGO_PKG_VERSION").to_owned(), findings }
}
