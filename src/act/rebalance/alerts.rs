//! Alerts of Azure Monitor as one more input: kept once as they come, paired by the id that the
//! firing and its end share, and forgotten after a day.

use bytes::Bytes;
use facts::{Store, key};
use policy::rebalance::{Alert, Asks};
use policy::units::{Millis, UnixMs};
use serde::Deserialize;

use crate::act::fact;
use crate::act::jobs::{Jobs, Trouble};

/// An alert stands for this long, unless it is resolved before: one whose end was never delivered
/// must not hold a pool up for ever.
pub const STANDS: Millis = Millis::from_secs(24 * 3_600);
/// Alerts that are looked at, the newest; a plan needs one of each kind.
pub const STANDING_MAX: usize = 64;
/// Custom property of a rule that says what its alerts ask for: `scale_up` or `scale_down`.
pub const PROPERTY: &str = "switchyard";
/// Names of rules that say the same by how they begin.
const RULES: [(&str, Asks); 2] =
    [("switchyard-scale-up", Asks::More), ("switchyard-scale-down", Asks::Fewer)];
/// Longest name of a rule that is kept: the portal allows 260.
const RULE_CHARS_MAX: usize = 260;

/// An alert as it came, as far as it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What the firing and its end share.
    pub id: String,
    /// Its rule.
    pub rule: String,
    /// `Sev0` to `Sev4`.
    pub severity: String,
    /// Whether it says that the alert is over.
    pub is_over: bool,
    /// What it asks for.
    pub asks: Asks,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_id: String,
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    essentials: Essentials,
    custom_properties: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Essentials {
    alert_rule: String,
    severity: String,
    monitor_condition: String,
    alert_id: Option<String>,
    origin_alert_id: Option<String>,
}

/// What `schemaId` says in the common schema.
const COMMON_SCHEMA: &str = "azureMonitorCommonAlertSchema";

/// Reads an alert in the common schema.
///
/// # Errors
/// What is wrong with it.
pub fn read(body: &[u8]) -> Result<Told, String> {
    let read: Body =
        serde_json::from_slice(body).map_err(|error| format!("no alert in the common schema ({error})"))?;
    if read.schema_id != COMMON_SCHEMA {
        return Err(format!("schemaId must be {COMMON_SCHEMA}"));
    }
    let Data { essentials, custom_properties } = read.data;
    let wish = custom_properties.as_ref().and_then(|all| all.get(PROPERTY)).and_then(|wish| wish.as_str());
    let ids = [essentials.origin_alert_id, essentials.alert_id];
    Ok(Told {
        // One that names itself by nothing is itself, once.
        id: ids.into_iter().flatten().find(|id| !id.is_empty()).unwrap_or_else(|| key::hex_sha256(body)),
        asks: asks(&essentials.alert_rule, wish),
        rule: essentials.alert_rule.chars().take(RULE_CHARS_MAX).collect(),
        severity: essentials.severity,
        is_over: essentials.monitor_condition.eq_ignore_ascii_case("resolved"),
    })
}

/// The property settles it, else the name of the rule; anything else asks for nothing.
fn asks(rule: &str, wish: Option<&str>) -> Asks {
    match wish {
        Some("scale_up") => return Asks::More,
        Some("scale_down") => return Asks::Fewer,
        Some(_) | None => {}
    }
    let rule = rule.to_ascii_lowercase();
    RULES.iter().find(|(begins, _)| rule.starts_with(begins)).map_or(Asks::Nothing, |(_, asks)| *asks)
}

/// Keeps an alert as it came; told twice, it is one.
///
/// # Errors
/// When the store failed.
pub async fn keep(store: &Store, told: &Told, body: Bytes) -> Result<(), facts::StoreError> {
    store.create(&key::alert(&told.id, told.is_over), body).await.map(drop)
}

/// Alerts that fired and are not over, the newest first. Those that stand too long go. One listing,
/// and a read for each of at most [`STANDING_MAX`].
///
/// # Errors
/// When the store failed.
pub async fn standing(jobs: &Jobs) -> Result<Vec<Alert>, Trouble> {
    let mut fired: Vec<(UnixMs, String)> = Vec::new();
    let mut over: Vec<String> = Vec::new();
    for found in jobs.store().list(key::ALERTS).await? {
        let age = Millis(jobs.age_ms(found.modified_ms));
        if age > STANDS {
            jobs.store().delete(&found.key).await?;
            continue;
        }
        match key::read_alert(&found.key) {
            Some((id, true)) => over.push(id.to_owned()),
            Some((_, false)) => fired.push((jobs.now() - age, found.key)),
            None => {}
        }
    }
    fired
        .retain(|(_, key)| key::read_alert(key).is_some_and(|(id, _)| !over.iter().any(|known| known == id)));
    fired.sort_by(|a, b| b.cmp(a));
    let mut standing = Vec::new();
    for (at, key) in fired.into_iter().take(STANDING_MAX) {
        if let Some(alert) = alert(jobs.store(), &key, at).await? {
            standing.push(alert);
        }
    }
    Ok(standing)
}

async fn alert(store: &Store, key: &str, fired: UnixMs) -> Result<Option<Alert>, Trouble> {
    let Some(body) = fact::read::<Box<serde_json::value::RawValue>>(store, key).await? else {
        return Ok(None);
    };
    let told = read(body.get().as_bytes()).ok();
    Ok(told.map(|told| Alert { rule: told.rule, asks: told.asks, fired }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The vendor's sample of a metric alert, in the parts that are looked at.
    fn sample(condition: &str) -> Value {
        json!({
            "schemaId": "azureMonitorCommonAlertSchema",
            "data": {
                "essentials": {
                    "alertId": "/subscriptions/s/providers/Microsoft.AlertsManagement/alerts/b9569717",
                    "alertRule": "cpu-high",
                    "severity": "Sev3",
                    "signalType": "Metric",
                    "monitorCondition": condition,
                    "monitoringService": "Platform",
                    "originAlertId": "3f2d4487_b9569717",
                    "firedDateTime": "2026-11-21T09:00:00.000Z",
                    "essentialsVersion": "1.0",
                    "alertContextVersion": "1.0",
                },
                "alertContext": { "conditionType": "SingleResourceMultipleMetricCriteria", "condition": {
                    "windowSize": "PT5M",
                    "allOf": [{ "metricName": "Percentage CPU", "operator": "GreaterThan", "threshold": "75",
                        "timeAggregation": "Average", "metricValue": 81.5 }] } },
            },
        })
    }

    fn told(sample: &Value) -> Told {
        read(sample.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_firing_and_its_end_share_an_id() {
        let (fired, over) = (told(&sample("Fired")), told(&sample("Resolved")));
        assert_eq!((fired.id.as_str(), fired.is_over), ("3f2d4487_b9569717", false));
        assert_eq!((over.id, over.is_over), (fired.id, true));
        let mut bare = sample("Fired");
        bare["data"]["essentials"]["originAlertId"] = Value::Null;
        assert!(told(&bare).id.starts_with("/subscriptions/"));
    }

    #[test]
    fn the_property_settles_what_is_asked_for_then_the_rules_name() {
        let cases = [
            ("cpu-high", None, Asks::Nothing),
            ("switchyard-scale-up-cpu", None, Asks::More),
            ("Switchyard-Scale-Down budget", None, Asks::Fewer),
            ("my-switchyard-scale-up", None, Asks::Nothing),
            ("cpu-high", Some("scale_up"), Asks::More),
            ("switchyard-scale-up", Some("scale_down"), Asks::Fewer),
            ("switchyard-scale-up", Some("sideways"), Asks::More),
        ];
        for (rule, wish, expected) in cases {
            let mut sample = sample("Fired");
            sample["data"]["essentials"]["alertRule"] = rule.into();
            if let Some(wish) = wish {
                sample["data"]["customProperties"] = json!({ PROPERTY: wish });
            }
            assert_eq!(told(&sample).asks, expected, "{rule} {wish:?}");
        }
    }

    #[test]
    fn another_schema_is_refused() {
        let classic = br#"{"status":"Activated","context":{"condition":{"metricValue":"81"}}}"#;
        assert!(read(classic).unwrap_err().contains("common schema"));
        let mut other = sample("Fired");
        other["schemaId"] = "AzureMonitorMetricAlert".into();
        assert!(read(other.to_string().as_bytes()).unwrap_err().contains(COMMON_SCHEMA));
    }
}
