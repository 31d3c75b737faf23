//! Whose settings the handler is started with: a file's, a running stack's, or this command's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use local::stack::{READY_FILE, Ready};
use serde::Deserialize;
use serde_json::Value;

use crate::Failure;
use crate::cli::Doctor;
use crate::place::Place;

/// What a handler needs of the machine that it runs on, and `az` with it.
const OF_THE_MACHINE: [&str; 6] =
    ["PATH", "HOME", "TMPDIR", "AZURE_CONFIG_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// Names the catalogue's file.
const MODEL_CATALOG: &str = "MODEL_CATALOG";
/// The handler in a staged folder, as host.json names it.
const HANDLER: &str = "handler";
/// App settings are some kilobytes.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Settings, and where they are from.
pub(super) struct Source {
    /// For people.
    pub title: String,
    /// Names and values.
    pub settings: Vec<(String, String)>,
    /// Whether nothing else of this command's environment counts.
    pub is_whole: bool,
    /// The app that serves with them, where that is known.
    pub url: Option<String>,
    /// The very program that serves, where it is at hand.
    pub handler: Option<PathBuf>,
}

impl Source {
    /// What the flags ask for, else the stack that runs here, else the environment.
    pub(super) fn find(flags: &Doctor, place: &Place) -> Result<Source, Failure> {
        let mut source = match &flags.settings {
            Some(file) => Source::of_file(file, place)?,
            None => Source::of_stack_or_environment(flags, place)?,
        };
        if let Some(file) = &flags.catalogue {
            let file = std::path::absolute(file).map_err(Failure::of)?;
            source.settings.push((MODEL_CATALOG.to_owned(), file.display().to_string()));
        }
        Ok(source)
    }

    fn of_file(file: &Path, place: &Place) -> Result<Source, Failure> {
        let told = |what: String| Failure(format!("{}: {what}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
        if text.len() > FILE_BYTES_MAX {
            return Err(told("is no file of app settings: it is too large".to_owned()));
        }
        let settings = parse(&text).map_err(told)?;
        let title = format!("{} of {}", settings.len(), file.display());
        Ok(Source { title, url: place.url().map(str::to_owned), ..Source::whole(settings, place) })
    }

    fn of_stack_or_environment(flags: &Doctor, place: &Place) -> Result<Source, Failure> {
        let state = flags.state.clone().unwrap_or_else(|| place.state());
        match Ready::read(&state.join(READY_FILE)) {
            Ok(ready) if ready.settings.is_empty() => Err(Failure(format!(
                "the stack in {} is older than this command; start it again",
                state.display()
            ))),
            Ok(ready) => {
                let mut settings: Vec<_> = ready.settings.into_iter().collect();
                // What the stack took from its own environment is kept nowhere.
                settings.extend(place.catalogue_secrets());
                let secrets = "keys and secrets of a further catalogue are this command's environment's";
                let title = format!("the stack in {}; {secrets}", state.display());
                let handler =
                    Some(Path::new(&ready.app_root).join(HANDLER)).filter(|handler| handler.is_file());
                Ok(Source { title, url: Some(ready.host_url), handler, ..Source::whole(settings, place) })
            }
            Err(error) if flags.state.is_some() => Err(Failure(format!(
                "no stack runs there ({}: {error}); start one by `switchyard up`",
                state.display()
            ))),
            Err(_) => Ok(Source {
                title: "this command's environment".to_owned(),
                settings: Vec::new(),
                is_whole: false,
                url: place.url().map(str::to_owned),
                handler: None,
            }),
        }
    }

    fn whole(settings: Vec<(String, String)>, place: &Place) -> Source {
        let machine = place.environment().iter().filter(|(name, _)| OF_THE_MACHINE.contains(&name.as_str()));
        let settings = machine.cloned().chain(settings).collect();
        Source { title: String::new(), settings, is_whole: true, url: None, handler: None }
    }
}

/// `local.settings.json`
#[derive(Deserialize)]
struct Local {
    #[serde(rename = "Values")]
    values: BTreeMap<String, Value>,
}

/// `az functionapp config appsettings list`
#[derive(Deserialize)]
struct Listed {
    name: String,
    value: Option<String>,
}

/// Names and values of one of the three forms. An error tells no value.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let start = text.trim_start();
    let settings = if start.starts_with('{') {
        let read: Local =
            serde_json::from_str(text).map_err(|error| at("is no local.settings.json", &error))?;
        read.values.into_iter().map(|(name, value)| (name, plain(value))).collect()
    } else if start.starts_with('[') {
        let read: Vec<Listed> =
            serde_json::from_str(text).map_err(|error| at("is no list of app settings", &error))?;
        read.into_iter().map(|listed| (listed.name, listed.value.unwrap_or_default())).collect()
    } else {
        let lines = text
            .lines()
            .map(str::trim)
            .enumerate()
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        lines.map(|(at, text)| line(at, text)).collect::<Result<Vec<_>, String>>()?
    };
    let wrong = settings
        .iter()
        .find(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0'));
    match wrong {
        Some((name, _)) => Err(format!("setting `{name}` cannot stand in an environment")),
        None => Ok(settings),
    }
}

fn at(what: &str, error: &serde_json::Error) -> String {
    format!("{what} (line {}, column {})", error.line(), error.column())
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `NAME="value"`; quotes and `export ` may be missing.
fn line(at: usize, text: &str) -> Result<(String, String), String> {
    let text = text.strip_prefix("export ").unwrap_or(text);
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("line {} is not NAME=\"value\"", at + 1))?;
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let value =
        inner.map_or_else(|| value.to_owned(), |inner| inner.replace("\\\"", "\"").replace("\\\\", "\\"));
    Ok((name.trim().to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_in_every_form_that_tools_print() {
        let expected = vec![("A".to_owned(), "x=1;y".to_owned()), ("B".to_owned(), "2".to_owned())];
        for text in [
            r#"{"IsEncrypted": false, "Values": {"A": "x=1;y", "B": 2}}"#,
            r#"[{"name": "A", "slotSetting": false, "value": "x=1;y"}, {"name": "B", "value": "2"}]"#,
            "# azd\nA=\"x=1;y\"\n\nB=2\n",
            "export A='x=1;y'\nB=\"2\"".replace('\'', "\"").as_str(),
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_file_of_settings_is_told_without_its_values() {
        for text in
            ["{\"Values\": [\"s!cret\"]}", "[{\"value\": \"s!cret\"}]", "s!cret", "{\"s!cret\"", "A\0=s!cret"]
        {
            let told = parse(text).unwrap_err();
            assert!(!told.contains("s!cret"), "{told}");
        }
    }
}
