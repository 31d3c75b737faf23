//! How a pool is sized, started and reached.

use super::Found;
use crate::image::Image as KnownImage;
use crate::pool::{Pool, StartTask};
use crate::rule::Rule;
use crate::size::Size;

/// The service evaluates a formula no more often than this.
const INTERVAL_S_MIN: u64 = 5 * 60;
/// Nor less often.
const INTERVAL_S_MAX: u64 = 168 * 60 * 60;
/// Tasks that a node may run for each virtual processor.
const SLOTS_PER_VCPU: u64 = 4;
/// Tasks that a node may run at all.
const SLOTS_MAX: u64 = 256;
/// Characters of a pool's name.
const ID_CHARACTERS_MAX: usize = 64;
/// Kinds of containers.
const CONTAINER_TYPES: [&str; 2] = ["DockerCompatible", "CriCompatible"];
/// What the service took back, and why.
const RETIRED_MEMBERS: [(&str, &str); 4] = [
    (
        "targetNodeCommunicationMode",
        "classic communication ended on 2026-03-31, and api-version 2025-06-01 has no choice",
    ),
    ("certificates", "api-version 2025-06-01 has no certificates"),
    ("certificateReferences", "api-version 2025-06-01 has no certificates"),
    ("resourceTags", "api-version 2025-06-01 has no tags of resources"),
];
/// Characters that only a shell understands.
const FOR_SHELLS: [char; 7] = ['&', '|', ';', '<', '>', '$', '`'];
/// Programs that install from the Internet.
const INSTALLS: [&str; 7] = [
    "pip install",
    "pip3 install",
    "apt-get install",
    "apt install",
    "conda install",
    "npm install",
    "dnf install",
];

/// Looks at everything but the machine, the image and the agent.
pub(super) fn look(pool: &Pool, size: Option<&Size>, image: Option<&KnownImage>, found: &mut Found) {
    names(pool, found);
    scale(pool, found);
    slots(pool, size, found);
    containers(pool, image, found);
    if let Some(start) = &pool.start_task {
        start_task(start, found);
    }
    rights(pool, found);
    if pool.network.has_endpoints && pool.network.is_private {
        let what =
            "endpointConfiguration opens ports, and NoPublicIPAddresses leaves no address to reach them"
                .to_owned();
        found.add(Rule::NetworkConflict, "networkConfiguration", what);
    }
}

fn names(pool: &Pool, found: &mut Found) {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if let Some(id) = &pool.id
        && !(1..=ID_CHARACTERS_MAX).contains(&id.chars().count()) | !id.chars().all(is_allowed)
    {
        found.add(Rule::IdInvalid, "id", format!("\"{id}\" is no name of a pool"));
    }
    for misspelt in &pool.misspelt {
        let what =
            format!("{} is not known here, so it is {} that is missing", misspelt.found, misspelt.wanted);
        found.add_with(Rule::MemberMisspelt, &misspelt.found, what, format!("write {}", misspelt.wanted));
    }
    for (name, why) in RETIRED_MEMBERS {
        if pool.members.iter().any(|member| member == name) {
            found.add(Rule::MemberRetired, name, format!("{name} is set: {why}"));
        }
    }
}

fn scale(pool: &Pool, found: &mut Found) {
    let scale = &pool.scale;
    let targets = [("targetDedicatedNodes", scale.dedicated), ("targetLowPriorityNodes", scale.spot)];
    let named = targets.iter().filter(|(_, nodes)| nodes.is_some()).map(|(name, _)| *name);
    let mut fixed: Vec<&str> = named.collect();
    if scale.has_resize_timeout {
        fixed.push("resizeTimeout");
    }
    if !scale.is_auto {
        let nodes = scale.dedicated.unwrap_or(0).saturating_add(scale.spot.unwrap_or(0));
        let what = match nodes {
            0 => "no formula sets the size: the pool has no node until somebody resizes it".to_owned(),
            nodes => format!("no formula sets the size: {nodes} nodes are paid for whether they work or not"),
        };
        found.add(Rule::AutoscaleOff, "enableAutoScale", what);
        return;
    }
    if !fixed.is_empty() {
        let what = format!("{} must not be set where a formula sets the size", fixed.join(" and "));
        found.add(Rule::SizedTwice, fixed[0], what);
    }
    if !scale.has_formula {
        found.add(
            Rule::FormulaMissing,
            "autoScaleFormula",
            "autoscale is on, and there is no formula".to_owned(),
        );
    }
    if let Some(interval_s) = scale.interval_s.filter(|s| !(INTERVAL_S_MIN..=INTERVAL_S_MAX).contains(s)) {
        let what = format!("{interval_s} s between evaluations: the service takes 5 minutes to 168 hours");
        found.add(Rule::IntervalOutOfRange, "autoScaleEvaluationInterval", what);
    }
}

fn slots(pool: &Pool, size: Option<&Size>, found: &mut Found) {
    let most = size.map_or(SLOTS_MAX, |size| (SLOTS_PER_VCPU * u64::from(size.vcpus)).min(SLOTS_MAX));
    if let Some(slots) = pool.slots.filter(|slots| !(1..=most).contains(slots)) {
        let of = size.map_or("a node", |size| size.name);
        let what = format!("{slots} tasks at a time: {of} takes 1 to {most}");
        found.add(Rule::SlotsOutOfRange, "taskSlotsPerNode", what);
    }
}

fn containers(pool: &Pool, image: Option<&KnownImage>, found: &mut Found) {
    const AT: &str = "containerConfiguration";
    match &pool.containers {
        None => {
            if let Some(image) = image.filter(|image| image.is_for_containers) {
                let what = format!(
                    "{} is made for containers, and without containerConfiguration no task may use one",
                    image.name()
                );
                found.add(Rule::ContainersMissing, AT, what);
            }
        }
        Some(kind) if CONTAINER_TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) => {}
        Some(kind) => {
            let what = if kind.is_empty() {
                "containerConfiguration has no type".to_owned()
            } else {
                format!("containerConfiguration has type {kind}, which does not exist")
            };
            found.add(Rule::ContainerType, AT, what);
        }
    }
    let options = pool.start_task.as_ref().and_then(|start| start.run_options.as_ref());
    if options.is_some_and(|options| options.contains("--gpus")) {
        let what = "the start task's container is run with --gpus".to_owned();
        found.add(Rule::GpusOption, "startTask.containerSettings", what);
    }
    let asks_spot = pool.scale.is_auto || pool.scale.spot.is_some_and(|nodes| nodes > 0);
    if pool.has_ephemeral_disk && asks_spot {
        let what =
            "spot nodes of Batch cannot have the operating system on the machine's own disk".to_owned();
        found.add(Rule::EphemeralSpot, "osDisk", what);
    }
}

fn start_task(start: &StartTask, found: &mut Found) {
    const AT: &str = "startTask.commandLine";
    let program = start.command.split_whitespace().next().unwrap_or_default();
    let has_shell = program.rsplit('/').next().is_some_and(|name| matches!(name, "sh" | "bash"));
    if let Some(met) = start.command.chars().find(|c| FOR_SHELLS.contains(c)).filter(|_| !has_shell) {
        let what = format!("Batch starts no shell, so {program} gets \"{met}\" as an argument");
        found.add(Rule::ShellMissing, AT, what);
    }
    let command = start.command.replace(" -y", "").replace(" -q", "");
    if let Some(install) = INSTALLS.iter().find(|install| command.contains(**install)) {
        found.add(Rule::StartInstalls, AT, format!("{install} runs at the start of every node"));
    }
    if start.waits == Some(false) {
        let what = "a node whose start task fails takes work all the same".to_owned();
        found.add(Rule::StartNotAwaited, "startTask.waitForSuccess", what);
    }
}

fn rights(pool: &Pool, found: &mut Found) {
    // Resource ids are compared as Resource Manager does.
    let has = |identity: &str| {
        pool.identities.as_ref().is_none_or(|own| own.iter().any(|own| own.eq_ignore_ascii_case(identity)))
    };
    for fetched in &pool.fetched {
        match &fetched.identity {
            Some(identity) if !has(identity) => {
                found.add(
                    Rule::IdentityForeign,
                    &fetched.at,
                    format!("{identity} is none of the pool's identities"),
                );
            }
            None if !fetched.has_key => {
                let what = "it is fetched without identity, signature or password".to_owned();
                found.add(Rule::NoRightToRead, &fetched.at, what);
            }
            Some(_) | None => {}
        }
    }
    if pool.identities.as_ref().is_some_and(Vec::is_empty) {
        let what = "the pool has no identity, so its tasks open nothing without a key".to_owned();
        found.add(Rule::NoIdentity, "identity", what);
    }
}
