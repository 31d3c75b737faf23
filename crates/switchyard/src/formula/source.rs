//! Where a formula comes from: its text; or JSON, as people keep it. A pool as Azure CLI and the SDKs
//! write it has it in `autoScaleFormula`, one of Resource Manager in `autoScale.formula`; either may
//! be an array of lines, and an array of lines alone is a formula too.

use serde_json::Value;

/// How deep a formula may lie in JSON: an ARM template has it in
/// `resources[].properties.scaleSettings.autoScale`.
const DEPTH_MAX: usize = 16;

/// A formula, and what its file says of the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    /// The formula.
    pub text: String,
    /// `taskSlotsPerNode`, where the file or our own header says it.
    pub slots: Option<u32>,
}

impl Source {
    /// The formula in a file's content.
    ///
    /// # Errors
    /// Why JSON holds none, or which one is meant cannot be told.
    pub fn of(content: String) -> Result<Source, String> {
        // No statement begins with either.
        if !content.trim_start().starts_with(['{', '[']) {
            let slots = autoscale::render::read_header(&content).map(|plan| plan.slots_per_node);
            return Ok(Source { text: content, slots });
        }
        let json: Value = serde_json::from_str(&content).map_err(|error| format!("no JSON: {error}"))?;
        if let Some(text) = lines(&json) {
            return Ok(Source { text, slots: None });
        }
        let mut found = Vec::new();
        find(&json, None, DEPTH_MAX, &mut found);
        match found.len() {
            0 => Err("the JSON has no member autoScaleFormula".to_owned()),
            1 => Ok(found.remove(0)),
            several => Err(format!("the JSON holds {several} formulas; give one pool")),
        }
    }
}

/// Every formula in a value. `slots` is what the nearest object around it says.
fn find(json: &Value, slots: Option<u32>, depth: usize, found: &mut Vec<Source>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match json {
        Value::Object(members) => {
            let said = members.get("taskSlotsPerNode").and_then(Value::as_u64);
            let slots = said.and_then(|said| u32::try_from(said).ok()).or(slots);
            for (name, member) in members {
                let inside = member.get("formula").filter(|_| name == "autoScale");
                let formula = if name == "autoScaleFormula" { Some(member) } else { inside };
                match formula.and_then(lines) {
                    Some(text) => found.push(Source { text, slots }),
                    None => find(member, slots, depth, found),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| find(element, slots, depth, found)),
        _ => {}
    }
}

/// A string, or an array of strings as its lines.
pub(crate) fn lines(json: &Value) -> Option<String> {
    match json {
        Value::String(text) => Some(text.clone()),
        Value::Array(lines) if !lines.is_empty() => {
            let lines: Option<Vec<&str>> = lines.iter().map(Value::as_str).collect();
            Some(lines?.join("\n"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_found_where_people_keep_them() {
        let cases = [
            ("$TargetDedicated = 1", ("$TargetDedicated = 1", None)),
            (r#"["x = 1;", "$TargetDedicated = x"]"#, ("x = 1;\n$TargetDedicated = x", None)),
            (r#" {"id": "p", "taskSlotsPerNode": 4, "autoScaleFormula": "x = 1"}"#, ("x = 1", Some(4))),
            (r#"{"autoScaleFormula": ["x = 1;", "y = 2"]}"#, ("x = 1;\ny = 2", None)),
            (
                r#"{"resources": [{"properties": {"taskSlotsPerNode": 2, "scaleSettings":
                    {"autoScale": {"formula": "x = 1", "evaluationInterval": "PT5M"}}}}]}"#,
                ("x = 1", Some(2)),
            ),
            ("// switchyard v1 at=1 plan=slots=3\n", ("// switchyard v1 at=1 plan=slots=3\n", Some(3))),
        ];
        for (content, (text, slots)) in cases {
            let expected = Source { text: text.to_owned(), slots };
            assert_eq!(Source::of(content.to_owned()), Ok(expected), "{content}");
        }
    }

    #[test]
    fn json_without_a_formula_is_refused() {
        for (content, why) in [
            ("{}", "the JSON has no member autoScaleFormula"),
            ("[]", "the JSON has no member autoScaleFormula"),
            (r#"{"autoScaleFormula": null}"#, "the JSON has no member autoScaleFormula"),
            (
                r#"[{"autoScaleFormula": "x = 1"}, {"autoScaleFormula": "x = 2"}]"#,
                "the JSON holds 2 formulas; give one pool",
            ),
        ] {
            assert_eq!(Source::of(content.to_owned()), Err(why.to_owned()), "{content}");
        }
        // The recipe's file, as its own command writes it.
        let broken = r#"{"autoScaleFormula": "\ = min(\.GetSample(180))"}"#;
        assert!(Source::of(broken.to_owned()).is_err_and(|why| why.starts_with("no JSON: invalid escape")));
    }
}
