//! Autoscale over HTTP: what is asked, shown and refused, and a pool that follows its work on
//! scaled time.

use std::time::Duration;

use clock::Clock;
use local::azure_batch::Options;
use serde_json::{Value, json};

use super::client::{Stand, at_once, pool};

const PENDING: &str = "// one node a task\n$TargetLowPriorityNodes = min(3, max($PendingTasks.GetSample(1)));\n\
    $NodeDeallocationOption = taskcompletion;";

fn autoscaled(id: &str, formula: &str) -> Value {
    let mut pool = pool(id, 0);
    let members = pool.as_object_mut().expect("an object");
    members.remove("targetLowPriorityNodes");
    members.insert("enableAutoScale".to_owned(), json!(true));
    members.insert("autoScaleFormula".to_owned(), json!(formula));
    members.insert("autoScaleEvaluationInterval".to_owned(), json!("PT05M00S"));
    pool
}

#[tokio::test]
async fn a_pool_shows_its_formula_and_its_last_run() {
    let stand = Stand::start(at_once());
    stand.expect(201, "POST", "/pools", autoscaled("p", "$TargetDedicatedNodes=0;")).await;
    let shown = stand.get("/pools/p").await.json();
    assert_eq!(shown["enableAutoScale"], true);
    assert_eq!(shown["autoScaleFormula"], "$TargetDedicatedNodes=0;");
    assert_eq!(shown["autoScaleEvaluationInterval"], "PT5M");
    let run = &shown["autoScaleRun"];
    assert_eq!(run["results"], "$TargetDedicatedNodes=0;$NodeDeallocationOption=requeue");
    assert_eq!(run["timestamp"].as_str().expect("a time").len(), "2026-11-21T04:41:07.1230000Z".len());
    assert_eq!(run.get("error"), None);

    let formula = json!({"autoScaleFormula": "$x = $PendingTasks.GetSample(TimeInterval_Hour, 70);"});
    let told = stand.expect(200, "POST", "/pools/p/evaluateautoscale", formula).await.json();
    assert_eq!(told["error"]["code"], "InsufficientSampleData");
    assert_eq!(told["error"]["values"][0]["name"], "Message");
    let place = told["error"]["values"][0]["value"].as_str().expect("a text");
    assert!(place.starts_with("Line 1, Col "), "{place}");
    assert!(told["results"].as_str().expect("a text").contains("$NodeDeallocationOption=requeue"));
    assert_eq!(stand.get("/pools/p").await.json()["autoScaleFormula"], "$TargetDedicatedNodes=0;");

    assert_eq!(stand.call("POST", "/pools/p/disableautoscale", None, &[]).await.status, 200);
    let shown = stand.get("/pools/p").await.json();
    assert_eq!((&shown["enableAutoScale"], shown.get("autoScaleFormula")), (&json!(false), None));
    assert_eq!(shown.get("autoScaleRun"), None);
}

#[tokio::test]
async fn what_the_service_refuses_has_its_codes() {
    let stand = Stand::with_pool(0).await;
    let one = || json!({"autoScaleFormula": "$TargetDedicatedNodes=1;"});
    let refused = |target: &'static str, body: Value| {
        let stand = &stand;
        async move { stand.call("POST", target, Some(body), &[]).await.refusal() }
    };
    let not_on = (409, "OperationNotValidOnPool".to_owned());
    assert_eq!(refused("/pools/p/evaluateautoscale", one()).await, not_on);
    assert_eq!(refused("/pools/p/disableautoscale", json!({})).await, not_on);
    assert_eq!(refused("/pools/none/enableautoscale", one()).await, (404, "PoolNotFound".to_owned()));
    assert_eq!(refused("/pools/none/evaluateautoscale", one()).await, (404, "PoolNotFound".to_owned()));

    let wrong = json!({"autoScaleFormula": "$TargetDedicatedNodes = ;"});
    let answer = stand.call("POST", "/pools/p/enableautoscale", Some(wrong), &[]).await;
    assert_eq!(answer.refusal(), (400, "AutoScalingFormulaSyntaxError".to_owned()));
    let detail = answer.json()["values"][0]["value"].as_str().expect("a text").to_owned();
    assert!(detail.starts_with("Line 1, Col "), "{detail}");
    let mut targets = autoscaled("q", "$TargetDedicatedNodes=1;");
    targets["targetLowPriorityNodes"] = json!(2);
    assert_eq!(refused("/pools", targets).await, (400, "InvalidAutoScalingSettings".to_owned()));

    stand.expect(200, "POST", "/pools/p/enableautoscale", one()).await;
    assert_eq!(refused("/pools/p/resize", json!({"targetDedicatedNodes": 3})).await, not_on);
    let soon = (503, "TooManyEnableAutoScaleRequests".to_owned());
    assert_eq!(refused("/pools/p/enableautoscale", one()).await, soon);
    let stale =
        stand.call("POST", "/pools/p/enableautoscale", Some(one()), &[("if-match", "\"0x8D0\"")]).await;
    assert_eq!(stale.refusal(), (412, "ConditionNotMet".to_owned()));
}

#[tokio::test]
async fn versions_differ_in_the_word_that_the_newest_dropped() {
    let stand = Stand::with_pool(0).await;
    let resize = json!({"targetLowPriorityNodes": 0, "nodeDeallocationOption": "retaineddata"});
    let formula = json!({"autoScaleFormula": "$NodeDeallocationOption = retaineddata;"});
    for (version, resized, enabled) in [
        ("2026-10-01", 400, 400),
        ("2019-01-01.8.0", 400, 400),
        ("2024-02-01.19.0", 202, 200),
        ("2024-07-01.20.0", 202, 503),
        ("2025-06-01", 202, 503),
    ] {
        let target = format!("/pools/p/resize?api-version={version}");
        assert_eq!(stand.call("POST", &target, Some(resize.clone()), &[]).await.status, resized, "{version}");
        let target = format!("/pools/p/enableautoscale?api-version={version}");
        assert_eq!(
            stand.call("POST", &target, Some(formula.clone()), &[]).await.status,
            enabled,
            "{version}"
        );
        stand.call("POST", "/pools/p/disableautoscale", None, &[]).await;
    }
}

#[tokio::test]
async fn on_scaled_time_a_pool_follows_its_work_and_goes_back_to_nothing() {
    let clock = Clock::scaled(Clock::REAL.now_ms(), 1200.0).expect("twenty minutes a second");
    let options = Options { boot: Duration::from_secs(60), ..at_once() };
    let stand = Stand::start_on(options, clock);
    stand.expect(201, "POST", "/pools", autoscaled("p", PENDING)).await;
    stand.expect(201, "POST", "/jobs", json!({"id": "j", "poolInfo": {"poolId": "p"}})).await;
    for task in ["a", "b"] {
        stand.task(task, "/bin/sleep 1", json!({})).await;
    }
    stand.object_when("/pools/p", "targetLowPriorityNodes", 2).await;
    for task in ["a", "b"] {
        let done = stand.task_in(task, "completed").await;
        assert_eq!(done["executionInfo"]["requeueCount"], 0, "no shrink kills");
    }
    stand.object_when("/pools/p", "targetLowPriorityNodes", 0).await;
    stand.object_when("/pools/p", "currentLowPriorityNodes", 0).await;
    let run = &stand.get("/pools/p").await.json()["autoScaleRun"];
    assert_eq!(run["results"], "$TargetLowPriorityNodes=0;$NodeDeallocationOption=taskcompletion");
}
