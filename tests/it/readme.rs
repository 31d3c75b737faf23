//! What the README says of the code is true.

use std::path::Path;

use handler::settings::{ALL, Required};

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))
        .expect("README.md is there")
}

#[test]
fn the_table_of_settings_is_the_codes() {
    let row = |setting: &handler::settings::Setting| {
        let default = setting.default.map_or(String::new(), |value| format!("`{value}`"));
        let required = match setting.required {
            Required::Yes => "yes",
            Required::No => "",
            Required::ByHost => "by the host",
        };
        format!("| `{}` | {default} | {required} | {} |", setting.name, setting.meaning)
    };
    let expected: Vec<String> = ALL.iter().map(row).collect();
    let readme = readme();
    let after = readme.split_once("<!-- settings:").expect("the table is marked").1;
    let found: Vec<&str> = after
        .lines()
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(found, expected, "the README's table should be:\n{}\n", expected.join("\n"));
}

#[test]
fn the_table_of_knobs_is_the_codes() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(page).expect("docs/operations.md is there");
    let table = page.split_once("<!-- knobs:").expect("the table is marked").1;
    let rows = table.lines().skip_while(|line| !line.starts_with("| `"));
    let rows: Vec<(&str, &str)> = rows
        .map_while(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, rest)| (name, rest.split('|').next().unwrap().trim().trim_matches('`')))
        .collect();
    let defaults = policy::Knobs::default();
    for (name, default) in &rows {
        let given = serde_json::json!({ *name: default }).to_string();
        match handler::knobs::parse(&given) {
            _ if default.is_empty() => {
                let wrong = serde_json::json!({ *name: "?" }).to_string();
                let problems = handler::knobs::parse(&wrong).unwrap_err();
                assert!(!problems[0].contains("no knob"), "{problems:?}");
            }
            read => assert_eq!(read.as_ref(), Ok(&defaults), "{name}"),
        }
    }
    // Members of the set, one a line.
    let shown = format!("{defaults:#?}");
    let members =
        shown.lines().filter(|line| line.starts_with("    ") && !line[4..].starts_with([' ', ')', '}']));
    assert_eq!(rows.len(), members.count(), "{shown}");
}

#[test]
fn commands_that_it_names_exist() {
    let config = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".cargo/config.toml"));
    let config = config.expect(".cargo/config.toml is there");
    for alias in ["demo", "up", "stage", "sy"] {
        assert!(readme().contains(&format!("cargo {alias}")), "the README does not name cargo {alias}");
        assert!(config.contains(&format!("{alias} = ")), "cargo {alias} is no alias");
    }
}
