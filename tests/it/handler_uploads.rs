//! `/v1/uploads` over real HTTP: a file in parts is the file that comes at once; whatever dies in
//! between, there is one file or none.

use std::io::Write;

use serde_json::{Value, json};

use crate::handler_files::{OTHER, form, json_of, line, objects, stage};
use crate::handler_stage::*;

const UPLOADS: &str = "/api/v1/uploads";

/// Lines of more than a part of a store.
fn content() -> String {
    (0..40_000).map(|n| line(&n.to_string()) + "\n").collect()
}

fn wish(bytes: usize) -> Value {
    json!({ "filename": "in.jsonl", "purpose": "batch", "bytes": bytes, "mime_type": "application/jsonl" })
}

async fn begin(handler: &Handler, bytes: usize) -> String {
    let (status, upload) = json_of(handler.post(UPLOADS, KEY, wish(bytes).to_string())).await;
    assert_eq!((status, upload["status"].as_str()), (200, Some("pending")), "{upload}");
    upload["id"].as_str().unwrap().to_owned()
}

fn send(handler: &Handler, upload: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    let request = handler.client.post(format!("{}{UPLOADS}/{upload}/parts", handler.url)).bearer_auth(KEY);
    request.header("content-type", "multipart/form-data; boundary=XX").body(body)
}

async fn part(handler: &Handler, upload: &str, content: &str) -> String {
    let (status, part) = json_of(send(handler, upload, form(&[("data@part", content)]))).await;
    assert_eq!(
        (status, &part["object"], part["upload_id"].as_str()),
        (200, &json!("upload.part"), Some(upload)),
        "{part}"
    );
    part["id"].as_str().unwrap().to_owned()
}

fn complete(handler: &Handler, upload: &str, parts: &[&str]) -> reqwest::RequestBuilder {
    let body = json!({ "part_ids": parts }).to_string();
    handler.post(&format!("{UPLOADS}/{upload}/complete"), KEY, body)
}

async fn listed(handler: &Handler) -> Vec<Value> {
    let (_, list) = json_of(handler.get("/api/v1/files", KEY)).await;
    list["data"].as_array().unwrap().clone()
}

async fn content_of(handler: &Handler, file: &Value) -> String {
    let path = format!("/api/v1/files/{}/content", file["id"].as_str().unwrap());
    handler.get(&path, KEY).send().await.unwrap().text().await.unwrap()
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"]["code"].as_str().unwrap_or("none"))
}

#[tokio::test]
async fn parts_become_the_file_that_comes_at_once() {
    let handler = stage().listen();
    let whole = content();
    // In the middle of a line.
    let (first, second) = whole.split_at(whole.len() / 2 + 7);
    let upload = begin(&handler, whole.len()).await;
    let b = part(&handler, &upload, second).await;
    let a = part(&handler, &upload, first).await;
    assert!(listed(&handler).await.is_empty(), "no file yet");

    let (status, done) = json_of(complete(&handler, &upload, &[&a, &b])).await;
    assert_eq!((status, done["status"].as_str()), (200, Some("completed")), "{done}");
    let file = &done["file"];
    assert_eq!(
        (file["bytes"].as_u64(), file["status"].as_str()),
        (Some(whole.len() as u64), Some("processed"))
    );
    assert_eq!(listed(&handler).await, std::slice::from_ref(file));
    assert!(content_of(&handler, file).await == whole);

    // The same meta as if it had come at once.
    let body = form(&[("purpose", "batch"), ("file@in.jsonl", &whole)]);
    let request = handler.client.post(format!("{}/api/v1/files", handler.url)).bearer_auth(KEY);
    let at_once = request.header("content-type", "multipart/form-data; boundary=XX").body(body);
    let at_once = json_of(at_once).await.1;
    let lines = |file: &Value| {
        let id = file["id"].as_str().unwrap().strip_prefix("file-").unwrap();
        let meta = handler.stage.folder.join(format!("blob/t/dev/files/{id}/meta.json"));
        let meta: Value = serde_json::from_slice(&std::fs::read(meta).unwrap()).unwrap();
        (meta["lines"].clone(), meta["sha256"].clone())
    };
    assert_eq!(lines(file), lines(&at_once));

    // Repeats answer alike, and nothing else is done to what is complete.
    assert_eq!(json_of(complete(&handler, &upload, &[&a, &b])).await, (200, done.clone()));
    assert_eq!(json_of(handler.get(&format!("{UPLOADS}/{upload}"), READER)).await.0, 404);
    assert_eq!(json_of(handler.get(&format!("{UPLOADS}/{upload}"), KEY)).await, (200, done.clone()));
    let other = json_of(complete(&handler, &upload, &[&b, &a])).await;
    assert_eq!(code(&other), (409, "upload_completed"));
    let cancelled = json_of(handler.post(&format!("{UPLOADS}/{upload}/cancel"), KEY, "")).await;
    assert_eq!(code(&cancelled), (409, "upload_completed"));
    let late = json_of(send(&handler, &upload, form(&[("data@part", "x")]))).await;
    assert_eq!(code(&late), (409, "upload_completed"));
    assert!(
        objects(&handler.stage.folder.join("blob/t/dev/uploads")).iter().all(|key| !key.contains("/parts/"))
    );
}

#[tokio::test]
async fn two_completions_at_once_make_one_file() {
    let handler = stage().listen();
    let whole = content();
    let upload = begin(&handler, whole.len()).await;
    let a = part(&handler, &upload, &whole).await;
    let completing = || json_of(complete(&handler, &upload, &[&a]));
    let (one, two, three) = tokio::join!(completing(), completing(), completing());
    assert_eq!((one.0, &one, &one), (200, &two, &three));
    let files = listed(&handler).await;
    assert_eq!(files, [one.1["file"].clone()]);
    assert!(content_of(&handler, &files[0]).await == whole);
    let contents = objects(&handler.stage.folder.join("blob/t/dev/files"));
    assert_eq!(contents.iter().filter(|key| key.ends_with("/content")).count(), 1, "{contents:?}");
}

#[tokio::test]
async fn what_cannot_be_completed_stays_open() {
    let handler = stage().listen();
    let whole = line("a") + "\n" + &line("b");
    let (first, second) = whole.split_at(20);
    let upload = begin(&handler, whole.len()).await;
    let (a, b) = (part(&handler, &upload, first).await, part(&handler, &upload, second).await);
    let foreign = begin(&handler, 3).await;
    let foreign = part(&handler, &foreign, "abc").await;
    let path = format!("{UPLOADS}/{upload}/complete");
    let cases = [
        (json!({ "part_ids": [&a] }), "mismatched_bytes"),
        (json!({ "part_ids": [&a, &b, &foreign] }), "part_not_found"),
        (json!({ "part_ids": [] }), "invalid_value"),
        (json!({ "part_ids": [&a, &b], "md5": "0".repeat(32) }), "checksum_mismatch"),
    ];
    for (body, wanted) in cases {
        let answer = json_of(handler.post(&path, KEY, body.to_string())).await;
        assert_eq!(code(&answer), (400, wanted), "{body}");
    }
    let md5 = json!({ "part_ids": [&a, &b], "md5": md5_of(&whole) });
    let (status, done) = json_of(handler.post(&path, KEY, md5.to_string())).await;
    assert_eq!((status, done["file"]["status"].as_str()), (200, Some("processed")), "{done}");
    assert_eq!(listed(&handler).await.len(), 1);

    // A content that is no input is refused as one that comes at once, and may still be cancelled.
    let upload = begin(&handler, 3).await;
    let empty = part(&handler, &upload, "\n\r\n").await;
    assert_eq!(code(&json_of(complete(&handler, &upload, &[&empty])).await), (400, "empty_file"));
    for _ in 0..2 {
        let (status, upload) = json_of(handler.post(&format!("{UPLOADS}/{upload}/cancel"), KEY, "")).await;
        assert_eq!(
            (status, upload["status"].as_str(), &upload["file"]),
            (200, Some("cancelled"), &Value::Null)
        );
    }
    assert_eq!(code(&json_of(complete(&handler, &upload, &[&empty])).await), (409, "upload_cancelled"));
}

fn md5_of(text: &str) -> String {
    use md5::{Digest, Md5};
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn bad_parts_leave_nothing() {
    let handler = stage().listen();
    let upload = begin(&handler, 10).await;
    let parts = handler.stage.folder.join("blob/t/dev/uploads");
    let parts = || objects(&parts).into_iter().filter(|key| key.contains("/parts/")).count();
    type Case<'a> = (&'a [(&'a str, &'a str)], u16, &'a str);
    let cases: &[Case<'_>] = &[
        (&[], 400, "missing_required_parameter"),
        (&[("data@x", "")], 400, "empty_part"),
        (&[("data@x", "a"), ("data@x", "b")], 400, "repeated_parameter"),
        (&[("data@x", "a"), ("color", "red")], 400, "unknown_parameter"),
        (&[("data@x", "12345678901")], 413, "part_too_large"),
    ];
    for (fields, status, wanted) in cases {
        let answer = json_of(send(&handler, &upload, form(fields))).await;
        assert_eq!(code(&answer), (*status, *wanted), "{fields:?}");
    }
    // A form that breaks off after a whole part.
    let broken = form(&[("data@x", "abc")]).replace("--XX--\r\n", "");
    assert_eq!(code(&json_of(send(&handler, &upload, broken)).await), (400, "body_broken_off"));
    until("nothing is left", async || parts() == 0).await;

    // Twice the announced bytes are kept, and no more.
    part(&handler, &upload, "1234567890").await;
    part(&handler, &upload, "123456789").await;
    part(&handler, &upload, "1").await;
    let full = json_of(send(&handler, &upload, form(&[("data@x", "1")]))).await;
    assert_eq!(code(&full), (413, "too_many_parts"));
    assert_eq!(parts(), 3);
}

#[tokio::test]
async fn a_part_that_breaks_off_leaves_nothing() {
    let handler = stage().listen();
    let upload = begin(&handler, 20_000_000).await;
    let body = form(&[("data@part", &"x".repeat(6_000_000))]);
    let head = format!(
        "POST {UPLOADS}/{upload}/parts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\
         content-type: multipart/form-data; boundary=XX\r\ncontent-length: {}\r\n\r\n",
        body.len() + 10_000_000
    );
    let parts = handler.stage.folder.join("blob/t/dev/uploads");
    let parts = || objects(&parts).into_iter().filter(|key| key.contains("/parts/")).count();
    let mut stream = std::net::TcpStream::connect(handler.url.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body.as_bytes()[..body.len() - 10]).unwrap();
    until("the part has begun", async || parts() > 0).await;
    drop(stream);
    until("what was written is gone", async || parts() == 0).await;
}

#[tokio::test]
async fn tenants_see_nothing_of_each_other() {
    let handler = stage().listen();
    let upload = begin(&handler, 3).await;
    let a = part(&handler, &upload, "abc").await;
    let never = "upload_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    let body = json!({ "part_ids": [a] }).to_string();
    for what in ["parts", "complete", "cancel"] {
        let theirs = json_of(handler.post(&format!("{UPLOADS}/{upload}/{what}"), OTHER, body.clone())).await;
        let none = json_of(handler.post(&format!("{UPLOADS}/{never}/{what}"), OTHER, body.clone())).await;
        assert_eq!(code(&theirs), (404, "upload_not_found"), "{what}");
        assert_eq!(theirs.1.to_string().replace(&upload, never), none.1.to_string(), "alike");
        let reader = json_of(handler.post(&format!("{UPLOADS}/{upload}/{what}"), READER, body.clone())).await;
        assert_eq!(reader.0, 403);
    }
    for id in ["x", "upload_", "upload_x", "upload_..%2F..", "aaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        let status = handler.get(&format!("{UPLOADS}/{id}"), KEY).send().await.unwrap().status().as_u16();
        assert!(status == 404 || (id.contains("%2F") && status == 400), "{id}: {status}");
    }
    for (method, path, allow) in [
        (reqwest::Method::GET, "", "POST"),
        (reqwest::Method::DELETE, "/upload_x", "GET, HEAD"),
        (reqwest::Method::GET, "/upload_x/complete", "POST"),
    ] {
        let answer =
            handler.client.request(method, format!("{}{UPLOADS}{path}", handler.url)).bearer_auth(KEY);
        let answer = answer.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &allow.parse().unwrap()));
    }
}

/// What an SDK does: every request again, on a handler that was started again, until it is answered.
async fn answered(
    handlers: &mut Vec<Handler>,
    request: impl Fn(&Handler) -> reqwest::RequestBuilder,
) -> Value {
    for _ in 0..3 {
        let handler = handlers.last().unwrap();
        if let Ok(answer) = request(handler).send().await {
            assert_eq!(answer.status(), 200);
            return answer.json().await.unwrap();
        }
        let stage = Stage { folder: handler.stage.folder.clone(), env: handler.stage.env.clone() };
        handlers.push(stage.listen());
    }
    panic!("a handler dies once");
}

#[tokio::test]
async fn a_handler_killed_at_any_write_loses_and_doubles_nothing() {
    let whole = line("a") + "\n" + &line("b") + "\n";
    let (first, second) = whole.split_at(30);
    let id = |answer: &Value| answer["id"].as_str().unwrap().to_owned();
    for when in ["before", "after"] {
        for n in 1.. {
            let stage = stage();
            let fired = stage.folder.join("fired");
            let fault = format!("kill-{when}-put:{n}@{}", fired.display());
            // It writes when it starts, too.
            let began = stage.with("SWITCHYARD_FAULT", fault).try_listen();
            let mut handlers = vec![began.unwrap_or_else(Stage::listen)];
            let body = wish(whole.len()).to_string();
            let upload = id(&answered(&mut handlers, |it| it.post(UPLOADS, KEY, body.clone())).await);
            let data = |content| form(&[("data@part", content)]);
            let a = id(&answered(&mut handlers, |it| send(it, &upload, data(first))).await);
            let b = id(&answered(&mut handlers, |it| send(it, &upload, data(second))).await);
            let done = answered(&mut handlers, |it| complete(it, &upload, &[&a, &b])).await;
            assert_eq!(done["status"], "completed", "{when} {n}");
            let handler = handlers.last().unwrap();
            assert_eq!(listed(handler).await, [done["file"].clone()], "{when} {n}");
            assert_eq!(content_of(handler, &done["file"]).await, whole, "{when} {n}");
            if !fired.exists() {
                assert!(n > 8, "a completed upload writes more often than {n} times");
                break;
            }
        }
    }
}

#[tokio::test]
async fn the_sweep_takes_what_was_left() {
    let handler = stage().under_host().await;
    let upload = begin(&handler, 3).await;
    part(&handler, &upload, "abc").await;
    let id = upload.strip_prefix("upload_").unwrap();
    let blob = handler.stage.folder.join("blob");
    // Two hours pass: the facts say that it began then.
    let facts = blob.join(format!("t/dev/uploads/{id}/upload.json"));
    let mut meta: Value = serde_json::from_slice(&std::fs::read(&facts).unwrap()).unwrap();
    for time in ["created_ms", "expires_ms"] {
        meta[time] = json!(meta[time].as_u64().unwrap() - 2 * 3_600_000);
    }
    let minute = meta["expires_ms"].as_u64().unwrap() / 60_000;
    std::fs::write(&facts, meta.to_string()).unwrap();
    let marker = facts::key::expiring(minute, "dev", facts::key::Perishable::Upload, id);
    let marker = blob.join(marker);
    std::fs::create_dir_all(marker.parent().unwrap()).unwrap();
    std::fs::write(&marker, "").unwrap();

    let expired = json_of(handler.get(&format!("/api/v1/uploads/{upload}"), KEY)).await;
    assert_eq!(expired.1["status"], "expired", "at once");
    assert_eq!(
        code(&json_of(complete(&handler, &upload, &[&format!("part_{id}")])).await),
        (409, "upload_expired")
    );
    let tick = json!({ "Data": { "timer": {} }, "Metadata": {} }).to_string();
    let swept = handler.client.post(format!("{}/Sweep", handler.url)).body(tick).send().await.unwrap();
    assert_eq!(swept.status(), 200);
    let left = objects(&blob.join("t/dev/uploads"));
    assert!(
        !left.iter().any(|key| key.contains("/parts/")) && left.len() == 2,
        "what is known of it: {left:?}"
    );
    assert!(!marker.exists());
}
