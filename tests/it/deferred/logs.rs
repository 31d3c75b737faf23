//! What owners see of their workers' logs, where a task runs work of several tenants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use facts::{Job, JobId};
use handler::act::jobs::accept::Accepted;
use handler::app::App;
use handler::telemetry;

use super::rig::{Rig, TENANT};
use crate::handler_stage::until;

const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);
const OTHER: &str = "other";
/// As `GET /api/jobs/{id}/logs` shows of a task.
const SHOWN_BYTES: usize = 16 * 1024;

/// A job so small that it shares its task.
async fn small_job(rig: &Rig, app: &App, tenant: &str) -> Arc<Job> {
    let mut new = rig.new_job(app, &JobId::random(), LONG).await;
    new.tenant = tenant.to_owned();
    new.speed.per_item_us = 1;
    let Accepted::Job(job) = app.jobs.accept(new).await.unwrap() else { panic!("a random id names no job") };
    job
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a worker logs about these jobs, in its own form.
fn logged(jobs: &[&Job]) -> String {
    let written = Written::default();
    let writer = written.clone();
    let log = telemetry::lines("info", move || writer.clone()).unwrap();
    tracing::subscriber::with_default(log, || {
        for n in 0..2_000 {
            for job in jobs {
                let (tenant, id) = (&job.tenant, &job.job);
                let _span = tracing::info_span!("member", tenant, job = %id, shard = 0, pack = "p").entered();
                tracing::warn!("it answers 400 to {tenant}, line {n}");
            }
        }
        tracing::error!("the backend fails: it answers 500: quoted");
    });
    String::from_utf8(std::mem::take(&mut *written.0.lock().unwrap())).unwrap()
}

/// The whole log of a task used to be shown to everybody who had work in it.
#[tokio::test]
async fn a_task_that_tenants_share_shows_each_of_them_its_own_lines() {
    let rig = Rig::start(1.0).await;
    rig.change_catalogue(|written| {
        let tenants = written["tenants"].as_array_mut().unwrap();
        tenants.push(serde_json::json!({ "id": OTHER, "keys": [] }));
    });
    let app = rig.process().await;
    let (own, other) = (small_job(&rig, &app, TENANT).await, small_job(&rig, &app, OTHER).await);
    until("the task runs", async || {
        rig.sweep(&app).await;
        !rig.running().await.is_empty()
    })
    .await;
    let packs = rig.packs().await;
    let [pack] = &packs[..] else { panic!("{packs:?}") };
    assert!([TENANT, OTHER].iter().all(|id| pack.members.iter().any(|member| member.tenant == *id)));
    rig.running().await[0].write_log(&logged(&[&own, &other]));
    for (job, foreign) in [(&own, &other), (&other, &own)] {
        let shown = app.jobs.log_about(job, &pack.pack, SHOWN_BYTES).await.unwrap().expect("it is there");
        assert!(shown.contains("line 1999") && shown.len() <= SHOWN_BYTES, "{shown:.500}");
        assert!(!shown.contains(foreign.job.as_str()) && !shown.contains("quoted"), "{shown:.500}");
        assert!(!shown.contains(&format!("400 to {}", foreign.tenant)), "{shown:.500}");
        assert!(shown.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }
}
