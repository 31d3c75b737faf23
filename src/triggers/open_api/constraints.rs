//! What attributes of types cannot say: either-or, names of members, members that need each other.

use facts::dead::Reason;
use serde_json::{Value, json};
use wire::dead::LETTERS_MAX;

/// Adds it to a description.
pub fn add(description: &mut Value) {
    let schemas = &mut description["components"]["schemas"];
    schemas["EmbeddingsInput"] = inputs("What to embed: at most 2,048 inputs, none of them empty.", 1);
    schemas["Prompt"] = inputs("What to complete.", 0);
    merge(&mut schemas["BatchCreate"]["properties"]["metadata"], metadata());
    let both = json!({ "expires_after[anchor]": ["expires_after[seconds]"], "expires_after[seconds]": ["expires_after[anchor]"] });
    schemas["FileUpload"]["dependentRequired"] = both;
    let part = json!({ "type": "string", "pattern": "^part_[a-z2-7]{26}$" });
    merge(
        &mut schemas["UploadComplete"]["properties"]["part_ids"],
        json!({ "uniqueItems": true, "items": part }),
    );
    schemas["ReplayWish"] = replay_wish();
    schemas["Question"] = question();
    // Events are the backend's: no schema of an answer fits them.
    for path in ["/api/v1/chat/completions", "/api/v1/completions"] {
        description["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"] = json!({});
    }
}

/// Replaces members of an object.
fn merge(schema: &mut Value, more: Value) {
    let (Value::Object(schema), Value::Object(more)) = (schema, more) else {
        panic!("schemas of properties are objects");
    };
    schema.extend(more);
}

/// Letters by their ids, or by what they have in common. A member may be left out, but is never null.
fn replay_wish() -> Value {
    let name = json!({ "type": "string", "minLength": 1, "maxLength": 64 });
    let time = json!({ "type": "integer", "minimum": 0, "maximum": 9_999_999_999_999_u64 });
    let id = json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" });
    let common = json!({
        "reason": { "type": "string", "enum": Reason::ALL.map(Reason::as_str) },
        "model": name, "tenant": name, "since_unix_ms": time, "until_unix_ms": time,
        "limit": { "type": "integer", "minimum": 1, "maximum": LETTERS_MAX },
        "after": { "type": "string", "pattern": "^[0-9]{13}-[0-9a-f]{64}$" },
        "dry_run": { "type": "boolean" },
    });
    let selections = ["reason", "model", "tenant", "since_unix_ms", "until_unix_ms"];
    let by_common = selections.map(|name| {
        json!({ "type": "object", "required": [name], "additionalProperties": false, "properties": common })
    });
    let by_ids = json!({
        "type": "object", "required": ["ids"], "additionalProperties": false, "properties": {
            "ids": { "type": "array", "items": id, "minItems": 1, "maxItems": LETTERS_MAX, "uniqueItems": true },
            "dry_run": { "type": "boolean" },
        },
    });
    json!({
        "description": "which letters, by id or by what they have in common (at least one of these); `limit` is 100 where it is left out",
        "anyOf": std::iter::once(by_ids).chain(by_common).collect::<Vec<_>>(),
    })
}

/// A text, several, one as token ids, several as token ids.
fn inputs(description: &str, text_chars_min: u64) -> Value {
    let text = json!({ "type": "string", "minLength": text_chars_min });
    let id = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
    let ids = json!({ "type": "array", "items": id, "minItems": 1 });
    let several = |of: &Value| json!({ "type": "array", "items": of, "minItems": 1, "maxItems": 2_048 });
    json!({ "description": description, "anyOf": [text, several(&text), ids, several(&ids)] })
}

fn metadata() -> Value {
    json!({
        "type": ["object", "null"],
        "maxProperties": 16,
        "propertyNames": { "maxLength": 64 },
        "properties": {
            "deadline": { "$ref": "#/components/schemas/Deadline" },
            "class": { "$ref": "#/components/schemas/Class" },
        },
        "additionalProperties": { "type": "string", "maxLength": 512 },
    })
}

/// A request's own body, or the request in full.
fn question() -> Value {
    let bodies = [
        (&["embeddings", "/v1/embeddings"], "EmbeddingsRequest"),
        (&["chat/completions", "/v1/chat/completions"], "ChatCompletionsRequest"),
        (&["completions", "/v1/completions"], "CompletionsRequest"),
    ];
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let own = bodies.iter().map(|(_, body)| reference(body));
    let described = bodies.iter().map(|(names, body)| {
        let required = if *body == "EmbeddingsRequest" { json!(["body"]) } else { json!(["body", "operation"]) };
        json!({
            "type": "object",
            "required": required,
            "additionalProperties": false,
            "properties": {
                "operation": { "type": "string", "enum": names },
                "body": reference(body),
                "headers": {
                    "type": "object",
                    "propertyNames": { "enum": ["Switchyard-Deadline", "Switchyard-Lane", "Switchyard-Max-Cost", "Switchyard-Class", "Prefer"] },
                    "properties": {
                        "Switchyard-Deadline": reference("Deadline"),
                        "Switchyard-Lane": reference("LaneName"),
                        "Switchyard-Max-Cost": { "type": "string", "pattern": "^[0-9]{1,5}(\\.[0-9]{1,6})?$" },
                        "Switchyard-Class": reference("Class"),
                    },
                    "additionalProperties": { "type": "string" },
                },
            },
        })
    });
    json!({
        "description": "the request itself, sent with its own headers; or `operation`, `body` and `headers`",
        "anyOf": own.chain(described).collect::<Vec<_>>(),
    })
}
