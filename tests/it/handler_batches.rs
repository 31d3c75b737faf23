//! `/v1/batches` over real HTTP: a file becomes a job, is told as a batch at every point of its life,
//! and its results are files. Nothing runs the jobs here: their facts are written by the tests.

use facts::job::{ChunkSizes, Counts, End, Job, Status};
use facts::key::JobKeys;
use facts::{JobId, Store, line};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::handler_stage::*;

const BATCHES: &str = "/api/v1/batches";
const FILES: &str = "/api/v1/files";

/// A handler with a pool, whose Azure Batch does not answer.
pub(crate) fn start_with_pool() -> Handler {
    with_pool(catalogue(&[])).listen()
}

/// Its stage, with this catalogue, whose models the pool runs.
pub(crate) fn with_pool(mut catalogue: Value) -> Stage {
    let models: Vec<Value> =
        catalogue["models"].as_array().unwrap().iter().map(|m| m["id"].clone()).collect();
    catalogue["pools"] = json!([{
        "name": "pool", "region": "local", "models": models, "usd_per_node_hour": 0.5, "price_date": "2026-11-01",
        "max_nodes": 4, "slots_per_node": 1, "speed": { "base_ms": 1, "per_item_us": 100, "p95_percent": 150 },
        "boot_ms": { "p50": 600_000, "p95": 900_000 }, "worker": { "program": "worker", "folders": { "m": "/m" } },
    }]);
    let stage = Stage::new(&catalogue).with("BATCH_ENDPOINT", "http://127.0.0.1:9");
    stage.with("BATCH_ACCOUNT_NAME", "local").with("BATCH_ACCOUNT_KEY", "a2V5")
}

fn line_of(id: &str) -> String {
    json!({ "custom_id": id, "method": "POST", "url": "/v1/embeddings", "body": { "model": "m", "input": "x" } })
        .to_string()
}

fn lines(count: usize) -> String {
    (0..count).map(|n| line_of(&format!("c-{n}")) + "\n").collect()
}

async fn upload(handler: &Handler, content: &str) -> String {
    let form = format!(
        "--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
         --XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\r\n{content}\r\n--XX--\r\n"
    );
    let request = handler.client.post(format!("{}{FILES}", handler.url)).bearer_auth(KEY);
    let request = request.header("content-type", "multipart/form-data; boundary=XX").body(form);
    json_of(request).await.1["id"].as_str().unwrap().to_owned()
}

async fn json_of(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn create(handler: &Handler, file: &str, more: Value) -> reqwest::RequestBuilder {
    let mut body = json!({ "input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    handler.post(BATCHES, KEY, body.to_string())
}

async fn created(handler: &Handler, lines_count: usize) -> (String, String) {
    let file = upload(handler, &lines(lines_count)).await;
    let (status, batch) = json_of(create(handler, &file, json!({}))).await;
    assert_eq!(status, 200, "{batch}");
    (batch["id"].as_str().unwrap().to_owned(), file)
}

fn store(handler: &Handler) -> Store {
    Store::folder(&handler.stage.folder.join("blob")).unwrap()
}

async fn job_of(store: &Store, batch: &str) -> (Job, JobKeys) {
    let id = JobId::parse(batch.strip_prefix("batch_").unwrap()).unwrap();
    let keys = JobKeys::new("dev", &id);
    (serde_json::from_slice(&store.get(&keys.job()).await.unwrap().content).unwrap(), keys)
}

/// Runs a job as a worker and a sweep would leave it; every seventh line failed. The two files.
async fn run(store: &Store, job: &Job, keys: &JobKeys) -> (String, String) {
    let (mut output, mut errors, mut chunks) = (String::new(), String::new(), Vec::new());
    let body = RawValue::from_string("{}".to_owned()).unwrap();
    let mut counts = Counts::default();
    for (n, shard) in (0..).zip(&job.shards) {
        for c in 0..shard.chunks(job.chunk_lines) {
            let (mut content, mut sizes) = (String::new(), ChunkSizes::default());
            for number in shard.chunk_range(job.chunk_lines, c) {
                let status = if number % 7 == 6 { 400 } else { 200 };
                let text = line::result(number, &format!("c-{number}"), status, "", &body);
                let bytes = text.len() as u64;
                if status == 200 {
                    (sizes.output, counts.completed) = (sizes.output + bytes, counts.completed + 1);
                    output += &text;
                } else {
                    (sizes.errors, counts.failed) = (sizes.errors + bytes, counts.failed + 1);
                    errors += &text;
                }
                content += &text;
            }
            store.create(&keys.chunk(n, c), content).await.unwrap();
            chunks.push(sizes);
        }
    }
    let end = End {
        v: facts::VERSION,
        status: Status::Completed,
        counts,
        chunks,
        finished_ms: job.created_ms + 60_000,
        at_ms: job.created_ms + 61_000,
        cost_micro_usd: 1,
        compute_ms: 1,
        retries: 0,
        labels: job.cost_labels(),
        spent: Vec::new(),
    };
    store.create(&keys.end(), serde_json::to_string(&end).unwrap()).await.unwrap();
    (output, errors)
}

#[tokio::test]
async fn a_batch_lives_from_file_to_results() {
    let handler = start_with_pool();
    let file = upload(&handler, &lines(200)).await;
    let metadata = json!({ "team": "a", "deadline": "2h" });
    let answer = create(&handler, &file, json!({ "metadata": metadata })).send().await.unwrap();
    assert_eq!(answer.headers()["switchyard-lane"], "deferred");
    let batch: Value = answer.json().await.unwrap();
    let (id, created_at) = (batch["id"].as_str().unwrap(), batch["created_at"].as_u64().unwrap());
    assert_eq!((&batch["object"], &batch["status"]), (&json!("batch"), &json!("validating")));
    assert_eq!((&batch["input_file_id"], &batch["metadata"]), (&json!(file), &metadata));
    assert_eq!(batch["expires_at"].as_u64().unwrap() - created_at, 7_200);
    assert_eq!(batch["request_counts"], json!({ "total": 200, "completed": 0, "failed": 0 }));

    let path = format!("{BATCHES}/{id}");
    assert_eq!(json_of(handler.get(&path, KEY)).await, (200, batch.clone()));
    assert_eq!(json_of(handler.get(&path, READER)).await.0, 404, "another tenant's");
    let (_, list) = json_of(handler.get(&format!("{BATCHES}?limit=2"), KEY)).await;
    assert_eq!((&list["data"], &list["has_more"]), (&json!([batch]), &json!(false)));
    let delete = handler.client.delete(format!("{}{FILES}/{file}", handler.url)).bearer_auth(KEY);
    let (status, body) = json_of(delete.try_clone().unwrap()).await;
    assert_eq!((status, body["error"]["code"].as_str()), (409, Some("file_in_use")));

    let store = store(&handler);
    let (job, keys) = job_of(&store, id).await;
    assert_eq!(
        (job.lines(), job.shards.iter().map(|s| s.bytes).sum::<u64>()),
        (200, lines(200).len() as u64)
    );
    store.create(&keys.try_(0, 1), "{}").await.unwrap();
    assert_eq!(json_of(handler.get(&path, KEY)).await.1["status"], "in_progress");
    let files = run(&store, &job, &keys).await;
    let (_, done) = json_of(handler.get(&path, KEY)).await;
    assert_eq!(done["status"], "completed");
    assert_eq!(done["request_counts"], json!({ "total": 200, "completed": 172, "failed": 28 }));
    assert_eq!(done["completed_at"].as_u64(), Some(created_at + 61));
    for (name, wanted) in [("output_file_id", &files.0), ("error_file_id", &files.1)] {
        let path = format!("{FILES}/{}", done[name].as_str().unwrap());
        let (_, shown) = json_of(handler.get(&path, KEY)).await;
        assert_eq!(
            (shown["bytes"].as_u64(), &shown["purpose"]),
            (Some(wanted.len() as u64), &json!("batch_output"))
        );
        let content = handler.get(&format!("{path}/content"), KEY).send().await.unwrap();
        assert_eq!(content.headers()["content-length"], wanted.len().to_string());
        assert_eq!(&content.text().await.unwrap(), wanted, "{name}");
        let part = handler.get(&format!("{path}/content"), KEY).header("range", "bytes=100-299");
        assert_eq!(part.send().await.unwrap().text().await.unwrap(), wanted[100..300]);
        assert_eq!(json_of(handler.get(&format!("{path}/content"), READER)).await.0, 404);
    }
    assert_eq!(json_of(delete).await.0, 200, "the job has ended");
}

#[tokio::test]
async fn cancelling_is_asked_once_and_may_be_repeated() {
    let handler = start_with_pool();
    let (id, _) = created(&handler, 3).await;
    let cancel = |id: &str, key| handler.post(&format!("{BATCHES}/{id}/cancel"), key, "");
    assert_eq!(json_of(cancel(&id, READER)).await.0, 403);
    let (status, first) = json_of(cancel(&id, KEY)).await;
    assert_eq!((status, first["status"].as_str()), (200, Some("cancelling")));
    assert!(first["cancelling_at"].is_u64());
    assert_eq!(json_of(cancel(&id, KEY)).await, (200, first));
    let store = store(&handler);
    let (done, _) = created(&handler, 3).await;
    let (job, keys) = job_of(&store, &done).await;
    run(&store, &job, &keys).await;
    let (status, body) = json_of(cancel(&done, KEY)).await;
    assert_eq!((status, body["error"]["code"].as_str()), (409, Some("batch_ended")));
}

#[tokio::test]
async fn a_request_that_is_sent_again_makes_one_batch() {
    let handler = start_with_pool();
    let file = upload(&handler, &lines(3)).await;
    let keyed = |more| create(&handler, &file, more).header("idempotency-key", "k");
    let (_, first) = json_of(keyed(json!({}))).await;
    assert_eq!(json_of(keyed(json!({}))).await, (200, first.clone()));
    let (status, body) = json_of(keyed(json!({ "metadata": { "a": "b" } }))).await;
    assert_eq!((status, body["error"]["code"].as_str()), (409, Some("idempotency_conflict")));
    let (_, second) = json_of(create(&handler, &file, json!({}))).await;
    assert_ne!(second["id"], first["id"], "without a key it is another");
    let marked = create(&handler, &file, json!({})).header("x-stainless-retry-count", "1");
    let (_, again) = json_of(marked).await;
    assert!(again == first || again == second, "{again}");
}

/// Its key finds it although its deadline, an instant, has passed by now; without the key it is refused.
#[tokio::test]
async fn a_repeat_finds_its_batch_after_its_deadline() {
    let handler = start_with_pool();
    let file = upload(&handler, &lines(1)).await;
    let passed = json!({ "metadata": { "deadline": "2020-01-01T00:00:00Z" } });
    let (status, body) = json_of(create(&handler, &file, passed.clone())).await;
    assert_eq!((status, body["error"]["code"].as_str()), (400, Some("deadline_passed")));
    // As it was made in time: the same body under the same key.
    let (_, other) = json_of(create(&handler, &file, json!({}))).await;
    let store = store(&handler);
    let (mut job, _) = job_of(&store, other["id"].as_str().unwrap()).await;
    let body = create(&handler, &file, passed.clone()).build().unwrap();
    let body = body.body().unwrap().as_bytes().unwrap().to_vec();
    job.body_hash = facts::key::hex_sha256(&[b"batches\n", &body[..]].concat());
    job.job = JobId::of_key("dev", "batches", "late");
    let text = serde_json::to_string(&job).unwrap();
    store.create(&JobKeys::new("dev", &job.job).job(), text).await.unwrap();
    let keyed = |more| create(&handler, &file, more).header("idempotency-key", "late");
    let (status, found) = json_of(keyed(passed.clone())).await;
    assert_eq!((status, found["id"].as_str()), (200, Some(&*format!("batch_{}", job.job))), "{found}");
    let header = keyed(passed).header("switchyard-deadline", "2020-01-01T00:00:00Z");
    assert_eq!(json_of(header).await.1["id"], found["id"]);
    // What time does not make wrong was wrong then, too.
    let header = keyed(json!({})).header("switchyard-class", "urgent");
    assert_eq!(json_of(header).await.0, 400);
}

#[tokio::test]
async fn a_change_of_model_version_is_for_new_batches_alone() {
    let mut versions = catalogue(&[]);
    let first = &mut versions["models"][0];
    (first["aliases"], first["id"]) = (json!(["cur"]), json!("m"));
    let mut second = first.clone();
    (second["id"], second["version"], second["digest"]) = (json!("m2"), json!("v2.0"), json!("sha256:cd34"));
    versions["models"].as_array_mut().unwrap().push(second);
    let handler = with_pool(versions).listen();
    let file = upload(&handler, &lines(1).replace("\"m\"", "\"cur\"")).await;
    let made = async || {
        let (status, batch) = json_of(create(&handler, &file, json!({}))).await;
        assert_eq!(status, 200, "{batch}");
        let (job, _) = job_of(&store(&handler), batch["id"].as_str().unwrap()).await;
        (batch["id"].as_str().unwrap().to_owned(), job.model, job.digest)
    };
    let (before, model, digest) = made().await;
    assert_eq!((model.as_str(), digest.as_deref()), ("m", Some("sha256:ab12")));
    handler.set_knobs(r#"{"model-version":"v2.0"}"#);
    let refreshed = handler.post("/api/operate/knobs/refresh", ADMIN, "").send().await.unwrap();
    assert_eq!(refreshed.status(), 200);
    let (_, model, digest) = made().await;
    assert_eq!((model.as_str(), digest.as_deref()), ("m2", Some("sha256:cd34")));
    let (job, _) = job_of(&store(&handler), &before).await;
    assert_eq!((job.model.as_str(), job.digest.as_deref()), ("m", Some("sha256:ab12")));
    assert_eq!(json_of(handler.get(&format!("{BATCHES}/{before}"), KEY)).await.1["model"], "m");
}

/// Batches are listed by themselves: as many single requests as one likes lie beside them.
#[tokio::test]
async fn a_list_reads_batches_alone_and_cost_labels_outlive_them() {
    let handler = start_with_pool();
    let body = r#"{"model":"m","input":"x"}"#;
    let single = handler.post("/api/v1/embeddings", KEY, body).header("switchyard-lane", "deferred");
    assert_eq!(single.send().await.unwrap().status(), 202);
    let file = upload(&handler, &lines(2)).await;
    let metadata = json!({ "team": "a", "cost-center": "7", "note": "private" });
    let output = json!({ "anchor": "created_at", "seconds": 3_600 });
    let more = json!({ "metadata": metadata, "output_expires_after": output });
    let (_, batch) = json_of(create(&handler, &file, more)).await;
    let id = batch["id"].as_str().unwrap();
    let store = store(&handler);
    let listed = store.list(&facts::key::batches_of("dev")).await.unwrap();
    assert_eq!(
        (listed.len(), json_of(handler.get(BATCHES, KEY)).await.1["data"][0]["id"].as_str()),
        (1, Some(id))
    );
    let (job, keys) = job_of(&store, id).await;
    let labels: Vec<_> = job.cost_labels().into_keys().collect();
    assert_eq!(labels, ["cost-center", "team"], "nothing else of the client's own");
    // It ended long ago: what it brought has expired, the batch itself has not.
    run(&store, &job, &keys).await;
    let (_, done) = json_of(handler.get(&format!("{BATCHES}/{id}"), KEY)).await;
    let file = format!("{FILES}/{}", done["output_file_id"].as_str().unwrap());
    let (_, shown) = json_of(handler.get(&file, KEY)).await;
    assert_eq!(shown["expires_at"].as_u64().unwrap(), shown["created_at"].as_u64().unwrap() + 3_600);
}

#[tokio::test]
async fn a_broken_input_is_a_failed_batch_that_names_its_lines() {
    let handler = start_with_pool();
    let file = upload(&handler, &format!("{}nonsense\n{}\n", lines(2), line_of("c-0"))).await;
    let (status, batch) = json_of(create(&handler, &file, json!({ "metadata": { "a": "b" } }))).await;
    assert_eq!((status, batch["status"].as_str()), (200, Some("failed")));
    let errors = batch["errors"]["data"].as_array().unwrap();
    let found: Vec<_> = errors.iter().map(|e| (e["line"].as_u64(), e["code"].as_str())).collect();
    assert_eq!(found, [(Some(3), Some("invalid_json_line")), (Some(4), Some("duplicate_custom_id"))]);
    let id = batch["id"].as_str().unwrap();
    let (_, again) = json_of(handler.get(&format!("{BATCHES}/{id}"), KEY)).await;
    assert_eq!(again["errors"], batch["errors"]);
    assert_eq!(json_of(handler.get(&format!("{BATCHES}/{id}"), READER)).await.0, 404);
    assert_eq!(json_of(handler.get(BATCHES, KEY)).await.1["data"], json!([]));
}

#[tokio::test]
async fn bad_input_is_refused_by_name() {
    let handler = start_with_pool();
    let file = upload(&handler, &lines(1)).await;
    let unknown = upload(&handler, &lines(1).replace("\"m\"", "\"gpt-9\"")).await;
    let cases = [
        (&file, json!({ "endpoint": "/v1/completions" }), 400, "endpoint"),
        (&file, json!({ "completion_window": "1h" }), 400, "completion_window"),
        (&file, json!({ "metadata": { "deadline": "1m" } }), 422, "Switchyard-Deadline"),
        (&file, json!({ "input_file_id": "file-aaaaaaaaaaaaaaaaaaaaaaaaaa" }), 404, "input_file_id"),
        (&file, json!({ "input_file_id": "../../x" }), 404, "input_file_id"),
        (&file, json!({ "color": "red" }), 400, "color"),
        (&unknown, json!({}), 404, "model"),
    ];
    for (file, more, wanted, param) in cases {
        let (status, body) = json_of(create(&handler, file, more.clone())).await;
        assert_eq!((status, body["error"]["param"].as_str()), (wanted, Some(param)), "{more}: {body}");
    }
    let theirs = json!({ "input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h" });
    assert_eq!(json_of(handler.post(BATCHES, READER, theirs.to_string())).await.0, 403);
    for (query, param) in [("limit=0", "limit"), ("limit=101", "limit"), ("after=x", "after")] {
        let (status, body) = json_of(handler.get(&format!("{BATCHES}?{query}"), KEY)).await;
        assert_eq!((status, body["error"]["param"].as_str()), (400, Some(param)));
    }
    for id in ["x", "batch_", "batch_x", "batch_aaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        assert_eq!(json_of(handler.get(&format!("{BATCHES}/{id}"), KEY)).await.0, 404, "{id}");
        assert_eq!(json_of(handler.post(&format!("{BATCHES}/{id}/cancel"), KEY, "")).await.0, 404, "{id}");
    }
    assert_eq!(json_of(handler.get(BATCHES, KEY)).await.1["data"], json!([]), "nothing was made");
}

#[tokio::test]
async fn lists_are_paged_the_newest_first() {
    let handler = start_with_pool();
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(created(&handler, 1).await.0);
    }
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let (_, page) = json_of(handler.get(&format!("{BATCHES}?{query}"), KEY)).await;
        let data = page["data"].as_array().unwrap();
        seen.extend(data.iter().map(|batch| batch["id"].as_str().unwrap().to_owned()));
        if page["has_more"] == false {
            break;
        }
        query = format!("limit=2&after={}", page["last_id"].as_str().unwrap());
    }
    made.reverse();
    assert_eq!(seen, made);
}

/// What batches brought stands in the list of files, and one that is deleted is gone for good.
#[tokio::test]
async fn results_are_files_that_are_listed_and_deleted() {
    let handler = start_with_pool();
    let store = store(&handler);
    let mut made = Vec::new();
    for n in 0..3 {
        let (batch, input) = created(&handler, 200).await;
        let (job, keys) = job_of(&store, &batch).await;
        // The last one has not ended, so it brought nothing yet.
        if n < 2 {
            run(&store, &job, &keys).await;
        }
        made.push((input, job.job.to_string()));
    }
    let ids = async |query: &str| {
        let (status, page) = json_of(handler.get(&format!("{FILES}?{query}"), KEY)).await;
        assert_eq!(status, 200, "{query}: {page}");
        let ids = page["data"].as_array().unwrap().iter().map(|file| file["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), page["has_more"].as_bool().unwrap())
    };
    let of = |kind: &str, n: usize| format!("file-{kind}-{}", made[n].1);
    let results = [of("out", 1), of("err", 1), of("out", 0), of("err", 0)];
    assert_eq!(ids("purpose=batch_output").await, (results.to_vec(), false));
    let mut oldest_first = results.to_vec();
    oldest_first.reverse();
    assert_eq!(ids("purpose=batch_output&order=asc").await.0, oldest_first);
    let (uploads, _) = ids("purpose=batch").await;
    assert_eq!(uploads, [2, 1, 0].map(|n| made[n].0.clone()));
    assert!(ids("purpose=fine-tune").await.0.is_empty());
    let (all, _) = ids("").await;
    let mut sorted = [&results[..], &uploads[..]].concat();
    sorted.sort();
    let mut found = all.clone();
    found.sort();
    assert_eq!(found, sorted, "each once");
    for query in ["limit=2.0", "limit=3&order=asc", "limit=1&purpose=batch_output"] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let (page, has_more) = ids(&format!("{query}{after}")).await;
            seen.extend(page);
            if !has_more {
                break;
            }
            after = format!("&after={}", seen.last().unwrap());
        }
        let mut whole = ids(&query.replace("limit", "x")).await.0;
        assert_eq!(seen, whole, "{query}");
        whole.dedup();
        assert_eq!(seen.len(), whole.len());
    }
    assert!(ids_of(&handler, READER).await.is_empty(), "another tenant's");

    let (status, body) = json_of(create(&handler, &results[0], json!({}))).await;
    let told = (&body["error"]["code"], &body["error"]["param"]);
    assert_eq!((status, told), (400, (&json!("invalid_purpose"), &json!("input_file_id"))), "{body}");
    let nobodys = format!("file-out-{}", JobId::random());
    assert_eq!(json_of(create(&handler, &nobodys, json!({}))).await.0, 404);

    let path = format!("{FILES}/{}", results[0]);
    let delete = |path: &str, key| handler.client.delete(format!("{}{path}", handler.url)).bearer_auth(key);
    assert_eq!(json_of(delete(&path, READER)).await.0, 403);
    assert_eq!(json_of(delete(&format!("{FILES}/{nobodys}"), KEY)).await.0, 404);
    assert_eq!(json_of(delete(&format!("{FILES}/{}", of("out", 2)), KEY)).await.0, 404, "not there yet");
    for _ in 0..2 {
        let (status, deleted) = json_of(delete(&path, KEY)).await;
        assert_eq!((status, deleted), (200, json!({ "id": results[0], "object": "file", "deleted": true })));
    }
    assert_eq!(json_of(handler.get(&path, KEY)).await.0, 404);
    assert_eq!(json_of(handler.get(&format!("{path}/content"), KEY)).await.0, 404);
    assert_eq!(json_of(handler.get(&format!("/api/jobs/{}/result", made[1].1), KEY)).await.0, 410);
    assert_eq!(ids("purpose=batch_output").await.0, results[1..]);
    // It is a cursor still, for a client that deletes what it lists.
    let (rest, _) = ids(&format!("purpose=batch_output&after={}", results[0])).await;
    assert_eq!(rest, results[1..]);
    let (_, batch) = json_of(handler.get(&format!("{BATCHES}/batch_{}", made[1].1), KEY)).await;
    assert_eq!(batch["output_file_id"], results[0].as_str(), "the batch stays as it was");
}

async fn ids_of(handler: &Handler, key: &str) -> Vec<Value> {
    json_of(handler.get(FILES, key)).await.1["data"].as_array().unwrap().clone()
}
