//! A staged folder, read: `host.json` and the `function.json` of each function.
//!
//! What no host could run is an error of the whole folder; a single wrong function is in error
//! alone, and the others run, as with the real host.

mod function_json;
mod host_json;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::function_json::read_functions;
use self::host_json::{find_executable, read_host_json};
use super::StartError;

/// The host's own default of `functionTimeout` outside the Consumption plan.
const FUNCTION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// `HttpWorkerOptions.InitializationTimeout`: 30 s, whatever the documentation says.
const INITIALIZATION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

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

impl Output {
    /// The binding's name.
    pub fn name(&self) -> &str {
        match self {
            Output::Http { name } | Output::Queue { name, .. } => name,
        }
    }
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
pub(crate) fn time_span(text: &str) -> Option<Duration> {
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
