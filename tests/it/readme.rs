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
fn commands_that_it_names_exist() {
    let config = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".cargo/config.toml"));
    let config = config.expect(".cargo/config.toml is there");
    for alias in ["demo", "up", "stage", "sy"] {
        assert!(readme().contains(&format!("cargo {alias}")), "the README does not name cargo {alias}");
        assert!(config.contains(&format!("{alias} = ")), "cargo {alias} is no alias");
    }
}
