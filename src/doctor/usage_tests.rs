use serde_json::json;
use wire::doctor::Outcome;

use super::*;

fn catalogue() -> file::Catalogue {
    let speed = json!({ "base_ms": 1, "p95_percent": 100 });
    let spread = json!({ "p50": 1, "p95": 1 });
    let backend = |name: &str, class: &str, max: u32| {
        json!({ "name": name, "url": "https://b", "region": "r", "models": [], "style": "openai", "gpu_class": class,
            "usd_per_replica_hour": 1, "price_date": "d", "slots_per_replica": 1, "max_replicas": max, "speed": speed,
            "cold_start_ms": spread })
    };
    let pool = |name: &str, spot: bool, dedicated: Option<f64>, max: u32| {
        json!({ "name": name, "region": "r", "models": [], "usd_per_node_hour": 1, "usd_per_dedicated_node_hour": dedicated,
            "spot": spot, "price_date": "d", "max_nodes": max, "slots_per_node": 1, "speed": speed, "boot_ms": spread })
    };
    serde_json::from_value(json!({ "v": 1,
        "backends": [backend("a", "t4", 4), backend("b", "T4", 50), backend("c", "cpu", 9)],
        "pools": [pool("spot", true, Some(0.5), 3), pool("unknown", true, None, 3)],
    }))
    .unwrap()
}

fn needed() -> Needs {
    let knobs = Knobs { max_replicas: 10, max_nodes: 4, max_dedicated_nodes: 2, ..Knobs::default() };
    let sizes = [("spot".to_owned(), "STANDARD_NC4AS_T4_V3".to_owned())];
    needs(&knobs, &catalogue(), &sizes)
}

/// As `az batch account show` prints it.
fn account(spot: u64, dedicated: u64) -> String {
    json!({ "name": "acct", "poolAllocationMode": "BatchService", "dedicatedCoreQuota": dedicated, "lowPriorityCoreQuota": spot,
        "poolQuota": 100, "activeJobAndJobScheduleQuota": 300, "dedicatedCoreQuotaPerVmFamilyEnforced": true,
        "dedicatedCoreQuotaPerVmFamily": [{ "name": "standardNCASv3_T4Family", "coreQuota": 4 }, { "name": "standardDFamily", "coreQuota": 0 }] })
    .to_string()
}

/// As `az containerapp env list-usages` prints it.
fn environment(limit: u64, used: u64) -> String {
    let line = |name: &str, limit: u64, used: u64| json!({ "name": { "localizedValue": name, "value": name.replace(' ', "") }, "currentValue": used, "limit": limit, "unit": "Count" });
    json!([
        line("Managed Environment Consumption T4 Gpus", limit, used),
        line("Managed Environment Consumption Cores", 100, 5),
        line("Managed Environment General Purpose Cores", 0, 0),
    ])
    .to_string()
}

fn told(texts: &[String]) -> Vec<(String, Outcome, String)> {
    let quotas: Vec<Quota> = texts.iter().flat_map(|text| parse(text).expect(text)).collect();
    let findings = judge(&needed(), &quotas).into_iter();
    findings.map(|finding| (finding.subject.unwrap_or_default(), finding.outcome, finding.found)).collect()
}

#[test]
fn what_may_be_asked_for_follows_from_knobs_and_catalogue() {
    let needs: Vec<_> = needed().into_iter().collect();
    let expected = [
        (Of::Gpus("t4"), 4 + 10),
        (Of::Dedicated, 2 * 4),
        (Of::Spot, 3 * 4),
        (Of::Family("standard_nc4as_t4_v3".to_owned()), 2 * 4),
    ];
    assert_eq!(needs, expected);
}

#[test]
fn have_and_need_stand_side_by_side() {
    let told = told(&[account(12, 10), environment(20, 3)]);
    let expected = [
        ("account acct: dedicated cores", Outcome::Ok, "have 10, need 8"),
        ("account acct: spot (low-priority) cores", Outcome::Ok, "have 12, need 12"),
        ("account acct: dedicated cores of standardNCASv3_T4Family", Outcome::Broken, "have 4, need 8"),
        ("Managed Environment Consumption T4 Gpus", Outcome::Ok, "have 20, need 14, used 3"),
    ];
    let expected = expected.map(|(subject, outcome, found)| (subject.to_owned(), outcome, found.to_owned()));
    assert_eq!(told, expected);
}

#[test]
fn a_new_account_without_spot_cores_is_broken_and_names_where_to_ask() {
    let quotas = parse(&account(0, 100)).unwrap();
    let findings = judge(&needed(), &quotas);
    let spot = findings.iter().find(|finding| finding.found == "have 0, need 12").expect("spot cores");
    assert!(spot.outcome == Outcome::Broken && spot.remedy.as_ref().unwrap().contains("low-priority cores"));
}

#[test]
fn use_is_told_from_60_percent_and_urgently_from_80() {
    for (used, outcome, says) in [
        (11, Outcome::Ok, "used 11"),
        (12, Outcome::Warning, "60 % is used, and a request"),
        (16, Outcome::Warning, "80 % is used, the next peak"),
    ] {
        let told = told(&[environment(20, used)]);
        let (_, seen, found) = told.iter().find(|(subject, ..)| subject.contains("T4")).unwrap();
        assert!(*seen == outcome && found.contains(says), "{used}: {found}");
    }
}

#[test]
fn what_no_output_tells_is_asked_for_by_its_command() {
    let told = told(&[]);
    let asked: Vec<_> = told
        .iter()
        .map(|(subject, outcome, found)| (subject.as_str(), *outcome, found.contains("--usages FILE")))
        .collect();
    let expected = [
        ("14 GPUs T4", Outcome::NotChecked, true),
        ("8 dedicated cores", Outcome::NotChecked, true),
        ("12 spot cores", Outcome::NotChecked, true),
    ];
    assert_eq!(asked, expected);
}

#[test]
fn lines_of_a_subscription_tell_only_what_runs_out() {
    let line = |name: &str, value: &str, limit: &str, used: &str| json!({ "currentValue": used, "limit": limit, "localName": name, "name": { "localizedValue": name, "value": value } });
    let text = json!([
        line("Total Regional vCPUs", "cores", "100", "85"),
        line("Standard D Family vCPUs", "standardDFamily", "10", "0")
    ])
    .to_string();
    let told = told(&[account(12, 10), text]);
    assert!(
        told.iter()
            .any(|(subject, outcome, _)| subject == "Total Regional vCPUs" && *outcome == Outcome::Warning),
        "{told:?}"
    );
    assert!(!told.iter().any(|(subject, ..)| subject.contains("Standard D")), "{told:?}");
}

#[test]
fn what_is_no_such_output_is_refused() {
    for text in
        ["", "{}", "[1]", r#"[{"name":"a"}]"#, r#"{"dedicatedCoreQuota":"many","lowPriorityCoreQuota":1}"#]
    {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn families_are_known_by_the_parts_of_a_size() {
    let cases = [
        ("standardncasv3_t4family", "standard_nc4as_t4_v3", true),
        ("standardncadsa100v4family", "standard_nc24ads_a100_v4", true),
        ("standardncadsh100v5family", "standard_nc24ads_a100_v4", false),
        ("standarddfamily", "standard_nc4as_t4_v3", false),
    ];
    for (family, size, expected) in cases {
        assert_eq!(is_family_of(family, size), expected, "{family} {size}");
    }
}
