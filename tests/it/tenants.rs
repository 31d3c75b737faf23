//! Tenants over real HTTP: what each permission opens, what limits answer, and two tenants that probe each
//! other's ids and see nothing.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::handler_batches::start_with_pool;
use crate::handler_stage::*;

/// A second tenant's key that may do everything.
const OTHER: &str = "sy-othertnt-abcdefghijklmnopqrstuvwxyz234567";
/// Ids that name nothing.
const NO_JOB: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Every route with what its key needs; none: no key.
const ROUTES: &[(&str, &str, Option<&str>)] = &[
    ("POST", "/api/v1/embeddings", Some("submit")),
    ("POST", "/api/v1/chat/completions", Some("submit")),
    ("POST", "/api/v1/completions", Some("submit")),
    ("GET", "/api/v1/models", Some("read")),
    ("GET", "/api/v1/models/{id}", Some("read")),
    ("POST", "/api/v1/files", Some("submit")),
    ("GET", "/api/v1/files", Some("read")),
    ("GET", "/api/v1/files/{id}", Some("read")),
    ("GET", "/api/v1/files/{id}/content", Some("read")),
    ("DELETE", "/api/v1/files/{id}", Some("submit")),
    ("POST", "/api/v1/uploads", Some("submit")),
    ("GET", "/api/v1/uploads/{id}", Some("read")),
    ("POST", "/api/v1/uploads/{id}/parts", Some("submit")),
    ("POST", "/api/v1/uploads/{id}/complete", Some("submit")),
    ("POST", "/api/v1/uploads/{id}/cancel", Some("submit")),
    ("POST", "/api/v1/batches", Some("submit")),
    ("GET", "/api/v1/batches", Some("read")),
    ("GET", "/api/v1/batches/{id}", Some("read")),
    ("POST", "/api/v1/batches/{id}/cancel", Some("cancel")),
    ("GET", "/api/jobs", Some("read")),
    ("GET", "/api/jobs/{id}", Some("read")),
    ("GET", "/api/jobs/{id}/result", Some("read")),
    ("GET", "/api/jobs/{id}/logs", Some("read")),
    ("GET", "/api/jobs/{id}/webhooks", Some("read")),
    ("POST", "/api/jobs/{id}/cancel", Some("cancel")),
    ("POST", "/api/jobs/{id}/promote", Some("cancel")),
    ("DELETE", "/api/jobs/{id}", Some("cancel")),
    ("POST", "/api/explain", Some("read")),
    ("GET", "/api/status", Some("admin")),
    ("GET", "/api/status/cost", Some("admin")),
    ("GET", "/api/status/replicas/{backend}", Some("admin")),
    ("GET", "/api/operate/knobs", Some("admin")),
    ("PATCH", "/api/operate/knobs", Some("admin")),
    ("POST", "/api/operate/knobs/refresh", Some("admin")),
    ("POST", "/api/operate/knobs/rollback", Some("admin")),
    ("GET", "/api/operate/dead", Some("admin")),
    ("GET", "/api/operate/dead/{id}", Some("admin")),
    ("POST", "/api/operate/dead/replay", Some("admin")),
    ("DELETE", "/api/operate/dead/{id}", Some("admin")),
    ("GET", "/api/health", None),
    ("GET", "/api/openapi.json", None),
];

fn hash(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(key: &str, permissions: &[&str]) -> Value {
    json!({ "prefix": key.split('-').nth(1), "sha256": hash(key), "permissions": permissions })
}

fn call(handler: &Handler, method: &str, path: &str, key: &str) -> RequestBuilder {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    handler.client.request(method, format!("{}{path}", handler.url)).bearer_auth(key)
}

async fn json_of(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// Changes the catalogue of a running handler, and has it read again.
pub async fn change_catalogue(handler: &Handler, change: impl FnOnce(&mut Value)) {
    let file = handler.stage.folder.join("blob/config/catalogue.json");
    let mut written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    change(&mut written);
    // As a whole: the handler may look at any moment.
    std::fs::write(file.with_extension("new"), written.to_string()).unwrap();
    std::fs::rename(file.with_extension("new"), &file).unwrap();
    assert_eq!(json_of(handler.post("/api/operate/knobs/refresh", ADMIN, "")).await.0, 200);
}

async fn start_with_two() -> Handler {
    let handler = start_with_pool();
    change_catalogue(&handler, |written| {
        let other = json!({ "id": "other", "keys": [entry(OTHER, &["submit", "read", "cancel"])] });
        written["tenants"].as_array_mut().unwrap().push(other);
    })
    .await;
    handler
}

#[tokio::test]
async fn every_route_opens_to_its_permission_alone() {
    let handler = start_with_pool();
    let permissions = ["submit", "read", "cancel", "admin"];
    let key = |permission: &str| format!("sy-only{:0<4}-{}", &permission[..4], "a".repeat(32));
    change_catalogue(&handler, |written| {
        let keys: Vec<Value> = permissions.iter().map(|one| entry(&key(one), &[*one])).collect();
        written["tenants"].as_array_mut().unwrap().push(json!({ "id": "each", "keys": keys }));
    })
    .await;
    for (method, path, needs) in ROUTES {
        let path = path.replace("{id}", NO_JOB).replace("{backend}", "none");
        let (status, body) = json_of(call(&handler, method, &path, "sy-unknown0-x")).await;
        assert_eq!(status == 401, needs.is_some(), "{method} {path} without a known key: {body}");
        for permission in permissions {
            let (status, body) = json_of(call(&handler, method, &path, &key(permission))).await;
            let may = needs.is_none_or(|needs| needs == permission);
            assert_eq!(status != 403, may, "{method} {path} with `{permission}`: {status} {body}");
            assert_ne!(status, 401, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_table_of_permissions_has_every_route() {
    let handler = start_with_pool();
    let (_, described) = json_of(handler.get("/api/openapi.json", "")).await;
    for (path, methods) in described["paths"].as_object().unwrap() {
        // Whatever can be read has HEAD too.
        let others = |name: &&String| !["parameters", "head"].contains(&name.as_str());
        for method in methods.as_object().unwrap().keys().filter(others) {
            let method = method.to_uppercase();
            let known = ROUTES.iter().any(|(m, p, _)| *m == method && plain(p) == plain(path));
            assert!(known, "{method} {path} is described and not in the table");
        }
    }
}

#[tokio::test]
async fn a_page_of_jobs_follows_one_that_was_listed() {
    let handler = start_with_pool();
    for after in [NO_JOB, "x", ""] {
        let (status, body) = json_of(handler.get(&format!("/api/jobs?after={after}"), KEY)).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("invalid_cursor")), "{after}");
    }
}

/// A path without the names of its parameters.
fn plain(path: &str) -> String {
    let segment = |segment: &str| if segment.starts_with('{') { "{}".to_owned() } else { segment.to_owned() };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn a_revoked_key_is_refused_once_the_catalogue_is_read() {
    let handler = start_with_two().await;
    assert_eq!(json_of(handler.get("/api/jobs", OTHER)).await.0, 200);
    change_catalogue(&handler, |written| {
        let tenants = written["tenants"].as_array_mut().unwrap();
        tenants
            .iter_mut()
            .filter(|tenant| tenant["id"] == "other")
            .for_each(|tenant| tenant["keys"] = json!([]));
    })
    .await;
    let (status, body) = json_of(handler.get("/api/jobs", OTHER)).await;
    assert_eq!((status, &body["error"]["code"]), (401, &json!("invalid_api_key")));
    assert_eq!(json_of(handler.get("/api/jobs", KEY)).await.0, 200);
}

async fn with_limits(limits: Value) -> (Upstream, Handler) {
    let upstream = Upstream::start([]).await;
    let mut catalogue = catalogue(&[backend("one", &upstream.url)]);
    catalogue["tenants"][0]["limits"] = limits;
    let handler = Stage::new(&catalogue).listen();
    (upstream, handler)
}

#[tokio::test]
async fn limits_answer_as_the_vendor_does() {
    let (_upstream, handler) =
        with_limits(json!({ "requests_per_minute": 2, "tokens_per_minute": 600 })).await;
    for remaining in ["1", "0"] {
        let answer = handler.embed().send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-ratelimit-limit-requests"), "2");
        assert_eq!(header("x-ratelimit-remaining-requests"), remaining);
        assert_eq!(header("x-ratelimit-limit-tokens"), "600");
        assert!(header("x-ratelimit-reset-requests").ends_with('s'));
    }
    let answer = handler.embed().send().await.unwrap();
    assert_eq!(answer.status(), 429);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (header("x-should-retry"), header("switchyard-reason")),
        ("true".into(), "tenant_limit".into())
    );
    assert_eq!(header("x-ratelimit-remaining-requests"), "0");
    let wait: u64 = header("retry-after-ms").parse().unwrap();
    assert!((1..=30_000).contains(&wait), "{wait}");
    assert_eq!(header("retry-after"), wait.div_ceil(1_000).to_string());
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], "rate_limit_exceeded");

    let (_upstream, handler) = with_limits(json!({ "usd_per_day": 0.0 })).await;
    let answer = handler.embed().send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-should-retry"]),
        (429, &"false".parse().unwrap())
    );
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], "insufficient_quota");
}

fn deferred(handler: &Handler, key: &str, text: &str) -> RequestBuilder {
    let body = json!({ "model": "m", "input": text }).to_string();
    handler.post("/api/v1/embeddings", key, body).header("switchyard-lane", "deferred")
}

#[tokio::test]
async fn what_waits_is_limited_and_classes_are_given() {
    let handler = start_with_pool();
    change_catalogue(&handler, |written| {
        written["tenants"][0]["limits"] = json!({ "queued_items": 2 });
        written["tenants"][0]["classes"] = json!(["standard", "bulk"]);
    })
    .await;
    let (status, job) = json_of(deferred(&handler, KEY, "a").header("switchyard-class", "bulk")).await;
    assert_eq!((status, &job["class"]), (202, &json!("bulk")), "{job}");
    let (status, job) = json_of(deferred(&handler, KEY, "b")).await;
    assert_eq!((status, &job["class"]), (202, &json!("standard")), "{job}");
    let answer = deferred(&handler, KEY, "c").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-should-retry"]),
        (429, &"false".parse().unwrap())
    );
    let body: Value = answer.json().await.unwrap();
    assert!(body["error"]["message"].as_str().unwrap().contains("queued_items"), "{body}");
    for (class, expected) in [("interactive", 403), ("urgent", 400)] {
        let (status, body) = json_of(deferred(&handler, KEY, "d").header("switchyard-class", class)).await;
        assert_eq!(status, expected, "{body}");
    }
}

/// Removes what two answers to different ids may differ by.
fn without(text: &str, id: &str) -> String {
    text.replace(id, "ID")
}

/// Uploads an input file of one line for the tenant of `KEY`; says its id.
async fn upload(handler: &Handler) -> String {
    let line = json!({ "custom_id": "c", "method": "POST", "url": "/v1/embeddings", "body": { "model": "m", "input": "x" } });
    let form = format!(
        "--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
         --XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\r\n{line}\r\n--XX--\r\n"
    );
    let upload = call(handler, "POST", "/api/v1/files", KEY);
    let upload = upload.header("content-type", "multipart/form-data; boundary=XX").body(form);
    let (_, file) = json_of(upload).await;
    file["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn another_tenants_ids_are_ids_that_do_not_exist() {
    let handler = start_with_two().await;
    let file = upload(&handler).await;
    let file = file.as_str();
    let create = |key: &str, file: &str| {
        let body = json!({ "input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h" });
        handler.post("/api/v1/batches", key, body.to_string())
    };
    let (status, batch) = json_of(create(KEY, file).header("idempotency-key", "k")).await;
    assert_eq!(status, 200, "{batch}");
    let batch = batch["id"].as_str().unwrap();
    let (_, job) = json_of(deferred(&handler, KEY, "secret").header("idempotency-key", "k")).await;
    let job = job["id"].as_str().unwrap();
    let output = format!("file-{}", batch.replace("batch_", "output-"));

    let mut cases: Vec<(&str, String, String)> = Vec::new();
    // Models are everybody's, and dead letters no tenant's.
    let is_owned =
        |path: &str| path.contains("{id}") && !path.contains("models") && !path.contains("operate");
    for (method, path, _) in ROUTES.iter().filter(|(_, path, _)| is_owned(path)) {
        let ids: &[(&str, &str)] = match path {
            path if path.contains("/files/") => &[(file, "file-"), (&output, "file-")],
            path if path.contains("/batches/") => &[(batch, "batch_")],
            path if path.contains("/uploads/") => &[(NO_JOB, "upload_")],
            _ => &[(job, "")],
        };
        for (id, prefix) in ids {
            let absent = format!("{prefix}{NO_JOB}");
            cases.push((method, path.replace("{id}", id), (*id).to_owned()));
            cases.push((method, path.replace("{id}", &absent), absent));
        }
    }
    for pair in cases.chunks(2) {
        let mut told = Vec::new();
        for (method, path, id) in pair {
            let answer = call(&handler, method, path, OTHER).send().await.unwrap();
            let status = answer.status().as_u16();
            let mut headers: Vec<String> = (answer.headers().iter())
                .filter(|(name, _)| {
                    !["date", "x-request-id", "content-length", "traceparent"].contains(&name.as_str())
                })
                .map(|(name, value)| format!("{name}: {value:?}"))
                .collect();
            headers.sort();
            told.push((status, headers, without(&answer.text().await.unwrap(), id)));
        }
        assert_eq!(told[0], told[1], "{} {}", pair[0].0, pair[0].1);
        // Deleting what is not there is what it was before: a repeat must be answered as the first.
        assert!(told[0].0 == 404 || pair[0].0 == "DELETE" || told[0].0 == 400, "{:?}", told[0]);
    }
    let stolen = json_of(create(OTHER, file)).await;
    let absent_file = format!("file-{NO_JOB}");
    let absent = json_of(create(OTHER, &absent_file)).await;
    let told = |of: &(u16, Value), id: &str| (of.0, without(&of.1.to_string(), id));
    assert_eq!(told(&stolen, file), told(&absent, &absent_file), "another's file is no input");
    for list in ["/api/v1/files", "/api/v1/batches", "/api/jobs"] {
        assert_eq!(json_of(handler.get(list, OTHER)).await.1["data"], json!([]), "{list}");
        for (after, nothing) in [(file, "file-"), (batch, "batch_"), (job, "")] {
            let ask = |id: &str| handler.get(&format!("{list}?after={id}"), OTHER);
            let absent = format!("{nothing}{NO_JOB}");
            let (theirs, none) = (json_of(ask(after)).await, json_of(ask(&absent)).await);
            assert_eq!(told(&theirs, after), told(&none, &absent), "{list} after {after}");
        }
    }
    // The same key is another job for another tenant, and neither joins nor conflicts.
    let (status, own) = json_of(deferred(&handler, OTHER, "mine").header("idempotency-key", "k")).await;
    assert_eq!(status, 202, "{own}");
    assert_ne!(own["id"], job);
    let marked = deferred(&handler, OTHER, "secret").header("x-stainless-retry-count", "1");
    let (status, own) = json_of(marked).await;
    assert_eq!((status, own["id"] == job), (202, false), "a repeat joins no other tenant's job");
    let (_, explained) = json_of(handler.post(
        "/api/explain",
        OTHER,
        json!({ "body": { "model": "m", "input": "x" } }).to_string(),
    ))
    .await;
    let text = explained.to_string();
    assert!(!text.contains(job) && !text.contains(file) && !text.contains("\"dev\""), "{text}");
    // Nothing that was tried touched what is theirs.
    let (status, mine) = json_of(handler.get(&format!("/api/jobs/{job}"), KEY)).await;
    assert_eq!((status, &mine["status"]), (200, &json!("waiting")));
    assert_eq!(json_of(handler.get(&format!("/api/v1/files/{file}"), KEY)).await.0, 200);
}
