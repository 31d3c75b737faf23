//! A pool from JSON: as the data plane takes it, as `az batch pool show` prints it, or as Resource Manager
//! has it, alone or inside a template.

use jiff::{Span, SpanRelativeTo, Unit};
use machines::Pool;
use machines::pool::{Extension, Fetched, Image, Misspelt, Network, Scale, StartTask};
use serde_json::{Map, Value};

use crate::formula;

/// How deep a pool may lie in JSON: a template has it in `resources[].resources[].properties`.
const DEPTH_MAX: usize = 16;

/// Any of these makes an object a pool.
const MARKS: [&str; 3] = ["vmSize", "virtualMachineConfiguration", "deploymentConfiguration"];
/// Only Resource Manager says these.
const MARKS_OF_TEMPLATES: [&str; 3] = ["deploymentConfiguration", "scaleSettings", "provisioningState"];
/// Only the service itself says these.
const MARKS_OF_ANSWERS: [&str; 3] = ["allocationState", "creationTime", "eTag"];

type Object = Map<String, Value>;

/// A pool as a file has it.
#[derive(Debug)]
pub(super) struct Read {
    /// What is judged here.
    pub pool: Pool,
    /// Its formula, which has a linter of its own.
    pub formula: Option<String>,
}

/// Whose words a pool is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A template's, or what Resource Manager answers.
    ResourceManager,
    /// What the data plane is asked for.
    DataPlane,
    /// What the data plane answers, printed by a tool that may spell it in its own way.
    Shown,
}

/// Reads the one pool in a text.
///
/// # Errors
/// Why there is none, or which one is meant cannot be told.
pub(super) fn pool(content: &str) -> Result<Read, String> {
    let json: Value = serde_json::from_str(content).map_err(|error| format!("no JSON: {error}"))?;
    let mut found = Vec::new();
    find(&json, None, DEPTH_MAX, &mut found);
    match found[..] {
        [(pool, around)] => read(pool, around, &Defaults::of(&json)),
        [] => Err("the JSON holds no pool: no object has a vmSize".to_owned()),
        _ => Err(format!("the JSON holds {} pools; give one", found.len())),
    }
}

/// Every pool in a value, with the resource around it.
fn find<'a>(
    json: &'a Value,
    around: Option<&'a Object>,
    depth: usize,
    found: &mut Vec<(&'a Object, Option<&'a Object>)>,
) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match json {
        Value::Object(members) if MARKS.iter().any(|mark| members.contains_key(*mark)) => {
            found.push((members, around));
        }
        Value::Object(members) => {
            members.values().for_each(|member| find(member, Some(members), depth, found));
        }
        Value::Array(elements) => elements.iter().for_each(|element| find(element, around, depth, found)),
        _ => {}
    }
}

/// A template's parameters that have a default.
struct Defaults<'a>(Option<&'a Object>);

impl<'a> Defaults<'a> {
    fn of(json: &'a Value) -> Defaults<'a> {
        Defaults(json.get("parameters").and_then(Value::as_object))
    }

    /// The text of a member; for `[parameters('name')]` the parameter's default.
    fn text(&self, object: &Object, name: &str) -> Option<String> {
        let text = object.get(name)?.as_str()?;
        let parameter = text.strip_prefix("[parameters('").and_then(|rest| rest.strip_suffix("')]"));
        let default = parameter.and_then(|name| self.0?.get(name)?.get("defaultValue")?.as_str());
        Some(default.unwrap_or(text).to_owned())
    }
}

fn read(pool: &Object, around: Option<&Object>, defaults: &Defaults<'_>) -> Result<Read, String> {
    let empty = Object::new();
    let object = |from: &'_ Object, name: &str| from.get(name).and_then(Value::as_object).cloned();
    let has_any =
        |marks: &[&str]| marks.iter().any(|mark| pool.get(*mark).is_some_and(|value| !value.is_null()));
    let form = if has_any(&MARKS_OF_TEMPLATES) {
        Form::ResourceManager
    } else if has_any(&MARKS_OF_ANSWERS) {
        Form::Shown
    } else {
        Form::DataPlane
    };
    let deployment = object(pool, "deploymentConfiguration").unwrap_or_default();
    let machine = object(pool, "virtualMachineConfiguration")
        .or_else(|| object(&deployment, "virtualMachineConfiguration"))
        .unwrap_or_default();
    let start = pool.get("startTask").and_then(Value::as_object);
    let containers = machine.get("containerConfiguration").and_then(Value::as_object);
    let (scale, formula) = scale(pool, form)?;
    let (agent, misspelt) = agent(&machine, form, defaults);
    let mut fetched = resource_files(start.unwrap_or(&empty));
    fetched.extend(registries(containers.unwrap_or(&empty)));
    let name =
        around.filter(|_| form == Form::ResourceManager).and_then(|around| defaults.text(around, "name"));
    // A child resource is named `account/pool`; what is computed is not judged.
    let name = name.map(|name| name.rsplit('/').next().unwrap_or_default().to_owned());
    let id = defaults.text(pool, "id").filter(|_| form != Form::ResourceManager).or(name);
    let pool = Pool {
        id: id.filter(|id| !id.ends_with(']')),
        vm_size: defaults.text(pool, "vmSize"),
        image: machine.get("imageReference").and_then(Value::as_object).map(|image| booted(image, defaults)),
        agent,
        extensions: each(&machine, "extensions").map(|(_, one)| extension(one, defaults)).collect(),
        containers: containers.map(|found| defaults.text(found, "type").unwrap_or_default()),
        has_ephemeral_disk: machine
            .get("osDisk")
            .and_then(|disk| disk.get("ephemeralOSDiskSettings")?.get("placement"))
            .is_some_and(Value::is_string),
        scale,
        slots: pool.get("taskSlotsPerNode").and_then(Value::as_u64),
        start_task: start.map(|start| start_task(start, defaults)),
        identities: Some(identities(pool).chain(around.into_iter().flat_map(identities)).collect()),
        fetched,
        network: network(pool),
        members: pool
            .iter()
            .chain(&machine)
            .filter(|(_, value)| says(value))
            .map(|(name, _)| name.clone())
            .collect(),
        misspelt,
    };
    Ok(Read { pool, formula })
}

/// Whether a member says anything.
fn says(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    }
}

/// The objects of an array, with their places.
fn each<'a>(object: &'a Object, name: &str) -> impl Iterator<Item = (usize, &'a Object)> {
    let elements = object.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    elements.iter().enumerate().filter_map(|(at, element)| Some((at, element.as_object()?)))
}

fn booted(image: &Object, defaults: &Defaults<'_>) -> Image {
    let text = |name| defaults.text(image, name).unwrap_or_default();
    // The data plane says virtualMachineImageId, Resource Manager id.
    let own = ["virtualMachineImageId", "id"].iter().find_map(|name| defaults.text(image, name));
    match own {
        Some(own) => Image::Own(own),
        None => Image::Market { publisher: text("publisher"), offer: text("offer"), sku: text("sku") },
    }
}

fn extension(one: &Object, defaults: &Defaults<'_>) -> Extension {
    let text = |name| defaults.text(one, name);
    Extension {
        publisher: text("publisher").unwrap_or_default(),
        kind: text("type").unwrap_or_default(),
        version: text("typeHandlerVersion"),
    }
}

/// The node agent, in whatever spelling it stands there, and that spelling where the form has another.
fn agent(machine: &Object, form: Form, defaults: &Defaults<'_>) -> (Option<String>, Vec<Misspelt>) {
    const DATA_PLANE: &str = "nodeAgentSKUId";
    let wanted = match form {
        Form::ResourceManager => "nodeAgentSkuId",
        Form::DataPlane | Form::Shown => DATA_PLANE,
    };
    let Some(found) = machine.keys().find(|name| name.eq_ignore_ascii_case(DATA_PLANE)) else {
        return (None, Vec::new());
    };
    let is_misspelt = form != Form::Shown && found != wanted;
    let misspelt = is_misspelt.then(|| Misspelt { found: found.clone(), wanted: wanted.to_owned() });
    (defaults.text(machine, found), misspelt.into_iter().collect())
}

/// Who sets the size, and the formula.
fn scale(pool: &Object, form: Form) -> Result<(Scale, Option<String>), String> {
    let nodes = |from: Option<&Object>, name: &str| from?.get(name)?.as_u64();
    let is_set = |from: Option<&Object>, name: &str| from.and_then(|from| from.get(name)).is_some_and(says);
    let (is_auto, auto, fixed, names) = match form {
        Form::ResourceManager => {
            let settings = pool.get("scaleSettings").and_then(Value::as_object);
            let inside = |name: &str| settings?.get(name)?.as_object();
            let auto = inside("autoScale");
            (auto.is_some(), auto, inside("fixedScale"), ("formula", "evaluationInterval"))
        }
        Form::DataPlane | Form::Shown => {
            let is_auto = pool.get("enableAutoScale").and_then(Value::as_bool) == Some(true);
            // The service answers the present targets and timeout beside the formula that sets them.
            let fixed = Some(pool).filter(|_| form == Form::DataPlane || !is_auto);
            (is_auto, Some(pool), fixed, ("autoScaleFormula", "autoScaleEvaluationInterval"))
        }
    };
    let formula = auto.and_then(|auto| formula::source::lines(auto.get(names.0)?));
    let interval = auto.and_then(|auto| auto.get(names.1)?.as_str());
    let scale = Scale {
        is_auto,
        has_formula: formula.is_some(),
        interval_s: interval.map(seconds).transpose()?,
        dedicated: nodes(fixed, "targetDedicatedNodes"),
        spot: nodes(fixed, "targetLowPriorityNodes"),
        has_resize_timeout: is_set(fixed, "resizeTimeout"),
    };
    Ok((scale, formula))
}

/// A duration as `PT5M`, or as tools print it: `0:05:00`, `7 days, 0:00:00`.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no time between evaluations, as PT5M");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let seconds = span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).map_err(|_| wrong())?;
    if seconds >= 0.0 { Ok(seconds as u64) } else { Err(wrong()) }
}

fn start_task(start: &Object, defaults: &Defaults<'_>) -> StartTask {
    let container = start.get("containerSettings").and_then(Value::as_object);
    StartTask {
        command: defaults.text(start, "commandLine").unwrap_or_default(),
        waits: start.get("waitForSuccess").and_then(Value::as_bool),
        run_options: container.and_then(|container| defaults.text(container, "containerRunOptions")),
    }
}

/// What the start task fetches from Azure Storage; other hosts may be open to everybody.
fn resource_files(start: &Object) -> Vec<Fetched> {
    let from_storage = each(start, "resourceFiles").filter_map(|(at, file)| {
        let url = ["httpUrl", "storageContainerUrl"].iter().find_map(|name| file.get(*name)?.as_str())?;
        let has_key = !url.contains(".blob.") || url.contains("sig=");
        Some(Fetched { at: format!("startTask.resourceFiles[{at}]"), identity: identity(file), has_key })
    });
    from_storage.collect()
}

fn registries(containers: &Object) -> Vec<Fetched> {
    let registries = each(containers, "containerRegistries").map(|(at, registry)| {
        let has_key = ["username", "userName"].iter().any(|name| registry.get(*name).is_some_and(says));
        let at = format!("containerConfiguration.containerRegistries[{at}]");
        Fetched { at, identity: identity(registry), has_key }
    });
    registries.collect()
}

fn identity(of: &Object) -> Option<String> {
    Some(of.get("identityReference")?.get("resourceId")?.as_str()?.to_owned())
}

/// The identities that an object names: as keys, or as a list.
fn identities(of: &Object) -> impl Iterator<Item = String> {
    let named = of.get("identity").and_then(|identity| identity.get("userAssignedIdentities"));
    let names: Vec<String> = match named {
        Some(Value::Object(names)) => names.keys().cloned().collect(),
        Some(Value::Array(list)) => {
            list.iter().filter_map(|one| Some(one.get("resourceId")?.as_str()?.to_owned())).collect()
        }
        _ => Vec::new(),
    };
    names.into_iter()
}

fn network(pool: &Object) -> Network {
    let network = pool.get("networkConfiguration");
    let inside = |name: &str| network.and_then(|network| network.get(name)).filter(|found| says(found));
    let provision =
        inside("publicIPAddressConfiguration").and_then(|address| address.get("provision")?.as_str());
    Network {
        has_endpoints: inside("endpointConfiguration").is_some(),
        is_private: provision.is_some_and(|how| how.eq_ignore_ascii_case("NoPublicIPAddresses")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_between_evaluations_are_read_as_tools_write_them() {
        let cases = [
            ("PT5M", 300),
            ("PT05M00S", 300),
            ("P7D", 604_800),
            ("0:05:00", 300),
            ("7 days, 0:00:00", 604_800),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for wrong in ["", "five minutes", "-PT5M"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_pool_is_found_wherever_it_lies() {
        let pools = [
            r#"{"vmSize": "s"}"#,
            r#"{"properties": {"vmSize": "s"}}"#,
            r#"{"resources": [{"name": "a"}, {"resources": [{"properties": {"vmSize": "s", "scaleSettings": {}}}]}]}"#,
            r#"{"parameters": {"size": {"defaultValue": "s"}}, "resources": [{"properties": {"vmSize": "[parameters('size')]"}}]}"#,
        ];
        for content in pools {
            assert_eq!(pool(content).unwrap().pool.vm_size.as_deref(), Some("s"), "{content}");
        }
        let wrong = [
            ("{}", "the JSON holds no pool: no object has a vmSize"),
            (r#"[{"vmSize": "a"}, {"vmSize": "b"}]"#, "the JSON holds 2 pools; give one"),
        ];
        for (content, why) in wrong {
            assert_eq!(pool(content).unwrap_err(), why);
        }
    }

    #[test]
    fn each_form_has_its_own_spelling() {
        let spelt = |outer: &str, name: &str, further: &str| {
            let machine =
                format!(r#"{{"virtualMachineConfiguration": {{"{name}": "batch.node.ubuntu 24.04"}}}}"#);
            let content = match outer {
                "" => format!("{}{further}}}", &machine[..machine.len() - 1]),
                outer => format!(r#"{{"{outer}": {machine}}}"#),
            };
            let read = pool(&content).unwrap().pool;
            assert_eq!(read.agent.as_deref(), Some("batch.node.ubuntu 24.04"), "{content}");
            read.misspelt.is_empty()
        };
        assert!(spelt("deploymentConfiguration", "nodeAgentSkuId", ""));
        assert!(!spelt("deploymentConfiguration", "nodeAgentSKUId", ""));
        assert!(spelt("", "nodeAgentSKUId", ""));
        assert!(!spelt("", "nodeAgentSkuId", ""));
        let answered = r#", "allocationState": "steady""#;
        assert!(spelt("", "nodeAgentSkuId", answered) && spelt("", "nodeAgentSKUId", answered));
    }
}
