//! Any prefix and any interleaving of two of every actor folds to a legal state, and finishing from
//! it gives exactly one result per item. An actor is what the real one comes to in the store: an
//! ordered list of puts that may end anywhere, each of which does nothing where its key exists.

use std::collections::BTreeMap;

use facts::fold::{Found, Phase, State, fold};
use facts::job::{Estimate, Input, Kind, Shard};
use facts::key::JobKeys;
use facts::{Job, JobId, line};
use proptest::collection::vec;
use proptest::prelude::*;

/// What lies in the job's folder, by key.
type Folder = BTreeMap<String, String>;

fn job(lines: &[u32], chunk_lines: u32) -> Job {
    let mut first_line = 0;
    let shard = |lines: &u32| {
        let shard = Shard { offset: 0, bytes: 0, first_line, lines: *lines, work_ms: 1_000 };
        first_line += u64::from(*lines);
        shard
    };
    Job {
        v: facts::VERSION,
        job: JobId::of_key("dev", "embeddings", "key"),
        tenant: "dev".to_owned(),
        by: "someone".to_owned(),
        kind: Kind::Request,
        url: "/v1/embeddings".to_owned(),
        model: "m".to_owned(),
        digest: None,
        body_hash: String::new(),
        class: facts::job::Class::default(),
        created_ms: 0,
        deadline_ms: 1,
        max_cost_micro_usd: None,
        pool: "pool".to_owned(),
        estimate: Estimate::default(),
        labels: BTreeMap::new(),
        traceparent: None,
        input: Input::Inline(String::new()),
        shards: lines.iter().map(shard).collect(),
        chunk_lines,
    }
}

/// Who puts. There are two of each.
#[derive(Clone, Copy, Debug)]
enum Role {
    Accepter,
    Dispatcher,
    Worker,
    Rescuer,
    Canceller,
    Finisher,
}

const ROLES: [Role; 6] =
    [Role::Accepter, Role::Dispatcher, Role::Worker, Role::Rescuer, Role::Canceller, Role::Finisher];

struct Actor {
    role: Role,
    name: String,
    /// What it still puts, the next one last; none: it has not looked yet.
    puts: Option<Vec<(String, String)>>,
}

impl Actor {
    fn new(role: Role, n: usize) -> Actor {
        Actor { role, name: format!("{role:?} {n}"), puts: None }
    }

    /// Puts its next object; says whether it had one.
    fn step(&mut self, job: &Job, folder: &mut Folder) -> bool {
        let puts = self.puts.get_or_insert_with(|| {
            let mut puts = plan(self.role, &self.name, job, folder);
            puts.reverse();
            puts
        });
        match puts.pop() {
            Some((key, content)) => {
                folder.entry(key).or_insert(content);
                true
            }
            None => false,
        }
    }
}

/// What an actor puts that looks now and is not told of anything later.
fn plan(role: Role, name: &str, job: &Job, folder: &Folder) -> Vec<(String, String)> {
    let keys = JobKeys::new(&job.tenant, &job.job);
    let by = |key: String| (key, name.to_owned());
    let state = look(job, folder);
    let tries = |k: u32| (0..).zip(&job.shards).map(move |(n, _)| (n, k));
    match role {
        Role::Accepter => vec![by(keys.job())],
        Role::Dispatcher => tries(1).map(|(n, k)| by(keys.try_(n, k))).collect(),
        Role::Worker => chunks(job).map(|(n, c)| (keys.chunk(n, c), content(job, n, c, name))).collect(),
        Role::Rescuer => {
            let chunk = |(n, c)| (keys.chunk(n, c), content(job, n, c, name));
            tries(2).map(|(n, k)| by(keys.try_(n, k))).chain(chunks(job).map(chunk)).collect()
        }
        Role::Canceller => vec![by(keys.stop())],
        Role::Finisher => {
            let missing = (0..).zip(&state.shards).flat_map(|(n, seen)| seen.missing().map(move |c| (n, c)));
            let fill = missing.map(|(n, c)| (keys.chunk(n, c), content(job, n, c, name)));
            match state.phase() {
                Phase::Stopping => fill.chain([by(keys.end())]).collect(),
                Phase::Finishing => vec![by(keys.end())],
                Phase::Waiting | Phase::Running | Phase::Ended => vec![],
            }
        }
    }
}

fn chunks(job: &Job) -> impl Iterator<Item = (u32, u32)> + '_ {
    (0..).zip(&job.shards).flat_map(|(n, shard)| (0..shard.chunks(job.chunk_lines)).map(move |c| (n, c)))
}

fn content(job: &Job, n: u32, c: u32, by: &str) -> String {
    let range = job.shards[n as usize].chunk_range(job.chunk_lines, c);
    range.map(|number| line::error(number, "item", "test", by)).collect()
}

fn listing(folder: &Folder) -> Vec<Found> {
    let found = |(at, (key, content)): (usize, (&String, &String))| Found {
        key: key.clone(),
        size: content.len() as u64,
        modified_ms: at as u64,
    };
    folder.iter().enumerate().map(found).collect()
}

fn look(job: &Job, folder: &Folder) -> State {
    fold(job, &listing(folder))
}

fn rank(phase: Phase) -> usize {
    let order = [Phase::Waiting, Phase::Running, Phase::Stopping, Phase::Finishing, Phase::Ended];
    order.iter().position(|known| *known == phase).expect("every phase has its place")
}

/// What no later look may take back.
fn assert_goes_forward(job: &Job, before: &State, after: &State) -> Result<(), TestCaseError> {
    for (before, after) in before.shards.iter().zip(&after.shards) {
        prop_assert!(before.tries <= after.tries);
        prop_assert!(before.chunks.iter().zip(&after.chunks).all(|(before, after)| before <= after));
    }
    prop_assert!(before.stopped <= after.stopped && before.ended <= after.ended);
    prop_assert!(rank(before.phase()) <= rank(after.phase()), "{:?} {:?}", before.phase(), after.phase());
    prop_assert!(before.lines_done(job) <= after.lines_done(job));
    prop_assert!(before.work_left_ms(job) >= after.work_left_ms(job));
    Ok(())
}

fn assert_is_legal(job: &Job, state: &State) -> Result<(), TestCaseError> {
    prop_assert!(!state.ended || state.is_done(), "a summary of what is not there");
    prop_assert!(state.lines_done(job) <= job.lines());
    prop_assert_eq!(state.is_done(), state.lines_done(job) == job.lines());
    prop_assert_eq!(state.is_done(), state.work_left_ms(job) == 0);
    Ok(())
}

/// Numbers of the lines of all results, in the order in which they are served.
fn results(job: &Job, folder: &Folder) -> Vec<String> {
    let keys = JobKeys::new(&job.tenant, &job.job);
    let lines = |(n, c): (u32, u32)| {
        let chunk = folder.get(&keys.chunk(n, c)).expect("an ended job has all its chunks");
        let id = |text: &[u8]| serde_json::from_slice::<line::OutLine<'_>>(text).expect("a line").id;
        line::split(chunk.as_bytes()).map(id).collect::<Vec<_>>()
    };
    chunks(job).flat_map(lines).collect()
}

/// What production does for ever: look, finish what is to be finished. The job's owner, or its
/// deadline, stops it at last.
fn finish(job: &Job, folder: &mut Folder) -> Result<(), TestCaseError> {
    for role in [Role::Finisher, Role::Canceller, Role::Finisher] {
        let before = look(job, folder);
        let mut actor = Actor::new(role, 9);
        while actor.step(job, folder) {}
        assert_goes_forward(job, &before, &look(job, folder))?;
    }
    Ok(())
}

fn schedules() -> impl Strategy<Value = (Vec<u32>, u32, Vec<usize>)> {
    (vec(1..12_u32, 0..5), 1..6_u32, vec(0..2 * ROLES.len(), 0..120))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_interleaving_is_legal_and_ends_with_one_result_per_item(
        (lines, chunk_lines, schedule) in schedules(),
    ) {
        let job = job(&lines, chunk_lines);
        let mut actors: Vec<Actor> =
            (0..2 * ROLES.len()).map(|n| Actor::new(ROLES[n / 2], n % 2)).collect();
        let mut folder = Folder::new();
        let mut before = look(&job, &folder);
        for n in schedule {
            actors[n].step(&job, &mut folder);
            let after = look(&job, &folder);
            assert_is_legal(&job, &after)?;
            assert_goes_forward(&job, &before, &after)?;
            before = after;
        }
        let frozen = folder.clone();
        finish(&job, &mut folder)?;
        prop_assert_eq!(look(&job, &folder).phase(), Phase::Ended);
        let expected: Vec<String> = (0..job.lines()).map(line::result_id).collect();
        prop_assert_eq!(results(&job, &folder), expected);
        for (key, content) in frozen {
            prop_assert_eq!(&folder[&key], &content, "a fact has changed");
        }
        // Whoever goes on late changes nothing any more.
        let ended = folder.clone();
        for actor in &mut actors {
            while actor.step(&job, &mut folder) {}
        }
        prop_assert_eq!(results(&job, &ended), results(&job, &folder));
        prop_assert_eq!(look(&job, &folder).phase(), Phase::Ended);
    }

    #[test]
    fn the_order_of_a_listing_and_what_is_no_fact_do_not_matter(
        (lines, chunk_lines, schedule) in schedules(),
        seed in any::<u64>(),
        foreign in vec("(tries|out|trying|x)?/?[0-9]{0,7}-?[0-9]{0,4}\\.?(json|jsonl|tmp)?", 0..10),
    ) {
        let job = job(&lines, chunk_lines);
        let mut folder = Folder::new();
        let mut actors: Vec<Actor> = ROLES.iter().map(|role| Actor::new(*role, 0)).collect();
        for n in schedule {
            actors[n / 2].step(&job, &mut folder);
        }
        let facts = listing(&folder);
        let mut mixed = facts.clone();
        // Names that could be facts of another size of job, or of none.
        let keys = JobKeys::new(&job.tenant, &job.job);
        let beyond = [keys.chunk(job.shards.len() as u32, 0), keys.try_(job.shards.len() as u32, 1)];
        let is_fact = |name: &str| {
            let known = chunks(&job).map(|(n, c)| keys.chunk(n, c)).chain(facts.iter().map(|f| f.key.clone()));
            known.into_iter().any(|key| same(&key, name))
        };
        let foreign = foreign.iter().map(|name| format!("{}{name}", keys.folder()));
        for key in beyond.into_iter().chain(foreign.filter(|key| !is_fact(key) && !key.contains("tries/"))) {
            mixed.push(Found { key, size: 1, modified_ms: 0 });
        }
        mixed.sort_by_key(|found| {
            let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            found.key.bytes().fold(seed, mix)
        });
        prop_assert_eq!(fold(&job, &facts), fold(&job, &mixed));
    }
}

/// Whether two keys say the same fact: numbers may have any width.
fn same(a: &str, b: &str) -> bool {
    let numbers = |key: &str| {
        let (folder, name) = key.rsplit_once('/')?;
        let (n, rest) = name.split_once('-')?;
        let (c, kind) = rest.split_once('.')?;
        Some((folder.to_owned(), n.parse::<u32>().ok()?, c.parse::<u32>().ok()?, kind.to_owned()))
    };
    a == b || (numbers(a).is_some() && numbers(a) == numbers(b))
}
