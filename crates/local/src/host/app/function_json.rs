//! `function.json`: what starts a function and where its outputs go.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{AuthLevel, Function, Http, Output, StartError, Trigger, expand, wrong};

/// The longest function name that the host indexes.
const NAME_LENGTH_MAX: usize = 128;

/// The functions that can run, and those that cannot with the reason.
pub(super) type Indexed = (Vec<Function>, Vec<(String, String)>);

/// Reads every folder right below `root` that has a function.json.
pub(super) fn read_functions(
    root: &Path,
    setting: &dyn Fn(&str) -> Option<String>,
) -> Result<Indexed, StartError> {
    let mut found: BTreeMap<String, Result<Function, String>> = BTreeMap::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path().join("function.json");
        let name = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        if !path.is_file() || disabled(&name, setting) {
            continue;
        }
        found.insert(name.clone(), read_function(&path, &name, setting));
    }
    if found.is_empty() {
        let nested = root.join("functions").is_dir();
        let hint = if nested {
            "only folders right beside host.json are looked at, not functions/*; run `switchyard stage`"
        } else {
            "no folder beside host.json has a function.json"
        };
        return Err(wrong(root, &format!("no functions: {hint}")));
    }
    let (mut functions, mut in_error) = (Vec::new(), Vec::new());
    for (name, read) in found {
        match read {
            Ok(function) => functions.push(function),
            Err(why) => in_error.push((name, why)),
        }
    }
    Ok((functions, in_error))
}

fn disabled(name: &str, setting: &dyn Fn(&str) -> Option<String>) -> bool {
    setting(&format!("AzureWebJobs.{name}.Disabled"))
        .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
}

#[derive(Deserialize)]
struct FunctionJson {
    #[serde(default)]
    disabled: Value,
    #[serde(default)]
    bindings: Vec<Binding>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    auth_level: Option<String>,
    methods: Option<Vec<String>>,
    route: Option<String>,
    queue_name: Option<String>,
    connection: Option<String>,
    data_type: Option<String>,
    schedule: Option<String>,
    use_monitor: Option<bool>,
    run_on_startup: Option<bool>,
}

fn read_function(
    path: &Path,
    name: &str,
    setting: &dyn Fn(&str) -> Option<String>,
) -> Result<Function, String> {
    let legal = name.len() <= NAME_LENGTH_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !name.eq_ignore_ascii_case("host");
    if !legal {
        return Err("its name must be a letter, then letters, digits, `_` or `-`, and not `host`".to_owned());
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let json: FunctionJson =
        serde_json::from_str(&text).map_err(|error| format!("function.json: {error}"))?;
    if json.disabled == Value::Bool(true) {
        return Err("it is disabled in function.json".to_owned());
    }
    let (mut trigger, mut outputs) = (None, Vec::new());
    for binding in &json.bindings {
        if binding.kind.to_lowercase().ends_with("trigger") {
            let read = read_trigger(binding, name, setting)?;
            if trigger.replace(read).is_some() {
                return Err("it has more than one trigger".to_owned());
            }
        } else {
            outputs.push(read_output(binding, setting)?);
        }
    }
    let trigger = trigger.ok_or("it has no trigger")?;
    Ok(Function { name: name.to_owned(), trigger, outputs })
}

fn read_trigger(
    binding: &Binding,
    function: &str,
    setting: &dyn Fn(&str) -> Option<String>,
) -> Result<Trigger, String> {
    let name = binding.name.clone().ok_or("its trigger has no `name`")?;
    match binding.kind.to_lowercase().as_str() {
        "httptrigger" => {
            let route = binding.route.clone().unwrap_or_else(|| function.to_owned());
            let route = route.trim_matches('/').to_owned();
            let first = route.split('/').next().unwrap_or_default().to_lowercase();
            if matches!(first.as_str(), "admin" | "runtime") {
                return Err("the specified route conflicts with one or more built in routes".to_owned());
            }
            let methods =
                binding.methods.as_ref().map(|all| all.iter().map(|method| method.to_uppercase()).collect());
            let auth_level = match binding.auth_level.as_deref().map(str::to_lowercase).as_deref() {
                Some("anonymous") => AuthLevel::Anonymous,
                None | Some("function") => AuthLevel::Function,
                Some("admin") => AuthLevel::Admin,
                Some(other) => {
                    return Err(format!("`authLevel` is `{other}`; give anonymous, function or admin"));
                }
            };
            Ok(Trigger::Http(Http { binding: name, auth_level, methods, route }))
        }
        "queuetrigger" => Ok(Trigger::Queue {
            binding: name,
            queue_name: queue_name(binding, setting)?,
            connection: connection(binding),
            binary: is_binary(binding),
        }),
        "timertrigger" => {
            let schedule = expand(binding.schedule.as_deref().unwrap_or_default(), setting);
            if schedule.trim().is_empty() {
                return Err("its `schedule` is empty or names a setting that is not set".to_owned());
            }
            let use_monitor = binding.use_monitor.unwrap_or(true);
            let run_on_startup = binding.run_on_startup.unwrap_or(false);
            Ok(Trigger::Timer { binding: name, schedule, use_monitor, run_on_startup })
        }
        other => Err(format!(
            "the binding type `{other}` is not supported here (httpTrigger, queueTrigger, timerTrigger)"
        )),
    }
}

fn read_output(binding: &Binding, setting: &dyn Fn(&str) -> Option<String>) -> Result<Output, String> {
    let name = binding.name.clone().ok_or("an output binding has no `name`")?;
    match binding.kind.to_lowercase().as_str() {
        "http" => Ok(Output::Http { name }),
        "queue" => Ok(Output::Queue {
            name,
            queue_name: queue_name(binding, setting)?,
            connection: connection(binding),
            binary: is_binary(binding),
        }),
        other => Err(format!("the binding type `{other}` is not supported here (http, queue)")),
    }
}

fn queue_name(binding: &Binding, setting: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let name = expand(binding.queue_name.as_deref().unwrap_or_default(), setting).to_lowercase();
    if name.is_empty() {
        Err("its `queueName` is empty or names a setting that is not set".to_owned())
    } else {
        Ok(name)
    }
}

fn connection(binding: &Binding) -> Option<String> {
    binding.connection.clone().filter(|name| !name.is_empty())
}

fn is_binary(binding: &Binding) -> bool {
    binding.data_type.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("binary"))
}
