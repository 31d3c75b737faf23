//! `switchyard dead` against a server that follows a script.

use super::*;

const LETTER: &str = "0123abcd0123abcd0123abcd0123abcd0123abcd0123abcd0123abcd0123abcd";
const OTHER: &str = "fedc0123fedc0123fedc0123fedc0123fedc0123fedc0123fedc0123fedc0123";

fn letter(id: &str) -> Value {
    json!({
        "id": id, "object": "dead_letter", "at_unix_ms": 1_793_534_400_000_u64, "reason": "tries_used_up",
        "tenant": "dev", "job": JOB, "model": "m", "body": "{}", "body_bytes": 2, "body_is_cut": false,
        "dequeue_count": null, "inserted": null, "state": "waiting", "replays": 0, "last_replay": null,
    })
}

fn page(ids: &[&str], next: Option<&str>) -> Value {
    let data: Vec<Value> = ids.iter().map(|id| letter(id)).collect();
    json!({ "object": "list", "data": data, "has_more": next.is_some(), "next": next, "not_kept_today": 7 })
}

fn report(outcomes: &[(&str, &str)], next: Option<&str>) -> Value {
    let letters: Vec<Value> = outcomes
        .iter()
        .map(|(id, outcome)| json!({ "id": id, "tenant": "dev", "job": JOB, "outcome": outcome, "advice": "look" }))
        .collect();
    json!({ "dry_run": false, "letters": letters, "has_more": next.is_some(), "next": next })
}

/// As [`play`], with the key of an operator.
fn operate(arguments: &[&str], exchanges: Vec<Exchange>) -> (Done, Vec<Seen>) {
    play(&[arguments, &["--key", KEY]].concat(), exchanges)
}

#[test]
fn letters_are_listed_page_by_page() {
    let first = "GET /api/operate/dead?reason=no_ticket&since_unix_ms=1000&state=waiting&limit=100";
    let script = vec![
        on(first, 200, page(&[LETTER], Some("c"))),
        on(&first.replace("=100", "=100&after=c"), 200, page(&[OTHER], None)),
    ];
    let arguments = ["dead", "--reason", "no_ticket", "--since", "1970-01-01T00:00:01Z", "--waiting"];
    let (done, _) = operate(&[&arguments[..], &["--limit", "101"]].concat(), script);
    assert_eq!(done.code, 0, "{}", done.err);
    let lines: Vec<&str> = done.out.lines().collect();
    assert!(lines[0].starts_with("letter") && lines[0].ends_with("state"), "{}", done.out);
    assert!(lines[2].starts_with("0123abcd0123  ") && lines[2].ends_with("waiting"), "{}", done.out);
    assert!(lines[4].starts_with("7 more of today are in the queue"), "{}", done.out);

    let none = on("GET /api/operate/dead?limit=20", 200, page(&[], None));
    assert!(operate(&["dead"], vec![none]).0.out.starts_with("no dead letters"));
}

#[test]
fn a_letter_is_shown_by_how_its_id_begins() {
    let detail =
        json!({ "letter": letter(OTHER), "job_status": "waiting", "replay": "would_ring", "advice": "look" });
    let script = vec![
        on("GET /api/operate/dead?limit=100", 200, page(&[LETTER, OTHER], None)),
        on(&format!("GET /api/operate/dead/{OTHER}"), 200, detail.clone()),
    ];
    let (done, _) = operate(&["dead", "show", "fedc0123"], script);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains(&format!("{JOB} of dev, m: waiting")), "{}", done.out);
    assert!(done.out.contains("replay  would_ring: look"), "{}", done.out);

    let whole = vec![on(&format!("GET /api/operate/dead/{OTHER}"), 200, detail.clone())];
    assert_eq!(operate(&["dead", "show", OTHER, "--json"], whole).0.records(), [detail]);
}

#[test]
fn letters_are_replayed_by_id_and_by_what_they_have_in_common() {
    let replay = |answer: Value| on("POST /api/operate/dead/replay", 200, answer);
    let (done, seen) = operate(
        &["dead", "replay", LETTER, "--dry-run"],
        vec![replay(report(&[(LETTER, "would_ring")], None))],
    );
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(seen[0].json(), json!({ "ids": [LETTER], "dry_run": true }));
    assert!(done.out.contains("would_ring  look"), "{}", done.out);

    let script =
        vec![replay(report(&[(LETTER, "rung")], Some("c"))), replay(report(&[(OTHER, "failed")], None))];
    let (done, seen) = operate(&["dead", "replay", "--model", "m", "--limit", "150", "--json"], script);
    assert_eq!(done.code, 1, "one failed");
    let outcomes: Vec<Value> = done.records().iter().map(|letter| letter["outcome"].clone()).collect();
    assert_eq!(outcomes, ["rung", "failed"]);
    assert_eq!(seen[0].json(), json!({ "model": "m", "limit": 100, "dry_run": false }));
    assert_eq!(seen[1].json(), json!({ "model": "m", "limit": 100, "after": "c", "dry_run": false }));
}

#[test]
fn letters_are_deleted() {
    let gone = json!({ "id": LETTER, "object": "dead_letter", "deleted": true });
    let script = vec![on(&format!("DELETE /api/operate/dead/{LETTER}"), 200, gone.clone())];
    let (done, _) = operate(&["dead", "delete", LETTER, "--json"], script);
    assert_eq!((done.code, done.records()), (0, vec![gone]), "{}", done.err);
}

#[test]
fn a_replay_of_nothing_in_particular_is_refused_before_anything_is_asked() {
    for arguments in [&["dead", "replay"][..], &["dead", "replay", "--dry-run"], &["dead", "show", "0123"]] {
        let (done, _) = operate(arguments, Vec::new());
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?}: {}", done.err);
    }
    let script = vec![on("GET /api/operate/dead?limit=100", 200, page(&[LETTER], None))];
    let (done, _) = operate(&["dead", "delete", "fedc0123"], script);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("no letter begins with fedc0123"), "{}", done.err);
}
