//! The rules, by their names.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It may be meant.
    Note,
    /// It costs money or time, or stops working soon.
    Warning,
    /// The service refuses it, or its nodes do no work.
    Error,
}

impl Severity {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row for each rule: variant, name, severity, remedy, what it looks for.
macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident, $name:literal, $severity:ident, $remedy:literal;)+) => {
        /// What is looked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Rule {
            /// Every rule, the worst first.
            pub const ALL: &[Rule] = &[$(Rule::$variant,)+];

            /// Its name in output and documentation.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Rule::$variant => $name,)+
                }
            }

            /// How bad what it finds is.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Rule::$variant => Severity::$severity,)+
                }
            }

            /// What one can do, as an instruction. A finding may know better.
            pub const fn remedy(self) -> &'static str {
                match self {
                    $(Rule::$variant => $remedy,)+
                }
            }
        }
    };
}

rules! {
    /// A VM size that is gone.
    SizeRetired, "size_retired", Error, "use Standard_NC4as_T4_v3";
    /// An image that Batch does not support any more.
    ImageRetired, "image_retired", Error, "use microsoft-dsvm/ubuntu-hpc/2404 with batch.node.ubuntu 24.04";
    /// A node agent that Batch does not support any more.
    AgentRetired, "agent_retired", Error, "use batch.node.ubuntu 24.04";
    /// An image with the agent of another operating system.
    AgentMismatch, "agent_mismatch", Error, "take the agent that `az batch pool supported-images list` names beside the image";
    /// An image that the size cannot boot.
    GenerationMismatch, "generation_mismatch", Error, "take a size that boots Hyper-V's second generation, as Standard_NC4as_T4_v3";
    /// A GPU without the driver that it needs.
    DriverMissing, "driver_missing", Error, "add the extension NvidiaGpuDriverLinux of Microsoft.HpcCompute";
    /// A version of an extension that the platform refuses.
    ExtensionVersion, "extension_version", Error, "write major.minor only, as 1.14";
    /// What must be said and is not.
    MemberMissing, "member_missing", Error, "say it";
    /// A member in a spelling that the form does not know.
    MemberMisspelt, "member_misspelt", Error, "templates of Resource Manager say nodeAgentSkuId, the data plane nodeAgentSKUId";
    /// A member that the service took back.
    MemberRetired, "member_retired", Error, "take it out; nothing replaces it";
    /// A name that no pool may have.
    IdInvalid, "id_invalid", Error, "use up to 64 letters, digits, - and _";
    /// A size by number and by formula, or by neither.
    SizedTwice, "sized_twice", Error, "leave the targets and resizeTimeout to the formula";
    /// A formula is to set the size, and there is none.
    FormulaMissing, "formula_missing", Error, "give a formula; `switchyard formula lint` judges it";
    /// A formula that is evaluated more or less often than the service does.
    IntervalOutOfRange, "interval_out_of_range", Error, "use PT5M to P7D; PT5M follows best";
    /// More or fewer tasks on a node than the service runs.
    SlotsOutOfRange, "slots_out_of_range", Error, "use 1 to four for each virtual processor, 256 at most";
    /// Containers of a kind that does not exist.
    ContainerType, "container_type", Error, "write type DockerCompatible";
    /// An option that hides the GPU that Batch hands to containers.
    GpusOption, "gpus_option", Error, "take --gpus out: Batch enables the GPU for container tasks by itself";
    /// A machine's own disk under spot nodes.
    EphemeralSpot, "ephemeral_spot", Error, "use a managed disk, or dedicated nodes";
    /// An identity that the nodes do not have.
    IdentityForeign, "identity_foreign", Error, "add the identity to the pool's own";
    /// Ports open from outside on nodes without an address.
    NetworkConflict, "network_conflict", Error, "leave endpointConfiguration out";
    /// A command line for a shell, without one.
    ShellMissing, "shell_missing", Error, "begin with /bin/sh -c '…' or /bin/bash -c '…'";
    /// A VM size that is gone within six months.
    SizeEnding, "size_ending", Warning, "move before that day: a pool cannot change its size of machine";
    /// An image that Batch ends to support within six months.
    ImageEnding, "image_ending", Warning, "make a new pool before that day: a pool cannot change its image";
    /// A node agent that Batch ends to support within six months.
    AgentEnding, "agent_ending", Warning, "make a new pool before that day: a pool cannot change its agent";
    /// Nobody sizes the pool but a person.
    AutoscaleOff, "autoscale_off", Warning, "enable autoscale, or knob autoscale-mode = act";
    /// An image for containers in a pool without them.
    ContainersMissing, "containers_missing", Warning, "add containerConfiguration with type DockerCompatible, or use microsoft-dsvm/ubuntu-hpc/2404";
    /// A start task that installs from the Internet.
    StartInstalls, "start_installs", Warning, "put it into the image or the worker's files: each node pays for the minutes, and fails with the mirror";
    /// Nodes that take work although their start task failed.
    StartNotAwaited, "start_not_awaited", Warning, "set waitForSuccess to true";
    /// Something fetched without any right to it.
    NoRightToRead, "no_right_to_read", Warning, "name an identityReference that the pool has";
    /// A GPU that nothing here computes on.
    GpuUnused, "gpu_unused", Warning, "use a size with an NVIDIA GPU, as Standard_NC4as_T4_v3";
    /// A VM size that is still there and no sound choice.
    SizeDoubtful, "size_doubtful", Note, "ask for capacity before you rely on it";
    /// A VM size that the table does not know.
    SizeUnknown, "size_unknown", Note, "look at its page, and at `az batch location list-skus`";
    /// A VM size without GPU.
    SizeWithoutGpu, "size_without_gpu", Note, "nothing, where the models run on processors";
    /// An image that the table does not know.
    ImageUnknown, "image_unknown", Note, "look at `az batch pool supported-images list`";
    /// A node agent that the table does not know.
    AgentUnknown, "agent_unknown", Note, "look at `az batch pool supported-images list`";
    /// Tasks have no rights but those of keys.
    NoIdentity, "no_identity", Note, "give the pool a user-assigned identity with rights on the storage";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
