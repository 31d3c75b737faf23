//! A pool as far as it is judged: what its template, the service or a command line says of it. What was
//! not said is empty, and nothing is judged of it but what must be said.

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub id: Option<String>,
    /// `vmSize`.
    pub vm_size: Option<String>,
    /// What its nodes boot.
    pub image: Option<Image>,
    /// `nodeAgentSKUId`.
    pub agent: Option<String>,
    /// What is installed by the platform before Batch starts.
    pub extensions: Vec<Extension>,
    /// `containerConfiguration`: its `type`, empty where that was left out. `None`: tasks run as processes.
    pub containers: Option<String>,
    /// Whether the disk of the operating system is the machine's own.
    pub has_ephemeral_disk: bool,
    /// Who sets its size.
    pub scale: Scale,
    /// `taskSlotsPerNode`.
    pub slots: Option<u64>,
    /// What each node runs first.
    pub start_task: Option<StartTask>,
    /// The resource ids of the identities that it has. `None`: this form of a pool does not say.
    pub identities: Option<Vec<String>>,
    /// What its nodes fetch.
    pub fetched: Vec<Fetched>,
    /// How its nodes are reached.
    pub network: Network,
    /// Names of the members that are set, at the pool's own level and at the virtual machine's.
    pub members: Vec<String>,
    /// Members in a spelling that the form does not know.
    pub misspelt: Vec<Misspelt>,
}

/// What a node boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// An image of the marketplace.
    Market {
        /// Who publishes it.
        publisher: String,
        /// Its product.
        offer: String,
        /// Its version of the operating system.
        sku: String,
    },
    /// An image of one's own, by its resource id.
    Own(String),
}

/// What the platform installs on each node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Who publishes it.
    pub publisher: String,
    /// Its `type`.
    pub kind: String,
    /// `typeHandlerVersion`.
    pub version: Option<String>,
}

/// Who sets the size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// Whether a formula does.
    pub is_auto: bool,
    /// Whether there is one.
    pub has_formula: bool,
    /// How often it is evaluated, in seconds.
    pub interval_s: Option<u64>,
    /// Dedicated nodes that are asked for by number.
    pub dedicated: Option<u64>,
    /// Spot nodes that are asked for by number.
    pub spot: Option<u64>,
    /// Whether a time limit of a resize by hand is set.
    pub has_resize_timeout: bool,
}

/// What each node runs first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartTask {
    /// Its command line.
    pub command: String,
    /// `waitForSuccess`.
    pub waits: Option<bool>,
    /// `containerRunOptions`.
    pub run_options: Option<String>,
}

/// Something that a node fetches by HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Where the pool says it, as `startTask.resourceFiles[0]`.
    pub at: String,
    /// Its resource id, where it is read with an identity.
    pub identity: Option<String>,
    /// Whether it carries a right of its own: a signature in the address, or a password.
    pub has_key: bool,
}

/// How nodes are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Whether ports are open from outside.
    pub has_endpoints: bool,
    /// Whether nodes have no public address.
    pub is_private: bool,
}

/// A member whose name the form does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misspelt {
    /// As it stands there.
    pub found: String,
    /// As it must be.
    pub wanted: String,
}
