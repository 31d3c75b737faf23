//! From the open port to the end: loading, overload, drain, a parent that goes.

use std::io::Read;
use std::process::Stdio;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::process::{BOUND, MODEL, Server, command, json};

fn milliseconds(response: &Response) -> u64 {
    let header = |name: &str| {
        let value = response.headers().get(name).unwrap_or_else(|| panic!("{name} is missing"));
        value.to_str().expect("a number").parse::<u64>().expect("a number")
    };
    let milliseconds = header("retry-after-ms");
    assert_eq!(header("retry-after"), milliseconds.div_ceil(1000).max(1));
    milliseconds
}

#[tokio::test]
async fn while_loading_it_lives_but_is_not_ready() {
    let server = Server::open(&["--test-load-ms", "600000"]);
    assert_eq!(server.get("/health").await.status(), StatusCode::OK);
    assert_eq!(server.get("/v1/models").await.status(), StatusCode::OK);
    assert_eq!(server.metric("switchyard_server_ready").await, 0.0);
    for response in
        [server.get("/ready").await, server.embed(&json!({"model": "minilm", "input": "a"})).await]
    {
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(milliseconds(&response) > 0);
        assert_eq!(json(response).await["error"]["code"], "model_loading");
    }
    end(server).await;
}

/// Ends a server by SIGTERM; it must exit 0.
async fn end(mut server: Server) {
    server.terminate();
    let status = tokio::task::spawn_blocking(move || server.child.wait()).await.expect("no panic");
    assert_eq!(status.expect("it is our child").code(), Some(0));
}

#[tokio::test]
async fn readiness_comes_after_loading_with_the_models_identity() {
    let server = Server::ready(&["--test-load-ms", "50", "--model-name", "tiny"]).await;
    let response = server.get("/ready").await;
    let header = response.headers()["switchyard-model"].to_str().expect("text").to_owned();
    let (name, digest) = header.split_once("@sha256:").expect("name and digest");
    assert_eq!((name, digest.len()), ("tiny", 64));
    assert_eq!(json(response).await["model"], header);
    assert_eq!(server.metric("switchyard_server_ready").await, 1.0);
}

#[tokio::test]
async fn overload_is_refused_at_once_and_passes() {
    // Each request is a batch of its own and two may wait: of 24 at once most must be refused,
    // unless they took 24 × 200 ms to arrive.
    let server = Server::ready(&[
        "--backend",
        "test",
        "--test-delay-ms",
        "200",
        "--max-batch-tokens",
        "3",
        "--max-queued-tokens",
        "6",
    ])
    .await;
    let body = json!({"model": "minilm", "input": "a"});
    let answers = futures_util::future::join_all((0..24).map(|_| server.embed(&body))).await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status() == StatusCode::OK);
    assert!(!served.is_empty() && !refused.is_empty(), "{} were served", served.len());
    for response in refused {
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(milliseconds(&response) <= 30_000);
        let error = &json(response).await["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("overloaded")));
    }
    server.until("it has room again", async || server.embed(&body).await.status() == StatusCode::OK).await;
}

#[tokio::test]
async fn a_caller_that_goes_takes_its_work_along() {
    let server =
        Server::ready(&["--backend", "test", "--test-delay-ms", "300", "--max-batch-tokens", "3"]).await;
    let body = json!({"model": "minilm", "input": vec!["a"; 2000]});
    let asking = server.embed(&body);
    let waits =
        server.until("it waits", async || server.metric("switchyard_server_waiting_sequences").await > 0.0);
    // Dropping the request closes its connection. 2,000 batches would take ten minutes.
    tokio::select! {
        _ = asking => panic!("it cannot be done yet"),
        () = waits => {}
    }
    server
        .until("its work is gone", async || server.metric("switchyard_server_waiting_sequences").await == 0.0)
        .await;
}

#[tokio::test]
async fn sigterm_lets_what_runs_finish_and_exits_0() {
    let server = Server::ready(&["--backend", "test", "--test-delay-ms", "500"]).await;
    let body = json!({"model": "minilm", "input": "a"});
    let watched = async {
        server.until("it runs", async || server.metric("switchyard_server_running_tokens").await > 0.0).await;
        server.terminate();
    };
    let (answer, ()) = tokio::join!(server.embed(&body), watched);
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(json(answer).await["data"][0]["index"], 0);
    end(server).await;
}

#[tokio::test]
async fn it_ends_when_its_parent_does() {
    let mut shell = command("sh");
    shell.args(["-c", "\"$0\" \"$@\" & wait", env!("CARGO_BIN_EXE_server")]);
    shell.args(["--model", MODEL, "--listen", "127.0.0.1:0", "--exit-with-parent"]);
    let mut server = Server::spawn(shell);
    // A killed shell passes nothing on.
    server.child.kill().expect("it is our child");
    let reading = tokio::task::spawn_blocking(move || {
        let mut rest = String::new();
        server.stdout.read_to_string(&mut rest).map(|_| rest)
    });
    let rest = tokio::time::timeout(BOUND, reading).await.expect("the server ends").expect("no panic");
    assert_eq!(rest.expect("stdout ends"), "");
}

#[test]
fn what_cannot_be_served_is_refused_with_the_remedy() {
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--model", "/nonexistent", "--listen", "127.0.0.1:0"], 1, "/nonexistent/config.json"),
        (&["--model", MODEL, "--listen", "127.0.0.1:0", "--max-tokens", "9999"], 1, "from 3 to 128"),
        (&["--model", MODEL, "--listen", "192.0.2.1:1"], 1, "choose another --listen"),
        (&["--listen", "127.0.0.1:0"], 2, "--model"),
    ];
    for (arguments, code, expected) in cases {
        let output = command(env!("CARGO_BIN_EXE_server"))
            .args(*arguments)
            .stderr(Stdio::piped())
            .output()
            .expect("the server starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn settings_come_from_the_environment_too() {
    let mut by_environment = command(env!("CARGO_BIN_EXE_server"));
    by_environment.args(["--listen", "127.0.0.1:0"]);
    by_environment.env("MODEL_PATH", MODEL).env("MODEL_NAME", "named").env("GPU_ENABLED", "true");
    let server = Server::spawn(by_environment);
    let models: Value = json(server.get("/v1/models").await).await;
    assert_eq!(models["data"][0]["id"], "named");
}
