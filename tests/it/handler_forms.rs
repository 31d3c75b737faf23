//! Malformed multipart bodies over real HTTP, of files and of parts: each a 400 in the vendor's shape, and
//! nothing of it is kept.

use serde_json::{Value, json};

use crate::handler_files::{json_of, line, objects, stage};
use crate::handler_stage::*;

/// Where forms are taken, and the field that holds bytes.
struct Taker {
    path: String,
    field: &'static str,
    /// What else a form needs.
    rest: &'static str,
}

async fn takers(handler: &Handler) -> [Taker; 2] {
    let wish = json!({ "filename": "in.jsonl", "purpose": "batch", "bytes": 1_000, "mime_type": "application/jsonl" });
    let (status, upload) = json_of(handler.post("/api/v1/uploads", KEY, wish.to_string())).await;
    assert_eq!(status, 200, "{upload}");
    let parts = format!("/api/v1/uploads/{}/parts", upload["id"].as_str().unwrap());
    let purpose = "--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n";
    [
        Taker { path: "/api/v1/files".to_owned(), field: "file", rest: purpose },
        Taker { path: parts, field: "data", rest: "" },
    ]
}

/// The objects of files and parts; what is known of the open upload stays.
fn left(handler: &Handler) -> Vec<String> {
    let mut left = objects(&handler.stage.folder.join("blob/t"));
    left.retain(|key| !key.ends_with("/upload.json"));
    left
}

/// What is wrong, the `Content-Type`, the body, and the code that is told.
type Case = (&'static str, String, Vec<u8>, &'static str);

const USUAL: &str = "multipart/form-data; boundary=XX";

/// A form as it should be, without its first and last part: what comes before the bytes, and they.
fn part(field: &str) -> (String, String) {
    let head = format!("Content-Disposition: form-data; name=\"{field}\"; filename=\"in.jsonl\"");
    let part = format!("--XX\r\n{head}\r\n\r\n{}\r\n", line("a"));
    (head, part)
}

/// Bodies that are no form at all, by what they call themselves.
fn wrong_types(whole: &str) -> Vec<Case> {
    let longest = format!("multipart/form-data; boundary={}", "X".repeat(71));
    [
        ("no content type", ""),
        ("another content type", "application/json"),
        ("another kind of form", "multipart/mixed; boundary=XX"),
        ("a form of names", "application/x-www-form-urlencoded"),
        ("no boundary", "multipart/form-data"),
        ("an empty boundary", "multipart/form-data; boundary="),
        ("a quote that does not end", "multipart/form-data; boundary=\"XX"),
        ("a boundary that is too long", &longest),
    ]
    .map(|(what, kind)| (what, kind.to_owned(), whole.to_owned().into_bytes(), "invalid_content_type"))
    .into()
}

/// Forms that end too early, or never begin.
fn cut(rest: &str, head: &str, part: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = [
        ("an empty body", String::new()),
        ("JSON instead of a form", "{}".to_owned()),
        ("cut within a head", format!("{rest}--XX\r\nContent-Dis")),
        ("cut after a head", format!("{rest}--XX\r\n{head}\r\n\r\n")),
        ("cut within a content", format!("{rest}--XX\r\n{head}\r\n\r\n{{")),
        ("cut before the end", format!("{rest}{part}")),
        ("cut within the end", format!("{rest}{part}--XX-")),
    ]
    .map(|(what, body)| (what, USUAL.to_owned(), body.into_bytes(), "body_broken_off"))
    .into();
    let other = "multipart/form-data; boundary=YY".to_owned();
    cases.push(("another boundary", other, format!("{rest}{part}--XX--\r\n").into(), "body_broken_off"));
    cases
}

/// Forms whose parts are wrong.
fn wrong_parts(rest: &str, head: &str, part: &str, field: &str) -> Vec<Case> {
    let long = "x".repeat(9_000);
    let disposition =
        |text: &str| format!("--XX\r\nContent-Disposition: {text}\r\n\r\n\r\n--XX--").into_bytes();
    let mut not_text = disposition("form-data; name=\"?\"");
    let at = not_text.iter().position(|byte| *byte == b'?').expect("it stands there");
    not_text[at] = 0xff;
    let cases: Vec<(&'static str, Vec<u8>, &'static str)> = vec![
        ("no part at all", "--XX--\r\n".into(), "missing_required_parameter"),
        ("a boundary that goes on", "--XXbroken".into(), "invalid_multipart"),
        ("a part without a head", "--XX\r\n\r\n\r\n{}\r\n--XX--".into(), "invalid_multipart"),
        ("a part of no form", disposition("attachment; name=\"a\""), "invalid_multipart"),
        ("a part without a name", disposition("form-data; filename=\"a\""), "invalid_multipart"),
        ("a head that is not UTF-8", not_text, "invalid_multipart"),
        (
            "a head that is too long",
            format!("--XX\r\nX-Long: {long}\r\n{head}\r\n\r\n\r\n--XX--").into(),
            "invalid_multipart",
        ),
        ("a head that does not end", format!("--XX\r\nX-Long: {long}").into(), "invalid_multipart"),
        ("two files", format!("{rest}{part}{part}--XX--\r\n").into(), "repeated_parameter"),
        (
            "a field of nobody",
            format!("{rest}{}{part}--XX--\r\n", part.replace(&format!("name=\"{field}\""), "name=\"color\""))
                .into(),
            "unknown_parameter",
        ),
    ];
    cases.into_iter().map(|(what, body, code)| (what, USUAL.to_owned(), body, code)).collect()
}

async fn send(handler: &Handler, path: &str, content_type: &str, body: Vec<u8>) -> (u16, Value) {
    let mut request = handler.client.post(format!("{}{path}", handler.url)).bearer_auth(KEY);
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    json_of(request.body(body)).await
}

#[tokio::test]
async fn malformed_forms_are_refused_and_leave_nothing() {
    let handler = stage().listen();
    for Taker { path, field, rest } in takers(&handler).await {
        let (head, part) = part(field);
        let whole = format!("{rest}{part}--XX--\r\n");
        let parts = wrong_parts(rest, &head, &part, field);
        for (what, kind, body, code) in [wrong_types(&whole), cut(rest, &head, &part), parts].concat() {
            let (status, told) = send(&handler, &path, &kind, body).await;
            let error = &told["error"];
            assert_eq!((status, error["code"].as_str()), (400, Some(code)), "{path}: {what}: {told}");
            assert_eq!(error["type"], "invalid_request_error", "{path}: {what}");
            let message = error["message"].as_str().unwrap();
            assert!(message.len() > 10 && !message.ends_with('.'), "{path}: {what}: {message}");
            // A body that breaks off has no field to blame.
            assert_eq!(error["param"].is_null(), code == "body_broken_off", "{path}: {what}: {told}");
        }
        until("nothing is left", async || left(&handler).is_empty()).await;
        // And as it should be.
        let (status, told) = send(&handler, &path, USUAL, whole.into()).await;
        assert_eq!(status, 200, "{told}");
        if path.ends_with("/files") {
            std::fs::remove_dir_all(handler.stage.folder.join("blob/t/dev/files")).unwrap();
        }
    }
}
