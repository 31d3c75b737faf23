//! The Azure Batch account and the pools that the catalogue names: whether it answers, what its pools are
//! doing, what stops their size, and what sets it.

use std::time::Duration;

use futures_util::future::join_all;
use policy::Knobs;
use wire::doctor::Finding;

use super::check::{Check, of};
use super::denied::{Denied, Opened};
use super::role::Role;
use super::tokens::{Audience, Tokens};
use super::within;
use super::{machine, sizing};
use crate::azure::batch::{CallError, Client, Machine, NodeCounts, Pool, PoolError};
use crate::settings::{BatchAccount, is_loopback, name};
use wire::catalogue::PoolWorker;

/// Everything that is said of one pool.
const OF_POOL: [Check; 4] = [Check::Pool, Check::Resize, Check::Autoscale, Check::Machine];
/// A pool's name where there is none to ask for: counting its nodes shows whether the account answers.
const NO_POOL: &str = "switchyard-doctor";

/// A pool that work is sent to.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its id.
    pub name: String,
    /// Slots of a node, as decisions believe.
    pub slots: u32,
    /// How its nodes run work.
    pub worker: Option<PoolWorker>,
}

/// The account and how it is opened.
pub struct Place<'a> {
    /// The settings that name it.
    pub asked: &'a BatchAccount,
    /// Its client.
    pub client: &'a Client,
    /// Who is asking.
    pub tokens: &'a Tokens,
    /// What is tuned.
    pub knobs: &'a Knobs,
    /// Now, in Unix ms.
    pub now_ms: u64,
}

/// What was found of account and pools.
#[derive(Debug, Default)]
pub struct Looked {
    /// In the order of the checks, each with all its pools.
    pub findings: Vec<Finding>,
    /// Pools and the sizes of their machines.
    pub sizes: Vec<(String, String)>,
}

impl Looked {
    /// Nothing could be looked at.
    pub fn needs(what: &str) -> Looked {
        let checks = [Check::Batch].into_iter().chain(OF_POOL);
        Looked { findings: checks.map(|check| check.needs(what)).collect(), sizes: Vec::new() }
    }
}

/// A pool as it was seen.
struct Seen {
    pool: Pool,
    nodes: NodeCounts,
    machine: Machine,
}

impl Place<'_> {
    /// Looks at the account, then at its pools beside each other. No pools: the catalogue has none, or is
    /// not known.
    pub async fn look(&self, pools: Result<Vec<Wanted>, &str>) -> Looked {
        if self.opened().is_identity() && self.tokens.principal(Audience::Batch).is_err() {
            return Looked::needs("identity");
        }
        let first = pools.as_ref().ok().and_then(|pools| pools.first());
        let name = first.map_or(NO_POOL, |pool| pool.name.as_str());
        let account = match within(self.client.node_counts(name)).await {
            // An account that does not count this pool has answered.
            Some(Ok(_) | Err(PoolError::NotFound)) => Check::Batch.ok(format!("{} answers", self.service())),
            Some(Err(PoolError::Call(error))) => self.told(&error),
            None => self.told(&CallError::Timeout),
        };
        let is_open = account.outcome == wire::doctor::Outcome::Ok;
        let pools = match pools {
            Ok(pools) if is_open && !pools.is_empty() => pools,
            missing => {
                let why = match missing {
                    _ if !is_open => "batch",
                    Ok(_) => "a pool in the catalogue, or BATCH_POOL_ID",
                    Err(what) => what,
                };
                let mut looked = Looked::needs(why);
                looked.findings[0] = account;
                return looked;
            }
        };
        let seen = join_all(pools.iter().map(|pool| async move {
            within(self.seen(&pool.name)).await.unwrap_or(Err(PoolError::Call(CallError::Timeout)))
        }));
        let seen: Vec<_> = pools.iter().zip(seen.await).collect();
        let mut looked = Looked { findings: vec![account], sizes: Vec::new() };
        for check in OF_POOL {
            for (wanted, seen) in &seen {
                let said = match seen {
                    Ok(seen) => self.judge(check, wanted, seen),
                    Err(error) if check == Check::Pool => vec![self.no_pool(&wanted.name, error)],
                    Err(_) => vec![check.needs("pool")],
                };
                looked.findings.extend(said.into_iter().map(|finding| of(wanted.name.clone(), finding)));
            }
        }
        let sizes = seen
            .iter()
            .filter_map(|(pool, seen)| Some((pool.name.clone(), seen.as_ref().ok()?.machine.size.clone())));
        looked.sizes = sizes.collect();
        looked
    }

    async fn seen(&self, pool: &str) -> Result<Seen, PoolError> {
        let (client, count) = (self.client, async {
            match self.client.node_counts(pool).await {
                Err(PoolError::NotFound) => Ok(NodeCounts::default()),
                counted => counted,
            }
        });
        let (pool, nodes, machine) = futures_util::try_join!(client.pool(pool), count, client.machine(pool))?;
        Ok(Seen { pool, nodes, machine })
    }

    fn judge(&self, check: Check, wanted: &Wanted, seen: &Seen) -> Vec<Finding> {
        let world = sizing::World {
            knobs: self.knobs,
            now_ms: self.now_ms,
            is_free: is_loopback(&self.asked.endpoint),
            pool: &wanted.name,
        };
        match check {
            Check::Pool => vec![sizing::state(&world, wanted, &seen.pool, &seen.nodes)],
            Check::Resize => sizing::resize(&world, &seen.pool),
            Check::Autoscale => vec![sizing::autoscale(&world, &seen.pool)],
            _ => machine::judge(&seen.machine, &seen.pool, self.now_ms),
        }
    }

    fn no_pool(&self, pool: &str, error: &PoolError) -> Finding {
        match error {
            PoolError::NotFound => Check::Pool.broken(
                format!("{} has no pool `{pool}`", self.service()),
                format!(
                    "az batch pool create --json-file POOL.json, or correct {} or the catalogue",
                    name::BATCH_POOL_ID
                ),
            ),
            PoolError::Call(error) => Check::Pool
                .broken(error.to_string(), "run doctor again; if it stays, look at the account's health"),
        }
    }

    fn told(&self, error: &CallError) -> Finding {
        let service = self.service();
        match error {
            CallError::Refused { code, .. } => {
                let (check, role) = (Check::Batch, Role::BatchContributor);
                let told = format!("403 {code}");
                let resource = self.asked.account.as_str();
                Denied { check, service: &service, resource, role, told: &told }.finding(&self.opened())
            }
            CallError::Throttled { .. } => Check::Batch.broken(
                format!("{service} is throttled"),
                "look at what else asks this account; run doctor again in a minute",
            ),
            CallError::Unavailable { .. } | CallError::Timeout => Check::Batch.broken(
                format!("{service} cannot be reached"),
                format!(
                    "check {} and the way to it: name resolution, firewall, private endpoint",
                    name::BATCH_ENDPOINT
                ),
            ),
            CallError::Rejected { code, message } => Check::Batch.broken(
                format!("{service} answered {code}: {message}"),
                format!("check {}", name::BATCH_ENDPOINT),
            ),
            CallError::Unreadable { what } | CallError::NotSent { what } => Check::Batch.broken(
                format!("what answers for {service} is not Azure Batch: {what}"),
                format!("check {}", name::BATCH_ENDPOINT),
            ),
        }
    }

    fn opened(&self) -> Opened {
        match &self.asked.key {
            Some(_) => Opened::Key(name::BATCH_ACCOUNT_KEY),
            None => Opened::Identity(self.tokens.principal(Audience::Batch).unwrap_or_default()),
        }
    }

    fn service(&self) -> String {
        format!("Azure Batch account `{}`", self.asked.account)
    }
}

/// The time that a formula's evaluation may be late before it counts as stopped: two intervals and the
/// service's own five minutes.
pub fn stopped_after(interval: Duration) -> Duration {
    2 * interval + Duration::from_secs(5 * 60)
}
