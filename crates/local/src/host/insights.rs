//! What the handler prints, sent to Application Insights as the real host sends it: one trace a line, under the
//! connection string of the app's settings. Only to loopback: this host speaks to no real account.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The setting with the connection string.
const CONNECTION: &str = "APPLICATIONINSIGHTS_CONNECTION_STRING";
/// Lines that wait; more are lost, as telemetry may be.
const WAITING_MAX: usize = 4_096;
/// Lines of one request.
const SENT_AT_ONCE: usize = 256;
/// A receiver that takes longer is not there.
const SEND_MAX: Duration = Duration::from_secs(2);

/// Takes lines without ever waiting.
#[derive(Clone)]
pub(super) struct Insights(mpsc::Sender<Value>);

impl Insights {
    /// As the app's settings have it; none: they have none, or it leads elsewhere than to this machine.
    pub(super) fn of(settings: &[(String, String)]) -> Option<Insights> {
        let (_, text) = settings.iter().find(|(name, _)| name == CONNECTION)?;
        let part = |wanted: &str| {
            let parts = text.split(';').filter_map(|part| part.split_once('='));
            parts.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
        };
        let endpoint = url::Url::parse(&part("IngestionEndpoint")?).ok()?;
        if endpoint.host_str() != Some("127.0.0.1") {
            return None;
        }
        let (track, key) = (endpoint.join("v2.1/track").ok()?, part("InstrumentationKey")?);
        let client = reqwest::Client::builder().no_proxy().timeout(SEND_MAX).build().ok()?;
        let (sender, mut lines) = mpsc::channel::<Value>(WAITING_MAX);
        // Ends with the last of those that print.
        tokio::spawn(async move {
            let mut some = Vec::new();
            while lines.recv_many(&mut some, SENT_AT_ONCE).await > 0 {
                let mut envelopes = std::mem::take(&mut some);
                envelopes.iter_mut().for_each(|envelope| envelope["iKey"] = json!(key));
                let _ = client.post(track.clone()).json(&envelopes).send().await;
            }
        });
        Some(Insights(sender))
    }

    /// Takes a line that the handler printed, of this severity (1 information, 2 warning, 3 error).
    pub(super) fn take(&self, line: &str, severity: u8) {
        let _ = self.0.try_send(json!({
            "name": "Microsoft.ApplicationInsights.Message",
            "time": now(),
            "tags": { "ai.cloud.role": "functions-host" },
            "data": { "baseType": "MessageData", "baseData": {
                "ver": 2,
                "message": line,
                "severityLevel": severity,
                "properties": { "Category": "Host.Function.Console" },
            } },
        }));
    }
}

fn now() -> String {
    let now = i64::try_from(clock::Clock::REAL.now_ms()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX).to_string()
}
