//! The doorbell over real HTTP: against the stand-in of the queue service, against whatever
//! `QUEUE_CONNECTION_STRING` names, or `AzureWebJobsStorage__queueServiceUri` by an identity
//! (`judges/azurite` points both at Azurite), and against a scripted service for what a healthy one does
//! not do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use facts::fault::{Act, Fault};
use handler::act::forward;
use handler::azure::identity::Chain;
use handler::azure::queue::{DELAY_MAX, Doorbell, MESSAGE_BYTES_MAX, RingError};
use handler::settings::Settings;
use handler::settings::storage::{Access, Storage};
use local::queue::Server;
use local::queue::client::{Account, Queue};
use wire::ticket::{Ticket, VERSION};

use crate::handler_stage::{BOUND, Step, Upstream};

/// Visibility that no test outlasts.
const LONG: Duration = Duration::from_secs(600);
const KEY: &str = "c3dpdGNoeWFyZC1zZWNyZXQ=";

fn stand_in() -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    Server::start(listener, Clock::REAL).expect("the stand-in starts on a fresh port")
}

fn open(connection_string: &str, queue: &str) -> Doorbell {
    open_account(&Storage::parse(connection_string).expect("the connection string is one"), queue)
}

fn open_account(storage: &Storage, queue: &str) -> Doorbell {
    let http = forward::client().expect("TLS starts");
    Doorbell::open(storage, queue, http.clone(), &Chain::new(http)).expect("the SDK takes it")
}

fn with_key(url: &str) -> String {
    format!("AccountName=devstoreaccount1;AccountKey={KEY};QueueEndpoint={url}/devstoreaccount1")
}

fn with_sas(url: &str) -> String {
    format!("QueueEndpoint={url}/devstoreaccount1;SharedAccessSignature=sv=1&sig={KEY}")
}

fn ticket() -> Ticket {
    Ticket { v: VERSION, tenant: "a".to_owned(), job_id: "j1".to_owned(), shard: None, k: None }
}

fn refusal(status: u16, code: &str) -> Step {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{KEY}</Message></Error>");
    Step::Answer(status, vec![("x-ms-error-code", code.to_owned())], body)
}

fn accepted() -> Step {
    Step::Answer(201, Vec::new(), "<?xml version=\"1.0\"?><QueueMessagesList/>".to_owned())
}

/// That an error says something, and nothing of a key or a SAS.
fn assert_shows_no_secret(error: &RingError) {
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains(KEY) && !text.contains("sig="), "{text}");
    }
}

#[tokio::test]
async fn the_stand_in_hears_it() {
    let server = stand_in();
    judge(&server.connection_string()).await;
    server.stop().await;
}

#[tokio::test]
#[ignore = "needs QUEUE_CONNECTION_STRING: a storage account, emulated or real"]
async fn the_named_service_hears_it() {
    if let Some(named) = setting("QUEUE_CONNECTION_STRING") {
        return judge(&named).await;
    }
    let settings = Settings::read(Some("127.0.0.1:0"), |name| match name {
        "BLOB_URL" => Some("file:///facts".to_owned()),
        "KNOBS_FILE" => Some("knobs.json".to_owned()),
        _ => setting(name),
    });
    let storage =
        settings.expect("nothing is wrong with them").doorbell.expect("an account was given").storage;
    assert!(matches!(storage.access, Access::Identity(_)));
    let heard = Account::by_identity("AzureWebJobsStorage", setting).expect("the settings name an account");
    hears(&storage, &heard).await;
}

#[expect(clippy::disallowed_methods, reason = "a test's own setting has no other way in")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

async fn judge(connection_string: &str) {
    let account = Account::parse(connection_string).expect("the connection string is one");
    let storage = Storage::parse(connection_string).expect("the connection string is one");
    hears(&storage, &account).await;
    if let Access::Key { account: name, key } = &storage.access {
        let queue = format!("doorbell-sas-{}", std::process::id());
        let sas = account_sas(name, key.reveal(), &storage.queues);
        a_sas_lets_in(&open(&sas, &queue), &account.queue(&queue)).await;
    }
}

async fn hears(storage: &Storage, account: &Account) {
    // The process id keeps two runs against one account apart.
    let name = |kind: &str| format!("doorbell-{kind}-{}", std::process::id());
    let heard = account.queue(&name("rings"));
    rings_are_heard_in_a_queue_that_it_makes(&open_account(storage, &name("rings")), &heard).await;
    let held = account.queue(&name("dead"));
    every_dead_letter_survives(&open_account(storage, &name("none")), &name("dead"), &held).await;
}

async fn a_sas_lets_in(doorbell: &Doorbell, heard: &Queue) {
    doorbell.ring(&ticket()).await.unwrap();
    doorbell.ring_after(&ticket(), LONG).await.unwrap();
    assert_eq!(doorbell.length().await.unwrap(), 2);
    assert_eq!(heard.get(32, LONG).await.unwrap().len(), 1);
    heard.delete_queue().await.unwrap();
}

/// The same account, opened by a SAS of its key that may read, write, create, add and update.
fn account_sas(account: &str, key: &str, queues: &url::Url) -> String {
    let (permissions, expires, version) = ("rwcau", "2099-01-01T00:00:00Z", "2021-06-08");
    let unsigned = format!("{account}\n{permissions}\nq\nsco\n\n{expires}\n\nhttps,http\n{version}\n\n");
    let key = STANDARD.decode(key).expect("the key is base64");
    let mut keyed = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    keyed.update(unsigned.as_bytes());
    let signature = STANDARD.encode(keyed.finalize().into_bytes());
    let sas = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("sv", version), ("ss", "q"), ("srt", "sco"), ("sp", permissions), ("se", expires)])
        .extend_pairs([("spr", "https,http"), ("sig", &signature)])
        .finish();
    format!("QueueEndpoint={queues};SharedAccessSignature={sas}")
}

async fn rings_are_heard_in_a_queue_that_it_makes(doorbell: &Doorbell, heard: &Queue) {
    assert_eq!(doorbell.length().await.unwrap(), 0, "a queue that does not exist holds nothing");
    let rescue = Ticket { shard: Some(3), k: Some(1), ..ticket() };
    doorbell.ring(&ticket()).await.unwrap();
    doorbell.ring(&rescue).await.unwrap();
    doorbell.ring_after(&ticket(), LONG).await.unwrap();
    doorbell.ring_after(&ticket(), DELAY_MAX * 2).await.unwrap();
    doorbell.ring_after(&rescue, Duration::ZERO).await.unwrap();
    assert_eq!(doorbell.length().await.unwrap(), 5);
    let messages = heard.get(32, LONG).await.unwrap();
    let texts: Vec<&str> = messages.iter().map(|message| message.text.as_str()).collect();
    let rescue = r#"{"v":1,"tenant":"a","job_id":"j1","shard":3,"try":1}"#;
    assert_eq!(texts, [r#"{"v":1,"tenant":"a","job_id":"j1"}"#, rescue, rescue], "two are hidden");
    heard.delete_queue().await.unwrap();
}

async fn every_dead_letter_survives(doorbell: &Doorbell, name: &str, held: &Queue) {
    let largest = "<".repeat(MESSAGE_BYTES_MAX);
    let texts = ["{\"a\": \"é 世 😀\"}", "  </QueueMessage> &amp; \"'\n\ttail ", "]]>", "aGVsbG8=", &largest];
    for text in texts {
        doorbell.dead_letter(name, text).await.unwrap();
        let messages = held.get(1, LONG).await.unwrap();
        assert_eq!(messages.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), [text]);
    }
    held.delete_queue().await.unwrap();
}

#[tokio::test]
async fn a_longer_text_is_refused_before_it_is_sent() {
    let upstream = Upstream::start([]).await;
    let doorbell = open(&with_key(&upstream.url), "abc");
    let longer = "é".repeat(MESSAGE_BYTES_MAX / 2 + 1);
    let error = doorbell.dead_letter("dead", &longer).await.unwrap_err();
    assert!(matches!(error, RingError::TooLong(65_538)), "{error}");
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_busy_service_is_asked_again_and_each_try_is_signed() {
    let upstream =
        Upstream::start([refusal(503, "ServerBusy"), refusal(500, "InternalError"), accepted()]).await;
    open(&with_key(&upstream.url), "abc").ring(&ticket()).await.unwrap();
    let seen = upstream.seen();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert_eq!(request.path, "/devstoreaccount1/abc/messages");
        let header = |name: &str| {
            let found = request.headers.iter().find(|(found, _)| found == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        assert!(header("authorization").starts_with("SharedKey devstoreaccount1:"));
        assert_eq!(header("x-ms-version"), "2025-11-05", "Azurite takes no newer one");
    }
}

#[tokio::test]
async fn a_service_that_stays_busy_is_given_up_after_three_tries() {
    let upstream = Upstream::start((0..4).map(|_| refusal(503, "ServerBusy"))).await;
    let error = open(&with_key(&upstream.url), "abc").ring(&ticket()).await.unwrap_err();
    assert_eq!(error.to_string(), "queue `abc` was refused: 503 ServerBusy");
    assert_eq!(upstream.seen().len(), 3);
}

#[tokio::test]
async fn a_service_that_asks_for_a_long_pause_does_not_get_it() {
    let after = Step::Answer(503, vec![("retry-after", "3600".to_owned())], String::new());
    let upstream = Upstream::start([after]).await;
    let ring = open(&with_key(&upstream.url), "abc");
    let error = tokio::time::timeout(BOUND, ring.ring(&ticket())).await.expect("bounded").unwrap_err();
    assert!(matches!(error, RingError::TimedOut), "{error}");
}

#[tokio::test]
async fn a_try_that_hangs_leaves_time_for_another() {
    let (gone, mut given_up) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::start([Step::Hang(gone), accepted()]).await;
    open(&with_sas(&upstream.url), "abc").ring(&ticket()).await.unwrap();
    assert_eq!(given_up.recv().await, None);
    let paths: Vec<String> = upstream.seen().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, vec![format!("/devstoreaccount1/abc/messages?sv=1&sig={KEY}"); 2]);
}

#[tokio::test]
async fn a_wrong_key_names_the_setting() {
    let server = stand_in();
    let wrong = with_key(server.url().trim_end_matches("/devstoreaccount1"));
    let doorbell = open(&wrong, "abc");
    for error in [doorbell.ring(&ticket()).await.unwrap_err(), doorbell.length().await.unwrap_err()] {
        assert!(matches!(error, RingError::Denied { .. }), "{error}");
        assert!(
            error.to_string().starts_with("AzureWebJobsStorage does not open queue `abc` (403 "),
            "{error}"
        );
        assert_shows_no_secret(&error);
    }
    server.stop().await;
}

#[tokio::test]
async fn what_the_service_says_of_a_signature_is_not_repeated() {
    for connection_string in [with_key, with_sas] {
        let upstream = Upstream::start([refusal(403, "AuthenticationFailed")]).await;
        let error = open(&connection_string(&upstream.url), "abc").ring(&ticket()).await.unwrap_err();
        assert!(error.to_string().contains("403 AuthenticationFailed"), "{error}");
        assert_shows_no_secret(&error);
    }
}

#[tokio::test]
async fn a_queue_that_does_not_stay_is_made_once_a_ring() {
    let missing = || refusal(404, "QueueNotFound");
    let made = Step::Answer(201, Vec::new(), String::new());
    let upstream = Upstream::start([missing(), made, missing()]).await;
    let error = open(&with_key(&upstream.url), "abc").ring(&ticket()).await.unwrap_err();
    assert_eq!(error.to_string(), "queue `abc` was refused: 404 QueueNotFound");
    assert_eq!(upstream.seen().len(), 3);
}

#[tokio::test]
async fn an_unreachable_service_is_told_without_its_sas() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let closing = Upstream::start((0..3).map(|_| Step::Close)).await;
    for url in [&url, &closing.url] {
        let doorbell = open(&with_sas(url), "abc");
        assert_eq!(format!("{doorbell:?}"), "Doorbell { queue: \"abc\", .. }");
        let error = doorbell.ring(&ticket()).await.unwrap_err();
        assert!(matches!(error, RingError::Unreachable(_)), "{error}");
        assert_shows_no_secret(&error);
    }
    assert_eq!(closing.seen().len(), 3);
}

/// A doorbell by identity, whose every call ends at this upstream, as a proxy.
fn by_identity(upstream: &Upstream) -> Doorbell {
    let settings = Settings::read(Some("127.0.0.1:0"), |name| {
        let value = match name {
            "BLOB_URL" => "file:///facts",
            "KNOBS_FILE" => "knobs.json",
            "AzureWebJobsStorage__accountName" => "abcstorage",
            "AzureWebJobsStorage__clientId" => "one-of-two",
            _ => return None,
        };
        Some(value.to_owned())
    });
    let doorbell = settings.expect("nothing is wrong with them").doorbell.expect("an account was given");
    let proxy = reqwest::Proxy::all(&upstream.url).expect("an address");
    let http = reqwest::Client::builder().proxy(proxy).build().expect("TLS starts");
    let identities = Chain::new(http.clone());
    Doorbell::open(&doorbell.storage, &doorbell.queue, http, &identities).expect("the SDK takes it")
}

#[tokio::test]
async fn an_identity_asks_for_a_token_and_then_for_its_account() {
    let token = r#"{"access_token":"t0ken","expires_in":"86399","expires_on":"4102444800","resource":"r","token_type":"Bearer"}"#;
    let json = vec![("content-type", "application/json".to_owned())];
    let tunnels = (0..3).map(|_| Step::Answer(502, Vec::new(), String::new()));
    let upstream =
        Upstream::start([Step::Answer(200, json, token.to_owned())].into_iter().chain(tunnels)).await;
    let error = by_identity(&upstream).ring(&ticket()).await.unwrap_err();
    assert!(matches!(error, RingError::Unreachable(_)), "{error}");
    let seen = upstream.seen();
    let asked = &seen[0].path;
    assert!(asked.contains("client_id=one-of-two") && asked.contains("storage.azure.com"), "{asked}");
    let hosts = seen[1..].iter().flat_map(|request| &request.headers).filter(|(name, _)| name == "host");
    let hosts: Vec<&str> = hosts.map(|(_, value)| value.as_str()).collect();
    assert_eq!(hosts, ["abcstorage.queue.core.windows.net:443"; 3]);
}

#[tokio::test]
async fn an_identity_that_there_is_not_names_the_setting() {
    let answer = r#"{"error":"invalid_request","error_description":"Identity not found"}"#;
    let upstream = Upstream::start([Step::Answer(400, Vec::new(), answer.to_owned())]).await;
    let error = by_identity(&upstream).ring(&ticket()).await.unwrap_err();
    assert!(matches!(error, RingError::Denied { .. }), "{error:?}");
    let told =
        "AzureWebJobsStorage does not open queue `batch-inference-queue` (the identity gave no token for";
    assert!(error.to_string().starts_with(told), "{error}");
    let text = error.to_string();
    assert!(text.contains("The requested identity has not been") && text.contains("one-of-two"), "{text}");
}

#[tokio::test]
async fn a_fault_stops_it_before_or_after_the_send() {
    for (after, arrived) in [(false, 1), (true, 2)] {
        let server = stand_in();
        let fault = Arc::new(Fault::of_task(Act::Send, after, 2));
        let doorbell = open(&server.connection_string(), "abc").with_fault(Some(fault.clone()));
        let ticket = ticket();
        doorbell.ring(&ticket).await.unwrap();
        tokio::select! {
            rung = doorbell.ring(&ticket) => panic!("it should have stopped: {rung:?}"),
            () = fault.met() => {}
        }
        assert_eq!(doorbell.length().await.unwrap(), arrived);
        server.stop().await;
    }
}
