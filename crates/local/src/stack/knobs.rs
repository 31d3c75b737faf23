//! What operators tune, as a stack begins with it. The file is theirs: only what the stack was asked for is
//! set in it.

use std::path::Path;

use serde_json::{Map, Value};

use super::Options;

const MODE: &str = "autoscale-mode";

/// The knobs of the file, if there is one, with what `options` ask for.
///
/// # Errors
/// When the file cannot be read or holds no JSON object.
pub(super) fn of(file: &Path, options: &Options) -> std::io::Result<Value> {
    let mut knobs: Map<String, Value> = match std::fs::read(file) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Map::new(),
        Err(error) => return Err(error),
    };
    set(&mut knobs, options.autoscale, options.nodes);
    Ok(knobs.into())
}

fn set(knobs: &mut Map<String, Value>, autoscale: bool, nodes: u32) {
    if autoscale {
        knobs.insert(MODE.to_owned(), "act".into());
    } else if knobs.get(MODE).is_some_and(|mode| mode == "act") {
        // Left by a stack that scaled: this one's pool has its size.
        knobs.remove(MODE);
    }
    knobs.entry("max-batch-nodes").or_insert(nodes.into());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_asked_for_is_set() {
        let cases = [
            (json!({}), true, json!({MODE: "act", "max-batch-nodes": 2})),
            (
                json!({"rescue-share": 5, MODE: "observe"}),
                true,
                json!({"rescue-share": 5, MODE: "act", "max-batch-nodes": 2}),
            ),
            (json!({MODE: "act", "max-batch-nodes": 9}), false, json!({"max-batch-nodes": 9})),
            (json!({MODE: "observe"}), false, json!({MODE: "observe", "max-batch-nodes": 2})),
        ];
        for (before, autoscale, after) in cases {
            let mut knobs = before.as_object().unwrap().clone();
            set(&mut knobs, autoscale, 2);
            assert_eq!(Value::from(knobs), after, "{before} {autoscale}");
        }
    }
}
