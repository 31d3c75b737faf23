//! Nothing that leaves the process holds a key, a user's text or a backend's words: everything that is emitted
//! is searched for marks that were put wherever such a thing comes in.

use local::queue;
use local::vault::Vault;
use serde_json::json;

use super::*;
use crate::identity;

/// A user's text.
const PROMPT: &str = "m4rk-pr0mpt";
/// What a backend says of its trouble.
const UPSTREAM: &str = "m4rk-upstream-w0rds";
/// A key of the Functions host, in a query and in a header.
const FUNCTION_KEY: &str = "m4rk-functi0n-key";
/// A backend's key.
const BACKEND_KEY: &str = "m4rk-backend-k3y";
/// A key that nobody has.
const WRONG_KEY: &str = "sy-nobodyks-m4rkwr0ngkeyabcdefghijklmnop";
/// A signature of a store.
const SIGNATURE: &str = "m4rk-s1gnature";
/// What a vault holds besides knobs.
const VAULT_VALUE: &str = "m4rk-vault-va1ue";
/// What webhooks are signed with: base64 of 24 bytes.
const WEBHOOK_SECRET: &str = "bTRyay13ZWJob29rLXNlY3JldC0wMTIz";
/// A webhook's path may be its secret.
const HOOK: &str = "m4rk-h00k-path";
/// What identifies a signed-in user of the platform.
const PRINCIPAL: &str = "m4rk-pr1ncipal";

fn marked(url: &str) -> Value {
    let mut marked = backend("one", url);
    marked["api_key_setting"] = json!("ONE_API_KEY");
    marked
}

/// Everything in the files below a folder.
fn files(folder: &std::path::Path) -> String {
    let Ok(entries) = std::fs::read_dir(folder) else { return String::new() };
    let read = |path: std::path::PathBuf| {
        if path.is_dir() { files(&path) } else { std::fs::read_to_string(&path).unwrap_or_default() }
    };
    entries.map(|entry| read(entry.unwrap().path())).collect::<Vec<_>>().join("\n")
}

fn assert_clean(what: &str, text: &str, secrets: &[&str]) {
    for secret in secrets {
        if let Some(at) = text.find(secret) {
            let from = text.floor_char_boundary(at.saturating_sub(300));
            let to = text.floor_char_boundary((at + 200).min(text.len()));
            panic!("{what} holds `{secret}`: …{}…", &text[from..to]);
        }
    }
}

/// Requests that go well, that fail in every way, and that nobody may make; each with marks.
async fn storm(handler: &Handler, upstream: &Upstream) -> String {
    let words = || json!({ "error": { "message": UPSTREAM } }).to_string();
    for status in [500, 429, 503, 401, 404] {
        upstream.then(Step::Answer(status, vec![("retry-after-ms", "1".to_owned())], words()));
    }
    upstream.then(Step::Close);
    let embed = json!({ "model": "m", "input": PROMPT }).to_string();
    let chat = json!({ "model": "chat", "messages": [{ "role": "user", "content": PROMPT }] }).to_string();
    let broken = format!("{{\"model\":\"m\",\"input\":\"{PROMPT}");
    let odd = json!({ "model": "m", "input": "x", "dimensions": PROMPT }).to_string();
    let mut heard = String::new();
    let key = format!("?code={FUNCTION_KEY}");
    for (path, body) in [
        ("/api/v1/embeddings", &embed),
        ("/api/v1/embeddings", &embed),
        ("/api/v1/embeddings", &embed),
        ("/api/v1/chat/completions", &chat),
        ("/api/v1/embeddings", &broken),
        ("/api/v1/embeddings", &odd),
        ("/api/v1/responses", &embed),
        ("/api/explain", &embed),
    ] {
        for caller in [KEY, READER, WRONG_KEY] {
            let request = handler.post(&format!("{path}{key}"), caller, body.clone());
            let request = request.header("x-functions-key", FUNCTION_KEY);
            let answer = request.header("x-ms-client-principal", PRINCIPAL).send().await.unwrap();
            if caller != KEY {
                heard.push_str(&answer.text().await.unwrap());
            }
        }
    }
    for path in ["/api/jobs/x", "/api/v1/batches/x", "/api/status", "/api/nothing"] {
        let request = handler.get(&format!("{path}{key}"), WRONG_KEY).send().await.unwrap();
        heard.push_str(&request.text().await.unwrap());
    }
    heard
}

/// A handler with every kind of secret: its knobs come from a vault, by a token of the platform.
fn stage(
    upstream: &Upstream,
    receiver: &Receiver,
    storage: String,
    (vault, platform): (&Vault, &Upstream),
) -> Stage {
    let mut written = catalogue(&[marked(&upstream.url)]);
    let webhook =
        json!({ "url": format!("{}/hook/{HOOK}", upstream.url), "secret_setting": "TEST_WEBHOOK_SECRET" });
    written["tenants"][0]["webhooks"] = json!([webhook]);
    told(identity::stage(&written, vault, platform), receiver)
        .with("ONE_API_KEY", BACKEND_KEY)
        .with("TEST_WEBHOOK_SECRET", format!("whsec_{WEBHOOK_SECRET}"))
        .with("WEBHOOKS_ALLOW_PRIVATE", "1")
        .with("SWITCHYARD_LOG", "debug")
        .with("AzureWebJobsStorage", storage)
        .with("STORAGE_QUEUE_NAME", "doorbell")
}

/// What a host posts: a message that nobody understands, and every timer.
async fn invocations(handler: &Handler) {
    let letter = format!("{{\"v\":1,\"text\":\"{PROMPT}\"}}");
    let letter = serde_json::to_string(&letter).unwrap();
    invoke(&handler.client, &handler.url, "Dispatch", "ticket", json!(letter)).await;
    for function in ["Sweep", "Rebalance", "Metrics"] {
        invoke(&handler.client, &handler.url, function, "timer", json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_no_users_text_and_no_backends_words_leave() {
    let (upstream, receiver) = (Upstream::start([]).await, receiver());
    let (vault, platform) = (identity::vault(), identity::platform().await);
    vault.set("max-aca-replicas", "7");
    vault.set("not-a-knob", VAULT_VALUE);
    let bell = queue::Server::start(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), clock::Clock::REAL);
    let connection = bell.as_ref().unwrap().connection_string();
    let storage_key = connection.split("AccountKey=").nth(1).unwrap().split(';').next().unwrap().to_owned();
    let new = || stage(&upstream, &receiver, connection.clone(), (&vault, &platform));

    // Alone it ends well, and what it holds back is written; under a host it is invoked.
    let mut alone = new().listen();
    let mut heard = storm(&alone, &upstream).await;
    crate::handler_life::terminate(&alone.child);
    tokio::task::block_in_place(|| alone.child.wait().unwrap());
    let hosted = new().under_host().await;
    heard.push_str(&storm(&hosted, &upstream).await);
    invocations(&hosted).await;

    let log = [&alone, &hosted].map(|handler| handler.log.lock().unwrap().join("\n")).join("\n");
    let told: String = receiver.envelopes().iter().map(|envelope| format!("{envelope}\n")).collect();
    let audit = files(&alone.stage.folder.join("blob/audit"));
    let secrets = [
        PROMPT,
        UPSTREAM,
        FUNCTION_KEY,
        BACKEND_KEY,
        WRONG_KEY,
        PRINCIPAL,
        VAULT_VALUE,
        WEBHOOK_SECRET,
        HOOK,
        KEY,
        READER,
        ADMIN,
        identity::TOKEN,
        "pl4tform",
        &storage_key,
    ];
    for (what, text, holds) in [
        ("telemetry", &told, "RemoteDependencyData"),
        ("the log", &log, "backend failed"),
        ("an answer to somebody else", &heard, "invalid_api_key"),
        ("the audit", &audit, "\"tenant\":\"dev\""),
    ] {
        assert!(text.contains(holds), "{what} is there to be searched: {text}");
        assert_clean(what, text, &secrets);
    }
    for seen in upstream.seen() {
        let head = format!("{} {:?}", seen.path, seen.headers);
        assert_clean("a request to a backend", &head, &[FUNCTION_KEY, PRINCIPAL, KEY, READER, &storage_key]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_cannot_be_reached_are_told_without_their_keys() {
    let receiver = receiver();
    let sas = format!("sv=2024-11-04&sig={SIGNATURE}");
    let key = "bTRyay1iYXRjaC1rZXk=";
    let stage = told(Stage::new(&catalogue(&[])), &receiver)
        .with("SWITCHYARD_LOG", "debug")
        .with("BLOB_URL", format!("http://127.0.0.1:1/account/container?{sas}"))
        .with(
            "AzureWebJobsStorage",
            format!("QueueEndpoint=http://127.0.0.1:1/account;SharedAccessSignature={sas}"),
        )
        .with("STORAGE_QUEUE_NAME", "doorbell")
        .with("BATCH_ENDPOINT", "http://127.0.0.1:1")
        .with("BATCH_ACCOUNT_NAME", "account")
        .with("BATCH_ACCOUNT_KEY", key);
    let handler = stage.under_host().await;
    let answer = handler.embed().send().await.unwrap().text().await.unwrap();
    for function in ["Sweep", "Rebalance", "Metrics"] {
        invoke(&handler.client, &handler.url, function, "timer", json!({})).await;
    }
    let log = handler.log.lock().unwrap().join("\n");
    let told: String = receiver.envelopes().iter().map(|envelope| format!("{envelope}\n")).collect();
    assert!(log.contains("store"), "it says that the store is down: {log}");
    for (what, text) in [("telemetry", &told), ("the log", &log), ("an answer", &answer)] {
        assert_clean(what, text, &[SIGNATURE, key, KEY]);
    }
}
