//! One rescue beside others, with a realtime lane that the test plays.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use facts::key::JobKeys;
use facts::{Job, JobId, Store, line};
use handler::act::jobs::accept::Accepted;
use handler::act::jobs::look::World;
use handler::act::jobs::rescue::{Answer, Ask, Rescued};
use handler::app::App;
use serde_json::Value;
use serde_json::value::RawValue;

use super::items::{echoed, output_line};
use super::rig::{Rig, TENANT};

const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);

/// Answers like the echo and counts; beside its first answer somebody else writes a fact.
struct Lane {
    store: Store,
    beside: (String, String),
    asked: AtomicUsize,
}

impl Ask for Lane {
    fn at_once(&self) -> usize {
        1
    }

    async fn ask(&self, _: &Job, body: &RawValue) -> Option<Answer> {
        if self.asked.fetch_add(1, Ordering::Relaxed) == 0 {
            let (key, content) = self.beside.clone();
            self.store.create(&key, content).await.unwrap();
        }
        let body: Value = serde_json::from_str(body.get()).unwrap();
        Some(Answer { status: 200, body: echoed(body["input"].as_str().unwrap()).into() })
    }
}

/// Rescues the first shard of a promoted job, two chunks of a line, while `beside` writes a fact. Says
/// what the rescue came to, how many lines it asked for and which chunks there are.
async fn rescue_beside(beside: impl Fn(&JobKeys) -> (String, String)) -> (Rescued, usize, [bool; 2]) {
    let rig = Rig::start(1.0).await;
    let job = rig.job(LONG).await;
    let keys = JobKeys::new(TENANT, &job.job);
    rig.store.create(&keys.promote(), "").await.unwrap();
    let app = rig.process().await;
    let lane = Lane { store: rig.store.clone(), beside: beside(&keys), asked: AtomicUsize::new(0) };
    let rescued = rescue(&app, &job.job, 1, &lane).await;
    let exists = async |c| rig.store.exists(&keys.chunk(0, c)).await.unwrap();
    (rescued, lane.asked.into_inner(), [exists(0).await, exists(1).await])
}

#[tokio::test]
async fn a_rescue_leaves_to_others_what_they_have_done_or_taken_over() {
    let chunk = |keys: &JobKeys| (keys.chunk(0, 1), output_line(1));
    let newer = |keys: &JobKeys| (keys.try_(0, 2), "{}".to_owned());
    let stop = |keys: &JobKeys| (keys.stop(), "{}".to_owned());
    let nothing = |keys: &JobKeys| (format!("{}nothing", keys.folder()), String::new());
    assert_eq!(rescue_beside(nothing).await, (Rescued::Done, 2, [true, true]));
    assert_eq!(rescue_beside(chunk).await, (Rescued::Done, 1, [true, true]), "a chunk that is there");
    assert_eq!(rescue_beside(newer).await, (Rescued::Broke, 1, [true, false]), "a newer try");
    assert_eq!(rescue_beside(stop).await, (Rescued::Broke, 1, [true, false]), "a job that stops");
}

/// While it answers its first line, the same ticket comes to these processes too.
struct Doubled<'a> {
    lane: Lane,
    job: &'a JobId,
    to: [&'a App; 3],
    /// What each came to, and how many lines it asked for.
    came_to: std::sync::Mutex<Vec<(Rescued, usize)>>,
}

impl Ask for Doubled<'_> {
    fn at_once(&self) -> usize {
        1
    }

    async fn ask(&self, job: &Job, body: &RawValue) -> Option<Answer> {
        if self.lane.asked.load(Ordering::Relaxed) == 0 {
            for app in self.to {
                let came_to = rescue_first(app, self.job, &self.lane.store).await;
                self.came_to.lock().unwrap().push(came_to);
            }
        }
        self.lane.ask(job, body).await
    }
}

fn lane(store: &Store) -> Lane {
    Lane { store: store.clone(), beside: ("nothing".to_owned(), String::new()), asked: AtomicUsize::new(0) }
}

/// What the `k`-th try of a job's first shard comes to in this process and this realtime lane.
async fn rescue(app: &App, job: &JobId, k: u32, ask: &impl Ask) -> Rescued {
    let (catalogue, knobs) = (app.catalogue().await.unwrap(), app.knobs.knobs());
    let world = World { catalogue: &catalogue, knobs: &knobs };
    app.jobs.rescue(world, (TENANT, job), (0, k), ask).await.unwrap()
}

async fn rescue_first(app: &App, job: &JobId, store: &Store) -> (Rescued, usize) {
    let lane = lane(store);
    let rescued = rescue(app, job, 1, &lane).await;
    (rescued, lane.asked.into_inner())
}

/// Several looks at once ring for the same rescue. Each of them used to run it: a promoted job cost a
/// multiple in the realtime lane.
#[tokio::test]
async fn a_ticket_that_comes_again_while_its_rescue_runs_computes_nothing() {
    let rig = Rig::start(1.0).await;
    let job = rig.job(LONG).await;
    rig.store.create(&JobKeys::new(TENANT, &job.job).promote(), "").await.unwrap();
    let (app, other) = (rig.process().await, rig.process().await);
    let doubled = Doubled {
        lane: lane(&rig.store),
        job: &job.job,
        to: [&app, &app, &other],
        came_to: Vec::new().into(),
    };
    let rescued = rescue(&app, &job.job, 1, &doubled).await;
    let came_to = doubled.came_to.into_inner().unwrap();
    assert_eq!(came_to[..2], [(Rescued::NotDue, 0); 2], "in the process that runs it");
    assert_eq!(came_to[2], (Rescued::Done, 2), "in another one: that may have been killed");
    // The chunk that it had begun with, and no more: the other process has done the rest.
    assert_eq!((rescued, doubled.lane.asked.into_inner()), (Rescued::Done, 1));
    assert_eq!(rescue_first(&app, &job.job, &rig.store).await, (Rescued::NotDue, 0), "nothing is left");
}

/// Answers each line with as much as a line may bring, which no object holds with what goes around it.
struct Huge;

impl Ask for Huge {
    fn at_once(&self) -> usize {
        1
    }

    async fn ask(&self, _: &Job, _: &RawValue) -> Option<Answer> {
        let body = format!("\"{}\"", "x".repeat(16 * 1024 * 1024 - 2));
        Some(Answer { status: 200, body: body.into() })
    }
}

#[tokio::test]
async fn an_answer_that_no_object_holds_is_an_error_of_its_line() {
    let rig = Rig::start(1.0).await;
    let job = rig.job(LONG).await;
    let keys = JobKeys::new(TENANT, &job.job);
    rig.store.create(&keys.promote(), "").await.unwrap();
    let app = rig.process().await;
    let rescued = rescue(&app, &job.job, 1, &Huge).await;
    assert_eq!(rescued, Rescued::Done);
    for c in [0, 1] {
        let chunk = rig.store.get(&keys.chunk(0, c)).await.unwrap().content;
        assert!(chunk.starts_with(b"{") && chunk.len() < 1_000, "{} bytes", chunk.len());
        let line: Value = serde_json::from_slice(&chunk).unwrap();
        assert_eq!(line["error"]["code"], "answer_too_large");
    }
}

/// A realtime lane that takes 30 s for a line. Once it has answered two, the next try's ticket comes to its
/// own process.
struct Slow<'a> {
    lane: Lane,
    rig: &'a Rig,
    app: &'a App,
    job: &'a JobId,
    came_to: std::sync::Mutex<Vec<Rescued>>,
}

impl Ask for Slow<'_> {
    fn at_once(&self) -> usize {
        1
    }

    async fn ask(&self, job: &Job, body: &RawValue) -> Option<Answer> {
        tokio::time::sleep(self.rig.clock.real(Duration::from_secs(30))).await;
        if self.lane.asked.load(Ordering::Relaxed) == 2 {
            let again = lane(&self.rig.store);
            let came_to = rescue(self.app, self.job, 2, &again).await;
            self.came_to.lock().unwrap().push(came_to);
            assert_eq!(again.asked.into_inner(), 0);
        }
        self.lane.ask(job, body).await
    }
}

/// Where the realtime lane was slower than expected, each rescue used to be taken for silent and begun again
/// beside itself, which made it slower still.
#[tokio::test]
async fn a_rescue_whose_lines_are_answered_is_not_silent_in_its_own_process() {
    // A minute and a half is a second.
    let rig = Rig::start(90.0).await;
    let app = rig.process().await;
    let mut new = rig.new_job(&app, &JobId::random(), LONG).await;
    // So little work that all lines are one chunk.
    new.speed.per_item_us = 1;
    let Accepted::Job(job) = app.jobs.accept(new).await.unwrap() else { panic!("a random id names no job") };
    assert_eq!((job.shards.len(), u64::from(job.chunk_lines) >= job.lines()), (1, true), "{job:?}");
    rig.store.create(&JobKeys::new(TENANT, &job.job).promote(), "").await.unwrap();
    let came_to = Vec::new().into();
    let slow = Slow { lane: lane(&rig.store), rig: &rig, app: &app, job: &job.job, came_to };
    let rescued = rescue(&app, &job.job, 1, &slow).await;
    assert_eq!(slow.came_to.into_inner().unwrap(), [Rescued::NotDue]);
    assert_eq!((rescued, rig.tries(&job.job).await), (Rescued::Done, 1));
}

/// A realtime lane that answers its first line in this way, and the others like the echo.
struct Odd {
    status: u16,
    body: &'static str,
    asked: AtomicUsize,
}

impl Ask for Odd {
    fn at_once(&self) -> usize {
        1
    }

    async fn ask(&self, _: &Job, body: &RawValue) -> Option<Answer> {
        if self.asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return Some(Answer { status: self.status, body: self.body.into() });
        }
        let body: Value = serde_json::from_str(body.get()).unwrap();
        Some(Answer { status: 200, body: echoed(body["input"].as_str().unwrap()).into() })
    }
}

/// An answer of several lines used to become several lines of the result, and one that is no JSON used to
/// break off the rescue of the whole shard, again and again until the deadline.
#[tokio::test]
async fn whatever_a_replica_answers_becomes_one_line() {
    let html = "<html>\n413 Request Entity Too Large\n</html>";
    let cases = [
        (200, "{\r\n  \"a\": 1\n}\n", 200, "a"),
        (400, "{\n  \"error\": { \"message\": \"too long\" }\n}", 400, "error"),
        (413, html, 413, "error"),
        // What is good and no JSON is asked for again.
        (200, html, 200, "of"),
        (200, "", 200, "of"),
    ];
    for (status, body, told, member) in cases {
        let rig = Rig::start(1.0).await;
        let job = rig.job(LONG).await;
        let keys = JobKeys::new(TENANT, &job.job);
        rig.store.create(&keys.promote(), "").await.unwrap();
        let app = rig.process().await;
        let odd = Odd { status, body, asked: AtomicUsize::new(0) };
        let rescued = rescue(&app, &job.job, 1, &odd).await;
        assert_eq!(rescued, Rescued::Done, "{status} {body:?}");
        let chunk = rig.store.get(&keys.chunk(0, 0)).await.unwrap().content;
        let lines: Vec<line::OutLine<'_>> =
            line::split(&chunk).map(|text| serde_json::from_slice(text).unwrap()).collect();
        let [line] = &lines[..] else { panic!("{} lines of {status} {body:?}", lines.len()) };
        let response = line.response.as_ref().unwrap();
        let answered: Value = serde_json::from_str(response.body.get()).unwrap();
        assert_eq!((response.status_code, answered.get(member).is_some()), (told, true), "{answered}");
    }
}
