//! `switchyard report` against a report of the handler's: the numbers are those of its own golden files.

use super::*;

const BY: [&str; 3] = ["team", "lane", "job"];

fn fixture(name: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/cost").join(name)
}

#[test]
fn a_month_is_shown_as_before() {
    let mut differ = Vec::new();
    for by in BY {
        let told = std::fs::read_to_string(fixture(&format!("{by}.json"))).unwrap();
        let call = format!("GET /api/status/cost?month=2026-11&by={by}");
        let asked = ["report", "--month", "2026-11", "--by", by, "--key", KEY];
        let (done, _) = play(&asked, vec![on(&call, 200, &told)]);
        assert_eq!(done.code, 0, "{}", done.err);
        let golden = fixture(&format!("{by}.txt"));
        let kept = std::fs::read_to_string(&golden).unwrap_or_default();
        if done.out != kept {
            let new = std::env::temp_dir().join(format!("switchyard-report-{by}.txt"));
            std::fs::write(&new, &done.out).unwrap();
            differ.push(format!("{} differs from what is shown now, {}", golden.display(), new.display()));
        }
        let (done, _) = play(&[&asked[..], &["--json"]].concat(), vec![on(&call, 200, &told)]);
        assert_eq!(done.records(), [serde_json::from_str::<Value>(&told).unwrap()]);
    }
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn a_month_that_is_none_is_told_in_the_handlers_words() {
    let body = json!({ "error": { "message": "give a month as 2026-11", "type": "invalid_request_error",
        "param": "month", "code": "invalid_month" } });
    let call = "GET /api/status/cost?month=soon&by=team";
    let (done, _) = play(&["report", "--month", "soon", "--key", KEY], vec![on(call, 400, body)]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("give a month as 2026-11"), "{}", done.err);
    let by = Done::of(command(&["report", "--by", "colour"]).output().unwrap());
    assert!(by.code != 0 && by.err.contains("cost-center"), "{}", by.err);
}
