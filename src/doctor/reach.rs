//! What is reached by plain HTTP: where telemetry goes, and the handler that serves.

use serde_json::Value;
use url::Url;
use wire::doctor::Finding;

use super::check::Check;
use super::within;
use crate::settings::{Secret, name};

/// Where telemetry goes when its connection string does not say.
const GLOBAL_INGESTION: &str = "https://dc.services.visualstudio.com/";
/// A health page has a few hundred bytes.
const PAGE_BYTES_MAX: usize = 64 * 1024;

/// Asks the ingestion endpoint for anything at all: nothing is sent to it.
/// `workspace` is the Log Analytics workspace that keeps what is sent.
pub async fn telemetry(
    connection: Option<&Secret>,
    workspace: Option<&str>,
    http: &reqwest::Client,
) -> Finding {
    let Some(connection) = connection else {
        return Check::Telemetry.needs(&format!("{}; no telemetry is sent", name::TELEMETRY));
    };
    let Some(endpoint) = ingestion(connection.reveal()) else {
        return Check::Telemetry.warning(
            format!("{} is no connection string", name::TELEMETRY),
            "copy it from the Application Insights resource: InstrumentationKey=…;IngestionEndpoint=https://…",
        );
    };
    let host = endpoint.host_str().unwrap_or_default().to_owned();
    match within(http.get(endpoint).send()).await {
        Some(Ok(_)) => {
            let kept = workspace.map(|id| format!("; logs lie in workspace {id}")).unwrap_or_default();
            Check::Telemetry.ok(format!("{host} answers{kept}"))
        }
        Some(Err(_)) | None => Check::Telemetry.warning(
            format!("{host} cannot be reached: nothing fails for it, and nobody sees what happens"),
            format!(
                "check {} and the way to it: name resolution, firewall, private link scope",
                name::TELEMETRY
            ),
        ),
    }
}

/// The endpoint of a connection string that has a key.
fn ingestion(text: &str) -> Option<Url> {
    let part = |wanted: &str| {
        let mut parts = text.split(';').filter_map(|part| part.split_once('='));
        parts.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    part("InstrumentationKey").filter(|key| !key.is_empty())?;
    Url::parse(part("IngestionEndpoint").unwrap_or(GLOBAL_INGESTION)).ok().filter(Url::has_host)
}

/// Asks the handler that serves how it is.
pub async fn health(root: Option<&Url>, http: &reqwest::Client) -> Finding {
    let Some(root) = root else { return Check::Health.needs("the address of the app: --url") };
    let page = format!("{}/api/health", root.as_str().trim_end_matches('/'));
    let asked = async {
        let mut answer = http.get(&page).send().await.ok()?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Ok(Some(part)) = answer.chunk().await {
            body.extend_from_slice(&part);
            if body.len() > PAGE_BYTES_MAX {
                break;
            }
        }
        Some((status, serde_json::from_slice::<Value>(&body).unwrap_or_default()))
    };
    match within(asked).await.flatten() {
        Some((200, body)) => healthy(&page, &body),
        Some((404, _)) => Check::Health.broken(
            format!("{page} answered 404"),
            "check the address; where it is right, the host found no function: give its identity Storage Blob Data Owner, Storage \
             Queue Data Contributor and Storage Table Data Contributor on the account of AzureWebJobsStorage, and publish again",
        ),
        Some((status, _)) => Check::Health.broken(
            format!("{page} answered {status}"),
            "read the app's log stream: the handler did not start, or the host refused its functions; is the address the app's own?",
        ),
        None => Check::Health.broken(
            format!("{page} does not answer"),
            "start the app (`az functionapp start`, or `switchyard up` here), and check the address and the way to it",
        ),
    }
}

fn healthy(page: &str, body: &Value) -> Finding {
    let says = |member: &str| body.get(member).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let seen =
        format!("version {}, catalogue {}, knobs {}", says("version"), says("catalogue"), says("knobs"));
    match says("status").as_str() {
        "ok" => Check::Health.ok(format!("{page} is ok: {seen}")),
        "degraded" => Check::Health.warning(
            format!("{page} is degraded: {seen}"),
            "mend what is broken above, then POST /api/operate/knobs/refresh (`switchyard knobs refresh`)",
        ),
        _ => Check::Health.broken(
            format!("{page} is no health page of this handler"),
            "check the address: it is the app's root, without /api",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wire::doctor::Outcome;

    use super::*;

    #[test]
    fn a_connection_string_names_its_endpoint() {
        let cases = [
            (
                "InstrumentationKey=k;IngestionEndpoint=https://eastus.in.example/;LiveEndpoint=x",
                Some("https://eastus.in.example/"),
            ),
            ("InstrumentationKey=k", Some(GLOBAL_INGESTION)),
            ("IngestionEndpoint=https://eastus.in.example/", None),
            ("InstrumentationKey=k;IngestionEndpoint=nowhere", None),
            ("", None),
        ];
        for (text, endpoint) in cases {
            assert_eq!(ingestion(text).as_ref().map(Url::as_str), endpoint, "{text}");
        }
    }

    #[test]
    fn a_health_page_is_judged_by_what_it_says() {
        let cases = [
            (json!({ "status": "ok", "version": "1" }), Outcome::Ok),
            (json!({ "status": "degraded", "catalogue": "missing" }), Outcome::Warning),
            (json!({ "hello": "world" }), Outcome::Broken),
            (Value::Null, Outcome::Broken),
        ];
        for (body, outcome) in cases {
            assert_eq!(healthy("p", &body).outcome, outcome, "{body}");
        }
    }
}
