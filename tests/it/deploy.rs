//! The README's chapter "Deploy" and the files under `infra/` agree with each other and with the code.

use std::path::Path;

use serde_json::Value;

/// Built-in roles, from the RBAC tables of the services' documentation.
const ROLES: &[(&str, &str)] = &[
    ("b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "Storage Blob Data Owner"),
    ("ba92f5b4-2d11-453d-a403-e96b0029c9fe", "Storage Blob Data Contributor"),
    ("974c5e8b-45b9-4653-ba55-5f855dd0fb88", "Storage Queue Data Contributor"),
    ("0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "Storage Table Data Contributor"),
    ("6aaa78f1-f7de-44ca-8722-c64a23943cae", "Azure Batch Data Contributor"),
    ("4633458b-17de-408a-b874-0445c86b69e6", "Key Vault Secrets User"),
    ("b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "Key Vault Secrets Officer"),
    ("3913510d-42f4-4e42-8a64-420c390055eb", "Monitoring Metrics Publisher"),
];
/// Settings that the host or the platform reads.
const OF_THE_HOST: [&str; 1] = ["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"];

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .expect("a file of the repository")
}

fn chapter() -> String {
    let readme = text("README.md");
    let found = readme.split("\n## ").find(|chapter| chapter.starts_with("Deploy"));
    found.expect("the README has a chapter `Deploy`").to_owned()
}

fn json(path: &str) -> Value {
    serde_json::from_str(&text(path)).expect("JSON")
}

#[test]
fn the_catalogue_to_begin_with_is_one() {
    let given = text("infra/catalogue.json").replace("REALTIME_HOST", "realtime.example");
    let context = handler::catalogue::Context {
        default_backend: None,
        default_pool: None,
        has_batch: true,
        secrets: handler::settings::Lookup::of(|_| Some("a key".to_owned())),
        loopback_only: false,
        webhooks_allow_private: false,
    };
    let catalogue = handler::catalogue::parse(given.as_bytes(), &context).expect("no problem");
    let pool = catalogue.pool("spot-t4").expect("its pool");
    let worker = pool.worker.as_ref().expect("it takes work");
    let start = json("infra/pool.json")["resources"][0]["properties"]["startTask"]["commandLine"].to_string();
    assert!(start.contains(&worker.program), "the start task does not put {} there: {start}", worker.program);
    for folder in worker.folders.values() {
        let parent = Path::new(folder).parent().expect("a folder in a folder").display().to_string();
        assert!(start.contains(&parent), "the start task does not make {parent}: {start}");
    }
}

#[test]
fn pool_and_queues_are_those_of_the_code() {
    let chapter = chapter();
    let name = json("infra/pool.json")["resources"][0]["name"].as_str().expect("a name").to_owned();
    assert!(name.contains("/spot-t4'") && chapter.contains("--pool-id spot-t4"), "{name}");
    for function in ["Dispatch", "DeadLetter"] {
        let function = json(&format!("functions/{function}/function.json"));
        let queue = function["bindings"][0]["queueName"].as_str().expect("a queue").to_owned();
        assert!(chapter.contains(&format!(" {queue} ")), "{queue} is not created");
    }
    for parameter in json("infra/pool.json")["parameters"].as_object().expect("parameters").keys() {
        assert!(chapter.contains(&format!("{parameter}=")), "{parameter} is not given");
    }
}

#[test]
fn settings_of_the_app_are_settings() {
    let chapter = chapter();
    let (_, command) = chapter.split_once("appsettings set").expect("settings are set");
    let joined = command.replace("\\\n", " ");
    let line = joined.lines().next().expect("split gives at least one part");
    let (_, given) = line.split_once("--settings").expect("it has settings");
    let given = given.to_owned();
    let names: Vec<&str> = given
        .split_whitespace()
        .filter_map(|word| word.trim_matches('"').split_once('='))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    assert!(names.len() > 8, "{names:?}");
    for name in &names {
        let is_known = handler::settings::ALL.iter().any(|setting| setting.name == *name);
        assert!(is_known || OF_THE_HOST.contains(name) || name.ends_with("_API_KEY"), "{name} is no setting");
    }
    // Refused by Flex Consumption (51021).
    assert!(!names.contains(&"FUNCTIONS_WORKER_RUNTIME"));
    drop(names);
    let settings = handler::settings::Settings::read(None, move |name| match name {
        "FUNCTIONS_CUSTOMHANDLER_PORT" => Some("8080".to_owned()),
        "WEBSITE_INSTANCE_ID" => Some("an instance".to_owned()),
        _ => value(&given, name),
    });
    assert!(settings.is_ok(), "{:?}", settings.err());
}

/// What the line gives a setting, with the shell's names filled in.
fn value(given: &str, name: &str) -> Option<String> {
    let (_, after) = given.split_once(&format!("{name}="))?;
    let value = after.split_whitespace().next()?.replace("$NAME", "sy0123abcd").replace("$REGION", "westus3");
    let value = value.replace("$APP_CLIENT", "00000000-0000-0000-0000-000000000001");
    match name {
        "APPLICATIONINSIGHTS_CONNECTION_STRING" => {
            Some("InstrumentationKey=00000000-0000-0000-0000-000000000001".to_owned())
        }
        "LOG_ANALYTICS_WORKSPACE_ID" => Some("00000000-0000-0000-0000-000000000002".to_owned()),
        _ => Some(value),
    }
}

#[test]
fn every_role_has_its_own_name_beside_it() {
    let is_guid = |word: &&str| word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let mut seen = 0;
    for line in chapter().lines() {
        for guid in line.split_whitespace().filter(is_guid) {
            let named = ROLES.iter().find(|(known, _)| *known == guid).map(|(_, name)| *name);
            assert!(named.is_some_and(|name| line.ends_with(name)), "{line}");
            seen += 1;
        }
    }
    assert!(seen > 8, "only {seen} roles were found; the search is broken");
}
