//! Quotas against what knobs and catalogue may ask for. The data plane does not tell them, so they are read
//! from saved output of `az batch account show`, `az containerapp env list-usages` and `az vm list-usage`. Pure.

use std::collections::BTreeMap;

use policy::Knobs;
use serde_json::Value;
use wire::catalogue as file;
use wire::doctor::Finding;

use super::check::{Check, of};

/// Used beyond this, somebody should be told: the next peak meets the quota.
pub const ALERT_PERCENT: u64 = 80;
/// Used beyond this, more should be asked for: requests take days.
pub const REQUEST_PERCENT: u64 = 60;

/// What a quota is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// GPUs of Container Apps, by class as the catalogue writes it.
    Gpus(&'static str),
    /// Cores of dedicated nodes.
    Dedicated,
    /// Cores of spot nodes.
    Spot,
    /// Cores of dedicated nodes of a VM family.
    Family(String),
}

/// What may be asked for at most.
pub type Needs = BTreeMap<Of, u64>;

/// Classes of GPUs that Container Apps have.
const CLASSES: [&str; 2] = ["t4", "a100"];

/// What knobs and catalogue may ask for at most. `sizes` are pools and the sizes of their machines.
pub fn needs(knobs: &Knobs, catalogue: &file::Catalogue, sizes: &[(String, String)]) -> Needs {
    let mut needs = Needs::new();
    for backend in &catalogue.backends {
        let class = backend
            .gpu_class
            .as_deref()
            .and_then(|class| CLASSES.iter().find(|known| class.eq_ignore_ascii_case(known)));
        if let (Some(class), file::Style::Openai) = (class, backend.style) {
            // A replica has one GPU.
            *needs.entry(Of::Gpus(class)).or_default() +=
                u64::from(backend.max_replicas.min(knobs.max_replicas));
        }
    }
    for pool in &catalogue.pools {
        let size = sizes.iter().find(|(name, _)| *name == pool.name).map(|(_, size)| size);
        let Some((size, vcpus)) = size.and_then(|size| Some((size, machines::size::find(size)?.1.vcpus)))
        else {
            continue;
        };
        let nodes = u64::from(pool.max_nodes.min(knobs.max_nodes));
        let dedicated = if pool.usd_per_dedicated_node_hour.is_some() {
            nodes.min(u64::from(knobs.max_dedicated_nodes))
        } else {
            0
        };
        let cores = |nodes: u64| nodes * u64::from(vcpus);
        if pool.spot {
            *needs.entry(Of::Spot).or_default() += cores(nodes);
        }
        if dedicated > 0 {
            *needs.entry(Of::Dedicated).or_default() += cores(dedicated);
            *needs.entry(Of::Family(size.to_ascii_lowercase())).or_default() += cores(dedicated);
        }
    }
    needs
}

/// One quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What it is of; none: nothing of ours, and only its use is judged.
    pub of: Option<Of>,
    /// As the service names it.
    pub name: String,
    /// How much there may be.
    pub limit: u64,
    /// How much there is now, where the output tells it.
    pub used: Option<u64>,
}

/// Reads one file of saved output.
///
/// # Errors
/// When it is none of the three.
pub fn parse(text: &str) -> Result<Vec<Quota>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
    let lines = value.as_array().or_else(|| value.get("value")?.as_array());
    if let Some(lines) = lines {
        return lines
            .iter()
            .map(|line| usage(line).ok_or_else(|| "holds something that is no usage line".to_owned()))
            .collect();
    }
    account(&value).ok_or_else(|| {
        "is not the output of `az batch account show`, `az containerapp env list-usages` or `az vm list-usage`".to_owned()
    })
}

/// Numbers are numbers in one output and text in another.
fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::String(text) => text.trim().parse::<f64>().ok(),
        value => value.as_f64(),
    }
    .filter(|number| (0.0..1e12).contains(number))
    .map(|number| number as u64)
}

/// A line of the two `list-usages`: `{name: {value, localizedValue}, currentValue, limit}`.
fn usage(line: &Value) -> Option<Quota> {
    let name = line.get("name")?;
    let part = |member: &str| name.get(member).and_then(Value::as_str);
    let shown = part("localizedValue").or_else(|| part("value")).or_else(|| name.as_str())?.to_owned();
    let both = format!("{shown} {}", part("value").unwrap_or_default()).to_lowercase().replace(' ', "");
    let of = match &both {
        // `Subscription consumption T 4 GPUs`, `Managed Environment Consumption NCA100 Gpus`; not `NCA 100 GPUs` of
        // dedicated profiles.
        name if name.contains("consumption") && name.contains("gpu") => {
            CLASSES.iter().find(|class| name.contains(**class)).map(|class| Of::Gpus(class))
        }
        _ => None,
    };
    Some(Quota { of, name: shown, limit: number(line.get("limit"))?, used: number(line.get("currentValue")) })
}

/// `az batch account show`
fn account(value: &Value) -> Option<Vec<Quota>> {
    let whose = value.get("name").and_then(Value::as_str).unwrap_or("of Azure Batch");
    let quota = |of: Of, what: &str, member: &str| {
        Some(Quota {
            of: Some(of),
            name: format!("account {whose}: {what}"),
            limit: number(value.get(member))?,
            used: None,
        })
    };
    let mut quotas = vec![
        quota(Of::Dedicated, "dedicated cores", "dedicatedCoreQuota")?,
        quota(Of::Spot, "spot (low-priority) cores", "lowPriorityCoreQuota")?,
    ];
    let member = |name: &str| {
        value.as_object()?.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    if member("dedicatedCoreQuotaPerVmFamilyEnforced").and_then(Value::as_bool) == Some(true) {
        let families = member("dedicatedCoreQuotaPerVmFamily").and_then(Value::as_array);
        for family in families.into_iter().flatten() {
            let name = family.get("name")?.as_str()?;
            let limit = number(family.get("coreQuota"))?;
            let of = Some(Of::Family(name.to_ascii_lowercase()));
            quotas.push(Quota {
                of,
                name: format!("account {whose}: dedicated cores of {name}"),
                limit,
                used: None,
            });
        }
    }
    Some(quotas)
}

/// Whether a family of the service, as `standardncasv3_t4family`, is that of a size, as `standard_nc4as_t4_v3`.
fn is_family_of(family: &str, size: &str) -> bool {
    let parts = size.trim_start_matches("standard_").split('_').enumerate();
    let part = |(at, part): (usize, &str)| match at {
        0 => part.chars().filter(|c| !c.is_ascii_digit()).collect::<String>(),
        _ => part.to_owned(),
    };
    parts.map(part).all(|part| family.contains(&part))
}

/// One line for each quota that counts here, and one for each need that no quota was given for.
pub fn judge(needs: &Needs, quotas: &[Quota]) -> Vec<Finding> {
    let matches = |needed: &Of, of: &Of| match (needed, of) {
        (Of::Family(size), Of::Family(family)) => is_family_of(family, size),
        _ => needed == of,
    };
    let mut findings = Vec::new();
    for quota in quotas {
        let need = quota.of.as_ref().and_then(|of| needs.iter().find(|(needed, _)| matches(needed, of)));
        // Other people's quotas are told only when they run out; families that nobody asks for never.
        let is_ours = need.is_some() || !matches!(quota.of, None | Some(Of::Family(_)));
        let finding = line(quota, need.map_or(0, |(_, need)| *need));
        if is_ours || (quota.of.is_none() && finding.outcome != wire::doctor::Outcome::Ok && quota.limit > 0)
        {
            findings.push(of(quota.name.clone(), finding));
        }
    }
    let told =
        |needed: &Of| quotas.iter().filter_map(|quota| quota.of.as_ref()).any(|of| matches(needed, of));
    for (needed, need) in needs.iter().filter(|(needed, _)| !matches!(needed, Of::Family(_)) && !told(needed))
    {
        let (what, output) = match needed {
            Of::Gpus(class) => (
                format!("{need} GPUs {}", class.to_uppercase()),
                "az containerapp env list-usages --name ENVIRONMENT --resource-group GROUP",
            ),
            Of::Dedicated => (
                format!("{need} dedicated cores"),
                "az batch account show --name ACCOUNT --resource-group GROUP",
            ),
            Of::Spot => {
                (format!("{need} spot cores"), "az batch account show --name ACCOUNT --resource-group GROUP")
            }
            Of::Family(_) => continue,
        };
        findings.push(of(what, Check::Quota.needs(&format!("--usages FILE with the output of `{output}`"))));
    }
    if findings.is_empty() {
        findings.push(Check::Quota.needs("a pool of a known size, or a backend with gpu_class t4 or a100"));
    }
    findings
}

fn line(quota: &Quota, need: u64) -> Finding {
    let used = quota.used.map_or(String::new(), |used| format!(", used {used}"));
    let seen = format!("have {}, need {need}{used}", quota.limit);
    let ask = match quota.of {
        Some(Of::Gpus(_)) => {
            "ask for GPUs: portal, Help + support, quota of Container Apps, or lower max-aca-replicas"
        }
        Some(Of::Spot) => {
            "ask for low-priority cores: portal, the Batch account, Quotas; or lower max-batch-nodes"
        }
        Some(Of::Dedicated | Of::Family(_)) => {
            "ask for dedicated cores of the VM family: portal, the Batch account, Quotas; or lower max-dedicated-nodes"
        }
        None => "ask for more: portal, Quotas",
    };
    // Where nothing tells what is used, what is needed stands for it only when it is too much.
    let share = quota.used.filter(|_| quota.limit > 0).map(|used| used * 100 / quota.limit);
    match share {
        _ if need > quota.limit => Check::Quota.broken(seen, ask),
        Some(share) if share >= ALERT_PERCENT => {
            Check::Quota.warning(format!("{seen}: {share} % is used, the next peak meets it"), ask)
        }
        Some(share) if share >= REQUEST_PERCENT => {
            Check::Quota.warning(format!("{seen}: {share} % is used, and a request takes days"), ask)
        }
        _ => Check::Quota.ok(seen),
    }
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;
