//! `handler --doctor --json` on broken setups, each built of stand-ins over real HTTP: what is wrong is named,
//! with one remedy, and hides nothing else. The stand-ins need a thread of their own: the handler asks them
//! while the test waits for it.

use std::net::TcpListener;

use clock::Clock;
use handler::doctor::check::Check;
use local::azure_batch;
use local::queue::Server;
use local::queue::client::Account;
use local::vault::Script;
use serde_json::{Value, json};
use wire::doctor::{Finding, Outcome, Report};

use crate::handler_stage::*;
use crate::identity::{platform, stage as stage_of_vault, vault};

const QUEUE: &str = "batch-inference-queue";
const POISON: &str = "batch-inference-queue-poison";

fn port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("loopback has a free port")
}

/// Runs doctor on a stage; nothing that it says may hold a secret.
async fn examine(stage: Stage, further: &[&str]) -> Report {
    let mut command = stage.command();
    command.args(["--doctor", "--json"]).args(further);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    for secret in ["s3cret", "czNjcmV0", crate::identity::TOKEN] {
        assert!(!out.contains(secret) && !err.contains(secret), "{out}{err}");
    }
    let report: Report = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let told: Vec<Finding> = err.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(told, report.findings, "each is told as it is found, in the same order");
    assert_eq!(output.status.code(), Some(i32::from(report.exit_code())));
    let known: Vec<&str> = Check::ALL.iter().map(|check| check.name()).collect();
    for finding in &report.findings {
        assert!(known.contains(&finding.check.as_str()), "{finding:?}");
        let is_wrong = matches!(finding.outcome, Outcome::Broken | Outcome::Warning);
        assert_eq!(finding.remedy.is_some(), is_wrong, "one remedy each: {finding:?}");
    }
    let state = std::fs::read_dir(stage.folder.join("blob/state")).into_iter().flatten();
    let left: Vec<_> = state.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "what it wrote is gone: {left:?}");
    let _ = std::fs::remove_dir_all(&stage.folder);
    report
}

fn said<'a>(report: &'a Report, check: &str) -> &'a Finding {
    let mut found = report.findings.iter().filter(|finding| finding.check == check);
    found.next().unwrap_or_else(|| panic!("nothing of {check}: {report:#?}"))
}

/// That a check has this outcome and says these words, found and remedy together.
fn assert_said(report: &Report, check: &str, outcome: Outcome, words: &[&str]) {
    let finding = said(report, check);
    let text = format!("{} → {}", finding.found, finding.remedy.as_deref().unwrap_or_default());
    assert_eq!(finding.outcome, outcome, "{check}: {text}");
    for word in words {
        assert!(text.contains(word), "{check}: {word} in {text}");
    }
}

async fn queues(names: &[&str]) -> Server {
    let server = Server::start(port(), Clock::REAL).expect("the stand-in starts");
    let account = Account::parse(&server.connection_string()).unwrap();
    for name in names {
        account.queue(name).create().await.unwrap();
    }
    server
}

/// An account with one pool, `pool`, of these members.
fn batch(members: Value) -> azure_batch::Server {
    let folder = std::env::temp_dir().join(format!("switchyard-doctor-{:08x}", getrandom::u32().unwrap()));
    let mut pool = json!({
        "id": "pool", "vmSize": "STANDARD_NC4AS_T4_V3", "taskSlotsPerNode": 1,
        "virtualMachineConfiguration": {
            "imageReference": { "publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": "2404" },
            "nodeAgentSKUId": "batch.node.ubuntu 24.04",
        },
    });
    pool.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let options = azure_batch::Options { pools: vec![pool], ..azure_batch::Options::new(folder) };
    azure_batch::Server::start(port(), options, Clock::REAL).expect("the stand-in starts")
}

fn with_batch(stage: Stage, batch: &azure_batch::Server) -> Stage {
    let stage = stage.with("BATCH_ENDPOINT", batch.url()).with("BATCH_ACCOUNT_NAME", batch.account());
    stage.with("BATCH_ACCOUNT_KEY", batch.key())
}

/// The usual catalogue with a pool that runs `m`.
fn with_pool(backends: &[Value]) -> Value {
    let mut catalogue = catalogue(backends);
    catalogue["pools"] = json!([{
        "name": "pool", "region": "local", "models": ["m"], "usd_per_node_hour": 0.2, "price_date": "2026-11-01",
        "max_nodes": 2, "slots_per_node": 1, "speed": { "base_ms": 1, "p95_percent": 150 },
        "boot_ms": { "p50": 1, "p95": 1 }, "worker": { "program": "worker", "folders": { "m": "/m" } },
    }]);
    catalogue
}

fn models(ids: &[&str], digest: &str) -> Step {
    let data: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
    let headers = vec![("switchyard-model", format!("m@{digest}"))];
    Step::Answer(200, headers, json!({ "object": "list", "data": data }).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_setup_is_ok_and_what_it_writes_is_gone() {
    let (queues, batch) = (queues(&[QUEUE, POISON]).await, batch(json!({ "targetLowPriorityNodes": 1 })));
    let upstream = Upstream::start([models(&["m", "chat"], "sha256:ab12")]).await;
    let telemetry = local::telemetry::Receiver::start(port()).unwrap();
    let stage = Stage::new(&with_pool(&[backend("one", &upstream.url)]))
        .with("AzureWebJobsStorage", queues.connection_string())
        .with("APPLICATIONINSIGHTS_CONNECTION_STRING", telemetry.connection_string())
        .with("LOG_ANALYTICS_WORKSPACE_ID", "01234567-89ab-cdef-0123-456789abcdef");
    let report = examine(with_batch(stage, &batch), &[]).await;
    let wrong: Vec<_> =
        report.findings.iter().filter(|finding| finding.outcome > Outcome::NotChecked).collect();
    assert!(wrong.is_empty() && report.exit_code() == 0, "{wrong:#?}");
    for check in [
        "settings",
        "clock",
        "knobs",
        "blob",
        "catalogue",
        "queue",
        "poison-queue",
        "batch",
        "pool",
        "resize",
        "autoscale",
        "machine",
        "backend",
        "parity",
        "telemetry",
    ] {
        assert_eq!(said(&report, check).outcome, Outcome::Ok, "{:?}", said(&report, check));
    }
    assert_said(&report, "blob", Outcome::Ok, &["wrote and deleted state/doctor-"]);
    assert_said(&report, "telemetry", Outcome::Ok, &["workspace 01234567-89ab-cdef-0123-456789abcdef"]);
    assert_eq!(telemetry.counts().envelopes, 0, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_and_a_missing_queue_are_told_apart() {
    let server = queues(&[]).await;
    let missing = Stage::new(&catalogue(&[])).with("AzureWebJobsStorage", server.connection_string());
    let report = examine(missing, &[]).await;
    assert_said(
        &report,
        "queue",
        Outcome::Broken,
        &["`batch-inference-queue` does not exist", "az storage queue create --name batch-inference-queue"],
    );
    assert_said(
        &report,
        "poison-queue",
        Outcome::Warning,
        &["-poison` does not exist", "--name batch-inference-queue-poison"],
    );

    let wrong = format!(
        "AccountName=devstoreaccount1;AccountKey={};QueueEndpoint={}/devstoreaccount1",
        "czNjcmV0czNjcmV0czNjcmV0",
        server.url()
    );
    let report = examine(Stage::new(&catalogue(&[])).with("AzureWebJobsStorage", wrong), &[]).await;
    assert_said(
        &report,
        "queue",
        Outcome::Broken,
        &["refuses the key (403 AuthenticationFailed)", "AzureWebJobsStorage"],
    );
    assert_said(&report, "poison-queue", Outcome::NotChecked, &["needs queue"]);

    let sas =
        format!("QueueEndpoint={}/devstoreaccount1;SharedAccessSignature=sv=2021&sig=s3cret", server.url());
    let report = examine(Stage::new(&catalogue(&[])).with("AzureWebJobsStorage", sas), &[]).await;
    assert_said(&report, "queue", Outcome::Broken, &["refuses the SAS", "AzureWebJobsStorage"]);

    let account = batch(json!({}));
    let wrong = with_batch(Stage::new(&catalogue(&[])), &account).with("BATCH_ACCOUNT_KEY", "czNjcmV0");
    let report = examine(wrong, &[]).await;
    assert_said(&report, "batch", Outcome::Broken, &["refuses the key", "BATCH_ACCOUNT_KEY"]);
    assert_said(&report, "pool", Outcome::NotChecked, &["needs batch"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_role_is_given_the_line_that_assigns_it() {
    // It refuses whoever brings a token, in the words of a service that knows the caller.
    let (service, platform) = (vault(), platform().await);
    service.script(Script::Forbid);
    let stage = stage_of_vault(&catalogue(&[]), &service, &platform)
        .with("AzureWebJobsStorage__queueServiceUri", service.url())
        .with("BLOB_URL", format!("{}/acct/facts", service.url()))
        .with("BATCH_ENDPOINT", service.url())
        .with("BATCH_ACCOUNT_NAME", "nodes");
    let report = examine(stage, &[]).await;
    let roles = [
        (
            "vault",
            "Key Vault Secrets User",
            "4633458b-17de-408a-b874-0445c86b69e6",
            "Microsoft.KeyVault/vaults/",
        ),
        (
            "queue",
            "Storage Queue Data Contributor",
            "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
            "storageAccounts/",
        ),
        ("blob", "Storage Blob Data Owner", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "storageAccounts/acct"),
        (
            "batch",
            "Azure Batch Data Contributor",
            "6aaa78f1-f7de-44ca-8722-c64a23943cae",
            "batchAccounts/nodes",
        ),
    ];
    for (check, role, guid, scope) in roles {
        assert_said(
            &report,
            check,
            Outcome::Broken,
            &["has no role", "az role assignment create", role, guid, scope],
        );
    }
    let tokens = report.findings.iter().filter(|finding| finding.check == "identity");
    assert!(
        tokens.clone().count() == 3 && tokens.clone().all(|finding| finding.outcome == Outcome::Ok),
        "{report:#?}"
    );
    assert_said(&report, "knobs", Outcome::NotChecked, &["needs vault"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_that_is_away_hides_nothing_else() {
    let (vault, platform, server) = (vault(), platform().await, queues(&[]).await);
    let stage = stage_of_vault(&catalogue(&[]), &vault, &platform)
        .with("KEY_VAULT_URL", "https://127.0.0.1:1")
        .with("AzureWebJobsStorage", server.connection_string());
    let report = examine(stage, &[]).await;
    assert_said(&report, "vault", Outcome::Broken, &["`127.0.0.1` cannot be reached", "KEY_VAULT_URL"]);
    assert_said(&report, "queue", Outcome::Broken, &["does not exist"]);
    assert_said(&report, "blob", Outcome::Ok, &[]);

    vault.script(Script::Hang);
    let report = examine(stage_of_vault(&catalogue(&[]), &vault, &platform), &[]).await;
    assert_said(&report, "vault", Outcome::Broken, &["cannot be reached"]);
    vault.script(Script::Serve);
    vault.set("rescue-share", "101");
    vault.set("max-aca-replicas", "7");
    let report = examine(stage_of_vault(&catalogue(&[]), &vault, &platform), &[]).await;
    assert_said(&report, "vault", Outcome::Ok, &["2 of them are knobs"]);
    assert_said(&report, "knobs", Outcome::Broken, &["rescue-share is `101`", "0 to 100"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_without_a_token_is_named_once() {
    let refusal = || Step::Answer(400, Vec::new(), "{}".to_owned());
    let (vault, platform) = (vault(), Upstream::start((0..20).map(|_| refusal())).await);
    let stage = stage_of_vault(&catalogue(&[]), &vault, &platform);
    let report = examine(stage, &[]).await;
    assert_said(
        &report,
        "identity",
        Outcome::Broken,
        &["gave no token for https://vault.azure.net/.default", "system-assigned identity on"],
    );
    assert_said(&report, "vault", Outcome::NotChecked, &["needs identity"]);
    assert_eq!(
        report.findings.iter().filter(|finding| finding.outcome == Outcome::Broken).count(),
        1,
        "{report:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_that_do_not_scale_or_stand_on_what_is_gone_are_named() {
    let machine = |image: &str, agent: &str| json!({ "imageReference": { "publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": image }, "nodeAgentSKUId": agent });
    let formula = "$TargetLowPriorityNodes = min(2, $PendingTasks.GetSample(1)); $NodeDeallocationOption = taskcompletion;";
    let cases = [
        (
            json!({}),
            "autoscale",
            &[
                "autoscale is off and the pool has no node",
                "autoscale-mode=act",
                "az batch pool autoscale enable --pool-id pool",
            ][..],
        ),
        (json!({ "vmSize": "Standard_NC6s_v3" }), "machine", &["size_retired", "NC6s_v3"][..]),
        (
            json!({ "virtualMachineConfiguration": machine("2004", "batch.node.ubuntu 20.04") }),
            "machine",
            &["image_retired", "2004", "2404"][..],
        ),
        (
            json!({ "taskSlotsPerNode": 4, "enableAutoScale": true, "autoScaleFormula": formula }),
            "pool",
            &["4 task slots", "slots_per_node"][..],
        ),
    ];
    for (members, check, words) in cases {
        let account = batch(members);
        let report = examine(with_batch(Stage::new(&with_pool(&[])), &account), &[]).await;
        let outcome = if check == "pool" { Outcome::Warning } else { Outcome::Broken };
        assert_said(&report, check, outcome, words);
        assert_said(&report, "batch", Outcome::Ok, &[]);
        account.stop().await;
    }
    let account = batch(json!({}));
    let elsewhere = with_batch(Stage::new(&catalogue(&[])), &account).with("BATCH_POOL_ID", "other");
    let report = examine(elsewhere, &[]).await;
    assert_said(&report, "pool", Outcome::Broken, &["has no pool `other`", "BATCH_POOL_ID"]);
    assert_said(&report, "machine", Outcome::NotChecked, &["needs pool"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_differ_and_backends_that_are_away_are_named() {
    let account = batch(json!({ "targetLowPriorityNodes": 1 }));
    let upstream = Upstream::start([models(&["m", "chat"], "sha256:other")]).await;
    let backends = [backend("one", &upstream.url), backend("gone", "http://127.0.0.1:1")];
    let report = examine(with_batch(Stage::new(&with_pool(&backends)), &account), &[]).await;
    assert_said(&report, "backend", Outcome::Ok, &["serves m, chat"]);
    let gone = report.findings.iter().find(|finding| finding.subject.as_deref() == Some("gone")).unwrap();
    assert!(gone.outcome == Outcome::Broken && gone.found.contains("cannot be reached"), "{gone:?}");
    assert_said(&report, "parity", Outcome::Broken, &["backend `one` runs sha256:other", "sha256:ab12"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_do_not_parse_are_all_told_and_the_rest_is_looked_at() {
    let stage = Stage::new(&catalogue(&[]))
        .with("AzureWebJobsStorage", "AccountName=abc;AccountKey=s3cret!")
        .with("BATCH_ENDPOINT", "ftp://far")
        .with("WEBHOOKS_ALLOW_PRIVATE", "perhaps");
    let report = examine(stage, &[]).await;
    let wrong = report.findings.iter().filter(|finding| finding.check == "settings");
    let wrong: Vec<_> = wrong.map(|finding| (finding.subject.as_deref().unwrap(), finding.outcome)).collect();
    let expected = ["AzureWebJobsStorage", "BATCH_ENDPOINT", "WEBHOOKS_ALLOW_PRIVATE"]
        .map(|name| (name, Outcome::Broken));
    assert_eq!(wrong, expected);
    assert_said(&report, "queue", Outcome::NotChecked, &["needs settings"]);
    assert_said(&report, "batch", Outcome::NotChecked, &["needs settings"]);
    assert_said(&report, "blob", Outcome::Ok, &[]);
    assert_said(&report, "catalogue", Outcome::Ok, &["models 3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_a_deployment_nothing_is_called() {
    let upstream = Upstream::start([]).await;
    let mut catalogue = with_pool(&[backend("one", &upstream.url)]);
    catalogue["pools"][0]["usd_per_dedicated_node_hour"] = json!(0.5);
    let stage = Stage::new(&catalogue)
        .with("BATCH_ENDPOINT", "https://a.r.batch.azure.com")
        .with("BATCH_ACCOUNT_KEY", "czNjcmV0");
    let usages = stage.folder.join("account.json");
    let account = json!({ "name": "acct", "dedicatedCoreQuota": 100, "lowPriorityCoreQuota": 4 });
    std::fs::write(&usages, account.to_string()).unwrap();
    std::fs::write(stage.folder.join("knobs.json"), r#"{"max-batch-nodes": 2}"#).unwrap();
    let usages = usages.display().to_string();
    let further = ["--before-deploy", "--usages", &usages, "--vm-size", "Standard_NC4as_T4_v3"];
    let report = examine(stage, &further).await;
    let checks: Vec<&str> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
    assert_eq!(checks, ["settings", "vault", "knobs", "catalogue", "quota", "quota", "parity"]);
    let spot = report.findings.iter().find(|finding| finding.found == "have 4, need 8").expect("spot cores");
    assert!(spot.outcome == Outcome::Broken && spot.remedy.as_ref().unwrap().contains("low-priority cores"));
    assert!(upstream.seen().is_empty());
}

#[test]
fn every_check_is_documented_once() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(page).expect("docs/operations.md is there");
    let section = page.split("\n## ").find(|section| section.starts_with("Doctor"));
    let rows = section.expect("the page has a section `Doctor`").lines();
    let documented: Vec<String> = rows
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(name, rest)| Some(format!("{name}: {}", rest.split_once(" |")?.0)))
        .collect();
    let checks = Check::ALL.map(|check| format!("{}: {}", check.name(), check.may_be()));
    assert_eq!(documented, checks, "docs/operations.md must list doctor::check::Check::ALL in order");
}
