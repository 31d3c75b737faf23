//! What all operations have in common: how a caller shows who it is, failures that any request can meet
//! and how they look, headers of every answer, and HEAD wherever there is GET.

use serde_json::{Map, Value, json};

/// Failures that any request can meet.
const ANY: &[(&str, &str)] = &[
    ("400", "the request is wrong; `param` names the field or header"),
    ("500", "an error of ours"),
    ("504", "no answer in time"),
];
/// And those of callers that must say who they are.
const KEYED: &[(&str, &str)] = &[
    ("401", "no key that is known here"),
    ("403", "the key may not do this"),
    ("503", "nothing can serve it now"),
];
/// And those of requests that have a body.
const WITH_BODY: &[(&str, &str)] = &[("408", "the body came too slowly"), ("413", "the body is too large")];

/// Completes every operation of a description.
pub fn complete(description: &mut Value) {
    description["components"]["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "a tenant's key, or an operator's" },
        "api_key": { "type": "apiKey", "in": "header", "name": "api-key", "description": "the same key, as Azure OpenAI's clients send it" },
        "function_key": { "type": "apiKey", "in": "header", "name": "x-functions-key", "description": "the function's key, checked by the Functions host" },
    });
    description["security"] = json!([{ "bearer": [] }, { "api_key": [] }]);
    for item in members(&mut description["paths"]).values_mut() {
        let item = members(item);
        for operation in item.values_mut() {
            fill(operation);
        }
        if let Some(get) = item.get("get") {
            item.insert("head".to_owned(), head_of(get));
        }
    }
}

fn members(value: &mut Value) -> &mut Map<String, Value> {
    value.as_object_mut().expect("paths and operations are objects")
}

fn fill(operation: &mut Value) {
    let is_open = operation.get("security").is_some();
    let has_body = operation.get("requestBody").is_some();
    let groups = [(ANY, true), (KEYED, !is_open), (WITH_BODY, has_body)];
    let responses = members(&mut operation["responses"]);
    for (status, why) in groups.iter().filter(|(_, here)| *here).flat_map(|(group, _)| *group) {
        responses.entry(*status).or_insert_with(|| json!({ "description": why }));
    }
    for (status, response) in responses {
        let response = members(response);
        let headers = response.entry("headers").or_insert_with(|| json!({}));
        headers["x-request-id"] = header("string", "the request's name: the client's own, else ours");
        if status.as_str() < "400" {
            continue;
        }
        headers["x-should-retry"] = header("boolean", "whether the same request may succeed later");
        match status.as_str() {
            "401" => headers["WWW-Authenticate"] = header("string", "`Bearer`"),
            "409" | "429" | "502" | "503" => {
                headers["Retry-After"] = header("integer", "seconds to wait, where waiting helps");
                headers["retry-after-ms"] = header("integer", "the same in milliseconds");
            }
            _ => {}
        }
        let error = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/ErrorBody" } } });
        response.entry("content").or_insert(error);
    }
}

fn header(kind: &str, description: &str) -> Value {
    json!({ "schema": { "type": kind }, "description": description })
}

/// HEAD answers as GET does, without the body.
fn head_of(get: &Value) -> Value {
    let mut head = get.clone();
    let id = head["operationId"].as_str().map(|id| format!("{id}_head"));
    head["operationId"] = json!(id);
    for response in members(&mut head["responses"]).values_mut() {
        members(response).remove("content");
    }
    head
}
