//! One trace id in every log line about a job, from the client's request to its end, warnings included.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use facts::JobId;
use handler::telemetry;
use serde_json::Value;
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;

use super::rig::{Rig, SLOW};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Lines that were logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn every_line_about_a_job_names_its_trace() {
    let log = Log::default();
    let writer = log.clone();
    let logged = telemetry::lines("info,local=off", move || writer.clone()).unwrap();
    // This runtime is this one thread.
    let _logging = tracing::subscriber::set_default(logged);
    // With one subscriber alive, a call site that another test's thread meets first is asked of that
    // thread's default, which is none, and stays off (`Rebuilder::JustOne` in tracing-core). With two
    // alive, both are asked.
    let _second = Dispatch::new(NoSubscriber::new());
    let rig = Rig::start(SLOW).await;
    let app = rig.process().await;
    let id = JobId::random();
    let mut new = rig.new_job(&app, &id, Duration::from_secs(10 * 24 * 3_600)).await;
    new.traceparent = Some(format!("00-{TRACE}-00f067aa0ba902b7-01"));
    app.jobs.accept(new).await.unwrap();
    rig.deliver(&app).await;
    rig.server().go_down();
    rig.deliver(&app).await;
    rig.sweep(&app).await;
    let named: Vec<Value> =
        log.lines().into_iter().filter(|line| line.to_string().contains(id.as_str())).collect();
    let messages: Vec<&str> = named.iter().filter_map(|line| line["message"].as_str()).collect();
    for wanted in ["job accepted", "a shard is sent", "a task cannot be looked at; looking again later"] {
        assert!(messages.contains(&wanted), "{wanted} in {messages:?}");
    }
    for line in named {
        assert_eq!(line["span"]["trace_id"], TRACE, "{line}");
    }
}
