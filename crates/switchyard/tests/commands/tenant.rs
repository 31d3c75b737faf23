//! `switchyard tenant` on a catalogue of its own.

use super::*;

const CATALOGUE: &str =
    r#"{"v": 1, "models": [], "admins": [], "tenants": [{"id": "dev", "keys": [], "weight": 2}]}"#;

fn tenant(file: &str, arguments: &[&str]) -> Done {
    let whole = [&["tenant", "--catalogue", file, "--json"], arguments].concat();
    Done::of(command(&whole).output().unwrap())
}

#[test]
fn tenants_are_added_limited_and_their_keys_revoked() {
    let folder = Folder::new("tenant");
    let file = folder.write("catalogue.json", CATALOGUE);
    let made = tenant(&file, &["add", "acme", "--permissions", "read,submit", "--usd-per-day", "2.5"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let made = &made.records()[0];
    let (prefix, key) = (made["prefix"].as_str().unwrap(), made["key"].as_str().unwrap());
    // 32 characters of 5 bits: 160 random bits.
    assert_eq!(key.strip_prefix(&format!("sy-{prefix}-")).unwrap().len(), 32);
    let written = folder.read("catalogue.json");
    assert!(!written.contains(key), "the key is kept");
    assert_eq!(
        tenant(&file, &["limit", "acme", "--queued-items", "7", "--weight", "3", "--classes", "bulk"]).code,
        0
    );
    let hook = "https://example.com/hook";
    let add = ["webhook", "acme", "add", hook, "--secret-setting", "ACME_WEBHOOK_SECRET"];
    assert_eq!((tenant(&file, &add).code, tenant(&file, &add).code), (0, 1), "twice is a mistake");
    let listed = tenant(&file, &["list"]).records();
    assert_eq!(listed[0]["tenant"], "dev");
    assert_eq!(listed[1]["limits"], json!({ "usd_per_day": 2.5, "queued_items": 7 }));
    assert_eq!((&listed[1]["weight"], &listed[1]["classes"]), (&json!(3), &json!(["bulk"])));
    assert_eq!(listed[1]["keys"][0]["permissions"], json!(["read", "submit"]));
    assert_eq!(listed[1]["webhooks"][0]["url"], hook);
    let shown = Done::of(command(&["tenant", "--catalogue", &file, "list"]).output().unwrap());
    let acme = format!(
        "acme\n  weight   3\n  classes  bulk\n  limits   usd_per_day 2.5, queued_items 7\n  key      {prefix}  may read, submit\n  webhook  {hook}  ACME_WEBHOOK_SECRET\n"
    );
    assert!(shown.out.ends_with(&acme), "{}", shown.out);
    assert_eq!(tenant(&file, &["limit", "acme", "--unlimited", "usd_per_day"]).code, 0);
    assert_eq!(tenant(&file, &["webhook", "acme", "remove", hook]).code, 0);
    assert_eq!(tenant(&file, &["revoke", "acme", prefix]).code, 0);
    let after: Value = serde_json::from_str(&folder.read("catalogue.json")).unwrap();
    assert_eq!((&after["tenants"][1]["keys"], &after["tenants"][1]["webhooks"]), (&json!([]), &json!([])));
    assert_eq!(
        after["tenants"][0],
        json!({ "id": "dev", "keys": [], "weight": 2 }),
        "others stay as they are"
    );
}

#[test]
fn what_breaks_a_rule_changes_nothing() {
    let folder = Folder::new("tenant-wrong");
    let file = folder.write("catalogue.json", CATALOGUE);
    let cases: &[&[&str]] = &[
        &["add", "a b"],
        &["add", "acme", "--weight", "0"],
        &["limit", "nobody", "--weight", "1"],
        &["limit", "dev"],
        &["webhook", "dev", "add", "http://example.com", "--secret-setting", "A_WEBHOOK_SECRET"],
        &["webhook", "dev", "add", "http://127.0.0.1:8000", "--secret-setting", "A_WEBHOOK_SECRET"],
        &["webhook", "dev", "add", "nowhere", "--secret-setting", "A_WEBHOOK_SECRET"],
        &["webhook", "dev", "add", "https://example.com", "--secret-setting", "PATH"],
        &["limit", "dev", "--usd-per-day=-1"],
        &["revoke", "dev", "aaaaaaaa"],
        &["webhook", "dev", "remove", "https://example.com"],
    ];
    for arguments in cases {
        let done = tenant(&file, arguments);
        assert_eq!((done.code, done.out.as_str()), (1, ""), "{arguments:?}: {}", done.err);
        assert_eq!(folder.read("catalogue.json"), CATALOGUE, "{arguments:?}");
    }
    assert_eq!(tenant(&folder.path("none.json"), &["list"]).code, 1);
}
