//! What any Storage Queue service must do, said once and asked of each implementation through
//! our own client: the stand-in in every run, and whatever `QUEUE_CONNECTION_STRING` names in
//! the ignored test, or `AzureWebJobsStorage__queueServiceUri` by a managed identity (`judges/azurite`
//! points it at Azurite).
//!
//! Each function makes a queue of its own and deletes it, so that they can share an account.

use std::time::Duration;

use clock::Clock;
use local::queue::Server;
use local::queue::client::{Account, Error, Message, Queue};

/// Visibility that no test outlasts.
const LONG: Duration = Duration::from_secs(600);

fn stand_in() -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    Server::start(listener, Clock::REAL).expect("the stand-in starts on a fresh port")
}

#[tokio::test]
async fn the_stand_in_keeps_the_contract() {
    let server = stand_in();
    contract(&Account::parse(&server.connection_string()).unwrap()).await;
    server.stop().await;
}

#[tokio::test]
#[ignore = "needs QUEUE_CONNECTION_STRING: the connection string of a storage account, emulated or real"]
async fn the_named_service_keeps_the_contract() {
    let account = match setting("QUEUE_CONNECTION_STRING") {
        Some(connection_string) => Account::parse(&connection_string),
        None => Account::by_identity("AzureWebJobsStorage", setting),
    };
    contract(&account.expect("the settings name an account")).await;
}

#[expect(clippy::disallowed_methods, reason = "a test's own setting has no other way in")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

async fn contract(account: &Account) {
    // The process id keeps two runs against one account apart.
    let queue = |name: &str| account.queue(&format!("contract-{name}-{}", std::process::id()));
    a_message_goes_in_and_comes_out(&queue("round-trip")).await;
    every_text_survives(&queue("texts")).await;
    a_taken_message_is_hidden_from_others(&queue("hidden")).await;
    hiding_changes_the_receipt(&queue("receipts")).await;
    a_released_message_comes_back_with_a_higher_count(&queue("released")).await;
    peeking_takes_nothing(&queue("peeked")).await;
    counts_include_hidden_messages(&queue("counted")).await;
    up_to_32_come_at_once(&queue("batch")).await;
    missing_queues_are_told(&queue("missing")).await;
    creating_twice_is_fine(&queue("twice")).await;
    a_text_of_64_kib_is_taken_and_a_larger_one_refused(&queue("large")).await;
}

async fn a_message_goes_in_and_comes_out(queue: &Queue) {
    queue.create().await.unwrap();
    queue.put("hello").await.unwrap();
    let message = only(queue.get(32, LONG).await.unwrap());
    assert_eq!((message.text.as_str(), message.dequeue_count), ("hello", 1));
    assert_eq!(message.id.len(), 36, "ids are GUIDs: {}", message.id);
    for date in [&message.inserted, &message.expires, &message.next_visible] {
        assert!(date.ends_with(" GMT") && date.len() == 29, "dates are RFC 1123: {date}");
    }
    queue.delete(&message).await.unwrap();
    assert_eq!(queue.count().await.unwrap(), 0);
    assert!(matches!(queue.delete(&message).await, Err(Error::NotFound(_))));
    queue.delete_queue().await.unwrap();
}

async fn every_text_survives(queue: &Queue) {
    queue.create().await.unwrap();
    let texts = [
        "",
        "   ",
        "{\"job_id\":\"j1\",\"n\":2}",
        "he said \"hi\"\\n\nline2\ttab é 世 😀 </script> &amp; \u{2028} end",
        "carriage\r\nreturn\r",
        "]]> <!-- not markup -->",
        "aGVsbG8=",
    ];
    for text in texts {
        queue.put(text).await.unwrap();
        let message = only(queue.get(32, LONG).await.unwrap());
        assert_eq!(message.text, text);
        queue.delete(&message).await.unwrap();
    }
    queue.delete_queue().await.unwrap();
}

async fn a_taken_message_is_hidden_from_others(queue: &Queue) {
    queue.create().await.unwrap();
    queue.put("one").await.unwrap();
    only(queue.get(1, LONG).await.unwrap());
    assert_eq!(queue.get(32, LONG).await.unwrap(), []);
    assert_eq!(queue.peek(32).await.unwrap(), []);
    queue.delete_queue().await.unwrap();
}

async fn hiding_changes_the_receipt(queue: &Queue) {
    queue.create().await.unwrap();
    queue.put("one").await.unwrap();
    let taken = only(queue.get(1, LONG).await.unwrap());
    let pop_receipt = queue.hide(&taken, LONG).await.unwrap();
    assert_ne!(pop_receipt, taken.pop_receipt);
    assert!(matches!(queue.delete(&taken).await, Err(Error::NotFound(_))), "the old receipt is stale");
    assert!(matches!(queue.hide(&taken, LONG).await, Err(Error::NotFound(_))));
    queue.delete(&Message { pop_receipt, ..taken }).await.unwrap();
    queue.delete_queue().await.unwrap();
}

async fn a_released_message_comes_back_with_a_higher_count(queue: &Queue) {
    queue.create().await.unwrap();
    queue.put("one").await.unwrap();
    let first = only(queue.get(1, LONG).await.unwrap());
    queue.hide(&first, Duration::ZERO).await.unwrap();
    let second = only(queue.get(1, LONG).await.unwrap());
    assert_eq!((second.dequeue_count, &second.id, &second.text), (2, &first.id, &first.text));
    queue.delete_queue().await.unwrap();
}

async fn peeking_takes_nothing(queue: &Queue) {
    queue.create().await.unwrap();
    queue.put("one").await.unwrap();
    for _ in 0..2 {
        let seen = only(queue.peek(32).await.unwrap());
        assert_eq!((seen.text.as_str(), seen.dequeue_count, seen.pop_receipt.as_str()), ("one", 0, ""));
    }
    assert_eq!(only(queue.get(1, LONG).await.unwrap()).dequeue_count, 1);
    queue.delete_queue().await.unwrap();
}

async fn counts_include_hidden_messages(queue: &Queue) {
    queue.create().await.unwrap();
    for text in ["a", "b", "c"] {
        queue.put(text).await.unwrap();
    }
    only(queue.get(1, LONG).await.unwrap());
    assert_eq!(queue.count().await.unwrap(), 3);
    queue.clear().await.unwrap();
    assert_eq!(queue.count().await.unwrap(), 0);
    queue.delete_queue().await.unwrap();
}

async fn up_to_32_come_at_once(queue: &Queue) {
    queue.create().await.unwrap();
    for number in 0..33 {
        queue.put(&number.to_string()).await.unwrap();
    }
    let taken = queue.get(32, LONG).await.unwrap();
    assert_eq!(taken.len(), 32);
    let mut numbers: Vec<_> = taken.iter().map(|message| message.text.clone()).collect();
    numbers.push(only(queue.get(32, LONG).await.unwrap()).text);
    numbers.sort_by_key(|text| text.parse::<u8>().unwrap());
    assert_eq!(
        numbers,
        (0..33).map(|number: u8| number.to_string()).collect::<Vec<_>>(),
        "each exactly once"
    );
    assert!(matches!(queue.get(33, LONG).await, Err(Error::Service(_))));
    queue.delete_queue().await.unwrap();
}

async fn missing_queues_are_told(queue: &Queue) {
    assert!(matches!(queue.get(1, LONG).await, Err(Error::NotFound(_))));
    assert!(matches!(queue.put("a").await, Err(Error::NotFound(_))));
    assert!(matches!(queue.count().await, Err(Error::NotFound(_))));
    assert!(matches!(queue.delete_queue().await, Err(Error::NotFound(_))));
}

async fn creating_twice_is_fine(queue: &Queue) {
    queue.create().await.unwrap();
    queue.create().await.unwrap();
    queue.delete_queue().await.unwrap();
}

async fn a_text_of_64_kib_is_taken_and_a_larger_one_refused(queue: &Queue) {
    queue.create().await.unwrap();
    let largest = "&".repeat(64 * 1024);
    queue.put(&largest).await.unwrap();
    assert_eq!(only(queue.get(1, LONG).await.unwrap()).text, largest);
    let refused = queue.put(&"x".repeat(64 * 1024 + 1)).await;
    assert!(matches!(&refused, Err(Error::Service(told)) if told.contains("413")), "{refused:?}");
    queue.delete_queue().await.unwrap();
}

fn only(messages: Vec<Message>) -> Message {
    let [message] = <[Message; 1]>::try_from(messages).expect("exactly one message");
    message
}

#[tokio::test]
async fn a_wrong_key_or_none_is_refused() {
    let server = stand_in();
    let wrong = server.connection_string().replace("AccountKey=Eby8", "AccountKey=Abcd");
    let refused = Account::parse(&wrong).unwrap().queue("jobs").count().await;
    assert!(matches!(&refused, Err(Error::Service(told)) if told.contains("403")), "{refused:?}");

    let anonymous = reqwest::get(format!("{}/jobs/messages", server.url())).await.unwrap();
    assert_eq!(anonymous.status(), 403);
    assert_eq!(anonymous.headers()["x-ms-error-code"], "AuthenticationFailed");
    let body = anonymous.text().await.unwrap();
    assert!(body.contains("<Code>AuthenticationFailed</Code>"), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn visibility_follows_the_scaled_clock() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Ten minutes pass in 6 ms: whatever this machine is doing, the message is back at once.
    let server = Server::start(listener, Clock::scaled(Clock::REAL.now_ms(), 100_000.0).unwrap()).unwrap();
    let queue = Account::parse(&server.connection_string()).unwrap().queue("jobs");
    queue.create().await.unwrap();
    queue.put("one").await.unwrap();
    let mut counts = Vec::new();
    // The bound only makes a failure end; a few calls are enough.
    for _ in 0..2_000 {
        if counts.len() >= 3 {
            break;
        }
        counts.extend(queue.get(1, LONG).await.unwrap().iter().map(|message| message.dequeue_count));
    }
    assert_eq!(counts, [1, 2, 3]);
    server.stop().await;
}
