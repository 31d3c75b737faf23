//! Everybody dies at random, again and again, while nodes are taken away and answers are lost: every
//! item still has its one result.

use std::sync::Arc;
use std::time::Duration;

use facts::fault::{Act, Fault};
use futures_util::future::join_all;
use handler::triggers::sweep;
use tokio_util::sync::CancellationToken;

use super::rig::{POOL, Rig, SLOW, tick, until_killed};

const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);
const STORMS: u64 = 8;
/// Blows of one storm; then production is left in peace.
const BLOWS: u32 = 30;
/// Workers are killed in a storm, at most.
const WORKERS_KILLED: u32 = 7;

/// A number below `bound`; the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // The generator of Knuth's MMIX; its high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn fault(&mut self, acts: u64) -> Arc<Fault> {
        let act = if self.below(4) == 0 { Act::Send } else { Act::Put };
        Arc::new(Fault::of_task(act, self.below(2) == 0, 1 + self.below(acts)))
    }
}

async fn storm(seed: u64) -> u32 {
    let mut dice = Dice(seed);
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    let (mut killed, mut workers_killed) = (0, 0);
    for _ in 0..BLOWS {
        match dice.below(8) {
            0..=2 => {
                let fault = dice.fault(12);
                let app = rig.process_with(Some(Arc::clone(&fault))).await;
                killed += u32::from(until_killed(&fault, sweep::run(&app, &tick())).await.is_none());
            }
            3 | 4 => {
                let fault = dice.fault(12);
                let app = rig.process_with(Some(Arc::clone(&fault))).await;
                killed += u32::from(until_killed(&fault, rig.deliver(&app)).await.is_none());
            }
            5 | 6 if workers_killed < WORKERS_KILLED => {
                for task in rig.running().await {
                    let (fault, stop) = (dice.fault(4), CancellationToken::new());
                    // An item that two workers die of when they run it alone is given up. The storm may kill
                    // one there, and no second one.
                    let is_alone = rig.keys().await.iter().any(|key| key.contains("/trying/"));
                    let strikes = (!is_alone).then(|| Arc::clone(&fault));
                    let worker = rig.run_worker(&task, strikes, &stop);
                    let done = until_killed(&fault, worker).await;
                    workers_killed += u32::from(done.is_none());
                    task.end(if done.is_some_and(|done| done.is_ok()) { 0 } else { 137 });
                }
            }
            7 => {
                if let Some(node) = rig.server().busiest_spot_node(POOL) {
                    rig.server().evict(POOL, &node).unwrap();
                }
                rig.server().lose_answers(local::azure_batch::Lost { times: dice.below(6) as u32 });
            }
            _ => rig.lose_tickets().await,
        }
    }
    let end = rig.recover(&job.job).await;
    // The mark of an item whose worker was killed after it had put the chunk is nobody's any more; it goes
    // with the job.
    rig.assert_results(&job, &end).await;
    killed + workers_killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_in_a_storm() {
    let killed: u32 = join_all((0..STORMS).map(storm)).await.into_iter().sum();
    assert!(u64::from(killed) >= STORMS * 4, "only {killed} processes were killed");
}
