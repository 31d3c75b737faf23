//! The stand-in over real TLS, as the service's clients see it.

use serde_json::{Value, json};

use super::*;

async fn started() -> (Vault, reqwest::Client) {
    let vault = Vault::start(crate::loopback::any_port().unwrap(), Clock::REAL, "t0ken").unwrap();
    let authority = reqwest::Certificate::from_pem(vault.authority().as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
    (vault, client)
}

async fn json_of(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.bearer_auth("t0ken").send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_request_without_a_token_is_challenged() {
    let (vault, client) = started().await;
    for token in [None, Some("another")] {
        let request = client.get(format!("{}/secrets/a/?api-version=2026-04-01", vault.url()));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.contains(r#"resource="https://vault.azure.net""#), "{challenge}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "Unauthorized");
    }
    assert_eq!(vault.counts(), Counts { challenged: 2, let_in: 0 });
    vault.stop().await;
}

#[tokio::test]
async fn versions_are_kept_and_the_newest_is_what_is_read() {
    let (vault, client) = started().await;
    let url = |path: &str| format!("{}{path}?api-version=2026-04-01", vault.url());
    let set = |value: &str| client.put(url("/secrets/a")).json(&json!({ "value": value }));
    let (_, first) = json_of(set("one")).await;
    let (status, second) = json_of(set("two")).await;
    assert_eq!(
        (status, &second["value"], &second["attributes"]["enabled"]),
        (200, &json!("two"), &json!(true))
    );
    assert_eq!(json_of(client.get(url("/secrets/a/"))).await, (200, second.clone()));
    let version = first["id"].as_str().unwrap().strip_prefix(&vault.url()).unwrap();
    assert_eq!(json_of(client.get(url(version))).await, (200, first.clone()));
    let (_, versions) = json_of(client.get(url("/secrets/a/versions"))).await;
    assert_eq!(versions["value"].as_array().map(Vec::len), Some(2));
    assert_eq!(json_of(client.get(url("/secrets/b"))).await.1["error"]["code"], "SecretNotFound");
    assert_eq!(json_of(client.put(url("/secrets/a_b")).json(&json!({ "value": "" }))).await.0, 400);
    assert_eq!(json_of(client.delete(url("/secrets/a"))).await.0, 501);
    assert_eq!(json_of(client.get(format!("{}/secrets/a", vault.url()))).await.0, 400, "no api-version");
    vault.stop().await;
}

#[tokio::test]
async fn a_secret_that_is_switched_off_is_listed_and_not_given() {
    let (vault, client) = started().await;
    let url = |path: &str| format!("{}{path}?api-version=2026-04-01", vault.url());
    vault.set("a", "1");
    let off = json!({ "attributes": { "enabled": false } });
    assert_eq!(json_of(client.patch(url("/secrets/a/")).json(&off)).await.0, 200);
    assert_eq!(json_of(client.get(url("/secrets/a"))).await.0, 403);
    let (_, listed) = json_of(client.get(url("/secrets"))).await;
    assert_eq!(listed["value"][0]["attributes"]["enabled"], false);
    assert_eq!(listed["value"][0]["value"], Value::Null);
    assert_eq!(vault.value("a"), None);
    vault.set("a", "2");
    assert_eq!((vault.value("a").as_deref(), vault.versions("a")), (Some("2"), 2));
    vault.stop().await;
}

#[tokio::test]
async fn a_listing_goes_by_pages_of_25() {
    let (vault, client) = started().await;
    for at in 0..60 {
        vault.set(&format!("s{at:02}"), "x");
    }
    let mut next = Some(format!("{}/secrets?api-version=2026-04-01", vault.url()));
    let mut pages = Vec::new();
    while let Some(url) = next {
        let (_, page) = json_of(client.get(url)).await;
        pages.push(page["value"].as_array().unwrap().len());
        next = page["nextLink"].as_str().map(str::to_owned);
    }
    assert_eq!(pages, [25, 25, 10]);
    vault.stop().await;
}

#[tokio::test]
async fn scripts_answer_as_the_service_does() {
    let (vault, client) = started().await;
    vault.set("a", "1");
    let url = format!("{}/secrets/a?api-version=2026-04-01", vault.url());
    let cases = [
        (Script::Throttle(7), 429, "Throttled", 429),
        (Script::Forbid, 403, "Forbidden", 403),
        (Script::ForbidWrites, 200, "", 403),
        (Script::Fail(StatusCode::INTERNAL_SERVER_ERROR), 500, "InternalServerError", 500),
    ];
    for (script, read, code, written) in cases {
        vault.script(script);
        let (status, body) = json_of(client.get(&url)).await;
        assert_eq!((status, body["error"]["code"].as_str().unwrap_or_default()), (read, code), "{script:?}");
        assert_eq!(json_of(client.put(&url).json(&json!({ "value": "2" }))).await.0, written, "{script:?}");
    }
    vault.script(Script::Throttle(7));
    let answer = client.get(&url).bearer_auth("t0ken").send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "7");
    vault.stop().await;
}
