//! The Functions host stand-in against recordings of the real one (`tests/fixtures/wire`): what the
//! handler receives, what the client gets, how the invocation ends. Ids, ports, times, `Date`,
//! `Server`, the wording of errors, header order and framing are not compared.
//!
//! Every case is run or stands in a list with the reason why not.

mod answers;
mod outputs;
mod raw;
mod requests;
mod whole;

use std::path::Path;

use serde_json::Value;

/// The recordings of one file.
fn recordings(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/wire").join(file);
    let text = std::fs::read_to_string(path).expect("the recordings are in the repository");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a recording is one JSON object a line"))
        .collect()
}

/// The cases of host-parts.jsonl whose id starts with `family`, without those that are left out.
/// Fails when the list of those names a case that does not exist.
fn family(family: &str, left_out: &[(&str, &str)]) -> Vec<(String, Value)> {
    let rows = recordings("host-parts.jsonl").into_iter();
    let named = rows.map(|row| (row["id"].as_str().expect("every case has an id").to_owned(), row));
    let cases: Vec<(String, Value)> = named.filter(|(id, _)| id.starts_with(family)).collect();
    for (id, reason) in left_out {
        assert!(cases.iter().any(|(known, _)| known == id), "{id} ({reason}) is not a case");
    }
    cases.into_iter().filter(|(id, _)| !left_out.iter().any(|(out, _)| out == id)).collect()
}

/// Runs a check over cases and tells all that failed at once.
fn assert_all(cases: Vec<(String, Result<(), String>)>) {
    let all = cases.len();
    let failed: Vec<String> =
        cases.into_iter().filter_map(|(id, result)| Some(format!("{id}\n    {}", result.err()?))).collect();
    assert!(failed.is_empty(), "{} of {all} cases differ:\n{}", failed.len(), failed.join("\n"));
}
