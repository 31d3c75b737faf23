//! What the rebalancer made of a pool, as it stands in the store for the view, the status page and
//! the next rebalance. Overwritten by each; two at once write nearly the same.

use facts::view::pool::{PlanView, PoolState, Why};
use facts::{Store, key};
use policy::knobs::AutoscaleMode;
use policy::reason::{Evidence, Reason};
use policy::rebalance::Plan;

use crate::act::fact::{self, FactError};
use crate::act::jobs::Trouble;

/// Reads it; none: nothing was made of the pool so far, or by a version that is not understood.
///
/// # Errors
/// When the store failed.
pub async fn read(store: &Store, pool: &str) -> Result<Option<PoolState>, Trouble> {
    match fact::read(store, &key::pool_state(pool)).await {
        Ok(state) => Ok(state),
        // It is state, no fact: the next write replaces it.
        Err(FactError::Unreadable(key, error)) => {
            tracing::warn!(key, %error, "what was planned last cannot be read");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes it. A failure is no more than a line in the log: the next rebalance writes again.
pub async fn write(store: &Store, pool: &str, state: &PoolState) {
    let text = serde_json::to_string(state).expect("a state is plain data, which always serializes");
    if let Err(error) = store.overwrite(&key::pool_state(pool), text).await {
        tracing::warn!(%error, pool, "what was planned is not shown");
    }
}

/// A plan as it is shown.
pub fn plan_view(plan: &Plan) -> PlanView {
    PlanView { at: plan.at.0, spot: plan.spot, dedicated: plan.dedicated, max_nodes: plan.max_nodes }
}

/// A reason as it is shown.
pub fn why(reason: &Reason) -> Why {
    let shown = |value: &Evidence| value.to_string();
    Why {
        code: reason.code.as_str().to_owned(),
        since: reason.since.map(|at| at.0),
        evidence: reason.evidence.iter().map(|(name, value)| ((*name).to_owned(), shown(value))).collect(),
        next: reason.next.as_ref().map(|next| next.what.to_owned()),
        next_at: reason.next.as_ref().and_then(|next| next.at).map(|at| at.0),
        remedy: reason.remedy.as_ref().map(|remedy| remedy.what.to_owned()),
    }
}

/// The mode as operators set it.
pub fn mode(mode: AutoscaleMode) -> &'static str {
    match mode {
        AutoscaleMode::Observe => "observe",
        AutoscaleMode::Recommend => "recommend",
        AutoscaleMode::Act => "act",
    }
}
