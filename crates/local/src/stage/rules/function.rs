//! Rules of a `function.json`, and of all of them together.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Wrong, unknown, wrong};
use crate::host::schedule::Schedule;

/// `FunctionMetadata`; `scriptFile` and `entryPoint` mean nothing to a custom handler.
const MEMBERS: [&str; 3] = ["bindings", "disabled", "retry"];
const METHODS: [&str; 8] = ["get", "post", "put", "patch", "delete", "head", "options", "trace"];
/// The longest name of a binding (`Utility.IsValidBindingName`'s expression).
const NAME_LENGTH_MAX: usize = 128;

pub(super) fn check(function: &Value) -> Result<(), Wrong> {
    if let Some(name) = unknown(function, "", &MEMBERS) {
        return wrong(name, "means nothing to a custom handler; leave it out");
    }
    let bindings = bindings(function);
    let mut names: Vec<&str> = Vec::new();
    for (n, binding) in bindings.iter().enumerate() {
        let at = |member: &str| format!("bindings[{n}].{member}");
        let kind = kind(binding);
        members(binding, &kind, n)?;
        let direction = if kind.ends_with("trigger") { "in" } else { "out" };
        if binding["direction"] != direction {
            return wrong(at("direction"), format!("must be \"{direction}\""));
        }
        let name = binding["name"].as_str().unwrap_or_default();
        if !is_name(name) {
            return wrong(at("name"), "must be a letter and then letters and digits, or $return");
        }
        if names.contains(&name) {
            return wrong(at("name"), "is that of another binding; name them apart");
        }
        names.push(name);
        match kind.as_str() {
            "httptrigger" => methods(binding, n)?,
            "queuetrigger" | "queue" => queue(binding, n)?,
            "timertrigger" => schedule(binding, n)?,
            _ => {}
        }
    }
    answer(bindings)?;
    retry(function, bindings)
}

/// Two functions that answer the same requests: the host takes one of them, and which is its business.
pub(super) fn check_routes(functions: &BTreeMap<String, Value>) -> Result<(), (&str, Wrong)> {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for (name, function) in functions {
        let triggers = bindings(function).iter().filter(|binding| kind(binding) == "httptrigger");
        for route in triggers.map(|trigger| trigger["route"].as_str().unwrap_or(name).to_lowercase()) {
            if let Some(other) = taken.insert(route, name) {
                let remedy = format!("is that of {other} too; give each its own");
                return Err((name, Wrong { member: "bindings[].route".to_owned(), remedy }));
            }
        }
    }
    Ok(())
}

/// Whether it has a binding that comes with the extension bundle.
pub(super) fn needs_bundle(function: &Value) -> bool {
    bindings(function).iter().any(|binding| matches!(kind(binding).as_str(), "queuetrigger" | "queue"))
}

fn bindings(function: &Value) -> &[Value] {
    function["bindings"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn kind(binding: &Value) -> String {
    binding["type"].as_str().unwrap_or_default().to_lowercase()
}

/// What each kind of binding is bound from, by name.
fn members(binding: &Value, kind: &str, n: usize) -> Result<(), Wrong> {
    let own: &[&str] = match kind {
        "httptrigger" => &["authLevel", "methods", "route", "webHookType"],
        "queuetrigger" | "queue" => &["queueName", "connection", "dataType"],
        "timertrigger" => &["schedule", "useMonitor", "runOnStartup"],
        _ => &[],
    };
    let known: Vec<&str> = ["type", "direction", "name"].iter().chain(own).copied().collect();
    match unknown(binding, "", &known) {
        Some(name) => wrong(
            format!("bindings[{n}].{name}"),
            format!("means nothing here; the host knows {}", known.join(", ")),
        ),
        None => Ok(()),
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric())
        && name.len() <= NAME_LENGTH_MAX;
    is_plain || name == "$return"
}

fn methods(binding: &Value, n: usize) -> Result<(), Wrong> {
    let given = binding["methods"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_known = |method: &Value| {
        method.as_str().is_some_and(|method| METHODS.contains(&method.to_lowercase().as_str()))
    };
    match given.iter().find(|method| !is_known(method)) {
        Some(other) => {
            wrong(format!("bindings[{n}].methods"), format!("has {other}, which is no method of HTTP"))
        }
        None => Ok(()),
    }
}

fn queue(binding: &Value, n: usize) -> Result<(), Wrong> {
    let name = binding["queueName"].as_str().unwrap_or_default();
    let is_setting = name.starts_with('%') && name.ends_with('%');
    // The service's rule; the host lower-cases a name and then fails on the rest.
    let is_right = (3..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if !is_right && !is_setting {
        return wrong(
            format!("bindings[{n}].queueName"),
            "must be 3 to 63 lower-case letters, digits and single hyphens between them",
        );
    }
    if binding["connection"].as_str().is_some_and(|connection| connection.contains([';', '=', '/'])) {
        return wrong(
            format!("bindings[{n}].connection"),
            "must be the name of a setting, not what it holds",
        );
    }
    Ok(())
}

fn schedule(binding: &Value, n: usize) -> Result<(), Wrong> {
    let text = binding["schedule"].as_str().unwrap_or_default();
    if text.starts_with('%') && text.ends_with('%') {
        return Ok(());
    }
    let remedy = match Schedule::parse(text) {
        Ok(Schedule::Cron(_)) if text.split_whitespace().count() == 6 => return Ok(()),
        Ok(Schedule::Cron(_)) => "has five fields; write six, seconds first",
        // The library reads 24:00:00 as 24 days.
        Ok(Schedule::Every(_)) => {
            "is a span, which counts from the host's start; write six fields, seconds first"
        }
        Err(_) => {
            "is no schedule: the host would run all functions but this one; write six fields, seconds first"
        }
    };
    wrong(format!("bindings[{n}].schedule"), remedy)
}

/// An HTTP trigger and its answer alone are proxied; anything more makes the host send envelopes.
fn answer(bindings: &[Value]) -> Result<(), Wrong> {
    let is_http = bindings.iter().any(|binding| kind(binding) == "httptrigger");
    let others = bindings.iter().filter(|binding| !kind(binding).ends_with("trigger"));
    let outputs: Vec<String> = others.map(kind).collect();
    match (is_http, outputs.as_slice()) {
        (true, [one]) if one == "http" => Ok(()),
        (true, []) => wrong("bindings", "has no output of type http, so its answers would be lost"),
        (true, _) => wrong(
            "bindings",
            "has more outputs than the answer, so the host would not proxy it; give the rest its own function",
        ),
        (false, all) if all.iter().any(|kind| kind == "http") => {
            wrong("bindings", "has an answer but no httpTrigger")
        }
        (false, _) => Ok(()),
    }
}

fn retry(function: &Value, bindings: &[Value]) -> Result<(), Wrong> {
    let is_queue = bindings.iter().any(|binding| kind(binding) == "queuetrigger");
    if is_queue && !function["retry"].is_null() {
        return wrong(
            "retry",
            "does nothing for a queue; use extensions.queues.maxDequeueCount of host.json",
        );
    }
    Ok(())
}
