//! The platform's word that this node is about to go: a `Preempt` event of Azure's Scheduled Events,
//! asked for every few seconds. It is a hint: often it comes less than ten seconds before the end, and
//! where nobody answers the work goes on.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

/// How often it is asked: the notice may come ten seconds before the end.
const EVERY: Duration = Duration::from_secs(2);
/// Longest wait for an answer. The very first one may take minutes, while the platform switches the
/// service on for this machine; asking again is as good as waiting.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The newest version of the service.
const EVENTS: &str = "metadata/scheduledevents?api-version=2020-07-01";
/// This machine's name, as events call it.
const NAME: &str = "metadata/instance/compute/name?api-version=2021-02-01&format=text";

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "Events", default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "EventType", default)]
    kind: String,
    #[serde(rename = "Resources", default)]
    machines: Vec<String>,
}

/// Done when the platform is about to take this machine away; never where it says nothing.
pub async fn preempted(base: Url) {
    let client =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(ANSWER_MAX);
    let client = match client.build() {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(%error, "evictions are not listened for");
            return std::future::pending().await;
        }
    };
    let name = ask(&client, &base, NAME).await;
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(answer) = ask(&client, &base, EVENTS).await else { continue };
        if is_preempted(&answer, name.as_deref()) {
            return;
        }
    }
}

async fn ask(client: &reqwest::Client, base: &Url, path: &str) -> Option<String> {
    let url = base.join(path).ok()?;
    // Without this header the service refuses, so that no redirected browser can ask it.
    let answer = client.get(url).header("Metadata", "true").send().await;
    match answer.and_then(reqwest::Response::error_for_status) {
        Ok(answer) => answer.text().await.ok(),
        Err(error) => {
            tracing::debug!(%error, "the metadata service does not answer");
            None
        }
    }
}

/// Events are told to every machine of a set; one without a known name takes them all for its own.
fn is_preempted(document: &str, name: Option<&str>) -> bool {
    let Ok(document) = serde_json::from_str::<Document>(document) else { return false };
    let is_ours = |event: &Event| match name {
        Some(name) if !event.machines.is_empty() => event.machines.iter().any(|machine| machine == name),
        _ => true,
    };
    document.events.iter().any(|event| event.kind == "Preempt" && is_ours(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_eviction_counts() {
        let document = |kind: &str, machine: &str| {
            format!(
                r#"{{"DocumentIncarnation":2,"Events":[{{"EventId":"e","EventType":"{kind}","ResourceType":"VirtualMachine","Resources":["{machine}"],"EventStatus":"Scheduled","NotBefore":"Mon, 19 Nov 2026 18:29:47 GMT"}}]}}"#
            )
        };
        for (document, name, expected) in [
            (document("Preempt", "vm_1"), Some("vm_1"), true),
            (document("Preempt", "vm_2"), Some("vm_1"), false),
            (document("Preempt", "vm_2"), None, true),
            (document("Reboot", "vm_1"), Some("vm_1"), false),
            (r#"{"DocumentIncarnation":1,"Events":[]}"#.to_owned(), None, false),
            ("<html>".to_owned(), None, false),
        ] {
            assert_eq!(is_preempted(&document, name), expected, "{document}");
        }
    }
}
