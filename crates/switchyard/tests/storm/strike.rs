//! Who is killed, how, and how often.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::json;

use crate::processes::Process;
use crate::stack::Stack;
use crate::until;

/// Chunks that come between two strikes, at most.
const CHUNKS_BETWEEN_MAX: u64 = 2;
const POOL: &str = local::stack::POOL;

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A worker's process; Azure Batch starts its task again.
    Worker,
    /// A spot node with what runs on it.
    Node,
    /// The handler; the host starts another.
    Handler,
    /// The host: it ends after three handlers were killed under it, and the platform starts another.
    Host,
    /// A realtime replica.
    Replica,
    /// The process of host, queues, Azure Batch and front: queue and tasks are gone.
    Stack,
    /// That and everything below it at once.
    Machine,
}

impl Kind {
    /// A round while the job runs in the pool.
    pub const POOL: [Kind; 8] = [
        Kind::Worker,
        Kind::Worker,
        Kind::Node,
        Kind::Node,
        Kind::Handler,
        Kind::Host,
        Kind::Stack,
        Kind::Machine,
    ];
    /// A round once it was promoted.
    pub const REALTIME: [Kind; 5] = [Kind::Replica, Kind::Replica, Kind::Handler, Kind::Stack, Kind::Machine];
    const ALL: [Kind; 7] =
        [Kind::Worker, Kind::Node, Kind::Handler, Kind::Host, Kind::Replica, Kind::Stack, Kind::Machine];
}

/// The strikes on one job.
pub struct Storm {
    chunks: PathBuf,
    random: Random,
    kills: BTreeMap<Kind, u32>,
    /// Chunks that must exist before the next strike.
    next_at: u64,
}

impl Storm {
    /// No strike yet; `chunks` is the folder of the job's results.
    pub fn new(chunks: PathBuf, random: Random) -> Storm {
        Storm { chunks, random, kills: BTreeMap::new(), next_at: 1 }
    }

    /// Counts a kill that others have done.
    pub fn count(&mut self, kind: Kind) {
        *self.kills.entry(kind).or_default() += 1;
    }

    /// Waits until the job has got further, and kills.
    pub async fn strike(&mut self, kind: Kind, stack: &mut Stack) {
        let (chunks, next_at) = (self.chunks.clone(), self.next_at);
        let moved = async || (count_of(&chunks) >= next_at).then_some(());
        until("the job to get further", moved).await;
        println!("{next_at} chunks: {kind:?}");
        match kind {
            Kind::Worker => self.kill_one("worker", stack).await,
            Kind::Replica => self.kill_one("server", stack).await,
            Kind::Node => {
                until("a node at work", async || stack.processes("worker").pop()).await;
                evict(stack).await;
            }
            Kind::Handler => stack.kill_handler().await,
            Kind::Host => self.end_host(stack).await,
            Kind::Stack => stack.kill_up().await,
            Kind::Machine => stack.kill_all().await,
        }
        self.count(kind);
        self.next_at = count_of(&self.chunks) + 1 + self.random.below(CHUNKS_BETWEEN_MAX);
    }

    async fn kill_one(&mut self, name: &str, stack: &Stack) {
        let random = &mut self.random;
        until(&format!("a {name} to kill"), async || {
            let found = stack.processes(name);
            let chosen = random.below((found.len() as u64).max(1)) as usize;
            found.get(chosen).filter(|process| process.kill()).map(|_| ())
        })
        .await;
    }

    /// Kills handlers until their host has had enough.
    async fn end_host(&mut self, stack: &Stack) {
        let before = stack.host_ends();
        let mut last: Option<Process> = None;
        until("the host to end", async || {
            let handler = stack.processes("handler").pop();
            if let Some(handler) = handler.filter(|found| Some(found) != last.as_ref())
                && stack.host_ends() == before
                && handler.kill()
            {
                last = Some(handler);
                self.count(Kind::Handler);
            }
            (stack.host_ends() > before).then_some(())
        })
        .await;
    }

    /// A storm that missed somebody proves nothing about it.
    pub fn assert_all_struck(&self) {
        for kind in Kind::ALL {
            assert!(self.kills.get(&kind).is_some_and(|count| *count > 0), "no {kind:?} was killed");
        }
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A host is ended by killing its handlers, which are counted.
        let kills = || self.kills.iter().filter(|(kind, _)| **kind != Kind::Host);
        let kinds: Vec<String> = kills().map(|(kind, count)| format!("{kind:?} {count}")).collect();
        let hosts = self.kills.get(&Kind::Host).copied().unwrap_or_default();
        let sum: u32 = kills().map(|(_, count)| count).sum();
        write!(f, "{sum} kills ({}), {hosts} hosts ended by them", kinds.join(", "))
    }
}

/// Takes away the spot node that runs most.
async fn evict(stack: &Stack) {
    let url = format!("{}/standin/evict", stack.ready().batch_url);
    until("a node to take away", async || {
        let asked = reqwest::Client::new().post(&url).json(&json!({"pool": POOL})).send().await;
        asked.ok().filter(|answer| answer.status().is_success()).map(drop)
    })
    .await;
}

/// Chunks that exist whole; the store renames a file when it is.
pub fn count_of(chunks: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(chunks).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|found| found == "jsonl")).count() as u64
}

/// The kinds in some order.
pub fn shuffled(kinds: &[Kind], random: &mut Random) -> Vec<Kind> {
    let mut kinds = kinds.to_vec();
    for n in (1..kinds.len()).rev() {
        kinds.swap(n, random.below(n as u64 + 1) as usize);
    }
    kinds
}

/// SplitMix64: all that a storm needs of chance.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}
