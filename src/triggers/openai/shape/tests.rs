//! Bodies are counted rightly, and wrong ones refused by the name of the field.

use super::*;

fn counted(input: &str) -> (u64, u64) {
    let body = format!(r#"{{"model":"m","input":{input}}}"#);
    let shape = read(Operation::Embeddings, body.as_bytes()).unwrap();
    (shape.items, shape.tokens_in.0)
}

#[test]
fn inputs_are_counted() {
    let cases = [
        (r#""hello""#, (1, 2)),
        (r#"["a","bcdef"]"#, (2, 3)),
        ("[1,2,3.0]", (1, 3)),
        ("[[1,2],[3.0]]", (2, 3)),
        (r#""\u00e4\n\"""#, (1, 1)),
    ];
    for (input, wanted) in cases {
        assert_eq!(counted(input), wanted, "{input}");
    }
}

#[test]
fn wrong_bodies_name_the_field() {
    let many = format!("[{}]", vec![r#""x""#; INPUTS_MAX + 1].join(","));
    let many = format!(r#"{{"model":"m","input":{many}}}"#);
    let cases = [
        ("", "body", "empty_body"),
        ("{", "body", "invalid_json"),
        ("[]", "body", "invalid_json"),
        (r#"{"model":"m","input":"x"} x"#, "body", "invalid_json"),
        (r#"{"input":"x"}"#, "model", "missing_required_parameter"),
        (r#"{"model":5,"input":"x"}"#, "model", "invalid_value"),
        (r#"{"model":"","input":"x"}"#, "model", "invalid_value"),
        (r#"{"model":"m"}"#, "input", "missing_required_parameter"),
        (r#"{"model":"m","input":""}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":[]}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":["a",""]}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":["a",1]}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":[1,"a"]}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":[[]]}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":[[1.5]]}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":[1.5]}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":[-1]}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":[null]}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":{"a":1}}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":"x","dimensions":0}"#, "dimensions", "invalid_value"),
        (r#"{"model":"m","input":"x","dimensions":"8"}"#, "dimensions", "invalid_value"),
        (r#"{"model":"m","input":"x","dimensions":8.5}"#, "dimensions", "invalid_value"),
        (r#"{"model":"m","input":"x","encoding_format":"hex"}"#, "encoding_format", "invalid_value"),
        (r#"{"model":"m","input":"x","service_tier":"gold"}"#, "service_tier", "invalid_value"),
        (&many, "input", "invalid_value"),
    ];
    for (body, param, code) in cases {
        let failure = read(Operation::Embeddings, body.as_bytes()).unwrap_err();
        assert_eq!((failure.param.as_deref(), failure.code), (Some(param), code), "{body:.80}");
    }
}

#[test]
fn completions_are_counted_by_their_limits() {
    let body =
        br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":10.0,"n":3.0,"stream":true}"#;
    let shape = read(Operation::ChatCompletions, body).unwrap();
    assert_eq!((shape.items, shape.tokens_out), (1, Tokens(30)));
    for (body, param) in [
        (r#"{"model":"m"}"#, "messages"),
        (r#"{"model":"m","messages":[]}"#, "messages"),
        (r#"{"model":"m","messages":"hi"}"#, "messages"),
        (r#"{"model":"m","messages":[{},"hi"]}"#, "messages"),
        (r#"{"model":"m","messages":[{}],"max_tokens":0}"#, "max_tokens"),
        (r#"{"model":"m","messages":[{}],"max_completion_tokens":5,"max_tokens":0}"#, "max_tokens"),
        (r#"{"model":"m","messages":[{}],"stream":"yes"}"#, "stream"),
        (r#"{"model":"m","messages":[{}],"n":0}"#, "n"),
        (r#"{"model":"m","messages":[{}],"max_tokens":-1}"#, "max_tokens"),
    ] {
        let failure = read(Operation::ChatCompletions, body.as_bytes()).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some(param), "{body}");
    }
}

#[test]
fn prompts_have_the_shapes_of_inputs() {
    let prompt = |prompt: &str| {
        let body = format!(r#"{{"model":"m","prompt":{prompt},"max_tokens":0}}"#);
        read(Operation::Completions, body.as_bytes()).map(|shape| shape.tokens_out)
    };
    for right in [r#""""#, r#""a\u0000""#, r#"["a",""]"#, "[1,2.0]", "[[1],[2.0]]"] {
        assert_eq!(prompt(right).unwrap(), Tokens(0), "{right}");
    }
    for wrong in ["7", "{}", "[]", "[[]]", "[-1]", r#"["a",1]"#, "[1.5]", "true"] {
        assert_eq!(prompt(wrong).unwrap_err().param.as_deref(), Some("prompt"), "{wrong}");
    }
}

#[test]
fn an_alias_is_replaced_and_nothing_else_touched() {
    let body = Bytes::from_static(br#" { "x" : 1.50, "model" : "org\/m" , "input":"x"}"#);
    let shape = read(Operation::Embeddings, &body).unwrap();
    assert_eq!(shape.model, "org/m");
    assert_eq!(shape.named(&body, "m"), br#" { "x" : 1.50, "model" : "m" , "input":"x"}"#[..]);
    assert_eq!(shape.named(&body, "org/m"), body);
}
