//! Knobs in a Key Vault: read, refused, kept for a cold start, changed and rolled back, against a stand-in
//! with TLS and the service's challenge. It needs a thread of its own: a handler that starts asks it at once.

use handler::azure;
use handler::azure::identity::Chain;
use handler::settings::Identity;
use hyper::StatusCode;
use local::vault::{Script, Vault};
use reqwest::Method;
use serde_json::{Value, json};

use crate::handler_stage::*;
use crate::identity::{platform, stage, vault};

async fn call(handler: &Handler, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let request = handler.client.request(method, format!("{}/api/operate/knobs{path}", handler.url));
    let answer = request.bearer_auth(ADMIN).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn refresh(handler: &Handler) -> (u16, Value) {
    call(handler, Method::POST, "/refresh", &Value::Null).await
}

async fn status(handler: &Handler) -> Value {
    handler.get("/api/status", ADMIN).send().await.unwrap().json().await.unwrap()
}

async fn embed(handler: &Handler) -> (u16, Value) {
    let answer = handler.embed().send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_flips_a_decision_without_a_restart_and_no_request_reads_the_vault() {
    let (vault, platform, upstream) = (vault(), platform().await, Upstream::start([]).await);
    vault.set("max-aca-replicas", "7");
    vault.set("not-a-knob", "connection string");
    vault.set("rescue-share", "3");
    vault.switch_off("rescue-share");
    let handler = stage(&catalogue(&[backend("one", &upstream.url)]), &vault, &platform).listen();
    assert_eq!(embed(&handler).await.0, 200);
    let shown = status(&handler).await["knobs"].take();
    assert_eq!((&shown["from"], &shown["in_force"]["max-aca-replicas"]), (&json!("vault"), &json!(7)));
    assert_eq!(shown["in_force"]["rescue-share"], 25, "switched off counts as absent");

    let reads = vault.counts();
    assert_eq!(reads.challenged, 1, "the first request goes without a token");
    vault.set("gpu-memory-limit", "50");
    for _ in 0..5 {
        assert_eq!(embed(&handler).await.0, 200, "until it is read again");
    }
    assert_eq!(vault.counts(), reads, "no request reads the vault");
    assert_eq!(refresh(&handler).await.0, 200);
    let (refused, body) = embed(&handler).await;
    assert_eq!((refused / 100, &body["error"]["code"]), (4, &json!("too_large_for_gpu")), "{body}");
    vault.switch_off("gpu-memory-limit");
    assert_eq!(refresh(&handler).await.0, 200);
    assert_eq!(embed(&handler).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_set_or_a_vault_in_trouble_leaves_the_last_good_set() {
    let (vault, platform, upstream) = (vault(), platform().await, Upstream::start([]).await);
    vault.set("max-aca-replicas", "7");
    let handler = stage(&catalogue(&[backend("one", &upstream.url)]), &vault, &platform).listen();
    let troubles = [
        (Script::Throttle(0), "throttled"),
        (Script::Forbid, "Key Vault Secrets User"),
        (Script::Fail(StatusCode::INTERNAL_SERVER_ERROR), "500"),
        (Script::Hang, "cannot be reached"),
    ];
    assert_eq!(refresh(&handler).await.0, 200);
    for (script, names) in troubles {
        vault.script(script);
        let (status, shown) = refresh(&handler).await;
        assert_eq!((status, &shown["knobs"]["max-aca-replicas"]), (409, &json!(7)), "{script:?}");
        let told = shown["refused"].as_str().unwrap();
        assert!(told.contains(names) && told.contains("vault"), "{script:?}: {told}");
        assert_eq!(embed(&handler).await.0, 200);
    }
    vault.script(Script::Serve);
    vault.set("rescue-share", "101");
    vault.set("max-aca-replicas", "8");
    let (refused, shown) = refresh(&handler).await;
    assert_eq!((refused, &shown["knobs"]["max-aca-replicas"]), (409, &json!(7)), "as a whole");
    let page = status(&handler).await;
    assert!(page["lines"][1].as_str().unwrap().contains("newest knobs refused"), "{page}");
    assert!(page["knobs"]["age_s"].is_u64(), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_start_with_the_vault_down_serves_by_the_last_good_set() {
    let (vault, platform, upstream) = (vault(), platform().await, Upstream::start([]).await);
    let catalogue = catalogue(&[backend("one", &upstream.url)]);
    vault.set("gpu-memory-limit", "50");
    let first = stage(&catalogue, &vault, &platform).listen();
    assert_eq!(refresh(&first).await.0, 200);
    let kept = std::fs::read(first.stage.folder.join("blob/state/knobs.json")).unwrap();
    drop(first);

    vault.script(Script::Fail(StatusCode::SERVICE_UNAVAILABLE));
    let next = stage(&catalogue, &vault, &platform);
    std::fs::create_dir_all(next.folder.join("blob/state")).unwrap();
    std::fs::write(next.folder.join("blob/state/knobs.json"), kept).unwrap();
    let handler = next.listen();
    assert_eq!(embed(&handler).await.1["error"]["code"], "too_large_for_gpu");
    let shown = status(&handler).await["knobs"].take();
    assert_eq!((&shown["is_kept"], &shown["in_force"]["gpu-memory-limit"]), (&json!(true), &json!(50)));
    assert!(shown["age_s"].is_u64(), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_ever_with_the_vault_down_serves_by_defaults_and_deletes_nothing_early() {
    let (vault, platform, upstream) = (vault(), platform().await, Upstream::start([]).await);
    vault.script(Script::Fail(StatusCode::SERVICE_UNAVAILABLE));
    let handler = stage(&catalogue(&[backend("one", &upstream.url)]), &vault, &platform).listen();
    assert_eq!(embed(&handler).await.0, 200);
    assert_eq!(refresh(&handler).await.0, 409);
    let shown = status(&handler).await["knobs"].take();
    assert_eq!((&shown["age_s"], &shown["in_force"]["retention-days"]), (&Value::Null, &json!(365)));
    let health: Value = handler.get("/api/health", "").send().await.unwrap().json().await.unwrap();
    assert_eq!(health["knobs"], "refused, defaults in force");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knobs_are_set_and_rolled_back_through_the_handler() {
    let (vault, platform) = (vault(), platform().await);
    vault.set("max-aca-replicas", "7");
    let handler = stage(&catalogue(&[]), &vault, &platform).listen();
    let change = json!({ "max-aca-replicas": "9", "rescue-share": 5 });
    let (status, shown) = call(&handler, Method::PATCH, "", &change).await;
    assert_eq!(status, 200, "{shown}");
    let row = |shown: &Value, name: &str| {
        let rows = shown["knobs"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap().clone()
    };
    let rescue = row(&shown, "rescue-share");
    assert_eq!(
        (&rescue["value"], &rescue["default"], &rescue["is_given"]),
        (&json!(5), &json!(25), &json!(true))
    );
    assert_eq!(vault.value("max-aca-replicas").as_deref(), Some("9"));
    assert_eq!(vault.versions("max-aca-replicas"), 2, "the vault keeps the version before");

    let (status, shown) = call(&handler, Method::POST, "/rollback", &Value::Null).await;
    assert_eq!((status, &row(&shown, "max-aca-replicas")["value"]), (200, &json!(7)));
    assert_eq!((vault.value("max-aca-replicas").as_deref(), vault.value("rescue-share")), (Some("7"), None));
    let (status, shown) = call(&handler, Method::GET, "", &Value::Null).await;
    assert_eq!((status, &row(&shown, "rescue-share")["is_given"]), (200, &json!(false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_or_forbidden_is_not_written() {
    let (vault, platform) = (vault(), platform().await);
    vault.set("max-aca-replicas", "7");
    let handler = stage(&catalogue(&[]), &vault, &platform).listen();
    for wrong in [json!({ "max-aca-replicas": "many" }), json!({ "no-knob": 1 }), json!([1])] {
        let (status, told) = call(&handler, Method::PATCH, "", &wrong).await;
        assert_eq!((status, &told["error"]["code"]), (400, &json!("invalid_knobs")), "{told}");
    }
    let (status, told) = call(&handler, Method::POST, "/rollback", &Value::Null).await;
    assert_eq!((status, &told["error"]["code"]), (409, &json!("no_previous_knobs")));
    vault.script(Script::ForbidWrites);
    let (status, told) = call(&handler, Method::PATCH, "", &json!({ "max-aca-replicas": 9 })).await;
    let message = told["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("Key Vault Secrets Officer") && message.contains("nothing was written"),
        "{message}"
    );
    assert_eq!((status, vault.versions("max-aca-replicas")), (409, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_that_is_not_trusted_is_told_as_unreachable() {
    let vault: Vault = vault();
    let http = azure::http().unwrap();
    let identity = Chain::new(http.clone()).open(&Identity::Managed { client_id: None }).unwrap();
    let opened = azure::vault::Vault::open(&vault.url().parse().unwrap(), identity, http).unwrap();
    let error = opened.read(&["max-aca-replicas"]).await.unwrap_err();
    assert!(matches!(error, azure::vault::VaultError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("KEY_VAULT_URL"), "{error}");
    vault.stop().await;
}
