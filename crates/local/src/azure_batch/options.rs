//! What a stand-in is told before it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::account::Capacity;

/// The account that the stand-in has unless told otherwise.
pub const DEVELOPMENT_ACCOUNT: &str = "devbatch";
/// The key of [`DEVELOPMENT_ACCOUNT`]. It is public: it opens nothing but stand-ins.
pub const DEVELOPMENT_KEY: &str =
    "c3dpdGNoeWFyZCBzdGFuZC1pbiBmb3IgYXp1cmUgYmF0Y2g6IHRoaXMga2V5IGlzIHB1YmxpYywgNjQgYnl0ZQ==";

/// Which programs tasks may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programs {
    /// Any program of this machine. For tests: whoever holds the key runs what they like.
    Any,
    /// Only these: a name as a command line begins with it, or a container image's name, and the
    /// executable that it stands for. An image's executable gets the whole command line as its
    /// arguments, as an entry point does.
    Named(BTreeMap<String, PathBuf>),
}

/// What a stand-in is told before it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The account's name.
    pub account: String,
    /// The account's key, base64.
    pub key: String,
    /// Where nodes keep their files: one folder a pool and node. Emptied of a node when it goes.
    pub folder: PathBuf,
    /// Which programs tasks may start.
    pub programs: Programs,
    /// What every task finds in its environment besides the service's own names. Nothing is
    /// inherited from the stand-in's process.
    pub environment: Vec<(String, String)>,
    /// Pools that are there from the start, as bodies of `POST /pools`.
    pub pools: Vec<serde_json::Value>,
    /// How many machines there are.
    pub capacity: Capacity,
    /// From a resize to the machines that it asked for, on the account's clock.
    pub arrival: Duration,
    /// From a machine to a node that takes tasks, on the account's clock.
    pub boot: Duration,
    /// From an eviction, or a failed attempt, to the next attempt to get the machine back, on the
    /// account's clock. The platform gives up after 48 h.
    pub restore: Duration,
}

impl Options {
    /// An account with the development key, no pools and no programs, over a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Options {
        Options {
            account: DEVELOPMENT_ACCOUNT.to_owned(),
            key: DEVELOPMENT_KEY.to_owned(),
            folder: folder.into(),
            programs: Programs::Named(BTreeMap::new()),
            // What a login on the service's images has.
            environment: vec![(
                "PATH".to_owned(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            )],
            pools: Vec::new(),
            capacity: Capacity::UNLIMITED,
            arrival: Duration::from_secs(30),
            boot: Duration::from_secs(120),
            restore: Duration::from_secs(300),
        }
    }
}
