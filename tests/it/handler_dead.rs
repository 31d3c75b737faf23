//! Dead letters over real HTTP, and the audit log of everything that operators do.

use facts::key::{self, JobKeys};
use facts::{JobId, Store};
use reqwest::Method;
use serde_json::{Value, json};

use crate::handler_stage::*;

const DEAD: &str = "/api/operate/dead";

/// A handler as the Functions host starts it, and the account of its queues.
struct Rig {
    handler: Handler,
    queues: local::queue::Server,
}

impl Rig {
    async fn start() -> Rig {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let queues = local::queue::Server::start(listener, clock::Clock::REAL).unwrap();
        let stage = Stage::new(&catalogue(&[]));
        let stage = stage.with("AzureWebJobsStorage", queues.connection_string());
        let handler = stage.with("STORAGE_QUEUE_NAME", "rings").under_host().await;
        Rig { handler, queues }
    }

    fn store(&self) -> Store {
        Store::folder(&self.handler.stage.folder.join("blob")).unwrap()
    }

    /// Writes a job that nobody runs, and says its ticket.
    async fn job(&self) -> (JobId, String) {
        let id = JobId::random();
        let job = json!({
            "v": 1, "job": id, "tenant": "dev", "by": "test", "kind": { "is": "request" }, "url": "/v1/embeddings",
            "model": "m", "body_hash": "h", "created_ms": 1, "deadline_ms": 9_000_000_000_000_u64, "pool": "p",
            "estimate": { "p50_ms": 1, "p95_ms": 1, "cost_micro_usd": 1 }, "input": { "inline": "x" },
            "shards": [{ "offset": 0, "bytes": 1, "first_line": 0, "lines": 1, "work_ms": 1 }], "chunk_lines": 1,
        });
        self.store().create(&JobKeys::new("dev", &id).job(), job.to_string()).await.unwrap();
        let ticket = json!({ "v": 1, "tenant": "dev", "job_id": id }).to_string();
        (id, ticket)
    }

    /// Delivers a message to a function as the host does, and says the letter's id.
    async fn give_up(&self, function: &str, text: &str) -> String {
        let metadata = json!({ "DequeueCount": "5", "InsertionTime": "\"2026-11-21T02:05:45+00:00\"" });
        let data = json!({ "ticket": serde_json::to_string(text).unwrap() });
        let envelope = json!({ "Data": data, "Metadata": metadata }).to_string();
        let url = format!("{}/{function}", self.handler.url);
        let answer = self.handler.client.post(url).body(envelope).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        key::hex_sha256(text.as_bytes())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        json_of(self.handler.get(&format!("{DEAD}{path}"), ADMIN)).await
    }

    async fn replay(&self, wish: Value) -> (u16, Value) {
        json_of(self.handler.post(&format!("{DEAD}/replay"), ADMIN, wish.to_string())).await
    }

    async fn rings(&self) -> Vec<String> {
        let queue =
            local::queue::client::Account::parse(&self.queues.connection_string()).unwrap().queue("rings");
        let got = queue.get(32, std::time::Duration::from_secs(600)).await.unwrap_or_default();
        got.into_iter().map(|message| message.text).collect()
    }

    /// Every action that was written down so far, in order.
    async fn actions(&self) -> Vec<audit::action::ActionLine> {
        let store = self.store();
        let mut actions = Vec::new();
        for found in store.list("audit/").await.unwrap() {
            let text = store.get(&found.key).await.unwrap().content;
            for line in std::str::from_utf8(&text).unwrap().lines() {
                if let Ok(audit::Entry::Action(action)) = audit::Entry::read(line) {
                    assert!(!line.contains("abcdefghijkl"), "a key is written down: {line}");
                    actions.push(action);
                }
            }
        }
        actions.sort_by_key(|action| action.at);
        actions
    }
}

async fn json_of(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

fn outcomes(report: &Value) -> Vec<&str> {
    report["letters"].as_array().unwrap().iter().map(|letter| letter["outcome"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_letter_is_listed_shown_replayed_and_comes_back() {
    let rig = Rig::start().await;
    let (job, ticket) = rig.job().await;
    let letter = rig.give_up("DeadLetter", &ticket).await;
    let (status, list) = rig.get("").await;
    assert_eq!(
        (status, list["data"].as_array().unwrap().len(), &list["has_more"]),
        (200, 1, &json!(false)),
        "{list}"
    );
    let shown = &list["data"][0];
    assert_eq!((&shown["reason"], &shown["state"]), (&json!("tries_used_up"), &json!("waiting")));
    assert_eq!((&shown["tenant"], &shown["job"], &shown["model"]), (&json!("dev"), &json!(job), &json!("m")));
    assert_eq!(
        (&shown["dequeue_count"], &shown["inserted"]),
        (&json!(5), &json!("2026-11-21T02:05:45+00:00"))
    );

    let (status, detail) = rig.get(&format!("/{letter}")).await;
    assert_eq!(
        (status, &detail["replay"], &detail["job_status"]),
        (200, &json!("would_ring"), &json!("waiting"))
    );

    let (_, dry) = rig.replay(json!({ "model": "m", "dry_run": true })).await;
    assert_eq!((outcomes(&dry), &dry["dry_run"]), (vec!["would_ring"], &json!(true)), "{dry}");
    assert_eq!(
        (rig.rings().await.len(), rig.store().list(key::DUE).await.unwrap().len()),
        (0, 0),
        "nothing is done"
    );

    let (status, report) = rig.replay(json!({ "reason": "tries_used_up", "since_unix_ms": 1 })).await;
    assert_eq!((status, outcomes(&report)), (200, vec!["rung"]), "{report}");
    assert_eq!(rig.rings().await, std::slice::from_ref(&ticket));
    assert!(rig.store().exists(&key::due(key::NOW, "dev", &job)).await.unwrap(), "sweep looks in any case");
    let (_, list) = rig.get("?state=waiting").await;
    assert_eq!(list["data"], json!([]));
    let (_, detail) = rig.get(&format!("/{letter}")).await;
    let letter_now = &detail["letter"];
    assert_eq!(
        (&letter_now["state"], &letter_now["last_replay"]["by"]),
        (&json!("replayed"), &json!("operator"))
    );
    let (_, none) = rig.replay(json!({ "model": "m" })).await;
    assert_eq!(outcomes(&none), Vec::<&str>::new(), "a filter takes what waits");
    let (_, again) = rig.replay(json!({ "ids": [letter] })).await;
    assert_eq!(outcomes(&again), ["rung"], "an id takes it again");

    rig.give_up("DeadLetter", &ticket).await;
    let (_, list) = rig.get("?state=waiting").await;
    assert_eq!(list["data"][0]["replays"], 2, "it came back: {list}");

    let delete =
        || rig.handler.client.delete(format!("{}{DEAD}/{letter}", rig.handler.url)).bearer_auth(ADMIN);
    for _ in 0..2 {
        assert_eq!(json_of(delete()).await.0, 200, "deleting is repeated without harm");
    }
    assert_eq!(rig.get(&format!("/{letter}")).await.0, 404);
    let did: Vec<String> = rig.actions().await.into_iter().map(|action| action.action).collect();
    assert_eq!(did, ["letters_replayed", "letters_replayed", "letters_replayed", "letter_deleted"]);
}

#[tokio::test]
async fn what_cannot_be_replayed_says_why() {
    let rig = Rig::start().await;
    let (ended, of_ended) = rig.job().await;
    let counts = json!({ "completed": 1, "failed": 0, "unfinished": 0 });
    let end = json!({
        "v": 1, "status": "completed", "counts": counts, "chunks": [], "finished_ms": 2, "at_ms": 2,
        "cost_micro_usd": 1, "compute_ms": 1, "retries": 0,
    });
    rig.store().create(&JobKeys::new("dev", &ended).end(), end.to_string()).await.unwrap();
    let of = |tenant: &str, job: &str| json!({ "v": 1, "tenant": tenant, "job_id": job }).to_string();
    let nobody = JobId::random();
    let cases = [
        ("DeadLetter", of_ended, "job_ended"),
        ("DeadLetter", of("dev", nobody.as_str()), "no_such_job"),
        ("Dispatch", of("gone", nobody.as_str()), "unknown_tenant"),
        ("Dispatch", of("dev", "../x"), "not_a_ticket"),
        ("Dispatch", "look at this".to_owned(), "not_a_ticket"),
        ("DeadLetter", format!("{{\"v\":1{}", " ".repeat(9_000)), "not_a_ticket"),
    ];
    let mut ids = Vec::new();
    for (function, text, outcome) in &cases {
        let id = rig.give_up(function, text).await;
        let (status, detail) = rig.get(&format!("/{id}")).await;
        assert_eq!((status, &detail["replay"]), (200, &json!(outcome)), "{text:.60}: {detail}");
        assert!(detail["advice"].as_str().unwrap().len() > 20);
        ids.push(id);
    }
    ids.push("0".repeat(64));
    let (_, report) = rig.replay(json!({ "ids": ids })).await;
    let expected: Vec<&str> = cases.iter().map(|case| case.2).chain(["no_such_letter"]).collect();
    assert_eq!(outcomes(&report), expected);
    assert!(rig.rings().await.is_empty() && rig.store().list(key::DUE).await.unwrap().is_empty());
    // By what they have in common, page by page.
    let (_, first) = rig.replay(json!({ "until_unix_ms": 9_999_999_999_999_u64, "limit": 4 })).await;
    let (_, rest) = rig.replay(json!({ "since_unix_ms": 0, "limit": 4, "after": first["next"] })).await;
    assert_eq!((outcomes(&first).len(), outcomes(&rest).len(), &rest["next"]), (4, 2, &json!(null)));
}

#[tokio::test]
async fn wrong_questions_are_told_what_is_wrong() {
    let rig = Rig::start().await;
    let queries = [
        ("?reason=bored", "reason"),
        ("?model=", "model"),
        ("?tenant=", "tenant"),
        ("?since_unix_ms=yesterday", "since_unix_ms"),
        ("?until_unix_ms=99999999999999", "until_unix_ms"),
        ("?state=dead", "state"),
        ("?limit=0", "limit"),
        ("?limit=101", "limit"),
        ("?after=x", "after"),
    ];
    for (query, param) in queries {
        let (status, body) = rig.get(query).await;
        assert_eq!((status, &body["error"]["param"]), (400, &json!(param)), "{query}: {body}");
    }
    let id = "a".repeat(64);
    let wishes = [
        (json!({}), "nothing_selected"),
        (json!({ "dry_run": true, "limit": 5 }), "nothing_selected"),
        (json!({ "ids": [] }), "invalid_value"),
        (json!({ "ids": ["x"] }), "invalid_value"),
        (json!({ "ids": [id, id] }), "invalid_value"),
        (json!({ "ids": vec![id.clone(); 101] }), "invalid_value"),
        (json!({ "ids": [id], "model": "m" }), "contradictory_selection"),
        (json!({ "ids": [id], "limit": 1 }), "contradictory_selection"),
        (json!({ "ids": null, "model": "m" }), "invalid_replay"),
        (json!({ "models": "m" }), "invalid_replay"),
        (json!({ "model": "m", "limit": 0 }), "invalid_value"),
        (json!({ "model": "m", "limit": 101 }), "invalid_value"),
        (json!({ "model": "m", "limit": "1" }), "invalid_replay"),
        (json!({ "model": "" }), "invalid_value"),
        (json!({ "reason": "bored" }), "invalid_value"),
        (json!({ "model": "m", "after": "x" }), "invalid_cursor"),
        (json!([]), "invalid_replay"),
    ];
    for (wish, code) in wishes {
        let (status, body) = rig.replay(wish.clone()).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!(code)), "{wish}: {body}");
    }
    for path in ["/x", &format!("/{}", "A".repeat(64))] {
        assert!(rig.get(path).await.0 >= 400, "{path}");
    }
    assert!(rig.actions().await.is_empty(), "what is refused is no action");
}

#[tokio::test]
async fn every_action_is_written_down_with_who_and_what() {
    let rig = Rig::start().await;
    let handler = &rig.handler;
    let operate = |method: Method, path: &str, body: &str| {
        let url = format!("{}/api/operate/{path}", handler.url);
        handler.client.request(method, url).bearer_auth(ADMIN).body(body.to_owned())
    };
    for (method, path, body) in [
        (Method::PATCH, "knobs", r#"{"max-aca-replicas":7}"#),
        (Method::PATCH, "knobs", r#"{"max-aca-replicas":-1}"#),
        (Method::POST, "knobs/rollback", ""),
        (Method::POST, "knobs/refresh", ""),
    ] {
        json_of(operate(method, path, body)).await;
    }
    let (job, _) = rig.job().await;
    for (act, status) in [("cancel", 200), ("promote", 422)] {
        let asked = handler.post(&format!("/api/jobs/{job}/{act}"), KEY, "");
        assert_eq!(json_of(asked).await.0, status, "{act}");
    }
    let written = rig.actions().await;
    let told: Vec<(&str, &str, Option<&str>)> = (written.iter())
        .map(|action| (action.action.as_str(), action.actor.as_str(), action.tenant.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("knobs_changed", "key:operator", None),
            ("knobs_rolled_back", "key:operator", None),
            ("refreshed", "key:operator", None),
            ("job_cancelled", "key:tenantok", Some("dev")),
        ],
        "what was refused changed nothing"
    );
    assert_eq!((&written[0].before, &written[0].after), (&json!({}), &json!({ "max-aca-replicas": 7 })));
    assert_eq!((&written[1].before, &written[1].after), (&written[0].after, &written[0].before));
    assert_eq!(written[3].target, format!("dev/{job}"));
    assert!(written.iter().all(|action| action.request_id.is_some()));

    // Another catalogue is followed by itself, and by a refresh at once.
    let file = handler.stage.folder.join("blob/config/catalogue.json");
    let mut catalogue: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    catalogue["tenants"].as_array_mut().unwrap().pop();
    std::fs::write(&file, catalogue.to_string()).unwrap();
    json_of(operate(Method::POST, "knobs/refresh", "")).await;
    let written = rig.actions().await;
    let changed =
        written.iter().find(|action| action.action == "catalogue_changed").expect("it is written down");
    assert_eq!(
        (changed.actor.as_str(), &changed.before["tenants"], &changed.after["tenants"]),
        ("function:upkeep", &json!(2), &json!(1))
    );
}
