//! The front before replicas that live in the test, and before a real process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::*;
use crate::loopback::{self, Body};

/// Every wait of a test ends with a failure after this.
const PATIENCE: Duration = Duration::from_secs(20);

/// What all replicas of a test share: how they behave and what they saw.
struct Script {
    ready: AtomicBool,
    /// `POST /gated` is answered once a permit is there.
    gate: Semaphore,
    started: AtomicU32,
    /// Ends the newest replica as if its process had been killed.
    kill: Mutex<Option<oneshot::Sender<()>>>,
    in_flight: AtomicU32,
    in_flight_max: AtomicU32,
    /// Told when the reader of `/stream` has gone.
    gone: mpsc::UnboundedSender<()>,
}

struct InFlight(Arc<Script>);

impl InFlight {
    fn new(script: &Arc<Script>) -> InFlight {
        let now = script.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        script.in_flight_max.fetch_max(now, Ordering::SeqCst);
        InFlight(Arc::clone(script))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        let _ = self.0.gone.send(());
    }
}

fn script() -> (Arc<Script>, mpsc::UnboundedReceiver<()>) {
    let (gone, told) = mpsc::unbounded_channel();
    let script = Script {
        ready: AtomicBool::new(true),
        gate: Semaphore::new(0),
        started: AtomicU32::new(0),
        kill: Mutex::new(None),
        in_flight: AtomicU32::new(0),
        in_flight_max: AtomicU32::new(0),
        gone,
    };
    (Arc::new(script), told)
}

async fn replica(script: Arc<Script>, number: u32, request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/ready" if script.ready.load(Ordering::SeqCst) => loopback::json(StatusCode::OK, &json!({})),
        "/ready" => loopback::json(StatusCode::SERVICE_UNAVAILABLE, &json!({})),
        "/gated" => {
            let _in_flight = InFlight::new(&script);
            script.gate.acquire().await.unwrap().forget();
            loopback::json(StatusCode::OK, &json!({"replica": number}))
        }
        "/echo" => Response::new(request.into_body().map_err(Into::into).boxed_unsync()),
        other => loopback::json(StatusCode::OK, &json!({"replica": number, "path": other})),
    }
}

fn launch(script: &Arc<Script>) -> Launch {
    let script = Arc::clone(script);
    Launch::InProcess(Arc::new(move || {
        let script = Arc::clone(&script);
        Box::pin(async move {
            let number = script.started.fetch_add(1, Ordering::SeqCst) + 1;
            let shared = Arc::clone(&script);
            let server = Server::start(loopback::any_port()?, move |request| {
                replica(Arc::clone(&shared), number, request)
            })?;
            let url = server.url();
            let (kill, killed) = oneshot::channel();
            *script.kill.lock().unwrap() = Some(kill);
            let running = CancellationToken::new();
            let guard = running.clone().drop_guard();
            let ended = Box::pin(async move {
                let mut server = server;
                let how = tokio::select! {
                    Ok(()) = killed => "killed by the test",
                    () = running.cancelled() => "ended",
                };
                server.close().await;
                how.to_owned()
            });
            Ok(Running { url, pid: None, ended, guard: Box::new(guard) })
        })
    }))
}

fn options(launch: Launch) -> Options {
    Options {
        listener: loopback::any_port().unwrap(),
        launch,
        limits: Limits { min: 0, max: 2, cooldown: Duration::from_secs(300) },
        bounds: Bounds { slots_per_replica: 2, held: 3, hold: PATIENCE },
        cold_start: Duration::ZERO,
        follow: None,
        clock: clock::Clock::REAL,
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("waited in vain for: {what}"));
}

async fn get(url: String) -> (u16, reqwest::header::HeaderMap, Value) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.headers().clone(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_held_request_wakes_the_first_replica() {
    let (script, _told) = script();
    let front = Front::start(options(launch(&script))).unwrap();
    assert_eq!(front.replicas(), []);
    let (status, _, body) = get(format!("{}/v1/models?x=%2F", front.url())).await;
    assert_eq!((status, &body["path"]), (200, &json!("/v1/models")));
    let (_, _, page) = get(format!("{}/front/replicas", front.url())).await;
    assert_eq!(page["replicas"][0]["id"], 1, "{page}");
    assert_eq!(page["replicas"][0]["in_flight"], 0, "{page}");
    front.stop().await;
    assert_eq!(script.started.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn slots_are_kept_and_what_is_beyond_the_bound_is_refused() {
    let (script, _told) = script();
    let front = Front::start(options(launch(&script))).unwrap();
    get(format!("{}/wake", front.url())).await;
    // Two slots, three held, one too many.
    let gated: Vec<_> = (0..5).map(|_| tokio::spawn(get(format!("{}/gated", front.url())))).collect();
    until("two in flight and three held", || {
        script.in_flight.load(Ordering::SeqCst) == 2 && front.pool.held() == 3
    })
    .await;
    let (status, headers, body) = get(format!("{}/gated", front.url())).await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!("overloaded")));
    assert!(headers["retry-after-ms"].to_str().unwrap().parse::<u64>().unwrap() >= 250);
    assert_eq!(headers["x-should-retry"], "true");

    script.gate.add_permits(5);
    for answer in gated {
        assert_eq!(answer.await.unwrap().0, 200);
    }
    assert_eq!(script.in_flight_max.load(Ordering::SeqCst), 2);
    until("every slot to be given back", || front.replicas().iter().all(|r| r.in_flight == 0)).await;
    front.stop().await;
}

#[tokio::test]
async fn a_cold_start_that_outlives_the_hold_says_come_back() {
    let (script, _told) = script();
    script.ready.store(false, Ordering::SeqCst);
    let bounds = Bounds { slots_per_replica: 1, held: 3, hold: Duration::from_millis(20) };
    let front = Front::start(Options { bounds, ..options(launch(&script)) }).unwrap();
    let (status, headers, body) = get(format!("{}/v1/models", front.url())).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("cold_start")));
    assert!(headers.contains_key("retry-after-ms") && headers.contains_key("retry-after"));
    front.stop().await;
}

#[tokio::test]
async fn a_start_that_fails_is_told_to_those_who_wait() {
    let program = "/nowhere/server".into();
    let launch = Launch::Command { program, arguments: vec![], settings: vec![] };
    let bounds = Bounds { slots_per_replica: 1, held: 3, hold: Duration::from_millis(200) };
    let front = Front::start(Options { bounds, ..options(launch) }).unwrap();
    let (status, _, body) = get(format!("{}/v1/models", front.url())).await;
    assert_eq!(status, 503);
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("the last start failed: No such file"), "{message}");
    front.stop().await;
}

#[tokio::test]
async fn a_killed_replica_says_retry_and_is_replaced() {
    let (script, _told) = script();
    let front = Front::start(options(launch(&script))).unwrap();
    get(format!("{}/wake", front.url())).await;
    let cut = tokio::spawn(get(format!("{}/gated", front.url())));
    until("the request to be in flight", || script.in_flight.load(Ordering::SeqCst) == 1).await;
    script.kill.lock().unwrap().take().unwrap().send(()).unwrap();
    let (status, headers, body) = cut.await.unwrap();
    assert_eq!((status, &body["error"]["code"]), (502, &json!("replica_gone")));
    assert_eq!(headers["x-should-retry"], "true");
    let (status, _, body) = get(format!("{}/again", front.url())).await;
    assert_eq!((status, &body["replica"]), (200, &json!(2)));
    front.stop().await;
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let (script, _told) = script();
    let front = Front::start(options(launch(&script))).unwrap();
    let (chunks, upload) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let upload = futures_util::stream::unfold(upload, |mut upload| async move {
        upload.recv().await.map(|chunk| (chunk, upload))
    });
    let request = reqwest::Client::new().post(format!("{}/echo", front.url()));
    let answer = tokio::spawn(request.body(reqwest::Body::wrap_stream(upload)).send());
    chunks.send(Ok(Bytes::from_static(b"one"))).await.unwrap();
    // The echo answers before the upload has ended, so each piece is back before the next goes.
    let mut download = answer.await.unwrap().unwrap().bytes_stream();
    assert_eq!(download.next().await.unwrap().unwrap(), "one");
    chunks.send(Ok(Bytes::from_static(b"two"))).await.unwrap();
    assert_eq!(download.next().await.unwrap().unwrap(), "two");
    drop(chunks);
    assert!(download.next().await.is_none());
    front.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_upstream_and_frees_the_slot() {
    let (script, mut told) = script();
    let front = Front::start(options(launch(&script))).unwrap();
    get(format!("{}/wake", front.url())).await;
    let client = tokio::spawn(get(format!("{}/gated", front.url())));
    until("the request to be in flight", || script.in_flight.load(Ordering::SeqCst) == 1).await;
    client.abort();
    tokio::time::timeout(PATIENCE, told.recv()).await.expect("the upstream hears of it");
    until("the slot to be free", || front.replicas()[0].in_flight == 0).await;
    front.stop().await;
}

#[tokio::test]
async fn the_number_follows_the_status_page() {
    let (script, _told) = script();
    let wanted = Arc::new(AtomicU32::new(2));
    let said = Arc::clone(&wanted);
    let mut page = Server::start(loopback::any_port().unwrap(), move |request| {
        let said = said.load(Ordering::SeqCst);
        async move {
            let is_admin = request.headers()["authorization"] == "Bearer admin";
            let status = if is_admin { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            loopback::json(status, &json!({"backend": "b", "replicas": said, "reason": {}}))
        }
    })
    .unwrap();
    let follow = Follow {
        url: format!("{}/api/status/replicas/b", page.url()),
        key: "admin".to_owned(),
        every: Duration::from_millis(10),
    };
    assert!(!format!("{follow:?}").contains("admin\""));
    let limits = Limits { min: 0, max: 3, cooldown: Duration::ZERO };
    let front = Front::start(Options { follow: Some(follow), limits, ..options(launch(&script)) }).unwrap();
    let ready = |n: usize| front.replicas().iter().filter(|r| r.url.is_some()).count() == n;
    until("two replicas", || ready(2)).await;

    let busy = tokio::spawn(get(format!("{}/gated", front.url())));
    until("the request to be in flight", || script.in_flight.load(Ordering::SeqCst) == 1).await;
    wanted.store(0, Ordering::SeqCst);
    until("the idle one to go", || ready(1)).await;
    script.gate.add_permits(1);
    assert_eq!(busy.await.unwrap().0, 200, "the busy one stays until it is idle");
    until("none", || ready(0)).await;
    front.stop().await;
    page.close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_process_is_started_watched_and_ended() {
    let (script, _told) = script();
    let shared = Arc::clone(&script);
    let mut page =
        Server::start(loopback::any_port().unwrap(), move |request| replica(Arc::clone(&shared), 0, request))
            .unwrap();
    // It only announces; the test's own server answers for it.
    let announce = r#"echo "a word before"; echo "listening on $REPLICA_URL"; exec sleep 1000"#;
    let launch = Launch::Command {
        program: "sh".into(),
        arguments: vec!["-c".to_owned(), announce.to_owned()],
        settings: vec![("REPLICA_URL".to_owned(), page.url())],
    };
    let limits = Limits { min: 1, max: 1, cooldown: Duration::from_secs(300) };
    let front = Front::start(Options { limits, ..options(launch) }).unwrap();
    let pid = || front.replicas().iter().find(|r| r.url.is_some()).and_then(|r| r.pid);
    until("the first process", || pid().is_some()).await;
    let first = pid().unwrap();
    let process = rustix::process::Pid::from_raw(first.try_into().unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    until("its replacement", || pid().is_some_and(|pid| pid != first)).await;
    assert_eq!(get(format!("{}/v1/models", front.url())).await.0, 200);
    let second = rustix::process::Pid::from_raw(pid().unwrap().try_into().unwrap()).unwrap();
    front.stop().await;
    until("the process to be gone", || rustix::process::test_kill_process(second).is_err()).await;
    page.close().await;
}
