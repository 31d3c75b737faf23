//! What the Functions host demands of `host.json` and `function.json`, beyond what the stand-in must know to
//! run them: members that it refuses, and members that it takes in silence and drops. Both end in an app
//! that does something else than its files say, so nothing of the kind is staged.
//!
//! The rules are those of the host's sources, version 4.1037, and of its storage queue extension.

mod function;
mod host;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: `{member}` {remedy}")]
pub struct Broken {
    /// The file, named from the staged folder.
    pub file: String,
    /// The member, as `extensions.queues.batchSize`.
    pub member: String,
    /// What is wrong and what to write instead, as the rest of a sentence.
    pub remedy: String,
}

/// A rule's finding before it is known which file it is about.
struct Wrong {
    member: String,
    remedy: String,
}

/// Something that is wrong with a member.
fn wrong(member: impl Into<String>, remedy: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong { member: member.into(), remedy: remedy.into() })
}

/// Holds a staged folder to every rule; the first one that is broken.
///
/// # Errors
/// [`Broken`].
pub fn check(folder: &Path) -> Result<(), Broken> {
    let host = read(folder, "host.json")?;
    let mut functions = BTreeMap::new();
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable("host.json", &error))?;
    for entry in entries.filter_map(Result::ok).filter(|entry| entry.path().join("function.json").is_file()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let function = read(folder, &format!("{name}/function.json"))?;
        functions.insert(name, function);
    }
    let of = |file: &str| {
        let file = file.to_owned();
        move |Wrong { member, remedy }| Broken { file, member, remedy }
    };
    for (name, function) in &functions {
        function::check(function).map_err(of(&format!("{name}/function.json")))?;
    }
    function::check_routes(&functions)
        .map_err(|(name, wrong)| of(&format!("{name}/function.json"))(wrong))?;
    let has_queue = functions.values().any(function::needs_bundle);
    host::check(&host, has_queue).map_err(of("host.json"))
}

fn read(folder: &Path, file: &str) -> Result<Value, Broken> {
    let text = std::fs::read_to_string(folder.join(file)).map_err(|error| unreadable(file, &error))?;
    serde_json::from_str(&text).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &str, error: &dyn std::fmt::Display) -> Broken {
    Broken { file: file.to_owned(), member: "$".to_owned(), remedy: format!("cannot be read: {error}") }
}

/// Members of an object, by the JSON pointer of the object, that the host has no use for.
fn unknown<'a>(json: &'a Value, pointer: &str, known: &[&str]) -> Option<&'a str> {
    let object = json.pointer(pointer)?.as_object()?;
    object.keys().map(String::as_str).find(|name| !known.contains(name))
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
