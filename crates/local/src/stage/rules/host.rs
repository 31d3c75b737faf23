//! Rules of `host.json`.

use std::time::Duration;

use serde_json::Value;

use super::{Wrong, unknown, wrong};
use crate::host::app::time_span;

/// Sections that mean something to a v4 host with a custom handler. Binding is by name: a misspelt one is
/// dropped without a word. `httpWorker` is left out because `customHandler` wins over it, `functions` because it
/// keeps every other function from being loaded.
const SECTIONS: [&str; 13] = [
    "version",
    "functionTimeout",
    "logging",
    "extensionBundle",
    "customHandler",
    "extensions",
    "aggregator",
    "applicationInsights",
    "concurrency",
    "healthMonitor",
    "singleton",
    "telemetryMode",
    "configurationProfile",
];
/// `HttpWorkerOptions`. Its `http.routes` is left out: the host throws where a function.json exists beside it.
const CUSTOM_HANDLER: [&str; 6] = [
    "description",
    "enableForwardingHttpRequest",
    "enableProxyingHttpRequest",
    "initializationTimeout",
    "port",
    "type",
];
const DESCRIPTION: [&str; 7] = [
    "defaultExecutablePath",
    "workingDirectory",
    "workerDirectory",
    "defaultWorkerPath",
    "arguments",
    "workerArguments",
    "useStdErrorStreamForErrorsOnly",
];
const HTTP: [&str; 6] = [
    "routePrefix",
    "maxConcurrentRequests",
    "maxOutstandingRequests",
    "dynamicThrottlesEnabled",
    "hsts",
    "customHeaders",
];
const QUEUES: [&str; 6] = [
    "batchSize",
    "newBatchThreshold",
    "maxDequeueCount",
    "maxPollingInterval",
    "visibilityTimeout",
    "messageEncoding",
];
/// The only bundle with v4 extensions.
const BUNDLE: &str = "Microsoft.Azure.Functions.ExtensionBundle";
/// The longest of the handler's own limits, that of a queue message. A functionTimeout below it would end every
/// invocation of the process instead of one.
const HANDLER_LIMIT: Duration = Duration::from_secs(240);
/// `QueuesOptions.MaxPollingInterval` refuses less.
const POLLING_MIN: Duration = Duration::from_millis(100);

pub(super) fn check(host: &Value, has_queue: bool) -> Result<(), Wrong> {
    if host["version"] != "2.0" {
        return wrong("version", "must be \"2.0\", or the host does not start");
    }
    members(host)?;
    executable(&host["customHandler"]["description"])?;
    timeout(&host["functionTimeout"])?;
    if host.pointer("/extensions/http/routePrefix").is_some_and(|prefix| prefix.as_str() == Some("")) {
        // Envelopes are posted to `/{FunctionName}`, where only a prefix keeps requests from.
        return wrong(
            "extensions.http.routePrefix",
            "must not be empty: any caller could forge an invocation; leave it out",
        );
    }
    if has_queue {
        bundle(&host["extensionBundle"])?;
        queues(&host["extensions"]["queues"])?;
    }
    Ok(())
}

/// Every object whose members are bound by name.
fn members(host: &Value) -> Result<(), Wrong> {
    let objects: [(&str, &[&str]); 5] = [
        ("", &SECTIONS),
        ("/customHandler", &CUSTOM_HANDLER),
        ("/customHandler/description", &DESCRIPTION),
        ("/extensions", &["http", "queues"]),
        ("/extensions/http", &HTTP),
    ];
    for (pointer, known) in objects.into_iter().chain([("/extensions/queues", &QUEUES[..])]) {
        if let Some(name) = unknown(host, pointer, known) {
            let path = format!("{pointer}/{name}").trim_start_matches('/').replace('/', ".");
            return wrong(path, format!("means nothing to the host; it knows {}", known.join(", ")));
        }
    }
    Ok(())
}

fn executable(description: &Value) -> Result<(), Wrong> {
    let path = description["defaultExecutablePath"].as_str().unwrap_or_default();
    if path.contains(['\\', '%']) || path.starts_with("./") || path.starts_with('/') {
        // Core Tools and we give the run bit to the entry of exactly this name.
        return wrong(
            "customHandler.description.defaultExecutablePath",
            "must be the program's name in the zip, as \"handler\", or it loses its run bit there",
        );
    }
    Ok(())
}

fn timeout(given: &Value) -> Result<(), Wrong> {
    match given.as_str() {
        None | Some("-1") => Ok(()),
        Some(text) if time_span(text).is_some_and(|span| span > HANDLER_LIMIT) => Ok(()),
        Some(_) => wrong(
            "functionTimeout",
            "must be a span as 00:10:00, longer than the handler's own 240 s: the host kills the whole process at it",
        ),
    }
}

fn bundle(bundle: &Value) -> Result<(), Wrong> {
    if bundle["id"] != BUNDLE {
        return wrong(
            "extensionBundle.id",
            format!("must be \"{BUNDLE}\": queue bindings are no part of the host"),
        );
    }
    let version = bundle["version"].as_str().unwrap_or_default();
    if !(version.starts_with(['[', '(']) && version.ends_with([']', ')']) && version.contains(',')) {
        return wrong("extensionBundle.version", "must be a range, as \"[4.*, 5.0.0)\"");
    }
    Ok(())
}

fn queues(queues: &Value) -> Result<(), Wrong> {
    let at = |name: &str| format!("extensions.queues.{name}");
    let number = |name: &str, least: u64, most: u64| {
        let given = &queues[name];
        let is_right =
            given.is_null() || given.as_u64().is_some_and(|number| (least..=most).contains(&number));
        if is_right { Ok(()) } else { wrong(at(name), format!("must be a number from {least} to {most}")) }
    };
    number("batchSize", 1, 32)?;
    number("newBatchThreshold", 0, i32::MAX as u64)?;
    number("maxDequeueCount", 1, i32::MAX as u64)?;
    let span = |name: &str| queues[name].as_str().map(time_span);
    if span("maxPollingInterval").is_some_and(|span| span.is_none_or(|span| span < POLLING_MIN)) {
        return wrong(at("maxPollingInterval"), "must be a span of 100 ms at least, as 00:00:02");
    }
    if span("visibilityTimeout").flatten().is_none_or(|span| span.is_zero()) {
        // Recorded: five tries were over in 0.43 s.
        return wrong(
            at("visibilityTimeout"),
            "must be a span above zero, as 00:00:30: without it all tries of a message are spent within a second",
        );
    }
    match queues["messageEncoding"].as_str() {
        Some("none") => Ok(()),
        // Plain text, as `az storage message put` writes it, would be moved to the poison queue unseen.
        _ => wrong(
            at("messageEncoding"),
            "must be \"none\": the handler understands both encodings, the host only one",
        ),
    }
}
