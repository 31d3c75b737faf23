//! When bytes flow, who hears of whose end, and what is not sent twice: cases whose recordings
//! describe what was done. Both ends are the test's, which goes one step after the other.

use futures_util::FutureExt;
use local::host::Options;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::cases::{PARTS, WHOLE};
use crate::raw::{Message, PATIENCE, Script, Then, ask, ask_on, read_request};
use crate::requests::{OK, app, same_answer, same_request, start};

/// What most of these clients send.
const GET: &str = "GET /api/route HTTP/1.1\r\nHost: app.example:8080\r\n\r\n";
const POST: &str = "POST /api/route HTTP/1.1\r\nHost: app.example:8080\r\nContent-Length: 5\r\n\r\nhello";
/// Begins an answer without a length.
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENT: &str = "9\r\ndata: 0\n\n\r\n";
const LAST_CHUNK: &str = "0\r\n\r\n";

/// A host between the test's two ends.
struct Between {
    handler: TcpListener,
    host: u16,
    _stop: oneshot::Sender<()>,
}

impl Between {
    /// In the mode that the case's name begins with.
    async fn of(case: &str) -> Between {
        Between::with(case, |_| {}).await
    }

    async fn with(case: &str, adjust: impl FnOnce(&mut Options)) -> Between {
        let handler = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = handler.local_addr().expect("a bound port").port();
        let app = app(case.starts_with("proxy"), case.starts_with("forward"), "res");
        let (host, stop) = start(app, port, adjust);
        Between { handler, host, _stop: stop }
    }

    /// A client that has sent something.
    async fn client(&self, text: &str) -> TcpStream {
        let mut client = TcpStream::connect(("127.0.0.1", self.host)).await.expect("the host listens");
        client.write_all(text.as_bytes()).await.expect("the host reads");
        client
    }

    /// The host's next connection to the handler.
    async fn accept(&self) -> TcpStream {
        let accepted = tokio::time::timeout(PATIENCE, self.handler.accept()).await;
        accepted.expect("the host connects in time").expect("loopback accepts").0
    }

    fn port(&self) -> u16 {
        self.handler.local_addr().expect("a bound port").port()
    }

    /// Whether a request is the recorded one, with another body where that was only counted.
    fn check(&self, request: &[u8], case: &Value, name: &str) {
        let recorded = case["received"][0].as_str().expect("the request was recorded");
        same_request(request, recorded, self.port()).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("the host reads");
}

async fn request(stream: &mut TcpStream) -> Vec<u8> {
    let read = tokio::time::timeout(PATIENCE, read_request(stream)).await.expect("a request in time");
    read.expect("a whole request")
}

/// Reads until `enough` says so or the other end is gone.
async fn read_until(stream: &mut TcpStream, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65_536]);
    while !enough(&bytes) {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("bytes in time");
        match read {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    bytes
}

fn ends_with(end: &str) -> impl Fn(&[u8]) -> bool {
    move |bytes| bytes.ends_with(end.as_bytes())
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_by_a_proxied_handler() {
    let test = "streams::a_client_that_leaves_is_seen_by_a_proxied_handler";
    for (name, case) in PARTS.replayed_by(test) {
        let between = Between::of(&name).await;
        let mut client = between.client(GET).await;
        let mut handler = between.accept().await;
        between.check(&request(&mut handler).await, &case, &name);
        if name.contains("sse") {
            send(&mut handler, &format!("{EVENTS}{EVENT}")).await;
            read_until(&mut client, ends_with(EVENT)).await;
        }
        drop(client);
        let rest = read_until(&mut handler, |_| false).await;
        assert_eq!(rest, b"", "{name}: the connection ended");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_not_seen_by_a_forwarded_handler() {
    let whole = ("B.client-disconnect", WHOLE.case("B.client-disconnect"));
    let sse = ("forward-sse-client-disconnect", PARTS.case("forward-sse-client-disconnect"));
    let work = ("forward-work-client-disconnect", PARTS.case("forward-work-client-disconnect"));
    for (name, case) in [whole, sse, work] {
        let between = Between::of("forward").await;
        let mut client = between.client(case["stimulus"].as_str().and_then(head).unwrap_or(GET)).await;
        let mut handler = between.accept().await;
        let received = request(&mut handler).await;
        if case["received"].is_array() {
            between.check(&received, &case, name);
        }
        if name.contains("sse") {
            send(&mut handler, &format!("{EVENTS}{EVENT}")).await;
        }
        // It leaves, and the host hangs up: by then the handler would have heard of it.
        client.shutdown().await.expect("the client may leave");
        assert_eq!(read_until(&mut client, |_| false).await, b"", "{name}: nothing came");
        tokio::task::yield_now().await;
        assert!(handler.read(&mut [0]).now_or_never().is_none(), "{name}: the handler is not told");
        send(&mut handler, if name.contains("sse") { LAST_CHUNK } else { OK }).await;
        if received.windows(17).any(|part| part.eq_ignore_ascii_case(b"connection: close")) {
            continue;
        }
        // The host read that answer to its end: it uses the connection again.
        let _next = between.client(GET).await;
        assert!(request(&mut handler).await.starts_with(b"GET /api/route "), "{name}");
    }
}

/// The part of a stimulus that a client sends; what follows tells what it does then.
fn head(stimulus: &str) -> Option<&str> {
    stimulus.find("\r\n\r\n").map(|end| &stimulus[..end + 4])
}

#[tokio::test]
async fn proxied_bodies_flow() {
    for (name, case) in PARTS.replayed_by("streams::proxied_bodies_flow") {
        let between = Between::of(&name).await;
        let content_type = if name.ends_with("timing-chunked") { "Content-Type: text/plain\r\n" } else { "" };
        let head = format!(
            "POST /api/route HTTP/1.1\r\nHost: app.example:8080\r\n{content_type}Transfer-Encoding: chunked\r\n\r\n"
        );
        let mut client = between.client(&head).await;
        let mut handler = between.accept().await;
        let mut received = read_until(&mut handler, ends_with("\r\n\r\n")).await;
        let (part, early) = match name.as_str() {
            "proxy-upload-timing-bigchunks" => (format!("4e20\r\n{}\r\n", "a".repeat(20_000)), false),
            "proxy-early-response" => ("5\r\nabcde\r\n".to_owned(), true),
            _ => ("5\r\nabcde\r\n".to_owned(), false),
        };
        if early {
            send(&mut handler, OK).await;
        }
        for sent in 1..=3 {
            send(&mut client, &part).await;
            // A part is there before the next one is sent.
            let all = sent * part.trim_end().rsplit('\n').next().unwrap_or_default().len();
            while !early && Message::parse(&received).is_some_and(|message| message.body.len() < all) {
                received.extend(read_until(&mut handler, |bytes| !bytes.is_empty()).await);
            }
        }
        send(&mut client, LAST_CHUNK).await;
        if !early {
            while Message::parse(&received).is_some_and(|message| !message.complete) {
                received.extend(read_until(&mut handler, |bytes| !bytes.is_empty()).await);
            }
            send(&mut handler, OK).await;
        }
        let recorded = case["received"][0].as_str().expect("the request was recorded");
        let recorded_head = recorded.split("\r\n\r\n").next().unwrap_or_default();
        let ours = Message::parse(&received).expect("a request");
        let body = String::from_utf8_lossy(&ours.body).into_owned();
        let recorded = format!("{recorded_head}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let theirs = if body.is_empty() { format!("{recorded_head}\r\n\r\n0\r\n\r\n") } else { recorded };
        same_request(&received, &theirs, between.port()).unwrap_or_else(|why| panic!("{name}: {why}"));
        let whole = |bytes: &[u8]| Message::parse(bytes).is_some_and(|message| message.complete);
        let answer = read_until(&mut client, whole).await;
        let theirs = case["outcome"]["client_got"].as_str().expect("the answer was recorded");
        same_answer(&answer, theirs).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

#[tokio::test]
async fn forwarded_bodies_are_read_whole_first() {
    let case = PARTS.case("forward-upload-timing-cl");
    let between = Between::of("forward").await;
    let head = "POST /api/route HTTP/1.1\r\nHost: app.example:8080\r\nContent-Type: text/plain\r\nContent-Length: 15\r\n\r\n";
    let mut client = between.client(&format!("{head}abcde")).await;
    send(&mut client, "abcde").await;
    tokio::task::yield_now().await;
    assert!(between.handler.accept().now_or_never().is_none(), "the handler hears nothing before the end");
    send(&mut client, "abcde").await;
    let mut handler = between.accept().await;
    between.check(&request(&mut handler).await, &case, "forward-upload-timing-cl");
    send(&mut handler, OK).await;
    let answer = read_until(&mut client, ends_with("ok")).await;
    let theirs = case["outcome"]["client_got"].as_str().expect("the answer was recorded");
    assert_eq!(same_answer(&answer, theirs), Ok(()));
}

#[tokio::test]
async fn events_flow_under_proxying_alone() {
    let stimulus = "POST /api/route HTTP/1.1\r\nHost: app.example:8080\r\nContent-Type: application/json\r\n\
        Content-Length: 2\r\n\r\n{}";
    for (name, case) in PARTS.replayed_by("streams::events_flow_under_proxying_alone") {
        let proxied = name.starts_with("proxy");
        let between = Between::of(&name).await;
        let mut client = between.client(stimulus).await;
        let mut handler = between.accept().await;
        between.check(&request(&mut handler).await, &case, &name);
        send(&mut handler, EVENTS).await;
        let mut got = Vec::new();
        for n in 0..3 {
            send(&mut handler, &EVENT.replace('0', &n.to_string())).await;
            if proxied {
                let event = format!("data: {n}\n\n\r\n");
                got.extend(read_until(&mut client, ends_with(&event)).await);
            }
        }
        send(&mut handler, LAST_CHUNK).await;
        let end = if proxied { LAST_CHUNK } else { "data: 2\n\n" };
        got.extend(read_until(&mut client, ends_with(end)).await);
        let theirs = case["outcome"]["client_got"].as_str().expect("the answer was recorded");
        same_answer(&got, theirs).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

/// The recorded limit was 100 MiB.
const LIMIT: usize = 100_000;

#[tokio::test]
async fn bodies_beyond_the_limit_and_chunked_ones_fail() {
    let chunked = |parts: usize| {
        let head = "POST /api/route HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{}{LAST_CHUNK}", format!("4e20\r\n{}\r\n", "a".repeat(20_000)).repeat(parts))
    };
    let too_long = format!("POST /api/route HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", LIMIT + 1);
    let cases = [
        ("proxy-limit-chunked", chunked(6)),
        ("forward-limit-cl", too_long),
        ("forward-limit-chunked", chunked(6)),
        ("forward-upload-timing-bigchunks", chunked(3)),
    ];
    for (name, stimulus) in cases {
        let limit = ("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT".to_owned(), LIMIT.to_string());
        let between = Between::with(name, |options| options.settings.push(limit)).await;
        let mut client = between.client(&stimulus).await;
        if name.starts_with("proxy") {
            // The handler gets what fits, and no end: it must not take that for the whole.
            let received = read_until(&mut between.accept().await, |_| false).await;
            let received = Message::parse(&received).expect("a head and a part of the body");
            assert!(!received.complete && received.body.len() <= LIMIT, "{name}");
        }
        let answer = read_until(&mut client, ends_with("\r\n\r\n")).await;
        let theirs = PARTS.case(name)["outcome"]["client_got"].as_str().expect("recorded").to_owned();
        same_answer(&answer, &theirs).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(between.handler.accept().now_or_never().is_none(), "{name}: no other try");
    }
}

#[tokio::test]
async fn a_connection_is_kept_after_204() {
    let case = PARTS.case("proxy-keepalive-after-204");
    let script = Script::start(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), Then::KeepOpen).await;
    let (host, _stop) = start(app(true, true, "res"), script.port, |_| {});
    let mut client = TcpStream::connect(("127.0.0.1", host)).await.expect("the host listens");
    let recorded = case["outcome"]["client_got"].as_str().expect("both answers were recorded");
    for theirs in recorded.split_inclusive("\r\n\r\n") {
        let answer = ask_on(&mut client, GET.as_bytes(), true).await;
        assert_eq!(same_answer(&answer, theirs), Ok(()));
    }
    let received = script.received.lock().expect("not poisoned").clone();
    for (ours, theirs) in received.iter().zip(case["received"].as_array().expect("recorded")) {
        assert_eq!(same_request(ours, theirs.as_str().expect("text"), script.port), Ok(()));
    }
    assert_eq!(received.len(), 2);
}

#[tokio::test]
async fn a_body_is_not_sent_twice() {
    for (name, case) in PARTS.replayed_by("streams::a_body_is_not_sent_twice") {
        let between = Between::of(&name).await;
        let mut client = between.client(POST).await;
        let mut handler = between.accept().await;
        request(&mut handler).await;
        send(&mut handler, OK).await;
        read_until(&mut client, ends_with("ok")).await;
        let mut handler = match name.contains("close-idle") {
            true => {
                drop(handler);
                send(&mut client, POST).await;
                between.accept().await
            }
            false => {
                send(&mut client, POST).await;
                handler
            }
        };
        assert!(request(&mut handler).await.ends_with(b"hello"), "{name}");
        drop(handler);
        let answer = read_until(&mut client, ends_with("\r\n\r\n")).await;
        let theirs = case["outcome"]["outc"]["client"].as_str().expect("the answer was recorded");
        same_answer(&answer, theirs).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(between.handler.accept().now_or_never().is_none(), "{name}: no other try");
    }
}

#[tokio::test]
async fn telemetry_of_the_host_makes_a_trace() {
    let mut recorded = PARTS.replayed_by("streams::telemetry_of_the_host_makes_a_trace");
    recorded.extend(WHOLE.replayed_by("streams::telemetry_of_the_host_makes_a_trace"));
    assert_eq!(recorded.len(), 3, "two modes, and the whole host");
    let theirs = &recorded[2].1["requests"];
    let own = theirs[1]["headers"][0][1].as_str().expect("a trace of the client's own");
    let telemetry = ("APPLICATIONINSIGHTS_CONNECTION_STRING".to_owned(), "InstrumentationKey=x".to_owned());
    for mode in ["proxy", "forward"] {
        let script = Script::start(OK.into(), Then::KeepOpen).await;
        let setting = telemetry.clone();
        let app = app(mode == "proxy", true, "res");
        let (host, _stop) = start(app, script.port, |options| options.settings.push(setting));
        ask(host, GET.as_bytes(), false).await;
        ask(host, GET.replace("\r\n\r\n", &format!("\r\ntraceparent: {own}\r\n\r\n")).as_bytes(), false)
            .await;
        let received = script.received.lock().expect("not poisoned").clone();
        let parents: Vec<String> = received
            .iter()
            .map(|bytes| Message::parse(bytes).expect("whole").headers["traceparent"][0].clone())
            .collect();
        assert_eq!(shape(&parents[0]), shape(theirs[0]["headers"][0][1].as_str().expect("text")), "{mode}");
        assert_eq!(parents[1], own, "{mode}: a client's own trace goes on");
    }
}

/// A trace without its ids: version, lengths and flags.
fn shape(traceparent: &str) -> Vec<String> {
    let parts: Vec<&str> = traceparent.split('-').collect();
    vec![parts[0].into(), parts[1].len().to_string(), parts[2].len().to_string(), parts[3].into()]
}
