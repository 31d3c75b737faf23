//! The ledger of money over real HTTP: what requests and jobs came to is told by `/api/status/cost`.

use std::time::Duration;

use facts::key;
use facts::ledger::Entry;
use serde_json::{Value, json};

use crate::deferred::rig::{FAST, POOL, Rig, TENANT};
use crate::handler_stage::*;

async fn report(handler: &Handler, by: &str) -> Value {
    let answer = handler.get(&format!("/api/status/cost?by={by}"), ADMIN).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

fn sum(report: &Value, part: &str) -> u64 {
    let rows = report["groups"].as_array().unwrap().iter().chain(report["unused"].as_array().unwrap());
    rows.map(|row| row[part].as_u64().or(row["micro_usd"].as_u64()).unwrap()).sum()
}

#[tokio::test]
async fn requests_are_in_the_report_within_a_minute_and_at_the_end_of_the_process() {
    let upstream = Upstream::start([]).await;
    let mut written = catalogue(&[backend("aca", &upstream.url)]);
    written["tenants"][0]["labels"] = json!({ "team": "search" });
    // A minute of the ledger is a fifth of a second.
    let mut stage = Stage::new(&written);
    for (name, value) in
        clock::Clock::scaled(clock::Clock::REAL.now_ms(), 300.0).unwrap().settings().into_iter().flatten()
    {
        stage = stage.with(name, value);
    }
    let mut handler = stage.listen();
    for _ in 0..3 {
        assert_eq!(handler.embed().send().await.unwrap().status(), 200);
    }
    until("the requests are in the report", async || {
        report(&handler, "team").await["groups"][0]["requests"] == 3
    })
    .await;
    let told = report(&handler, "team").await;
    assert_eq!(told["groups"][0]["name"], "search");
    assert!(told["total_micro_usd"].is_u64() && told["groups"][0]["items"] == 3, "{told}");
    assert_eq!(sum(&told, "total_micro_usd"), told["total_micro_usd"]);
    assert_eq!(report(&handler, "tenant").await["groups"][0]["name"], TENANT);

    assert_eq!(handler.embed().send().await.unwrap().status(), 200);
    crate::handler_life::terminate(&handler.child);
    handler.child.wait().unwrap();
    let store = facts::Store::folder(&handler.stage.folder.join("blob")).unwrap();
    let mut requests = 0;
    for found in store.list(key::LEDGER).await.unwrap() {
        let entry: Entry = serde_json::from_slice(&store.get(&found.key).await.unwrap().content).unwrap();
        requests += entry.used.iter().map(|row| row.amount.requests).sum::<u64>();
    }
    assert_eq!(requests, 4, "a process that is asked to end loses none");
}

#[tokio::test]
async fn a_job_and_its_nodes_are_in_the_report_and_add_up() {
    let rig = Rig::start(FAST).await;
    let job = rig.job(Duration::from_secs(10 * 24 * 3_600)).await;
    let app = rig.process().await;
    let end = rig.recover_by(&app, &job.job).await;
    rig.assert_complete(&job, &end).await;
    assert!(
        end.cost_micro_usd > 0
            && end.spent.iter().map(|part| part.micro_usd).sum::<u64>() == end.cost_micro_usd
    );
    // The same sweep twice in a minute, and two processes at once, see it once.
    let other = rig.process().await;
    tokio::join!(rig.sweep(&app), rig.sweep(&other));
    let minutes = rig.keys().await.into_iter().filter(|key| key.contains("/minute-")).count();
    assert!(minutes > 0);

    let mut stage = Stage { folder: rig.folder.clone(), env: Vec::new() };
    for (name, value) in rig.clock.settings().into_iter().flatten() {
        stage = stage.with(name, value);
    }
    let handler = stage.listen();
    let ended = jiff::Timestamp::from_millisecond(end.at_ms.cast_signed()).unwrap();
    let told = report(&handler, &format!("job&month={}", ended.strftime("%Y-%m"))).await;
    assert_eq!(told["groups"][0]["name"], job.job.as_str(), "{told}");
    assert!(told["groups"][0]["total_micro_usd"].as_u64().unwrap() > 0, "{told}");
    assert_eq!(sum(&told, "total_micro_usd"), told["total_micro_usd"]);
    let seen = told["prices"].as_array().unwrap().iter().any(|price| {
        (price["place"].as_str(), price["machine"].as_str()) == (Some(POOL), Some("spot"))
            && price["micro_usd_per_hour"] == 100_000
    });
    assert!(seen, "{told}");
    let notes = told["notes"].to_string();
    assert!(notes.contains("no backend would have served 1 jobs"), "the job has no estimate there: {notes}");

    let shown: Value =
        handler.get(&format!("/api/jobs/{}", job.job), KEY).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown["cost"]["parts"][0]["what"], "useful", "{shown}");
}

#[tokio::test]
async fn a_leap_of_a_price_waits_until_it_is_confirmed_also_in_a_process_that_begins() {
    let upstream = Upstream::start([]).await;
    let price = |usd: f64, date: &str, more: Value| {
        let mut backend = backend("aca", &upstream.url);
        (backend["usd_per_replica_hour"], backend["price_date"]) = (json!(usd), json!(date));
        backend["confirm_price"] = more;
        catalogue(&[backend])
    };
    let handler = Stage::new(&price(1.0, "2026-11-01", Value::Null)).listen();
    assert_eq!(handler.embed().send().await.unwrap().status(), 200);
    let folder = handler.stage.folder.clone();
    let file = folder.join("blob/config/catalogue.json");
    let kept = || -> Value {
        let text = std::fs::read(folder.join("blob/state/prices.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    };
    let in_force = async |usd: f64, at_risk: bool| {
        let began = Stage { folder: folder.clone(), env: Vec::new() }.listen();
        let status: Value = began.get("/api/status", ADMIN).send().await.unwrap().json().await.unwrap();
        assert_eq!(status["backends"][0]["usd_per_replica_hour"].as_f64(), Some(usd), "{status}");
        let told = status["lines"][1].as_str().unwrap().contains("confirm_price");
        assert_eq!(told, at_risk, "{status}");
        // It is kept beside the first answers.
        until("the price in force is kept", async || {
            kept()["backends"]["aca"]["micro_usd_per_hour"].as_f64() == Some(usd * 1e6)
        })
        .await;
        // Its folder is that of the others.
        let mut began = std::mem::ManuallyDrop::new(began);
        began.child.kill().unwrap();
        began.child.wait().unwrap();
    };
    std::fs::write(&file, price(3.5, "2026-11-20", Value::Null).to_string()).unwrap();
    in_force(1.0, true).await;
    std::fs::write(&file, price(3.5, "2026-11-20", json!("2026-11-20")).to_string()).unwrap();
    in_force(3.5, false).await;
}
