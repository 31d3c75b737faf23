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

#[tokio::test]
async fn malformed_forms_are_refused_and_leave_nothing() {
    let handler = stage().listen();
    let usual = "multipart/form-data; boundary=XX";
    let long = "x".repeat(9_000);
    let longest = format!("multipart/form-data; boundary={}", "X".repeat(71));
    for Taker { path, field, rest } in takers(&handler).await {
        let head = format!("Content-Disposition: form-data; name=\"{field}\"; filename=\"in.jsonl\"");
        let part = format!("--XX\r\n{head}\r\n\r\n{}\r\n", line("a"));
        let whole = format!("{rest}{part}--XX--\r\n");
        let cases: Vec<(&str, &str, Vec<u8>, &str)> = vec![
            ("no content type", "", whole.clone().into(), "invalid_content_type"),
            ("another content type", "application/json", whole.clone().into(), "invalid_content_type"),
            (
                "another kind of form",
                "multipart/mixed; boundary=XX",
                whole.clone().into(),
                "invalid_content_type",
            ),
            ("a form of names", "application/x-www-form-urlencoded", b"a=b".to_vec(), "invalid_content_type"),
            ("no boundary", "multipart/form-data", whole.clone().into(), "invalid_content_type"),
            (
                "an empty boundary",
                "multipart/form-data; boundary=",
                whole.clone().into(),
                "invalid_content_type",
            ),
            (
                "a quote that does not end",
                "multipart/form-data; boundary=\"XX",
                whole.clone().into(),
                "invalid_content_type",
            ),
            ("a boundary that is too long", &longest, whole.clone().into(), "invalid_content_type"),
            ("an empty body", usual, Vec::new(), "body_broken_off"),
            ("another boundary", "multipart/form-data; boundary=YY", whole.clone().into(), "body_broken_off"),
            ("JSON instead of a form", usual, b"{}".to_vec(), "body_broken_off"),
            ("no part at all", usual, b"--XX--\r\n".to_vec(), "missing_required_parameter"),
            ("a boundary that goes on", usual, b"--XXbroken".to_vec(), "invalid_multipart"),
            ("cut within a head", usual, format!("{rest}--XX\r\nContent-Dis").into(), "body_broken_off"),
            ("cut after a head", usual, format!("{rest}--XX\r\n{head}\r\n\r\n").into(), "body_broken_off"),
            (
                "cut within a content",
                usual,
                format!("{rest}--XX\r\n{head}\r\n\r\n{{").into(),
                "body_broken_off",
            ),
            ("cut before the end", usual, format!("{rest}{part}").into(), "body_broken_off"),
            ("cut within the end", usual, format!("{rest}{part}--XX-").into(), "body_broken_off"),
            ("a part without a head", usual, b"--XX\r\n\r\n\r\n{}\r\n--XX--".to_vec(), "invalid_multipart"),
            (
                "a part of no form",
                usual,
                b"--XX\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\n\r\n--XX--".to_vec(),
                "invalid_multipart",
            ),
            (
                "a part without a name",
                usual,
                b"--XX\r\nContent-Disposition: form-data; filename=\"a\"\r\n\r\n\r\n--XX--".to_vec(),
                "invalid_multipart",
            ),
            (
                "a head that is too long",
                usual,
                format!("--XX\r\nX-Long: {long}\r\n{head}\r\n\r\n\r\n--XX--").into(),
                "invalid_multipart",
            ),
            (
                "a head that does not end",
                usual,
                format!("--XX\r\nX-Long: {long}").into(),
                "invalid_multipart",
            ),
            (
                "a head that is not UTF-8",
                usual,
                b"--XX\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\n\r\n--XX--".to_vec(),
                "invalid_multipart",
            ),
            ("two files", usual, format!("{rest}{part}{part}--XX--\r\n").into(), "repeated_parameter"),
            (
                "a field of nobody",
                usual,
                format!("{rest}{}{part}--XX--\r\n", part.replace(field, "color")).into(),
                "unknown_parameter",
            ),
        ];
        for (what, content_type, body, code) in cases {
            let mut request = handler.client.post(format!("{}{path}", handler.url)).bearer_auth(KEY);
            if !content_type.is_empty() {
                request = request.header("content-type", content_type);
            }
            let (status, told) = json_of(request.body(body)).await;
            let error = &told["error"];
            assert_eq!((status, error["code"].as_str()), (400, Some(code)), "{path}: {what}: {told}");
            assert_eq!(error["type"], "invalid_request_error", "{path}: {what}");
            let message = error["message"].as_str().unwrap();
            assert!(message.len() > 10 && !message.ends_with('.'), "{path}: {what}: {message}");
            assert_ne!(error["param"], Value::Null, "{path}: {what}: {told}");
        }
        until("nothing is left", async || left(&handler).is_empty()).await;
        // And as it should be.
        let request = handler.client.post(format!("{}{path}", handler.url)).bearer_auth(KEY);
        let (status, told) = json_of(request.header("content-type", usual).body(whole)).await;
        assert_eq!(status, 200, "{told}");
        if path.ends_with("/files") {
            let url = format!("{}{path}/{}", handler.url, told["id"].as_str().unwrap());
            assert_eq!(json_of(handler.client.delete(url).bearer_auth(KEY)).await.0, 200);
            std::fs::remove_dir_all(handler.stage.folder.join("blob/t/dev/files")).unwrap();
        }
    }
}
