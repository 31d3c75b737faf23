//! Pages, versions, bounds and refusals.

use local::azure_batch::Options;
use serde_json::{Value, json};

use super::client::{Stand, VERSION, at_once, pool};

fn tasks(numbers: std::ops::Range<usize>) -> Value {
    json!({"value": numbers.map(|n| json!({"id": format!("t{n:03}"), "commandLine": "/bin/true"})).collect::<Vec<_>>()})
}

#[tokio::test]
async fn pages_are_followed_by_their_links() {
    let stand = Stand::with_pool(0).await;
    for begin in [0, 100, 200] {
        stand.expect(200, "POST", "/jobs/j/addtaskcollection", tasks(begin..begin + 100)).await;
    }
    let mut target = "/jobs/j/tasks?maxresults=120&$select=id,state&$filter=state%20eq%20'active'".to_owned();
    let (mut ids, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let page = stand.get(&target).await.json();
        let items = page["value"].as_array().expect("a list").clone();
        sizes.push(items.len());
        for item in items {
            assert_eq!(item.as_object().expect("an object").len(), 2, "{item}");
            ids.push(item["id"].as_str().expect("an id").to_owned());
        }
        match page.get("odata.nextLink") {
            Some(next) => target = next.as_str().expect("an address").to_owned(),
            None => break,
        }
    }
    assert_eq!(sizes, [120, 120, 60]);
    assert_eq!(ids, (0..300).map(|n| format!("t{n:03}")).collect::<Vec<_>>());
    let counts = stand.get("/jobs/j/taskcounts").await.json();
    assert_eq!(
        (&counts["taskCounts"]["active"], &counts["taskSlotCounts"]["active"]),
        (&json!(300), &json!(300))
    );
}

#[tokio::test]
async fn a_collection_has_a_status_for_each_task() {
    let stand = Stand::with_pool(0).await;
    stand.task("old", "/bin/true", json!({})).await;
    let mixed = json!({"value": [
        {"id": "new", "commandLine": "/bin/true"},
        {"id": "old", "commandLine": "/bin/true"},
        {"id": "bad id", "commandLine": "/bin/true"},
        {"id": "mute"},
    ]});
    let answer = stand.expect(200, "POST", "/jobs/j/addtaskcollection", mixed).await.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = answer["value"].as_array().expect("a list");
    let told: Vec<[String; 3]> = items
        .iter()
        .map(|item| [text(&item["taskId"]), text(&item["status"]), text(&item["error"]["code"])])
        .collect();
    assert_eq!(
        told,
        [
            ["new", "success", ""],
            ["old", "clienterror", "TaskExists"],
            ["bad id", "clienterror", "InvalidPropertyValue"],
            ["mute", "clienterror", "MissingRequiredProperty"],
        ]
    );
    assert!(answer["value"][0]["location"].as_str().unwrap().ends_with("/jobs/j/tasks/new"));
}

#[tokio::test]
async fn versions_are_compared_on_reads_and_on_changes() {
    let stand = Stand::with_pool(0).await;
    let answer = stand.get("/jobs/j").await;
    let etag = answer.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(etag.trim_matches('"'), answer.json()["eTag"].as_str().unwrap());
    let read = |name: &'static str, value: String| {
        let stand = &stand;
        async move { stand.call("GET", "/jobs/j", None, &[(name, value.as_str())]).await.status }
    };
    assert_eq!(read("if-none-match", etag.clone()).await, 304);
    assert_eq!(read("if-none-match", "\"other\"".to_owned()).await, 200);
    assert_eq!(read("if-match", etag.clone()).await, 200);
    assert_eq!(read("if-modified-since", "Fri, 31 Dec 9999 23:59:59 GMT".to_owned()).await, 304);
    assert_eq!(read("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT".to_owned()).await, 412);

    let change = |value: &str| {
        let (stand, value) = (&stand, value.to_owned());
        async move { stand.call("PATCH", "/jobs/j", Some(json!({"priority": 5})), &[("if-match", &value)]).await }
    };
    assert_eq!(change(&etag).await.status, 200);
    assert_eq!(change(&etag).await.refusal(), (412, "ConditionNotMet".to_owned()));
    assert_eq!(change("*").await.status, 200);
}

#[tokio::test]
async fn only_those_with_the_key_come_in() {
    let stand = Stand::with_pool(0).await;
    let target = format!("/jobs/j?{VERSION}");
    let header = |value: &str| {
        vec![
            ("ocp-date".to_owned(), "Sat, 21 Nov 2026 04:41:07 GMT".to_owned()),
            ("authorization".to_owned(), value.to_owned()),
        ]
    };
    for wrong in ["", "SharedKey devbatch:aGk=", "SharedKey other:aGk=", "Bearer token"] {
        let answer = stand.send("GET", &target, String::new(), &header(wrong)).await;
        assert_eq!(answer.refusal(), (403, "AuthenticationFailed".to_owned()), "{wrong}");
    }
    // Whoever may not come in is not told what there is.
    let nothing = stand.send("GET", &format!("/jobs/none?{VERSION}"), String::new(), &[]).await;
    assert_eq!(nothing.status, 403);
}

#[tokio::test]
async fn refusals_have_the_services_codes() {
    let stand = Stand::with_pool(0).await;
    let cases = [
        ("GET", "/jobs/j?api-version=2019-01-01.8.0", None, 400, "UnsupportedRequestVersion"),
        ("GET", "/jobs/none", None, 404, "JobNotFound"),
        ("GET", "/pools/none", None, 404, "PoolNotFound"),
        ("GET", "/pools/p/nodes/none", None, 404, "NodeNotFound"),
        ("GET", "/jobs/j/tasks/none", None, 404, "TaskNotFound"),
        ("GET", "/jobs?maxresults=0", None, 400, "InvalidQueryParameterValue"),
        ("GET", "/jobschedules", None, 501, "NotImplemented"),
        ("POST", "/pools", Some(pool("P", 0)), 409, "PoolExists"),
        ("POST", "/pools", Some(json!({"id": "q"})), 400, "MissingRequiredProperty"),
        ("POST", "/jobs", Some(json!({"id": "j", "poolInfo": {"poolId": "p"}})), 409, "JobExists"),
        (
            "POST",
            "/jobs",
            Some(json!({"id": "k", "poolInfo": {"poolId": "p"}, "priority": 1001})),
            400,
            "OutOfRangeInput",
        ),
        ("POST", "/jobs", Some(json!([])), 400, "InvalidRequestBody"),
        ("POST", "/jobs/j/addtaskcollection", Some(tasks(0..101)), 400, "OutOfRangeInput"),
        ("POST", "/pools/p/resize", Some(json!({})), 400, "MissingRequiredProperty"),
        ("POST", "/pools/p/resize", Some(json!({"targetLowPriorityNodes": 101})), 400, "OutOfRangeInput"),
        (
            "POST",
            "/pools/p/evaluateautoscale",
            Some(json!({"autoScaleFormula": "$x=1"})),
            409,
            "OperationNotValidOnPool",
        ),
        ("POST", "/jobs/j/enable", None, 409, "OperationInvalidForCurrentState"),
    ];
    for (method, target, body, status, code) in cases {
        let answer = stand.call(method, target, body, &[]).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{method} {target}");
    }
}

#[tokio::test]
async fn everything_that_grows_has_a_bound() {
    let stand = Stand::with_pool(0).await;
    let large = json!({"id": "large", "commandLine": "x".repeat(1024 * 1024)});
    let answer = stand.call("POST", "/jobs/j/tasks", Some(large), &[]).await;
    assert_eq!(answer.refusal(), (413, "RequestBodyTooLarge".to_owned()));
    for number in 1..100 {
        stand.expect(201, "POST", "/pools", pool(&format!("p{number}"), 0)).await;
    }
    let one_more = stand.call("POST", "/pools", Some(pool("last", 0)), &[]).await;
    assert_eq!(one_more.refusal(), (409, "PoolQuotaReached".to_owned()));
    for number in 1..300 {
        let job = json!({"id": format!("j{number}"), "poolInfo": {"poolId": "p"}});
        stand.expect(201, "POST", "/jobs", job).await;
    }
    let last = json!({"id": "last", "poolInfo": {"poolId": "p"}});
    let one_more = stand.call("POST", "/jobs", Some(last.clone()), &[]).await;
    assert_eq!(one_more.refusal(), (409, "ActiveJobAndScheduleQuotaReached".to_owned()));
    // Completed jobs do not count.
    assert_eq!(stand.call("POST", "/jobs/j1/terminate", None, &[]).await.status, 202);
    stand.expect(201, "POST", "/jobs", last).await;
}

#[tokio::test]
async fn a_bad_pool_of_the_options_is_told_at_once() {
    let options = Options { pools: vec![json!({"id": "p", "vmsize": "s"})], ..at_once() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error =
        local::azure_batch::Server::start(listener, options, clock::Clock::REAL).err().expect("it must fail");
    assert!(error.to_string().contains("vmsize"), "{error}");
}
