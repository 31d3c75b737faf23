//! A sample that breaks each rule, made from our own files by one change.

use serde_json::json;

use super::*;

/// Our own files in a folder of the test's own, with one member changed: null takes it away.
fn broken(name: &str, file: &str, pointer: &str, value: Value) -> Result<(), Broken> {
    let folder = std::env::temp_dir().join(format!("switchyard-rules-{}-{name}", std::process::id()));
    let root = crate::cargo::workspace_root();
    for from in [root.join("host.json"), root.join("functions")] {
        copy(&from, &folder.join(if from.is_dir() { "" } else { "host.json" }));
    }
    let path = folder.join(file);
    let mut json: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    match (json.pointer_mut(parent).unwrap(), value) {
        (Value::Object(object), Value::Null) => {
            drop(object.remove(member).expect("it is there to be taken away"))
        }
        (Value::Array(array), value) if member == "-" => array.push(value),
        (Value::Array(array), value) => array[member.parse::<usize>().unwrap()] = value,
        (parent, value) => parent[member] = value,
    }
    std::fs::write(&path, json.to_string()).unwrap();
    let checked = check(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    checked
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}

#[test]
fn our_own_files_break_no_rule() {
    assert_eq!(broken("ours", "host.json", "/version", json!("2.0")), Ok(()));
}

#[test]
fn every_rule_of_host_json_is_held() {
    let cases = [
        ("/version", json!(null), "version", "2.0"),
        ("/version", json!("3.0"), "version", "2.0"),
        ("/httpWorker", json!({}), "httpWorker", "means nothing"),
        ("/functions", json!(["Sweep"]), "functions", "means nothing"),
        (
            "/customHandler/enableHttpProxyingRequest",
            json!(true),
            "customHandler.enableHttpProxyingRequest",
            "enableProxyingHttpRequest",
        ),
        ("/customHandler/http", json!({"routes": []}), "customHandler.http", "means nothing"),
        (
            "/customHandler/description/executable",
            json!("x"),
            "customHandler.description.executable",
            "means nothing",
        ),
        (
            "/customHandler/description/defaultExecutablePath",
            json!("./handler"),
            "defaultExecutablePath",
            "run bit",
        ),
        (
            "/customHandler/description/defaultExecutablePath",
            json!("bin\\handler"),
            "defaultExecutablePath",
            "run bit",
        ),
        ("/functionTimeout", json!("00:04:00"), "functionTimeout", "240 s"),
        ("/functionTimeout", json!("ten minutes"), "functionTimeout", "00:10:00"),
        ("/extensions/queue", json!({}), "extensions.queue", "http, queues"),
        ("/extensions/http/routePrefix", json!(""), "extensions.http.routePrefix", "forge"),
        ("/extensions/http/prefix", json!("api"), "extensions.http.prefix", "routePrefix"),
        ("/extensions/queues/batchsize", json!(1), "extensions.queues.batchsize", "batchSize"),
        ("/extensions/queues/batchSize", json!(33), "extensions.queues.batchSize", "1 to 32"),
        ("/extensions/queues/newBatchThreshold", json!(-1), "extensions.queues.newBatchThreshold", "from 0"),
        ("/extensions/queues/maxDequeueCount", json!(0), "extensions.queues.maxDequeueCount", "from 1"),
        ("/extensions/queues/maxPollingInterval", json!("00:00:00.05"), "maxPollingInterval", "100 ms"),
        ("/extensions/queues/visibilityTimeout", json!(null), "visibilityTimeout", "within a second"),
        ("/extensions/queues/visibilityTimeout", json!("00:00:00"), "visibilityTimeout", "00:00:30"),
        ("/extensions/queues/messageEncoding", json!(null), "messageEncoding", "none"),
        ("/extensionBundle", json!(null), "extensionBundle.id", "no part of the host"),
        ("/extensionBundle/version", json!("4.0.0"), "extensionBundle.version", "range"),
    ];
    for (n, (pointer, value, member, remedy)) in cases.into_iter().enumerate() {
        let found = broken(&format!("host-{n}"), "host.json", pointer, value.clone()).expect_err(pointer);
        assert_eq!(found.file, "host.json");
        assert!(
            found.member.ends_with(member) && found.remedy.contains(remedy),
            "{pointer} {value}: {found}"
        );
    }
}

#[test]
fn every_rule_of_function_json_is_held() {
    let cases = [
        ("Sweep", "/scriptFile", json!("run.sh"), "scriptFile", "leave it out"),
        ("Sweep", "/bindings/0/direction", json!(null), "bindings[0].direction", "\"in\""),
        ("Health", "/bindings/1/direction", json!("in"), "bindings[1].direction", "\"out\""),
        ("Sweep", "/bindings/0/name", json!("the-timer"), "bindings[0].name", "letters and digits"),
        ("Health", "/bindings/1/name", json!("req"), "bindings[1].name", "another binding"),
        ("Sweep", "/bindings/0/cron", json!("* * * * * *"), "bindings[0].cron", "schedule"),
        ("Sweep", "/bindings/0/schedule", json!("*/30 * * * *"), "bindings[0].schedule", "six"),
        ("Sweep", "/bindings/0/schedule", json!("24:00:00"), "bindings[0].schedule", "span"),
        ("Sweep", "/bindings/0/schedule", json!("every minute"), "bindings[0].schedule", "no schedule"),
        ("Health", "/bindings/0/methods/-", json!("fetch"), "bindings[0].methods", "fetch"),
        ("Health", "/bindings/0/route", json!("explain"), "bindings[].route", "Explain too"),
        (
            "Health",
            "/bindings/-",
            json!({"type": "queue", "direction": "out", "name": "q", "queueName": "abc"}),
            "bindings",
            "proxy",
        ),
        (
            "Health",
            "/bindings/1",
            json!({"type": "queue", "direction": "out", "name": "q", "queueName": "abc"}),
            "bindings",
            "proxy",
        ),
        (
            "Sweep",
            "/bindings/-",
            json!({"type": "http", "direction": "out", "name": "res"}),
            "bindings",
            "no httpTrigger",
        ),
        ("Dispatch", "/bindings/0/queueName", json!("Batch_Queue"), "bindings[0].queueName", "lower-case"),
        ("Dispatch", "/bindings/0/queueName", json!("a--b"), "bindings[0].queueName", "single hyphens"),
        (
            "Dispatch",
            "/bindings/0/connection",
            json!("AccountName=a;AccountKey=b"),
            "bindings[0].connection",
            "name of a setting",
        ),
        ("Dispatch", "/retry", json!({"strategy": "fixedDelay"}), "retry", "maxDequeueCount"),
    ];
    for (n, (function, pointer, value, member, remedy)) in cases.into_iter().enumerate() {
        let file = format!("{function}/function.json");
        let found = broken(&format!("function-{n}"), &file, pointer, value.clone()).expect_err(pointer);
        assert!(found.file.ends_with("/function.json"), "{found}");
        assert_eq!(found.member, member, "{pointer} {value}: {found}");
        assert!(found.remedy.contains(remedy), "{pointer} {value}: {found}");
        assert!(!found.to_string().contains("AccountKey"), "a secret is shown: {found}");
    }
}
