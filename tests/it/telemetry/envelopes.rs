//! What we send is what the service's own exporter sends, by its recorded requests; and the documents name
//! what is sent.

use std::collections::BTreeMap;

use handler::metrics::names;
use serde_json::json;

use super::*;

/// Members that our exporter sends besides: the service's schema has them, and the recorded one leaves them out.
const ALSO: &[&str] = &["/data/baseData/metrics/0/kind", "/sampleRate", "/tags/ai.application.ver"];
/// What the recorded exporter tells of its machine, and ours does not.
const MACHINE: &[&str] = &["ai.device.", "ai.internal.nodeName"];

/// Every member by its path, with what kind of value it has; labels are not part of the form.
fn form(value: &Value, at: &str, found: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Object(members) => {
            for (name, member) in members {
                form(member, &format!("{at}/{name}"), found);
            }
            return;
        }
        Value::Array(members) => {
            members.iter().for_each(|member| form(member, &format!("{at}/0"), found));
            return;
        }
        Value::String(_) => "text",
        Value::Number(_) => "number",
        Value::Bool(_) => "truth",
        Value::Null => return,
    };
    if !at.contains("/properties/") && !MACHINE.iter().any(|machine| at.contains(machine)) {
        found.insert(at.to_owned(), kind);
    }
}

fn forms(envelope: &Value) -> BTreeMap<String, &'static str> {
    let mut found = BTreeMap::new();
    form(envelope, "", &mut found);
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_the_recorded_form() {
    let recorded = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire/insights.jsonl"),
    );
    let recorded: Vec<Value> =
        recorded.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let recorded: Vec<&Value> = recorded.iter().flat_map(|seen| seen["body"].as_array().unwrap()).collect();
    let (histogram, plain): (Vec<&Value>, Vec<&Value>) =
        recorded.iter().partition(|found| data(found)["metrics"][0]["max"].is_number());
    assert!(!histogram.is_empty() && !plain.is_empty());

    let upstream = Upstream::start([]).await;
    let receiver = receiver();
    let handler =
        told(Stage::new(&catalogue(&[backend("one", &upstream.url)])), &receiver).under_host().await;
    handler.embed().send().await.unwrap();
    invoke(&handler.client, &handler.url, "Metrics", "timer", json!({})).await;
    let ours = of_type(&receiver, "MetricData");
    let named =
        |name: &str| ours.iter().find(|found| data(found)["metrics"][0]["name"] == name).expect("told");
    for (name, recorded) in [("switchyard.latency_ms", histogram[0]), ("switchyard.answers", plain[0])] {
        let (mut ours, recorded) = (forms(named(name)), forms(recorded));
        ours.retain(|at, _| recorded.contains_key(at) || !ALSO.contains(&at.as_str()));
        let extra: Vec<&String> = ours.keys().filter(|at| !recorded.contains_key(*at)).collect();
        let missing: Vec<&String> = recorded.keys().filter(|at| !ours.contains_key(*at)).collect();
        // A count of one may be left out.
        let missing: Vec<&&String> =
            missing.iter().filter(|at| **at != "/data/baseData/metrics/0/count").collect();
        assert!(
            extra.is_empty() && missing.is_empty(),
            "{name}: ours alone {extra:?}, recorded alone {missing:?}"
        );
        for (at, kind) in &ours {
            assert_eq!(recorded.get(at), Some(kind), "{name} {at}");
        }
    }
    let key = "00000000-0000-0000-0000-000000000001";
    assert!(ours.iter().all(|found| found["iKey"] == key && data(found)["ver"] == 2));
}

#[test]
fn the_table_of_metrics_is_the_documents() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `switchyard.")).collect();
    let labels = |metric: &names::Metric| {
        let labels = metric.labels.iter().map(|label| format!("`{}`: {}", label.name, label.values.told()));
        labels.collect::<Vec<_>>().join("; ")
    };
    let row = |metric: &&names::Metric| {
        let (labels, kind) = (labels(metric), metric.kind.as_str());
        format!("| `{}` | {kind} | {} | {labels} | {} |", metric.name, metric.unit, metric.meaning)
    };
    let wanted: Vec<String> = names::ALL.iter().map(row).collect();
    assert_eq!(rows, wanted, "docs/metrics.md must have these rows:\n{}", wanted.join("\n"));
}
