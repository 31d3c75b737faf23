//! The nodes of a pool, one by one: where a count does not say which was taken away and when.

use policy::units::UnixMs;
use reqwest::Method;
use serde::Deserialize;
use tokio::time::Instant;

use super::call::Call;
use super::client::{Client, checked};
use super::iso8601;
use super::pool::PoolError;
use super::retry::CALL_MAX;

/// Pages that are read. A page has up to 1,000 nodes, and pools of ours have tens.
const PAGES_MAX: usize = 10;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id; a node that comes back after an eviction keeps it.
    pub id: String,
    /// What it is doing.
    pub state: NodeState,
    /// Since when.
    pub since: Option<UnixMs>,
    /// When it was given to the pool.
    pub allocated: Option<UnixMs>,
    /// Whether it is one that is not taken away.
    pub is_dedicated: bool,
}

/// What a node is doing, as far as its life is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// On its way to its first task, or to one after a reboot.
    Starting,
    /// Idle or running.
    Usable,
    /// Taken away by the platform.
    Preempted,
    /// Unusable, or its start task failed.
    Broken,
    /// Leaving, offline, or something newer than this client.
    Other,
}

impl Client {
    /// Lists a pool's nodes, page by page, all of them within [`CALL_MAX`]. Says too whether there
    /// are no more of them: a list is read to a bound.
    ///
    /// # Errors
    /// When there is no such pool, or a page could not be read.
    pub async fn nodes(&self, pool: &str) -> Result<(Vec<Node>, bool), PoolError> {
        let deadline = Instant::now() + CALL_MAX;
        let path = format!("/pools/{}/nodes", checked("pool", pool)?);
        let mut url = self.url(&path, "&$select=id,state,stateTransitionTime,allocationTime,isDedicated");
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let call = Call::new("list nodes", Method::GET, url, 200);
            let page: Page = match self.send_by(deadline, call).await {
                Ok(answer) => answer.decode()?,
                Err(error) if error.is_one_of(&["PoolNotFound"]) => return Err(PoolError::NotFound),
                Err(error) => return Err(error.into()),
            };
            found.extend(page.value.into_iter().map(Node::from));
            match page.next_link.filter(|next| !next.is_empty()) {
                Some(next) => url = self.next_page(&path, &next)?,
                None => return Ok((found, true)),
            }
        }
        Ok((found, false))
    }
}

#[derive(Deserialize)]
struct Page {
    value: Vec<Body>,
    #[serde(rename = "odata.nextLink")]
    next_link: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    id: String,
    #[serde(default)]
    state: String,
    #[serde(default, deserialize_with = "iso8601::instant")]
    state_transition_time: Option<UnixMs>,
    #[serde(default, deserialize_with = "iso8601::instant")]
    allocation_time: Option<UnixMs>,
    #[serde(default)]
    is_dedicated: bool,
}

impl From<Body> for Node {
    fn from(body: Body) -> Node {
        let state = match body.state.to_ascii_lowercase().as_str() {
            "creating" | "starting" | "waitingforstarttask" | "rebooting" | "reimaging" | "upgradingos" => {
                NodeState::Starting
            }
            "idle" | "running" => NodeState::Usable,
            "preempted" => NodeState::Preempted,
            "unusable" | "starttaskfailed" => NodeState::Broken,
            _ => NodeState::Other,
        };
        let (since, allocated) = (body.state_transition_time, body.allocation_time);
        Node { id: body.id, state, since, allocated, is_dedicated: body.is_dedicated }
    }
}
