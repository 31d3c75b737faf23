//! `host.json`, as far as a custom handler depends on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{MessageEncoding, Queues, StartError, bad_span, expand, time_span, wrong};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HostJson {
    pub(super) function_timeout: Option<String>,
    pub(super) custom_handler: Option<CustomHandler>,
    pub(super) extensions: Extensions,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CustomHandler {
    pub(super) description: Option<Description>,
    pub(super) enable_forwarding_http_request: bool,
    pub(super) enable_proxying_http_request: bool,
    pub(super) initialization_timeout: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Description {
    default_executable_path: String,
    pub(super) working_directory: Option<String>,
    worker_directory: Option<String>,
    pub(super) default_worker_path: Option<String>,
    pub(super) arguments: Vec<String>,
    pub(super) worker_arguments: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Extensions {
    pub(super) http: HttpSettings,
    pub(super) queues: QueueSettings,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HttpSettings {
    pub(super) route_prefix: String,
}

impl Default for HttpSettings {
    fn default() -> HttpSettings {
        HttpSettings { route_prefix: "api".to_owned() }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct QueueSettings {
    batch_size: Option<u8>,
    new_batch_threshold: Option<usize>,
    max_dequeue_count: Option<u32>,
    max_polling_interval: Option<String>,
    visibility_timeout: Option<String>,
    message_encoding: Option<String>,
}

impl QueueSettings {
    /// The settings, checked.
    pub(super) fn meant(&self, root: &Path) -> Result<Queues, StartError> {
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

/// Reads the folder's host.json.
pub(super) fn read_host_json(root: &Path) -> Result<HostJson, StartError> {
    let path = root.join("host.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| wrong(root, &format!("host.json cannot be read ({error}); stage the app first")))?;
    serde_json::from_str(&text).map_err(|error| wrong(root, &format!("host.json is not valid: {error}")))
}

/// The program to run, found as the host finds it.
pub(super) fn find_executable(
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
