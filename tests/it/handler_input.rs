//! Bad input and wrong keys: an OpenAI-shaped error that names the field, and nothing sent on.

use serde_json::{Value, json};

use crate::handler_stage::*;

struct Case {
    what: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: String,
    status: u16,
    code: &'static str,
    param: Option<&'static str>,
}

fn case(
    what: &'static str,
    body: impl Into<String>,
    status: u16,
    code: &'static str,
    param: &'static str,
) -> Case {
    let param = Some(param).filter(|param| !param.is_empty());
    Case { what, headers: &[], body: body.into(), status, code, param }
}

fn with(
    headers: &'static [(&'static str, &'static str)],
    status: u16,
    code: &'static str,
    param: &'static str,
) -> Case {
    let body = r#"{"model":"m","input":"hello"}"#;
    Case { headers, ..case(headers[0].1, body, status, code, param) }
}

fn cases() -> Vec<Case> {
    let many = json!({ "model": "m", "input": vec!["x"; 2_049] }).to_string();
    let long = json!({ "model": "m", "input": "x".repeat(100_000) }).to_string();
    let ids = json!({ "model": "m", "input": vec![1; 257] }).to_string();
    let huge = json!({ "model": "m", "input": "x".repeat(33 * 1024 * 1024) }).to_string();
    vec![
        case("broken JSON", "{", 400, "invalid_json", "body"),
        case("empty body", "", 400, "empty_body", "body"),
        case("a list", "[]", 400, "invalid_json", "body"),
        case("no model", r#"{"input":"x"}"#, 400, "missing_required_parameter", "model"),
        case("wrong type of model", r#"{"model":1,"input":"x"}"#, 400, "invalid_value", "model"),
        case("unknown model", r#"{"model":"gpt-9","input":"x"}"#, 404, "model_not_found", "model"),
        case(
            "model of another kind",
            r#"{"model":"chat","input":"x"}"#,
            400,
            "operation_not_supported",
            "model",
        ),
        case("model without a backend", r#"{"model":"nowhere","input":"x"}"#, 404, "not_served", "model"),
        case("no input", r#"{"model":"m"}"#, 400, "missing_required_parameter", "input"),
        case("empty input", r#"{"model":"m","input":""}"#, 400, "invalid_value", "input"),
        case("empty list", r#"{"model":"m","input":[]}"#, 400, "invalid_value", "input"),
        case("mixed list", r#"{"model":"m","input":["a",1]}"#, 400, "invalid_value", "input"),
        case("too many inputs", many, 400, "invalid_value", "input"),
        case("too long a text", long, 400, "input_too_long", "input"),
        case("too many token ids", ids, 400, "input_too_long", "input"),
        case("too large a body", huge, 413, "body_too_large", ""),
        case(
            "too many dimensions",
            r#"{"model":"m","input":"x","dimensions":385}"#,
            400,
            "invalid_value",
            "dimensions",
        ),
        case(
            "wrong encoding",
            r#"{"model":"m","input":"x","encoding_format":"hex"}"#,
            400,
            "invalid_value",
            "encoding_format",
        ),
        case(
            "wrong tier",
            r#"{"model":"m","input":"x","service_tier":"gold"}"#,
            400,
            "invalid_value",
            "service_tier",
        ),
        with(&[("switchyard-lnae", "auto")], 400, "unknown_header", "switchyard-lnae"),
        with(&[("switchyard-lane", "fast")], 400, "invalid_header", "switchyard-lane"),
        with(
            &[("switchyard-lane", "realtime"), ("prefer", "respond-async")],
            400,
            "contradictory_headers",
            "Prefer",
        ),
        with(&[("switchyard-lane", "deferred")], 422, "deferred_unavailable", "Switchyard-Lane"),
        with(&[("switchyard-max-cost", "cheap")], 400, "invalid_header", "switchyard-max-cost"),
        with(&[("switchyard-max-cost", "0.0")], 422, "over_max_cost", "Switchyard-Max-Cost"),
        with(&[("switchyard-deadline", "soon")], 400, "invalid_header", "switchyard-deadline"),
        with(
            &[("switchyard-deadline", "2020-01-01T00:00:00Z")],
            400,
            "deadline_passed",
            "Switchyard-Deadline",
        ),
        with(&[("switchyard-deadline", "90ms")], 422, "deadline_infeasible", "Switchyard-Deadline"),
    ]
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_nothing_is_sent_on() {
    let upstream = Upstream::start([]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    for case in cases() {
        let mut request = handler.post("/api/v1/embeddings", KEY, case.body);
        for (name, value) in case.headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        assert!(answer.headers().contains_key("x-request-id"), "{}", case.what);
        let body: Value = answer.json().await.unwrap_or_else(|error| panic!("{}: {error}", case.what));
        let error = &body["error"];
        assert_eq!((status, error["code"].as_str()), (case.status, Some(case.code)), "{}: {body}", case.what);
        assert_eq!(error["param"].as_str(), case.param, "{}: {body}", case.what);
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{}", case.what);
        if case.code == "deadline_infeasible" {
            assert!(error["alternatives"]["earliest"]["finish_unix_ms"].is_u64(), "{body}");
            assert!(error["alternatives"]["cheapest"]["cost_usd"].is_number(), "{body}");
        }
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

#[tokio::test]
async fn a_chunked_body_is_taken_and_counted() {
    let upstream = Upstream::start([]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let parts = |size: usize, count: usize| {
        let head = vec![r#"{"model":"m","input":""#.to_owned()];
        let parts = head.into_iter().chain(vec!["x".repeat(size); count]).chain([r#""}"#.to_owned()]);
        reqwest::Body::wrap_stream(futures_util::stream::iter(parts.map(Ok::<_, std::io::Error>)))
    };
    let answer = handler.post("/api/v1/embeddings", KEY, parts(5, 3)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer = handler.post("/api/v1/embeddings", KEY, parts(1024 * 1024, 33)).send().await.unwrap();
    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn keys_open_what_they_may_and_nothing_else() {
    let upstream = Upstream::start([]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let wrong = "sy-tenantok-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    let paths = [
        // (method, path, tenant, reader, operator)
        ("GET", "/api/v1/models", 200, 200, 403),
        ("POST", "/api/v1/embeddings", 200, 403, 403),
        ("POST", "/api/explain", 200, 200, 403),
        ("GET", "/api/jobs/x", 404, 404, 403),
        ("GET", "/api/status", 403, 403, 200),
        ("GET", "/api/status/replicas/one", 403, 403, 200),
        ("POST", "/api/operate/knobs/refresh", 403, 403, 200),
        ("GET", "/api/health", 200, 200, 200),
        ("GET", "/api/openapi.json", 200, 200, 200),
    ];
    for (method, path, tenant, reader, operator) in paths {
        let open = path == "/api/health" || path == "/api/openapi.json";
        let refused = if open { 200 } else { 401 };
        let keys = [
            (Some(KEY), tenant),
            (Some(READER), reader),
            (Some(ADMIN), operator),
            (Some(wrong), refused),
            (None, refused),
        ];
        for (key, status) in keys {
            let url = format!("{}{path}", handler.url);
            let mut request = handler.client.request(method.parse().unwrap(), url);
            request = request.body(if method == "POST" { r#"{"model":"m","input":"x"}"# } else { "" });
            if let Some(key) = key {
                request = request.bearer_auth(key);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{method} {path} with {key:?}");
            let text = answer.text().await.unwrap();
            assert!(key.is_none_or(|key| !text.contains(key)), "{text}");
            if status >= 400 {
                let body: Value = serde_json::from_str(&text).unwrap();
                assert!(body["error"]["code"].is_string(), "{body}");
            }
        }
    }
    let by_header = handler.client.get(format!("{}/api/v1/models", handler.url)).header("api-key", KEY);
    assert_eq!(by_header.send().await.unwrap().status(), 200);
    let log = handler.log.lock().unwrap().join("\n");
    assert!(!log.contains(KEY) && !log.contains(wrong), "keys stay out of the log");
}

#[tokio::test]
async fn methods_paths_and_model_ids() {
    let upstream = Upstream::start([]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let cases: &[(&str, &str, bool, u16, &str)] = &[
        ("GET", "/api/v1/embeddings", false, 405, "method_not_allowed"),
        ("DELETE", "/api/v1/models", false, 405, "method_not_allowed"),
        ("GET", "/api/v1/models/m", false, 200, ""),
        ("GET", "/api/v1/models/org%2Fm", false, 200, ""),
        ("GET", "/api/v1/models/org%252Fm", true, 200, ""),
        ("GET", "/api/v1/models/org%252Fm", false, 404, "model_not_found"),
        ("GET", "/api/v1/models/none", false, 404, "model_not_found"),
        ("GET", "/api/v1%2Fmodels", false, 400, "encoded_slash"),
        ("GET", "/api/v1/models/%252e%252e%252fx", true, 400, "dot_segment"),
        ("GET", "/api/v1/models/%zz", false, 400, "invalid_path"),
        ("PUT", "/api/v1/files", false, 405, "method_not_allowed"),
        ("POST", "/api/v1/audio/speech", false, 404, "unsupported_endpoint"),
        ("GET", "/api/jobs/../x", false, 400, "dot_segment"),
        ("GET", "/api/jobs/none", false, 404, "job_not_found"),
        ("POST", "/api/alerts", false, 404, "not_found"),
        ("POST", "/Dispatch", false, 404, "not_found"),
        ("GET", "/elsewhere", false, 404, "not_found"),
    ];
    for (method, path, proxied, status, code) in cases {
        let (found, body) = raw(&handler, method, path, *proxied).await;
        assert_eq!(found, *status, "{method} {path}: {body}");
        if !code.is_empty() {
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["error"]["code"], *code, "{method} {path}");
        }
    }
    let answer = handler.get("/api/v1/embeddings", KEY).send().await.unwrap();
    assert_eq!(answer.headers()["allow"], "POST");
}

/// One request exactly as written: clients of libraries resolve dot segments by themselves.
async fn raw(handler: &Handler, method: &str, path: &str, proxied: bool) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = handler.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let proxied = if proxied { "x-ms-invocation-id: 1\r\n" } else { "" };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n{proxied}content-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(BOUND, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn dot_segments_are_refused_on_the_wire() {
    let upstream = Upstream::start([]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    for path in
        ["/api/v1/../status", "/api/v1/%2e%2e/status", "/api/v1/%252e%252e/status", "/api/./v1/models"]
    {
        let (status, body) = raw(&handler, "GET", path, false).await;
        assert_eq!(status, 400, "{path}: {body}");
        assert!(body.contains("dot_segment"), "{path}: {body}");
    }
    assert!(upstream.seen().is_empty());
}
