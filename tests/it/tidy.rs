//! House rules, run by plain `cargo test`: who may import whom, where clocks, settings and child
//! processes live, how large a file may be, and that folders, code and documents agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines that a source file may have. Past this it has a second subject.
const FILE_LINES_MAX: usize = 500;

/// Files that may be longer, each with the reason.
const LONGER_FILES: &[(&str, &str)] = &[];

/// Which members of the workspace a member may depend on (normal dependencies).
const MEMBERS: &[(&str, &[&str])] = &[
    ("handler", &["audit", "autoscale", "clock", "facts", "machines", "policy", "wire"]),
    ("audit", &["policy"]),
    ("autoscale", &[]),
    ("clock", &[]),
    ("engine", &[]),
    ("facts", &[]),
    ("local", &["autoscale", "clock", "wire"]),
    ("machines", &[]),
    ("policy", &[]),
    ("server", &["clock", "engine", "wire"]),
    ("switchyard", &["autoscale", "clock", "local", "machines", "wire"]),
    ("wire", &[]),
    ("worker", &["clock", "engine", "facts", "wire"]),
];

/// Members whose outside dependencies are part of what they promise.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("autoscale", &[]),
    ("machines", &[]),
    ("policy", &[]),
    ("clock", &[]),
    ("wire", &["base64", "serde", "serde_json", "utoipa"]),
    ("audit", &["serde", "serde_json"]),
];

/// What a module of the handler may use of the handler's other modules. A module that is not
/// named may use anything.
const HANDLER_MODULES: &[(&str, &[&str])] = &[
    (
        "triggers",
        &[
            "act",
            "app",
            "auth",
            "catalogue",
            "envelope",
            "failure",
            "http",
            "knobs",
            "metrics",
            "observe",
            "telemetry",
            "triggers",
        ],
    ),
    ("act", &["act", "azure", "catalogue", "failure", "http", "knobs", "metrics", "telemetry"]),
    ("observe", &["azure", "catalogue", "knobs", "metrics", "observe"]),
    ("doctor", &["app", "azure", "catalogue", "doctor", "knobs", "settings"]),
    ("azure", &["azure", "settings", "telemetry"]),
    ("settings", &[]),
    ("envelope", &[]),
    ("failure", &[]),
];

/// The homes of what clippy.toml bans elsewhere.
const HOMES: &[(&str, &str)] = &[
    ("crates/clock/src/lib.rs", "the wall clock"),
    ("src/main.rs", "settings of the handler"),
    ("crates/server/src/main.rs", "settings of the server"),
    ("crates/switchyard/src/main.rs", "settings of the command"),
    ("crates/worker/src/main.rs", "settings of the worker"),
    ("crates/local/src/children.rs", "child processes"),
    ("crates/local/src/cargo.rs", "the child cargo"),
    ("crates/local/src/model.rs", "the child pip"),
];

/// Words that name no subject.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "service", "misc"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("walked from the root").display().to_string()
}

fn files_under(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("a folder of the repository can be read").path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn product_sources() -> Vec<PathBuf> {
    let crates = files_under("crates", "rs");
    let in_product = |path: &PathBuf| {
        let path = relative(path);
        !path.contains("/tests/") && !path.contains("/benches/") && !path.contains("/examples/")
    };
    files_under("src", "rs").into_iter().chain(crates.into_iter().filter(in_product)).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a source file before its unit tests.
fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]").next().expect("split gives at least one part")
}

fn assert_none(broken: Vec<String>, rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[expect(clippy::disallowed_methods, reason = "asks cargo what the crates import")]
fn normal_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&cargo.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    let text = |value: &serde_json::Value| value.as_str().expect("names are text").to_owned();
    let normal = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().expect("a package lists dependencies");
        dependencies
            .iter()
            .filter(|found| found["kind"].is_null())
            .map(|found| text(&found["name"]))
            .collect()
    };
    packages.iter().map(|package| (text(&package["name"]), normal(package))).collect()
}

#[test]
fn crates_import_only_what_they_may() {
    let found = normal_dependencies();
    let named: BTreeSet<&str> = MEMBERS.iter().map(|(name, _)| *name).collect();
    let members: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(members, named, "MEMBERS must list exactly the workspace's members");

    let mut broken = Vec::new();
    for (member, may) in MEMBERS {
        let imports = found[*member].iter().filter(|name| named.contains(name.as_str()));
        broken.extend(
            imports.filter(|name| !may.contains(&name.as_str())).map(|name| format!("{member} -> {name}")),
        );
    }
    for (member, may) in OUTSIDE {
        let imports = found[*member].iter().filter(|name| !named.contains(name.as_str()));
        broken.extend(
            imports.filter(|name| !may.contains(&name.as_str())).map(|name| format!("{member} -> {name}")),
        );
    }
    assert_none(broken, "a crate imports what it must not know");
}

/// The handler's modules that a source text names by `crate::…`.
fn modules_used(source: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for part in source.split("crate::").skip(1) {
        let words = match part.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default(),
            None => part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default(),
        };
        for word in words.split(',') {
            let module: String =
                word.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if module.starts_with(|c: char| c.is_lowercase()) {
                used.insert(module);
            }
        }
    }
    used
}

#[test]
fn modules_of_the_handler_import_only_what_they_may() {
    let mut broken = Vec::new();
    for path in files_under("src", "rs") {
        let name = relative(&path);
        let module = name.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default();
        let Some((_, may)) = HANDLER_MODULES.iter().find(|(named, _)| *named == module) else { continue };
        let source = read(&path);
        let used = modules_used(without_tests(&source));
        broken.extend(
            used.iter().filter(|used| !may.contains(&used.as_str())).map(|used| format!("{name} -> {used}")),
        );
    }
    assert_none(broken, "a module imports what it must not know");
}

#[test]
fn clocks_settings_and_children_have_homes() {
    let mut broken = Vec::new();
    for path in product_sources() {
        let source = read(&path);
        let name = relative(&path);
        let lifts = without_tests(&source).contains("clippy::disallowed_methods");
        if lifts && !HOMES.iter().any(|(home, _)| *home == name) {
            broken.push(name);
        }
    }
    assert_none(broken, "reads the clock, the environment or spawns outside the homes");
}

#[test]
fn files_have_one_subject() {
    let mut broken = Vec::new();
    for path in product_sources() {
        let name = relative(&path);
        let source = read(&path);
        let lines = without_tests(&source).lines().count();
        if lines > FILE_LINES_MAX && !LONGER_FILES.iter().any(|(file, _)| *file == name) {
            broken.push(format!("{name}: {lines} lines"));
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) {
            broken.push(format!("{name}: its name says nothing"));
        }
        if !source.starts_with("//!") {
            broken.push(format!("{name}: its first lines do not say what it is"));
        }
    }
    assert_none(broken, &format!("a file has more than {FILE_LINES_MAX} lines or no subject"));
}

#[test]
fn every_function_has_a_trigger_and_the_reverse() {
    let snake = |name: &str| {
        let upper = |(at, c): (usize, char)| {
            let gap = if c.is_uppercase() && at > 0 { "_" } else { "" };
            format!("{gap}{}", c.to_lowercase())
        };
        name.char_indices().map(upper).collect::<String>()
    };
    let folders = std::fs::read_dir(root().join("functions")).expect("functions/ is there");
    let functions: BTreeSet<String> = folders
        .map(|entry| entry.expect("functions/ can be read").path())
        .filter(|path| path.join("function.json").is_file())
        .map(|path| snake(&path.file_name().expect("a folder has a name").to_string_lossy()))
        .collect();
    let triggers: BTreeSet<String> = std::fs::read_dir(root().join("src/triggers"))
        .expect("src/triggers is there")
        .map(|entry| entry.expect("src/triggers can be read").path())
        .map(|path| path.file_stem().expect("a file has a name").to_string_lossy().into_owned())
        // The table of all HTTP routes.
        .filter(|name| name != "routes")
        .collect();
    assert_eq!(functions, triggers, "functions/* and src/triggers/* must name the same functions");
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let documents = ["md", "toml", "json", "sh", "py", "rs"];
    let places = ["/work", "/farm", "/home/", "/Users/"]
        .map(|place| format!("{place}{}", if place.ends_with('/') { "" } else { "/" }));
    let mut broken = Vec::new();
    for folder in ["src", "crates", "docs", "functions", "judges", "benches", "README.md"] {
        for path in documents.iter().flat_map(|extension| files_under(folder, extension)) {
            if path.components().any(|part| part.as_os_str() == ".work" || part.as_os_str() == "testdata") {
                continue;
            }
            let source = read(&path);
            broken.extend(
                places.iter().filter(|place| source.contains(place.as_str())).map(|_| relative(&path)),
            );
        }
    }
    assert_none(broken, "names a path of one machine");
}

#[test]
fn the_architecture_page_fits_on_two_screens() {
    let lines = read(&root().join("docs/architecture.md")).lines().count();
    assert!(lines <= 120, "docs/architecture.md has {lines} lines; two screens are 120");
}

#[test]
fn every_reason_code_is_documented_once() {
    let page = read(&root().join("docs/operations.md"));
    let section = page.split("\n## ").find(|section| section.starts_with("Reason codes"));
    let documented: Vec<&str> = section
        .expect("the page has a section `Reason codes`")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(code, _)| code)
        .collect();
    let codes: Vec<&str> = policy::reason::Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(documented, codes, "docs/operations.md must list the codes of policy::reason in order");
}

/// The rows of a page's section that name a rule and its severity.
fn documented_rules(section: &str) -> Vec<String> {
    let page = read(&root().join("docs/operations.md"));
    let found = page.split("\n## ").find(|found| found.starts_with(section));
    let rows = found.unwrap_or_else(|| panic!("the page has no section `{section}`")).lines();
    rows.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(name, _)| !name.starts_with("switchyard "))
        .filter_map(|(name, rest)| Some(format!("{name} {}", rest.split_once(" |")?.0)))
        .collect()
}

#[test]
fn every_rule_of_a_linter_is_documented_once() {
    let formulas = autoscale::lint::Rule::ALL.map(|rule| format!("{rule} {}", rule.severity()));
    assert_eq!(
        documented_rules("Formulas"),
        formulas,
        "the page must list autoscale::lint::Rule::ALL in order"
    );
    let pools: Vec<String> =
        machines::Rule::ALL.iter().map(|rule| format!("{rule} {}", rule.severity())).collect();
    assert_eq!(documented_rules("Checking a pool"), pools, "the page must list machines::Rule::ALL in order");
}
