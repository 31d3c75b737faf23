//! The listener against the queue stand-in, with scripted invocations, and the pauses of polling.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::loopback;
use crate::queue::Server;
use crate::queue::client::Account;

fn function(binary: bool) -> Arc<Function> {
    let trigger =
        Trigger::Queue { binding: "item".into(), queue_name: "jobs".into(), connection: None, binary };
    Arc::new(Function { name: "DispatchQueue".into(), trigger, outputs: Vec::new() })
}

fn settings(encoding: MessageEncoding) -> Queues {
    Queues {
        batch_size: 16,
        new_batch_threshold: 8,
        max_dequeue_count: 5,
        max_polling_interval: POLLING_INTERVAL_MIN,
        visibility_timeout: Duration::ZERO,
        message_encoding: encoding,
    }
}

/// Fast enough that no test waits for a pause, slow enough that 10 min stay 600 ms.
const SPEED: f64 = 1_000.0;

struct Bench {
    server: Server,
    queue: Queue,
    invoked: Arc<Mutex<Vec<Envelope>>>,
    answers: Arc<Mutex<VecDeque<Outcome>>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    /// A listener on the queue of that name; invocations are answered from the list, then with
    /// success.
    fn start(name: &str, encoding: MessageEncoding, answers: Vec<Outcome>) -> Bench {
        let clock = Clock::scaled(Clock::REAL.now_ms(), SPEED).unwrap();
        let server = Server::start(loopback::any_port().unwrap(), clock).unwrap();
        let queue = Account::parse(&server.connection_string()).unwrap().queue(name);
        let listener =
            Listener { function: function(false), queue: queue.clone(), settings: settings(encoding), clock };
        let (invoked, answers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(answers.into())));
        let (seen, script): (_, Arc<Mutex<VecDeque<Outcome>>>) = (invoked.clone(), answers.clone());
        let invoke = move |envelope| {
            seen.lock().unwrap().push(envelope);
            let outcome = script.lock().unwrap().pop_front().unwrap_or(Outcome::Succeeded);
            async move { outcome }
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(listen(listener, invoke, stop.clone()));
        Bench { server, queue, invoked, answers, stop, task }
    }

    async fn until_empty(&self) {
        let wait = async {
            while self.queue.count().await.unwrap() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the queue empties");
    }

    /// Stops everything; the dequeue counts that were shown and the texts in the poison queue.
    async fn end(self) -> (Vec<String>, Vec<String>) {
        self.stop.cancel();
        self.task.await.unwrap();
        let poison = self.queue.sibling("jobs-poison").peek(32).await.unwrap_or_default();
        let counts = self.invoked.lock().unwrap().iter().map(dequeue_count).collect();
        self.server.stop().await;
        (counts, poison.into_iter().map(|message| message.text).collect())
    }
}

fn dequeue_count(envelope: &Envelope) -> String {
    envelope.metadata["DequeueCount"].as_str().unwrap().to_owned()
}

fn failures(count: usize) -> Vec<Outcome> {
    vec![Outcome::Failed("scripted".to_owned()); count]
}

#[tokio::test]
async fn success_deletes_and_a_queue_made_later_is_found() {
    let bench = Bench::start("jobs", MessageEncoding::None, Vec::new());
    bench.queue.create().await.unwrap();
    bench.queue.put("hello").await.unwrap();
    bench.until_empty().await;
    assert_eq!(bench.end().await, (vec!["1".to_owned()], Vec::new()));
}

#[tokio::test]
async fn failure_is_tried_again_and_the_fifth_goes_to_poison() {
    let bench = Bench::start("jobs", MessageEncoding::None, failures(5));
    bench.queue.create().await.unwrap();
    bench.queue.put("m").await.unwrap();
    bench.until_empty().await;
    assert!(bench.answers.lock().unwrap().is_empty());
    let counts = ["1", "2", "3", "4", "5"].map(str::to_owned).to_vec();
    assert_eq!(bench.end().await, (counts, vec!["m".to_owned()]));
}

#[tokio::test]
async fn a_message_taken_too_often_is_poisoned_without_a_call() {
    let bench = Bench::start("other", MessageEncoding::None, Vec::new());
    let queue = bench.queue.sibling("jobs");
    queue.create().await.unwrap();
    queue.put("m").await.unwrap();
    for _ in 0..5 {
        let taken = queue.get(1, VISIBILITY).await.unwrap().remove(0);
        queue.hide(&taken, Duration::ZERO).await.unwrap();
    }
    let taken = queue.get(1, VISIBILITY).await.unwrap().remove(0);
    let listener = Listener {
        function: function(false),
        queue,
        settings: settings(MessageEncoding::None),
        clock: Clock::REAL,
    };
    listener.process(taken, |_| async { panic!("it must not be invoked") }).await;
    assert_eq!(bench.end().await, (Vec::new(), vec!["m".to_owned()]));
}

#[tokio::test]
async fn text_that_is_not_base64_goes_straight_to_poison() {
    for (text, invoked) in
        [("hello world!", 0), ("{\"a\":1}", 0), ("t\u{e9}", 0), ("abcd", 0), ("aGVsbG8=", 1)]
    {
        let bench = Bench::start("jobs", MessageEncoding::Base64, Vec::new());
        bench.queue.create().await.unwrap();
        bench.queue.put(text).await.unwrap();
        bench.until_empty().await;
        let (counts, poison) = bench.end().await;
        assert_eq!(counts.len(), invoked, "{text}");
        assert_eq!(poison, if invoked == 0 { vec![text.to_owned()] } else { Vec::new() });
    }
}

#[tokio::test]
async fn a_poison_queue_has_no_poison_queue() {
    let bench = Bench::start("jobs-poison", MessageEncoding::None, failures(6));
    bench.queue.create().await.unwrap();
    bench.queue.put("m").await.unwrap();
    // Each failure leaves it hidden for 10 min, which are 600 ms here; then it is tried anew.
    bench.until_empty().await;
    let (counts, _) = bench.end().await;
    assert_eq!(counts, ["1", "2", "3", "4", "5", "6", "7"]);
}

#[tokio::test]
async fn a_long_run_keeps_its_message_hidden() {
    // 12 min pass in 3.6 s; the renewal after 5 min has 1.5 s to arrive before the 10 min are over.
    let clock = Clock::scaled(Clock::REAL.now_ms(), 200.0).unwrap();
    let server = Server::start(loopback::any_port().unwrap(), clock).unwrap();
    let queue = Account::parse(&server.connection_string()).unwrap().queue("jobs");
    queue.create().await.unwrap();
    queue.put("m").await.unwrap();
    let taken = queue.get(1, VISIBILITY).await.unwrap().remove(0);
    let (function, settings) = (function(false), settings(MessageEncoding::None));
    let listener = Listener { function, queue: queue.clone(), settings, clock };
    let end_ms = clock.now_ms() + 12 * 60 * 1_000;
    let others = queue.clone();
    let run = move |_| {
        let others = others.clone();
        async move {
            while clock.now_ms() < end_ms {
                assert_eq!(others.get(1, VISIBILITY).await.unwrap(), [], "somebody else got it");
            }
            Outcome::Succeeded
        }
    };
    listener.process(taken, run).await;
    assert_eq!(queue.count().await.unwrap(), 0, "it was deleted with the new receipt");
    server.stop().await;
}

#[test]
fn pauses_grow_to_the_longest_and_start_anew_after_a_message() {
    for jitter in [0.8, 1.0, 1.2] {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        let pauses: Vec<u128> = (0..16).map(|_| backoff.next(false, jitter).as_millis()).collect();
        assert_eq!(pauses[0], 100);
        assert!(pauses.is_sorted() && pauses[12..] == [60_000; 4], "{pauses:?}");
        assert_eq!(backoff.next(true, jitter).as_millis(), 100);
        assert_eq!(
            backoff.next(false, jitter),
            Duration::from_millis(100) + Duration::from_millis(100).mul_f64(jitter)
        );
    }
}

#[test]
fn an_envelope_by_hand_is_that_of_a_message_that_was_never_queued() {
    // The recording G.queue json text.
    let envelope = manual_envelope(&function(false), "{\"a\":1}", 1_795_226_816_000);
    let names: Vec<&String> = envelope.metadata.keys().collect();
    let expected = ["DequeueCount", "ExpirationTime", "InsertionTime", "NextVisibleTime", "item", "sys", "a"];
    assert_eq!(names, expected);
    assert_eq!(envelope.data["item"], r#""{\"a\":1}""#);
    assert_eq!(envelope.metadata["item"], r#""{\"a\":1}""#);
    assert_eq!(envelope.metadata["a"], r#""1""#);
    assert_eq!(envelope.metadata["DequeueCount"], "0");
    assert_eq!(envelope.metadata["ExpirationTime"], "9999-12-31T23:59:59+00:00");
    assert_eq!(envelope.metadata["InsertionTime"], "2026-11-21T02:06:56+00:00");
}
