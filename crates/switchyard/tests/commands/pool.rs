//! `switchyard pool`: the real program over pools in files.

use std::io::Write as _;

use super::*;

/// A day on which the table's ends are as the tests say.
const TODAY: &str = "2026-11-21";

fn data(name: &str) -> String {
    format!("{}/tests/data/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

fn lint(arguments: &[&str]) -> Done {
    Done::of(command(&[&["pool", "lint", "--today", TODAY], arguments].concat()).output().unwrap())
}

fn lint_text(pool: &Value) -> Done {
    let mut command = command(&["pool", "lint", "--json", "--today", TODAY, "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(pool.to_string().as_bytes()).unwrap();
    Done::of(child.wait_with_output().unwrap())
}

fn rules(done: &Done) -> Vec<String> {
    done.records().iter().map(|record| record["rule"].as_str().unwrap().to_owned()).collect()
}

fn stored(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(data(name)).unwrap()).unwrap()
}

#[test]
fn the_pool_to_start_from_has_no_finding() {
    let done = lint(&[&data("pool")]);
    assert_eq!((done.code, done.out.as_str()), (0, "nothing was found\n"), "{}", done.err);
}

#[test]
fn the_same_pool_is_sound_as_the_data_plane_says_it() {
    let template = stored("pool");
    let properties = &template["properties"];
    let machine = &properties["deploymentConfiguration"]["virtualMachineConfiguration"];
    let asked = json!({
        "id": "spot-t4",
        "vmSize": "standard_nc4as_t4_v3",
        "virtualMachineConfiguration": {
            "imageReference": machine["imageReference"],
            "nodeAgentSKUId": "batch.node.ubuntu 24.04",
        },
        "enableAutoScale": true,
        "autoScaleFormula": properties["scaleSettings"]["autoScale"]["formula"],
        "autoScaleEvaluationInterval": "PT5M",
        "taskSlotsPerNode": 1,
    });
    // Only Resource Manager gives a pool its identity.
    let done = lint_text(&asked);
    assert_eq!((done.code, rules(&done)), (0, vec!["no_identity".to_owned()]), "{}", done.out);

    let mut shown = asked;
    for (name, value) in [
        ("allocationState", json!("steady")),
        ("targetDedicatedNodes", json!(0)),
        ("targetLowPriorityNodes", json!(3)),
        ("resizeTimeout", json!("0:15:00")),
        ("autoScaleEvaluationInterval", json!("0:05:00")),
        ("targetNodeCommunicationMode", Value::Null),
        ("identity", json!({ "userAssignedIdentities": [{ "resourceId": "/subscriptions/s/i" }] })),
    ] {
        shown[name] = value;
    }
    let done = lint_text(&shown);
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{}", done.err);
}

#[test]
fn each_fault_of_the_recipes_pool_is_named() {
    let done = lint(&["--json", &data("recipe-pool")]);
    assert_eq!(done.code, 1, "{}", done.err);
    let expected = [
        "size_retired",
        "image_retired",
        "agent_retired",
        "member_misspelt",
        "sized_twice",
        "shell_missing",
        "containers_missing",
        "start_installs",
        "no_identity",
    ];
    let found = rules(&done);
    assert_eq!(found[..expected.len()], expected);
    // And the formula's own, as `formula lint` has them.
    let formula: Vec<&str> = found[expected.len()..].iter().map(String::as_str).collect();
    for rule in [
        "kills_running_tasks",
        "buys_when_blind",
        "percentage_as_time",
        "minimum_over_samples",
        "never_buys_spot",
    ] {
        assert!(formula.contains(&rule), "{rule} in {formula:?}");
    }
    let records = done.records();
    assert_eq!(records[0]["member"], "vmSize");
    let what = records[0]["what"].as_str().unwrap();
    assert!(what.contains("Standard_NC6s_v3 (NCv3, V100) ended on 2025-09-30"), "{what}");
    assert!(records[3]["remedy"].as_str().unwrap().contains("nodeAgentSKUId"), "{}", records[3]);

    let told = lint(&[&data("recipe-pool")]);
    assert!(
        told.out.starts_with("vmSize: error size_retired\n  the support of Standard_NC6s_v3"),
        "{}",
        told.out
    );
    assert!(told.out.ends_with("\n9 errors, 4 warnings, 2 notes\n"), "{}", told.out);
}

#[test]
fn a_formula_that_is_refused_fails_the_pool() {
    let mut pool = stored("pool");
    pool["properties"]["scaleSettings"]["autoScale"]["formula"] = json!("x = %");
    let done = lint_text(&pool);
    assert_eq!(done.code, 1);
    assert_eq!(done.records()[0]["error"]["code"], "AutoScalingFormulaSyntaxError");
}

#[test]
fn what_is_no_pool_has_an_exit_code_of_its_own() {
    let folder = Folder::new("pool");
    // As the recipe's own command writes it: an unquoted heredoc takes the formula's variables away.
    let broken = r#"{"vmSize": "s", "autoScaleFormula": "\ = min(\.GetSample(180))"}"#;
    for (content, why) in [
        (broken, "no JSON: invalid escape"),
        ("{}", "the JSON holds no pool"),
        (
            r#"{"vmSize": "s", "enableAutoScale": true, "autoScaleEvaluationInterval": "soon"}"#,
            "no time between",
        ),
    ] {
        let done = lint(&[&folder.write("pool.json", content)]);
        assert_eq!(done.code, 2, "{content}");
        assert!(done.err.contains(why) && done.out.is_empty(), "{}{}", done.out, done.err);
    }
    assert_eq!(lint(&["no-such-file.json"]).code, 2);
}
