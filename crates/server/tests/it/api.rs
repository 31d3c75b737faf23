//! The OpenAI surface: vectors, encodings, refusals.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::process::{MODEL, Server, json};

fn reference() -> Vec<Value> {
    let file = std::fs::read(format!("{MODEL}/reference.json")).expect("the reference is committed");
    serde_json::from_slice(&file).expect("the reference parses")
}

fn floats(vector: &Value) -> Vec<f32> {
    serde_json::from_value(vector.clone()).expect("a list of numbers")
}

fn decoded(vector: &Value) -> Vec<f32> {
    let bytes = STANDARD.decode(vector.as_str().expect("text")).expect("base64");
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off <= 2e-6, "{what}: off by {off}");
}

#[tokio::test]
async fn vectors_are_the_references_in_order_and_tokens_are_counted() {
    let server = Server::ready(&[]).await;
    let cases = reference();
    let texts: Vec<&Value> = cases.iter().map(|case| &case["text"]).collect();
    let answer = json(server.embed(&json!({"model": "minilm", "input": texts})).await).await;
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("minilm")));
    for (index, case) in cases.iter().enumerate() {
        let embedding = &answer["data"][index];
        assert_eq!((&embedding["object"], &embedding["index"]), (&json!("embedding"), &json!(index)));
        assert_close(&floats(&embedding["embedding"]), &floats(&case["vector"]), &case["name"].to_string());
    }
    // What ran, that is after cutting.
    let tokens: usize = cases.iter().map(|case| case["ids"].as_array().expect("ids").len()).sum();
    assert_eq!(answer["usage"], json!({"prompt_tokens": tokens, "total_tokens": tokens}));
    assert_eq!(server.metric("switchyard_server_inputs_total").await, cases.len() as f64);
    assert_eq!(server.metric("switchyard_server_tokens_total").await, tokens as f64);
}

#[tokio::test]
async fn all_shapes_and_encodings_of_one_input_give_one_vector() {
    let server = Server::ready(&["--alias", "org/other name"]).await;
    let case = &reference()[1];
    let (text, ids) = (&case["text"], &case["ids"]);
    let whole = json(server.embed(&json!({"model": "minilm", "input": text})).await).await;
    let vector = floats(&whole["data"][0]["embedding"]);
    for more in [
        json!({"input": [text]}),
        json!({"input": ids}),
        json!({"input": [ids]}),
        json!({"input": text, "model": "org/other name"}),
        json!({"input": text, "encoding_format": "float", "dimensions": 32, "user": "u", "later": {}}),
    ] {
        let mut body = json!({"model": "minilm"});
        let object = body.as_object_mut().expect("an object");
        object.extend(more.as_object().expect("an object").clone());
        assert_eq!(json(server.embed(&body).await).await, whole, "{body}");
    }

    let body = json!({"model": "minilm", "input": text, "encoding_format": "base64"});
    assert_eq!(decoded(&json(server.embed(&body).await).await["data"][0]["embedding"]), vector);

    let body = json!({"model": "minilm", "input": text, "encoding_format": "base64", "dimensions": 5});
    let short = decoded(&json(server.embed(&body).await).await["data"][0]["embedding"]);
    let length = vector[..5].iter().map(|value| value * value).sum::<f32>().sqrt();
    let expected: Vec<f32> = vector[..5].iter().map(|value| value / length).collect();
    assert_close(&short, &expected, "dimensions");
}

#[tokio::test]
async fn a_wrong_request_is_told_its_field_and_the_remedy() {
    let server = Server::ready(&[]).await;
    let with = |input: Value| json!({"model": "minilm", "input": input}).to_string();
    let also = |name: &str, value: Value| json!({"model": "minilm", "input": "a", name: value}).to_string();
    let long: Vec<u32> = vec![7; 60_000];
    let cases: Vec<(String, &str, &[&str])> = vec![
        (String::new(), "body", &["no JSON object"]),
        ("[]".into(), "body", &["no JSON object"]),
        ("{\"model\": ".into(), "body", &["no JSON object"]),
        (json!({"input": "a"}).to_string(), "model", &["missing", "/v1/models"]),
        (also("model", json!(7)), "model", &["as text"]),
        (json!({"model": "minilm"}).to_string(), "input", &["missing", "a list of token ids"]),
        (with(Value::Null), "input", &["missing"]),
        (with(json!(7)), "input", &["a text, a list of texts"]),
        (with(json!({"text": "a"})), "input", &["a text, a list of texts"]),
        (with(json!([null])), "input", &["a text, a list of texts"]),
        (with(json!("")), "input", &["input 0 is empty"]),
        (with(json!([])), "input", &["0 inputs", "1 to 2048"]),
        (with(json!(["a", ""])), "input", &["input 1 is empty"]),
        (with(json!([[]])), "input", &["input 0 is empty"]),
        (with(json!(["a", 7])), "input", &["list of texts alone", "column"]),
        (with(json!([7, "a"])), "input", &["list of token ids alone"]),
        (with(json!([-7])), "input", &["list of token ids alone"]),
        (with(json!([7.5])), "input", &["list of token ids alone"]),
        (with(json!([[7], "a"])), "input", &["list of lists of token ids alone"]),
        (with(json!([[7], [7, 99_999]])), "input", &["input 1", "token id 99999", "position 1", "ids below"]),
        (with(json!(vec!["a"; 2049])), "input", &["2049 inputs", "1 to 2048"]),
        (with(json!([long, long, long, long, long])), "input", &["at most 300000", "split"]),
        (also("encoding_format", json!("hex")), "encoding_format", &["`float` or `base64`"]),
        (also("encoding_format", json!(1)), "encoding_format", &["`float` or `base64`"]),
        (also("dimensions", json!(0)), "dimensions", &["1 to 32"]),
        (also("dimensions", json!(33)), "dimensions", &["1 to 32"]),
        (also("dimensions", json!("8")), "dimensions", &["whole number"]),
        (also("dimensions", json!(-1)), "dimensions", &["whole number"]),
    ];
    for (body, param, expected) in cases {
        let what = body.chars().take(100).collect::<String>();
        let response = post(&server, body).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{what}");
        let error = json(response).await["error"].clone();
        assert_eq!(
            (&error["type"], &error["param"]),
            (&json!("invalid_request_error"), &json!(param)),
            "{what}"
        );
        let message = error["message"].as_str().expect("text");
        for part in expected {
            assert!(message.contains(part), "{what}: `{message}` lacks `{part}`");
        }
    }
    let response = post(&server, json!({"model": "gpt-9", "input": "a"}).to_string()).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let error = json(response).await["error"].clone();
    assert_eq!((&error["code"], &error["param"]), (&json!("model_not_found"), &json!("model")));
    assert!(error["message"].as_str().expect("text").contains("`minilm`"));
}

async fn post(server: &Server, body: impl Into<reqwest::Body>) -> reqwest::Response {
    let url = format!("{}/v1/embeddings", server.base);
    server.client.post(url).body(body).send().await.expect("the server answers")
}

#[tokio::test]
async fn bodies_are_counted_whether_chunked_or_not() {
    let server = Server::ready(&[]).await;
    let chunked = |parts: Vec<Vec<u8>>| {
        reqwest::Body::wrap_stream(futures_util::stream::iter(parts.into_iter().map(Ok::<_, std::io::Error>)))
    };
    let parts = vec![b"{\"model\": \"min".to_vec(), b"ilm\", \"input\": \"a\"}".to_vec()];
    assert_eq!(post(&server, chunked(parts)).await.status(), StatusCode::OK);

    let mebibyte = vec![b' '; 1 << 20];
    for response in
        [post(&server, chunked(vec![mebibyte.clone(); 9])).await, post(&server, mebibyte.repeat(9)).await]
    {
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let error = json(response).await["error"].clone();
        assert_eq!(error["code"], "body_too_large");
        assert!(error["message"].as_str().expect("text").contains("fewer inputs"));
    }
}

#[tokio::test]
async fn paths_and_methods_are_answered_in_one_shape() {
    let server = Server::ready(&["--alias", "org/name"]).await;
    let ask = async |method: Method, path: &str| {
        let request = server.client.request(method, format!("{}{path}", server.base));
        request.send().await.expect("the server answers")
    };
    for path in ["/", "/v1", "/v1/embedding", "/v1/embeddings/", "/v1/completions"] {
        let response = ask(Method::GET, path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(json(response).await["error"]["code"], "unknown_path", "{path}");
    }
    for (method, path, allow) in [
        (Method::GET, "/v1/embeddings", "POST"),
        (Method::POST, "/v1/models", "GET, HEAD"),
        (Method::DELETE, "/v1/models/minilm", "GET, HEAD"),
        (Method::POST, "/ready", "GET, HEAD"),
    ] {
        let response = ask(method, path).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()["allow"], allow, "{path}");
        assert_eq!(json(response).await["error"]["code"], "method_not_allowed", "{path}");
    }
    assert_eq!(ask(Method::HEAD, "/health").await.status(), StatusCode::OK);

    let list = json(server.get("/v1/models").await).await;
    let ids: Vec<&Value> =
        list["data"].as_array().expect("a list").iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, [&json!("minilm"), &json!("org/name")]);
    assert_eq!(json(server.get("/v1/models/org%2Fname").await).await, list["data"][1]);
    let response = server.get("/v1/models/other").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(json(response).await["error"]["code"], "model_not_found");
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let server = Server::ready(&[]).await;
    let id_of = async |path: &str, given: Option<&str>| {
        let mut request = server.client.get(format!("{}{path}", server.base));
        if let Some(given) = given {
            request = request.header("x-request-id", given);
        }
        let response = request.send().await.expect("the server answers");
        response.headers()["x-request-id"].to_str().expect("text").to_owned()
    };
    assert_eq!(id_of("/health", Some("mine-1")).await, "mine-1");
    let own = id_of("/nothing", None).await;
    assert!(own.starts_with("req_") && own.len() == 36, "{own}");
    assert_ne!(own, id_of("/nothing", None).await);
    assert!(id_of("/metrics", Some(&"x".repeat(129))).await.starts_with("req_"));
}
