//! A staged folder, read: `host.json` and the `function.json` of each function.
//!
//! What no host could run is an error of the whole folder; a single wrong function is in error
//! alone, and the others run, as with the real host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::StartError;

/// The host's own default of `functionTimeout` outside the Consumption plan.
const FUNCTION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// `HttpWorkerOptions.InitializationTimeout`: 30 s, whatever the documentation says.
const INITIALIZATION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The longest function name that the host indexes.
const NAME_LENGTH_MAX: usize = 128;

/// A staged folder.
#[derive(Clone, Debug)]
pub struct App {
    /// The folder.
    pub root: PathBuf,
    /// The program to run, found as the host finds it.
    pub executable: PathBuf,
    /// Its arguments, `%VAR%` expanded.
    pub arguments: Vec<String>,
    /// Its working directory.
    pub working_directory: PathBuf,
    /// Pure HTTP functions are streamed to it (wins over forwarding).
    pub proxying: bool,
    /// Pure HTTP functions are sent to it as buffered HTTP requests.
    pub forwarding: bool,
    /// How long one start attempt may take.
    pub initialization_timeout: Duration,
    /// How long one invocation may take; none: without bound (`-1`).
    pub function_timeout: Option<Duration>,
    /// Before every HTTP route, without slashes at the ends.
    pub route_prefix: String,
    /// How queue triggers poll.
    pub queues: Queues,
    /// The functions that can run, by name.
    pub functions: Vec<Function>,
    /// The functions that cannot, with the reason.
    pub in_error: Vec<(String, String)>,
}

/// `extensions.queues` of host.json.
#[derive(Clone, Debug, PartialEq)]
pub struct Queues {
    /// Messages taken at once, 1..=32.
    pub batch_size: u8,
    /// A new batch is taken when so few are running.
    pub new_batch_threshold: usize,
    /// Tries before a message goes to the poison queue.
    pub max_dequeue_count: u32,
    /// The longest pause between polls.
    pub max_polling_interval: Duration,
    /// How long a failed message stays hidden.
    pub visibility_timeout: Duration,
    /// How message texts are encoded.
    pub message_encoding: MessageEncoding,
}

/// `messageEncoding` of host.json.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageEncoding {
    /// The text as it is.
    None,
    /// base64 of UTF-8, the host's default.
    Base64,
}

/// A function that can run.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// The folder's name.
    pub name: String,
    /// What starts it.
    pub trigger: Trigger,
    /// Where its outputs go.
    pub outputs: Vec<Output>,
}

/// What starts a function.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// A request of a client.
    Http(Http),
    /// A message of a queue.
    Queue {
        /// The binding's name.
        binding: String,
        /// The queue, `%VAR%` expanded, in lower case.
        queue_name: String,
        /// The app setting with the connection string; none: `AzureWebJobsStorage`.
        connection: Option<String>,
        /// `dataType: binary`.
        binary: bool,
    },
    /// A schedule.
    Timer {
        /// The binding's name.
        binding: String,
        /// The expression, `%VAR%` expanded.
        schedule: String,
        /// Whether missed runs are caught up.
        use_monitor: bool,
        /// Whether it runs once when the host starts.
        run_on_startup: bool,
    },
}

/// An `httpTrigger`.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// The binding's name.
    pub binding: String,
    /// Which key it needs.
    pub auth_level: AuthLevel,
    /// Methods in upper case; none: all of them.
    pub methods: Option<Vec<String>>,
    /// The template below the prefix.
    pub route: String,
}

/// Which key an HTTP function needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthLevel {
    /// None.
    Anonymous,
    /// The function's, the host's or the master key.
    Function,
    /// The master key.
    Admin,
}

/// An output binding.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The answer of an HTTP function.
    Http {
        /// The binding's name.
        name: String,
    },
    /// Messages to a queue.
    Queue {
        /// The binding's name.
        name: String,
        /// The queue, in lower case.
        queue_name: String,
        /// The app setting with the connection string; none: `AzureWebJobsStorage`.
        connection: Option<String>,
        /// `dataType: binary`: a text is never taken for base64.
        binary: bool,
    },
}

impl Function {
    /// Whether it has an HTTP trigger and an HTTP output and nothing else: only such a function is
    /// proxied or forwarded.
    pub fn is_pure_http(&self) -> bool {
        matches!(self.trigger, Trigger::Http(_)) && matches!(self.outputs[..], [Output::Http { .. }])
    }
}

impl App {
    /// Reads the folder. `setting` finds app settings.
    ///
    /// # Errors
    /// [`StartError::App`] that says what to change.
    pub fn load(root: &Path, setting: &dyn Fn(&str) -> Option<String>) -> Result<App, StartError> {
        let host = read_host_json(root)?;
        let handler = host.custom_handler.ok_or_else(|| {
            wrong(
                root,
                "host.json has no `customHandler`; give it `customHandler.description.defaultExecutablePath`",
            )
        })?;
        let description = handler.description.unwrap_or_default();
        let executable = find_executable(root, &description, setting)?;
        let expanded =
            |arguments: &[String]| arguments.iter().map(|text| expand(text, setting)).collect::<Vec<_>>();
        let mut arguments = expanded(&description.arguments);
        arguments.extend(description.default_worker_path.iter().map(|path| expand(path, setting)));
        arguments.extend(expanded(&description.worker_arguments));
        let (functions, in_error) = read_functions(root, setting)?;
        let function_timeout = match host.function_timeout.as_deref() {
            None => Some(FUNCTION_TIMEOUT_DEFAULT),
            Some("-1") => None,
            Some(text) => Some(time_span(text).ok_or_else(|| bad_span(root, "functionTimeout", text))?),
        };
        let initialization_timeout = match handler.initialization_timeout.as_deref() {
            None => INITIALIZATION_TIMEOUT_DEFAULT,
            Some(text) => time_span(text).ok_or_else(|| bad_span(root, "initializationTimeout", text))?,
        };
        Ok(App {
            working_directory: description
                .working_directory
                .as_ref()
                .map_or(root.to_owned(), |path| root.join(path)),
            root: root.to_owned(),
            executable,
            arguments,
            proxying: handler.enable_proxying_http_request,
            forwarding: handler.enable_forwarding_http_request,
            initialization_timeout,
            function_timeout,
            route_prefix: host.extensions.http.route_prefix.trim_matches('/').to_owned(),
            queues: host.extensions.queues.meant(root)?,
            functions,
            in_error,
        })
    }
}

/// The text with every `%NAME%` replaced by that setting, unset ones by nothing.
pub(super) fn expand(text: &str, setting: &dyn Fn(&str) -> Option<String>) -> String {
    let mut parts = text.split('%');
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    while let Some(name) = parts.next() {
        match parts.next() {
            Some(after) => {
                expanded.push_str(&setting(name).unwrap_or_default());
                expanded.push_str(after);
            }
            None => {
                expanded.push('%');
                expanded.push_str(name);
            }
        }
    }
    expanded
}

/// A .NET time span: `hh:mm:ss` or `d.hh:mm:ss`, with an optional fraction.
pub(super) fn time_span(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if clock.contains(':') => (days.parse::<u64>().ok()?, clock),
        _ => (0, text),
    };
    let mut parts = clock.split(':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    // A first part of 24 and more is taken for days.
    let whole = if hours >= 24 { hours * 86_400 } else { days * 86_400 + hours * 3_600 } + minutes * 60;
    let known = parts.next().is_none() && minutes < 60 && (0.0..60.0).contains(&seconds);
    known.then(|| Duration::from_secs(whole) + Duration::from_secs_f64(seconds))
}

fn wrong(root: &Path, what: &str) -> StartError {
    StartError::App(format!("{}: {what}", root.display()))
}

fn bad_span(root: &Path, name: &str, value: &str) -> StartError {
    wrong(root, &format!("host.json `{name}` is `{value}`; write it as hh:mm:ss"))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HostJson {
    function_timeout: Option<String>,
    custom_handler: Option<CustomHandler>,
    extensions: Extensions,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CustomHandler {
    description: Option<Description>,
    enable_forwarding_http_request: bool,
    enable_proxying_http_request: bool,
    initialization_timeout: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Description {
    default_executable_path: String,
    working_directory: Option<String>,
    worker_directory: Option<String>,
    default_worker_path: Option<String>,
    arguments: Vec<String>,
    worker_arguments: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Extensions {
    http: HttpSettings,
    queues: QueueSettings,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HttpSettings {
    route_prefix: String,
}

impl Default for HttpSettings {
    fn default() -> HttpSettings {
        HttpSettings { route_prefix: "api".to_owned() }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueueSettings {
    batch_size: Option<u8>,
    new_batch_threshold: Option<usize>,
    max_dequeue_count: Option<u32>,
    max_polling_interval: Option<String>,
    visibility_timeout: Option<String>,
    message_encoding: Option<String>,
}

impl QueueSettings {
    fn meant(&self, root: &Path) -> Result<Queues, StartError> {
        let span = |name, given: &Option<String>, default| match given {
            None => Ok(default),
            Some(text) => time_span(text).ok_or_else(|| bad_span(root, name, text)),
        };
        let batch_size = self.batch_size.unwrap_or(16);
        if !(1..=32).contains(&batch_size) {
            return Err(wrong(root, &format!("host.json `batchSize` is {batch_size}; give 1 to 32")));
        }
        let message_encoding = match self.message_encoding.as_deref().map(str::to_lowercase).as_deref() {
            None | Some("base64") => MessageEncoding::Base64,
            Some("none") => MessageEncoding::None,
            Some(other) => {
                return Err(wrong(
                    root,
                    &format!("host.json `messageEncoding` is `{other}`; give none or base64"),
                ));
            }
        };
        Ok(Queues {
            batch_size,
            new_batch_threshold: self.new_batch_threshold.unwrap_or(usize::from(batch_size / 2)),
            max_dequeue_count: self.max_dequeue_count.unwrap_or(5).max(1),
            max_polling_interval: span(
                "maxPollingInterval",
                &self.max_polling_interval,
                Duration::from_secs(60),
            )?
            .max(Duration::from_millis(100)),
            visibility_timeout: span("visibilityTimeout", &self.visibility_timeout, Duration::ZERO)?,
            message_encoding,
        })
    }
}

fn read_host_json(root: &Path) -> Result<HostJson, StartError> {
    let path = root.join("host.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| wrong(root, &format!("host.json cannot be read ({error}); stage the app first")))?;
    serde_json::from_str(&text).map_err(|error| wrong(root, &format!("host.json is not valid: {error}")))
}

fn find_executable(
    root: &Path,
    description: &Description,
    setting: &dyn Fn(&str) -> Option<String>,
) -> Result<PathBuf, StartError> {
    let named = expand(&description.default_executable_path, setting);
    if named.is_empty() {
        return Err(wrong(
            root,
            "host.json `customHandler.description.defaultExecutablePath` is empty; name the program",
        ));
    }
    let base = description.worker_directory.as_ref().map_or(root.to_owned(), |path| root.join(path));
    let path = base.join(&named);
    if !path.is_file() {
        // The real host leaves a bare name to the PATH.
        if named.contains('/') || named == "handler" {
            let hint = format!("the program `{named}` is not there; build it and stage it beside host.json");
            return Err(wrong(root, &hint));
        }
        return Ok(PathBuf::from(named));
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path)?.permissions());
    if mode & 0o111 == 0 {
        return Err(wrong(root, &format!("`{named}` is not executable; run chmod +x {}", path.display())));
    }
    Ok(path.canonicalize()?)
}

type Indexed = (Vec<Function>, Vec<(String, String)>);

fn read_functions(root: &Path, setting: &dyn Fn(&str) -> Option<String>) -> Result<Indexed, StartError> {
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
