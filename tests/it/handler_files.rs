//! `/v1/files` over real HTTP: what the SDK sends, bad input by name, tenants apart, nothing of an
//! upload that breaks off.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::handler_stage::*;

/// A key of another tenant that may do everything.
pub const OTHER: &str = "sy-otherone-abcdefghijklmnopqrstuvwxyz234567";
const FILES: &str = "/api/v1/files";

pub fn stage() -> Stage {
    let mut catalogue = catalogue(&[]);
    let sha256: String = Sha256::digest(OTHER).iter().map(|byte| format!("{byte:02x}")).collect();
    let key = json!({ "prefix": "otherone", "sha256": sha256, "permissions": ["submit", "read", "cancel"] });
    catalogue["tenants"].as_array_mut().unwrap().push(json!({ "id": "other", "keys": [key] }));
    Stage::new(&catalogue)
}

pub fn line(id: &str) -> String {
    json!({ "custom_id": id, "method": "POST", "url": "/v1/embeddings", "body": { "model": "m", "input": "x" } })
        .to_string()
}

/// A form of fields and files, in this order; a file is `name@filename`.
pub fn form(parts: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, value) in parts {
        let (name, filename) = match name.split_once('@') {
            Some((name, filename)) => (name, format!("; filename=\"{filename}\"")),
            None => (*name, String::new()),
        };
        body +=
            &format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"{filename}\r\n\r\n{value}\r\n");
    }
    body + "--XX--\r\n"
}

fn send(handler: &Handler, key: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    let request = handler.client.post(format!("{}{FILES}", handler.url)).bearer_auth(key);
    request.header("content-type", "multipart/form-data; boundary=XX").body(body)
}

async fn upload(handler: &Handler, content: &str) -> Value {
    let body = form(&[("purpose", "batch"), ("file@in.jsonl", content)]);
    let answer = send(handler, KEY, body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

pub async fn json_of(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Objects under a folder of the handler's store.
pub fn objects(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { objects(&path) } else { vec![path.display().to_string()] })
        .collect()
}

#[tokio::test]
async fn what_the_sdk_sends_is_taken() {
    let handler = stage().listen();
    let recorded = std::fs::read_to_string("tests/fixtures/wire/openai-files.jsonl").unwrap();
    let uploads = recorded.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let uploads: Vec<Value> =
        uploads.filter(|row| row["label"].as_str().unwrap().starts_with("files upload")).collect();
    assert_eq!(uploads.len(), 2);
    for row in uploads {
        let content_type = row["headers"].as_array().unwrap().iter();
        let mut content_type = content_type.filter(|header| header[0] == "Content-Type");
        let content_type = content_type.next().unwrap()[1].as_str().unwrap();
        let body = row["body"].as_str().unwrap();
        let request = handler.client.post(format!("{}{FILES}", handler.url)).bearer_auth(KEY);
        let (status, file) =
            json_of(request.header("content-type", content_type).body(body.to_owned())).await;
        assert_eq!(status, 200, "{file}");
        let expires = row["label"].as_str().unwrap().contains("expires_after");
        let created = file["created_at"].as_u64().unwrap();
        // Without a wish of its own a file goes when retention ends, 30 days by the knob.
        let lives_s = if expires { 3_600 } else { 30 * 86_400 };
        assert_eq!(file["expires_at"].as_u64(), Some(created + lives_s), "{file}");
        // The first recording's line is no request: the file is kept, and says what is wrong.
        let told = file["status_details"].as_str().unwrap_or("");
        assert_eq!(told, if expires { "" } else { "line 1: `method` is missing" });
        assert_eq!(file["status"], if expires { "processed" } else { "error" });
        assert_eq!((file["filename"].as_str(), file["purpose"].as_str()), (Some("in.jsonl"), Some("batch")));
    }
}

#[tokio::test]
async fn a_file_lives_from_upload_to_deletion() {
    let handler = stage().listen();
    let content = format!("{}\r\n{}\n", line("a"), line("b"));
    let file = upload(&handler, &content).await;
    let id = file["id"].as_str().unwrap();
    assert_eq!(file["bytes"], content.len());
    let path = format!("{FILES}/{id}");

    assert_eq!(json_of(handler.get(&path, READER)).await.0, 404, "another tenant's");
    assert_eq!(json_of(handler.get(&path, KEY)).await, (200, file.clone()));
    let (_, list) = json_of(handler.get(&format!("{FILES}?purpose=batch&limit=5"), KEY)).await;
    assert_eq!(
        list,
        json!({ "object": "list", "data": [file], "first_id": id, "last_id": id, "has_more": false })
    );
    let (_, outputs) = json_of(handler.get(&format!("{FILES}?purpose=batch_output"), KEY)).await;
    assert_eq!(outputs["data"], json!([]));

    let answer = handler.get(&format!("{path}/content"), KEY).send().await.unwrap();
    assert_eq!(answer.headers()["content-length"], content.len().to_string());
    assert_eq!(answer.text().await.unwrap(), content);

    let url = format!("{}{path}", handler.url);
    for _ in 0..2 {
        let (status, deleted) = json_of(handler.client.delete(&url).bearer_auth(KEY)).await;
        assert_eq!((status, deleted), (200, json!({ "id": id, "object": "file", "deleted": true })));
        assert_eq!(json_of(handler.get(&path, KEY)).await.0, 404);
        assert_eq!(json_of(handler.get(&format!("{path}/content"), KEY)).await.0, 404);
        assert_eq!(json_of(handler.get(FILES, KEY)).await.1["data"], json!([]));
    }
}

#[tokio::test]
async fn contents_are_served_in_part() {
    let handler = stage().listen();
    // More than one piece of the store.
    let content: String = (0..20_000).map(|n| line(&n.to_string()) + "\n").collect();
    assert!(content.len() > 1_500_000);
    let id = upload(&handler, &content).await["id"].as_str().unwrap().to_owned();
    let path = format!("{FILES}/{id}/content");
    let length = content.len();
    let cases = [
        ("bytes=0-0", 206, 0..1),
        ("bytes=1000000-1200000", 206, 1_000_000..1_200_001),
        ("bytes=-5", 206, length - 5..length),
        ("bytes=7-", 206, 7..length),
        ("bytes=5-1", 200, 0..length),
    ];
    for (range, status, wanted) in cases {
        let answer = handler.get(&path, KEY).header("range", range).send().await.unwrap();
        assert_eq!(answer.status(), status, "{range}");
        assert_eq!(answer.headers()["content-length"], wanted.len().to_string());
        if status == 206 {
            let told = format!("bytes {}-{}/{length}", wanted.start, wanted.end - 1);
            assert_eq!(answer.headers()["content-range"], told);
        }
        assert!(answer.text().await.unwrap() == content[wanted], "{range}");
    }
    let beyond = handler.get(&path, KEY).header("range", format!("bytes={length}-")).send().await.unwrap();
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.headers()["content-range"], format!("bytes */{length}"));
    let head = handler.client.head(format!("{}{path}", handler.url)).bearer_auth(KEY).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &length.to_string().parse().unwrap())
    );
}

#[tokio::test]
async fn bad_uploads_are_refused_by_name_and_leave_nothing() {
    let handler = stage().listen();
    let good = line("a");
    let file = ("file@in.jsonl", good.as_str());
    let batch = ("purpose", "batch");
    let seconds = |value| ("expires_after[seconds]", value);
    let anchor = ("expires_after[anchor]", "created_at");
    let long = "x".repeat(256);
    let long_name = format!("file@{long}");
    let many = "{}\n".repeat(50_001);
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    let cases: &[Case<'_>] = &[
        (&[], "missing_required_parameter", "purpose"),
        (&[batch], "missing_required_parameter", "file"),
        (&[file], "missing_required_parameter", "purpose"),
        (&[("purpose", "fine-tune"), file], "unsupported_purpose", "purpose"),
        (&[file, ("purpose", "assistants")], "unsupported_purpose", "purpose"),
        (&[batch, batch, file], "repeated_parameter", "purpose"),
        (&[batch, file, file], "repeated_parameter", "file"),
        (&[batch, ("color", "red"), file], "unknown_parameter", "color"),
        (&[("purpose", &(long.clone() + "x")), file], "invalid_value", "purpose"),
        (&[batch, ("file", &good)], "missing_filename", "file"),
        (&[batch, ("file@", &good)], "invalid_filename", "file"),
        (&[batch, (&long_name, &good)], "invalid_filename", "file"),
        (&[batch, ("file@in.jsonl", "")], "empty_file", "file"),
        (&[batch, ("file@in.jsonl", "\u{feff}\r\n\n")], "empty_file", "file"),
        (&[batch, ("file@in.jsonl", &many)], "too_many_lines", "file"),
        (&[batch, seconds("3600"), file], "missing_required_parameter", "expires_after[anchor]"),
        (&[batch, anchor, file], "missing_required_parameter", "expires_after[seconds]"),
        (&[batch, anchor, seconds("3599"), file], "invalid_value", "expires_after[seconds]"),
        (&[batch, anchor, seconds("soon"), file], "invalid_value", "expires_after[seconds]"),
        (
            &[batch, ("expires_after[anchor]", "now"), seconds("3600"), file],
            "invalid_value",
            "expires_after[anchor]",
        ),
    ];
    for (parts, code, param) in cases {
        let (status, body) = json_of(send(&handler, KEY, form(parts))).await;
        let error = &body["error"];
        assert_eq!((status, error["code"].as_str()), (400, Some(*code)), "{body}");
        assert_eq!(error["param"], *param, "{body}");
    }
    let (status, body) = json_of(handler.post(FILES, KEY, "{}")).await;
    assert_eq!((status, body["error"]["code"].as_str()), (400, Some("invalid_content_type")));
    for (cut, code) in [("--XX\r\nbroken", "body_broken_off"), ("--XXbroken", "invalid_multipart")] {
        let (status, body) = json_of(send(&handler, KEY, cut)).await;
        assert_eq!((status, body["error"]["code"].as_str()), (400, Some(code)));
    }
    assert_eq!(json_of(send(&handler, READER, form(&[batch, file]))).await.0, 403);
    assert_eq!(json_of(send(&handler, "sy-nobody", form(&[batch, file]))).await.0, 401);
    until("nothing is left", async || objects(&handler.stage.folder.join("blob/t")).is_empty()).await;
}

#[tokio::test]
async fn bad_lines_are_kept_with_their_numbers() {
    let handler = stage().listen();
    let content = format!("{}\n\nnonsense\n{}", line("a"), line("a"));
    let file = upload(&handler, &content).await;
    assert_eq!(file["status"], "error");
    assert_eq!(file["status_details"], "line 3: the line is no JSON object");
    let id = file["id"].as_str().unwrap().strip_prefix("file-").unwrap();
    let meta = handler.stage.folder.join(format!("blob/t/dev/files/{id}/meta.json"));
    let meta: Value = serde_json::from_slice(&std::fs::read(meta).unwrap()).unwrap();
    let errors = meta["lines"]["errors"].as_array().unwrap();
    let codes: Vec<_> = errors.iter().map(|error| (error["line"].as_u64(), error["code"].as_str())).collect();
    assert_eq!(codes, [(Some(3), Some("invalid_json_line")), (Some(4), Some("duplicate_custom_id"))]);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let handler = stage().listen();
    let address = handler.url.strip_prefix("http://").unwrap();
    let body = form(&[("purpose", "batch"), ("file@in.jsonl", &(line("a") + "\n"))]);
    let head = format!(
        "POST {FILES} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\
         content-type: multipart/form-data; boundary=XX\r\ncontent-length: {}\r\n\r\n",
        body.len() + 10_000_000
    );
    let blob = handler.stage.folder.join("blob/t");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // More than a part, so that the store has begun to write, and no end.
    let begun = body.strip_suffix("\r\n--XX--\r\n").unwrap();
    stream.write_all(begun.as_bytes()).unwrap();
    stream.write_all(&b"x".repeat(6_000_000)).unwrap();
    until("the upload has begun", async || !objects(&blob).is_empty()).await;
    drop(stream);
    until("what was written is gone", async || objects(&blob).is_empty()).await;
    assert_eq!(json_of(handler.get(FILES, KEY)).await.1["data"], json!([]));
}

#[tokio::test]
async fn tenants_see_nothing_of_each_other() {
    let handler = stage().listen();
    let id = upload(&handler, &line("a")).await["id"].as_str().unwrap().to_owned();
    let never = "file-aaaaaaaaaaaaaaaaaaaaaaaaaa";
    for path in ["", "/content"] {
        let theirs = json_of(handler.get(&format!("{FILES}/{id}{path}"), OTHER)).await;
        let none = json_of(handler.get(&format!("{FILES}/{never}{path}"), OTHER)).await;
        assert_eq!(theirs.0, 404);
        assert_eq!(theirs.1.to_string().replace(&id, never), none.1.to_string(), "alike");
    }
    let delete =
        |key, id: &str| handler.client.delete(format!("{}{FILES}/{id}", handler.url)).bearer_auth(key);
    assert_eq!(json_of(delete(OTHER, &id)).await.0, 404);
    assert_eq!(json_of(delete(READER, &id)).await.0, 403);
    assert_eq!(json_of(handler.get(FILES, OTHER)).await.1["data"], json!([]));
    let after = json_of(handler.get(&format!("{FILES}?after={id}"), OTHER)).await;
    assert_eq!((after.0, after.1["error"]["code"].as_str()), (400, Some("invalid_cursor")));
    assert_eq!(json_of(handler.get(&format!("{FILES}/{id}"), KEY)).await.0, 200);
}

#[tokio::test]
async fn lists_are_paged_and_wrong_queries_refused() {
    let handler = stage().listen();
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(upload(&handler, &line(&n.to_string())).await["id"].as_str().unwrap().to_owned());
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let (_, page) = json_of(handler.get(&format!("{FILES}?{query}"), KEY)).await;
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 2);
        seen.extend(data.iter().map(|file| file["id"].as_str().unwrap().to_owned()));
        if page["has_more"] == false {
            break;
        }
        query = format!("limit=2&after={}", page["last_id"].as_str().unwrap());
    }
    assert_eq!(seen, ids, "the newest first");
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=x", "after"),
        ("after=file-../../x", "after"),
        ("after=file-aaaaaaaaaaaaaaaaaaaaaaaaaa", "after"),
    ] {
        let (status, body) = json_of(handler.get(&format!("{FILES}?{query}"), KEY)).await;
        assert_eq!((status, body["error"]["param"].as_str()), (400, Some(param)), "{query}: {body}");
    }
}

#[tokio::test]
async fn what_is_no_id_never_reaches_the_store() {
    let handler = stage().listen();
    for id in
        ["x", "file-", "file-x", "file-AAAAAAAAAAAAAAAAAAAAAAAAAA", "aaaaaaaaaaaaaaaaaaaaaaaaaa", "file-%00"]
    {
        let status = handler.get(&format!("{FILES}/{id}"), KEY).send().await.unwrap().status().as_u16();
        assert!(status == 404 || (id.contains("%00") && status == 400), "{id}: {status}");
    }
    for (method, path, allow) in [
        (reqwest::Method::PUT, "", "GET, HEAD, POST"),
        (reqwest::Method::POST, "/file-x", "GET, HEAD, DELETE"),
        (reqwest::Method::DELETE, "/file-x/content", "GET, HEAD"),
    ] {
        let answer = handler.client.request(method, format!("{}{FILES}{path}", handler.url)).bearer_auth(KEY);
        let answer = answer.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &allow.parse().unwrap()));
    }
}
