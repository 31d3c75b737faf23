//! Which test replays which recorded case. [`whole`] and [`parts`] each hold one table a recording
//! file: the cases by the test that replays them, and those that no test replays, each with the reason.
//! Tests take their cases from here, so that what the tables say is what is run.

mod parts;
mod whole;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A reason says more than "as above".
const REASON_BYTES_MIN: usize = 20;

/// One recording file and what became of its cases.
pub(crate) struct Table {
    file: &'static str,
    /// Tests, as `module::name` in this suite or `path/to/file.rs::name` elsewhere, with the names
    /// of their cases. `B.*` stands for all that begin so and are named nowhere else.
    replayed: &'static [(&'static str, &'static [&'static str])],
    /// Cases without a test, and why.
    left_out: &'static [(&'static str, &'static str)],
}

/// The whole real host.
pub(crate) const WHOLE: Table =
    Table { file: "host-whole.jsonl", replayed: whole::REPLAYED, left_out: whole::LEFT_OUT };
/// The host's own classes.
pub(crate) const PARTS: Table =
    Table { file: "host-parts.jsonl", replayed: parts::REPLAYED, left_out: parts::LEFT_OUT };

impl Table {
    /// Every recording of the file, by name.
    pub(crate) fn all(&self) -> Vec<(String, Value)> {
        let path = package().join("../../tests/fixtures/wire").join(self.file);
        let text = std::fs::read_to_string(path).expect("the recordings are in the repository");
        let row = |line| serde_json::from_str::<Value>(line).expect("a recording is one JSON object a line");
        let name = |row: &Value| row.get("case").or(row.get("id"))?.as_str().map(str::to_owned);
        text.lines().map(row).map(|row| (name(&row).expect("a recording has a name"), row)).collect()
    }

    /// One recording.
    pub(crate) fn case(&self, name: &str) -> Value {
        let found = self.all().into_iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no recording `{name}`")).1
    }

    /// The recordings that a test must replay.
    pub(crate) fn replayed_by(&self, test: &str) -> Vec<(String, Value)> {
        let cases: Vec<(String, Value)> =
            self.all().into_iter().filter(|(name, _)| self.tests_of(name) == [test]).collect();
        assert!(!cases.is_empty(), "no case of {} is replayed by {test}", self.file);
        cases
    }

    /// The tests that a case is replayed by; a whole name goes before a family.
    fn tests_of(&self, name: &str) -> Vec<&'static str> {
        let by = |matches: &dyn Fn(&str) -> bool| -> Vec<&'static str> {
            let tests = self.replayed.iter().filter(|(_, cases)| cases.iter().any(|case| matches(case)));
            tests.map(|(test, _)| *test).collect()
        };
        let named = by(&|case| case == name);
        if !named.is_empty() || self.left_out.iter().any(|(left_out, _)| *left_out == name) {
            return named;
        }
        by(&|case| case.strip_suffix('*').is_some_and(|family| name.starts_with(family)))
    }

    /// What is wrong with the table, told all at once.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let known: Vec<String> = self.all().into_iter().map(|(name, _)| name).collect();
        for name in &known {
            let reasons = self.left_out.iter().filter(|(case, _)| case == name).count();
            match self.tests_of(name).len() + reasons {
                0 => faults.push(format!("`{name}` is neither replayed nor left out")),
                1 => {}
                _ => faults.push(format!("`{name}` stands twice: {:?}", self.tests_of(name))),
            }
        }
        if known.iter().collect::<BTreeSet<_>>().len() != known.len() {
            faults.push("a name is recorded twice".to_owned());
        }
        let exists = |case: &str| match case.strip_suffix('*') {
            Some(family) => known.iter().any(|name| name.starts_with(family)),
            None => known.iter().any(|name| name == case),
        };
        let replayed = self.replayed.iter().flat_map(|(_, cases)| cases.iter());
        for case in replayed.chain(self.left_out.iter().map(|(case, _)| case)) {
            if !exists(case) {
                faults.push(format!("`{case}` is not in {}", self.file));
            }
        }
        let bare = self.left_out.iter().filter(|(_, reason)| reason.len() < REASON_BYTES_MIN);
        faults.extend(bare.map(|(case, _)| format!("`{case}` is left out without a reason")));
        faults.extend(self.replayed.iter().filter_map(|(test, cases)| missing_test(test, cases)));
        faults
    }
}

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// A test must exist. One of this suite takes its cases from the table by its own name; one elsewhere
/// names each of them in its file.
fn missing_test(test: &str, cases: &[&str]) -> Option<String> {
    let (place, name) = test.rsplit_once("::").expect("a test is told with its place");
    let elsewhere = place.contains('/');
    let path = if elsewhere { place.to_owned() } else { format!("tests/host_recordings/{place}.rs") };
    let Ok(source) = std::fs::read_to_string(package().join(&path)) else {
        return Some(format!("{path} cannot be read"));
    };
    let Some((before, body)) = source.split_once(&format!("fn {name}(")) else {
        return Some(format!("{path} has no test `{name}`"));
    };
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    if !attributes.contains("test") || attributes.contains("ignore") {
        return Some(format!("`{name}` of {path} is not run as a test"));
    }
    let body = body.split("\n}\n").next().unwrap_or_default();
    let unnamed: Vec<&&str> = match elsewhere {
        true => cases.iter().filter(|case| !source.contains(**case)).collect(),
        false if body.contains(&format!("\"{test}\"")) => Vec::new(),
        false => cases.iter().filter(|case| !body.contains(&format!("\"{case}\""))).collect(),
    };
    (!unnamed.is_empty()).then(|| format!("`{name}` of {path} does not name {unnamed:?}"))
}

#[test]
fn every_case_of_the_whole_host_is_replayed_or_left_out_by_name() {
    let faults = WHOLE.faults();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_case_of_the_hosts_parts_is_replayed_or_left_out_by_name() {
    let faults = PARTS.faults();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
