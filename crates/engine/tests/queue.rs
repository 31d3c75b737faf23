//! The engine's queue over a backend that runs when the test says so: no sleeps, no timed assertions.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use engine::test::Test;
use engine::{Backend, BackendError, Engine, Limits, Model, Refused, Sequence, Tokeniser};

/// Far above what any step takes; only a hang reaches it.
const BOUND: Duration = Duration::from_secs(20);

/// Says which batch it is about to run, then waits for leave.
struct Gated {
    started: Sender<usize>,
    leave: Receiver<Leave>,
    inner: Test,
}

enum Leave {
    Run,
    Fail,
    Panic,
}

impl Backend for Gated {
    fn dimensions(&self) -> usize {
        self.inner.dimensions
    }

    fn encode(&mut self, batch: &[&Sequence]) -> Result<Vec<Vec<f32>>, BackendError> {
        self.started.send(batch.len()).expect("the test listens");
        match self.leave.recv_timeout(BOUND).expect("the test gives leave") {
            Leave::Run => self.inner.encode(batch),
            Leave::Fail => Err(BackendError("out of memory".to_owned())),
            Leave::Panic => panic!("a panic that the test asked for"),
        }
    }
}

struct Stage {
    engine: Engine,
    started: Receiver<usize>,
    leave: Sender<Leave>,
    tokeniser: Tokeniser,
}

impl Stage {
    fn new(limits: Limits) -> Stage {
        let (started_sender, started) = channel();
        let (leave, leave_receiver) = channel();
        let inner = Test { dimensions: 8, delay: Duration::ZERO };
        let backend = Gated { started: started_sender, leave: leave_receiver, inner };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/synthetic-bert");
        let tokeniser = Model::load(&folder, None).expect("the model loads").tokeniser;
        Stage { engine: Engine::start(backend, limits).expect("a thread"), started, leave, tokeniser }
    }

    /// Sequences of ten tokens each, all different.
    fn sequences(&self, count: u32) -> Vec<Sequence> {
        let of = |index| self.tokeniser.ids(&[10 + index; 8]).expect("the ids exist");
        (0..count).map(of).collect()
    }

    /// The size of the next batch, which waits for leave.
    fn next(&self) -> usize {
        self.started.recv_timeout(BOUND).expect("a batch starts")
    }

    fn let_go(&self, leave: Leave) {
        self.leave.send(leave).expect("the backend waits");
    }
}

/// Blocks until a future is done.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(BOUND, future).await.expect("it ends") })
}

fn is_pending(future: impl Future) -> bool {
    matches!(pin!(future).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

#[test]
fn a_request_may_span_batches_and_batches_may_hold_several_requests() {
    let stage = Stage::new(Limits { batch_tokens: 30, queued_tokens: 1000 });
    let opening = stage.engine.submit(stage.sequences(1)).expect("there is room");
    assert_eq!(stage.next(), 1);
    let five = stage.sequences(5);
    let mut first = stage.engine.submit(five.clone()).expect("there is room");
    let second = stage.engine.submit(stage.sequences(1)).expect("there is room");
    assert_eq!(stage.engine.load().waiting_tokens, 60);
    assert_eq!(stage.engine.load().running_tokens, 10);

    stage.let_go(Leave::Run);
    assert_eq!(wait(opening).expect("it ran").len(), 1);
    assert_eq!(stage.next(), 3);
    stage.let_go(Leave::Run);
    assert_eq!(stage.next(), 3);
    assert!(is_pending(&mut first), "two of five are missing");
    stage.let_go(Leave::Run);

    let vectors = wait(first).expect("it ran");
    let all: Vec<&Sequence> = five.iter().collect();
    let expected = Test { dimensions: 8, delay: Duration::ZERO }.encode(&all).expect("it always runs");
    assert_eq!(vectors, expected);
    assert_eq!(wait(second).expect("it ran"), expected[..1]);
    assert!(wait(stage.engine.submit(Vec::new()).expect("nothing always fits")).expect("it ran").is_empty());
}

#[test]
fn a_full_queue_refuses_and_a_caller_that_goes_makes_room() {
    let stage = Stage::new(Limits { batch_tokens: 30, queued_tokens: 50 });
    let running = stage.engine.submit(stage.sequences(1)).expect("there is room");
    assert_eq!(stage.next(), 1);
    let large = stage.engine.submit(stage.sequences(9)).expect("a large request is taken when nothing waits");
    match stage.engine.submit(stage.sequences(1)) {
        Err(Refused::Overloaded { waiting_tokens: 90, retry_after }) => assert!(retry_after > Duration::ZERO),
        other => panic!("{other:?}"),
    }
    drop(large);
    let small = stage.engine.submit(stage.sequences(1)).expect("the caller that went made room");
    stage.let_go(Leave::Run);
    wait(running).expect("it ran");
    assert_eq!(stage.next(), 1, "dropped work must not run");
    stage.let_go(Leave::Run);
    wait(small).expect("it ran");
}

#[test]
fn a_failure_or_panic_stays_in_its_batch() {
    let stage = Stage::new(Limits { batch_tokens: 30, queued_tokens: 1000 });
    for (leave, expected) in [(Leave::Fail, "out of memory"), (Leave::Panic, "the backend panicked")] {
        let failing = stage.engine.submit(stage.sequences(4)).expect("there is room");
        stage.next();
        stage.let_go(leave);
        assert_eq!(wait(failing), Err(BackendError(expected.to_owned())));
    }
    let sound = stage.engine.submit(stage.sequences(1)).expect("there is room");
    assert_eq!(stage.next(), 1, "the rest of a failed request must not run");
    stage.let_go(Leave::Run);
    assert!(wait(sound).is_ok());
}

#[test]
fn draining_ends_accepted_work_and_takes_no_more() {
    let stage = Stage::new(Limits { batch_tokens: 10, queued_tokens: 1000 });
    let accepted = stage.engine.submit(stage.sequences(3)).expect("there is room");
    stage.next();
    assert!(!stage.engine.drain(Duration::from_millis(1)), "work is under way");
    assert_eq!(stage.engine.submit(stage.sequences(1)).err(), Some(Refused::Closed));
    for _ in 0..3 {
        stage.let_go(Leave::Run);
    }
    assert!(stage.engine.drain(BOUND));
    assert_eq!(wait(accepted).expect("it ran").len(), 3);
    assert_eq!((stage.engine.load().batches, stage.engine.load().tokens), (3, 30));
}

#[test]
fn dropping_the_engine_tells_those_who_wait() {
    let stage = Stage::new(Limits { batch_tokens: 10, queued_tokens: 1000 });
    let pending = stage.engine.submit(stage.sequences(2)).expect("there is room");
    stage.next();
    stage.let_go(Leave::Run);
    stage.let_go(Leave::Fail);
    drop(stage.engine);
    assert!(wait(pending).is_err());
}
