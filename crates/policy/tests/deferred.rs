//! The deferred lane's decisions as tables and as properties: how a job is cut, what leaves for a
//! pool, when a shard is rescued.

use policy::dispatch::{
    COMPANY_WAIT, Class, MEMBERS_MAX, PACK_MAX, PACK_MIN, Pool, Waiting, packs, waiting_reason,
};
use policy::reason::Code;
use policy::rescue::{At, RESCUE_WITHIN, SILENT_AFTER, Shard, begins, due};
use policy::shards::{Block, CHUNK_BYTES_MAX, CHUNK_WORK, SHARD_WORK, cut};
use policy::snapshot::{Speed, Spread};
use policy::units::{Millis, Tokens, UnixMs};
use proptest::collection::vec;
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_760_000_000_000);
const DAY: Millis = Millis::from_secs(24 * 3_600);

/// A millisecond an item.
const SPEED: Speed =
    Speed { base: Millis(5), per_item_us: 1_000, per_token_in_us: 0, per_token_out_us: 0, p95_percent: 150 };

/// 64 lines that take this long.
fn block(work: Millis) -> Block {
    Block { lines: 64, items: work.0, ..Block::default() }
}

#[test]
fn jobs_are_cut_at_blocks() {
    let s = Millis::from_secs;
    // Seconds of blocks, bytes of a result, where shards end, lines of a chunk.
    type Case<'a> = (&'a str, &'a [u64], u64, &'a [usize], u32);
    let cases: &[Case<'_>] = &[
        ("nothing", &[], 100, &[], 1),
        ("little", &[1], 100, &[1], 64 * 20),
        ("just a shard", &[30, 30], 100, &[2], 42),
        ("one second more", &[30, 31], 100, &[1, 2], 41),
        ("a block is never cut", &[61, 1], 100, &[1, 2], 41),
        ("long lines", &[64 * 100], 100, &[1], 1),
        ("large results", &[1], CHUNK_BYTES_MAX / 3, &[1], 3),
        ("larger than a chunk may be", &[1], CHUNK_BYTES_MAX * 2, &[1], 1),
    ];
    for (what, works, bytes, shards, chunk_lines) in cases {
        let blocks: Vec<Block> = works.iter().map(|work| block(s(*work))).collect();
        let cut = cut(&SPEED, &blocks, *bytes);
        let ends: Vec<_> = cut.shards.iter().map(|(range, _)| range.end).collect();
        assert_eq!(ends, *shards, "{what}");
        assert_eq!(cut.chunk_lines, *chunk_lines, "{what}");
    }
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let any = prop_oneof![4 => 0..100_000_u64, 1 => Just(u64::MAX)];
    let block =
        (1..=64_u64, 0..200_000_u64, any.clone(), any).prop_map(|(lines, items, tokens_in, tokens_out)| {
            Block { lines, items, tokens_in: Tokens(tokens_in), tokens_out: Tokens(tokens_out) }
        });
    vec(block, 0..60)
}

fn speed() -> impl Strategy<Value = Speed> {
    (0..5_000_u64, 0..500_u64, 0..50_000_u64).prop_map(|(per_item_us, per_token_in_us, per_token_out_us)| {
        Speed { per_item_us, per_token_in_us, per_token_out_us, ..SPEED }
    })
}

proptest! {
    #[test]
    fn every_block_is_in_one_shard_in_order(speed in speed(), blocks in blocks(), bytes in 0..u64::MAX) {
        let whole = cut(&speed, &blocks, bytes);
        let covered: Vec<usize> = whole.shards.iter().flat_map(|(range, _)| range.clone()).collect();
        prop_assert_eq!(covered, (0..blocks.len()).collect::<Vec<_>>());
        let alone = |n: usize| cut(&speed, &blocks[n..=n], bytes).shards[0].1;
        for (n, (range, work)) in whole.shards.iter().enumerate() {
            prop_assert!(*work <= SHARD_WORK || range.len() == 1, "{range:?} is {work:?}");
            prop_assert_eq!(*work, range.clone().map(alone).fold(Millis(0), |sum, work| sum + work));
            // Shards are as few as their order allows.
            if let Some((next, _)) = whole.shards.get(n + 1) {
                prop_assert!(*work + alone(next.start) > SHARD_WORK);
            }
        }
        // Whoever adds up the work of all jobs of a pool stays within 64 bits.
        let sum: u128 = whole.shards.iter().map(|(_, work)| u128::from(work.0)).sum();
        prop_assert!(sum * 50_000 < u128::from(u64::MAX), "{sum}");
    }

    #[test]
    fn chunks_keep_their_bounds(speed in speed(), blocks in blocks(), bytes in 1..CHUNK_BYTES_MAX * 2) {
        let whole = cut(&speed, &blocks, bytes);
        let chunk = u64::from(whole.chunk_lines);
        prop_assert!(chunk == 1 || (chunk > 1 && chunk * bytes <= CHUNK_BYTES_MAX));
        let lines: u64 = blocks.iter().map(|block| block.lines).sum();
        let work: u128 = whole.shards.iter().map(|(_, work)| u128::from(work.0)).sum();
        prop_assert!(chunk == 1 || u128::from(chunk) * work <= u128::from(CHUNK_WORK.0) * u128::from(lines));
    }
}

fn shard(work: Millis) -> Waiting {
    Waiting { class: Class::Standard, work, since: NOW, deadline: NOW + DAY, realtime: Millis::from_secs(30) }
}

/// Four slots, all busy.
fn pool() -> Pool {
    let spread = |p50, p95| Spread { p50: Millis::from_secs(p50), p95: Millis::from_secs(p95) };
    Pool {
        slots: 4,
        ready_slots: 4,
        idle_slots: 0,
        tasks: 4,
        load: spread(5, 10),
        boot: spread(120, 240),
        ..Pool::default()
    }
}

#[test]
fn small_work_waits_for_company_only_as_long_as_said() {
    let second = shard(Millis::from_secs(1));
    let since = |ago: Millis| Waiting { since: NOW - ago, ..second };
    let until = |left: Millis| Waiting { deadline: NOW + left, ..second };
    // Boot and load at p95, its own time twice, the rescue's time, and the work in the realtime lane.
    let ahead = Millis::from_secs(240 + 10 + 2 + 30) + RESCUE_WITHIN;
    let idle = Pool { idle_slots: 1, ..pool() };
    let no_room = Pool { tasks: 8, ..pool() };
    type Case<'a> = (&'a str, &'a [Waiting], Pool, &'a [&'a [usize]]);
    let cases: &[Case<'_>] = &[
        ("nothing", &[], pool(), &[]),
        ("fresh and small", &[second], pool(), &[]),
        ("a slot is idle", &[second], idle, &[&[0]]),
        ("almost long enough", &[since(Millis(COMPANY_WAIT.0 - 1))], pool(), &[]),
        ("long enough", &[since(COMPANY_WAIT)], pool(), &[&[0]]),
        ("takes its company along", &[since(COMPANY_WAIT), second], pool(), &[&[0, 1]]),
        ("not yet urgent", &[until(ahead + Millis(1))], pool(), &[]),
        ("urgent", &[until(ahead)], pool(), &[&[0]]),
        ("past its deadline", &[until(Millis(0))], pool(), &[&[0]]),
        ("urgent without room", &[until(ahead)], no_room, &[]),
        ("idle without room", &[second], Pool { tasks: 8, ..idle }, &[]),
        ("no slots at all", &[until(ahead)], Pool { slots: 0, tasks: 0, ..pool() }, &[]),
        ("full", &[shard(PACK_MIN)], pool(), &[&[0]]),
        (
            "closed because the next did not fit",
            &[shard(Millis::from_secs(100)), shard(Millis::from_secs(100))],
            Pool { slots: 1, tasks: 0, ..pool() },
            &[&[0]],
        ),
        ("more than full", &[shard(PACK_MAX + PACK_MAX), second], pool(), &[&[0]]),
    ];
    for (what, waiting, pool, expected) in cases {
        assert_eq!(packs(waiting, pool, NOW), *expected, "{what}");
    }
    assert_eq!(waiting_reason(&second, &pool()).code, Code::WaitingForCompany);
    assert_eq!(waiting_reason(&second, &no_room).code, Code::WaitingForRoom);
}

#[test]
fn loading_the_model_is_a_tenth_of_a_task_within_bounds() {
    for (load_s, size_s) in [(0, 120), (12, 120), (20, 200), (30, 300), (300, 300)] {
        let load = Spread { p50: Millis::from_secs(load_s), p95: Millis::from_secs(load_s) };
        assert_eq!(Pool { load, ..pool() }.pack_size(), Millis::from_secs(size_s), "{load_s}s");
    }
}

#[test]
fn work_is_spread_over_slots_that_would_idle() {
    let many = vec![shard(Millis::from_secs(20)); 12];
    let waiting = Pool { idle_slots: 4, tasks: 0, ..pool() };
    assert_eq!(packs(&many, &waiting, NOW).iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 3]);
}

fn waitings() -> impl Strategy<Value = Vec<Waiting>> {
    let waiting = (0..400_000_u64, 0..200_000_u64, 0..3_600_000_u64, 0..100_000_u64).prop_map(
        |(work, ago, left, realtime)| Waiting {
            class: Class::Standard,
            work: Millis(work),
            since: NOW - Millis(ago),
            deadline: NOW + Millis(left),
            realtime: Millis(realtime),
        },
    );
    vec(waiting, 0..400).prop_map(|mut waiting| {
        waiting.sort_by_key(|shard| shard.deadline);
        waiting
    })
}

fn pools() -> impl Strategy<Value = Pool> {
    (0..40_u64, 0..4_u64, 0..90_u64, 0..60_000_u64).prop_map(|(slots, idle, tasks, load)| Pool {
        slots,
        ready_slots: slots,
        idle_slots: idle.min(slots),
        tasks,
        load: Spread { p50: Millis(load), p95: Millis(load * 2) },
        ..pool()
    })
}

proptest! {
    #[test]
    fn no_shard_leaves_twice_and_no_pack_is_too_much(waiting in waitings(), pool in pools()) {
        let sent = packs(&waiting, &pool, NOW);
        prop_assert!(sent.len() as u64 <= pool.room());
        let members: Vec<usize> = sent.iter().flatten().copied().collect();
        prop_assert!(members.is_sorted_by(|a, b| a < b), "twice or out of order: {members:?}");
        for pack in &sent {
            let work: u64 = pack.iter().map(|n| waiting[*n].work.0).sum();
            prop_assert!((1..=MEMBERS_MAX).contains(&pack.len()));
            prop_assert!(work <= pool.pack_size().0 || pack.len() == 1, "{work} ms in one task");
        }
    }

    #[test]
    fn whatever_must_leave_does_where_there_is_room(waiting in waitings(), pool in pools()) {
        let pool = Pool { slots: pool.slots + 400, ..pool };
        let pool = Pool { tasks: 0, ..pool };
        let sent: Vec<usize> = packs(&waiting, &pool, NOW).into_iter().flatten().collect();
        for (n, shard) in waiting.iter().enumerate() {
            let is_old = NOW.since(shard.since) >= COMPANY_WAIT;
            let is_urgent = shard.deadline <= NOW + RESCUE_WITHIN + shard.work + shard.work + shard.realtime;
            prop_assert!(!(is_old || is_urgent || pool.idle_slots > 0) || sent.contains(&n), "{shard:?}");
        }
    }

    #[test]
    fn more_room_sends_the_same_and_more(waiting in waitings(), pool in pools(), more in 1..20_u64) {
        let fewer = Pool { tasks: pool.tasks + more, ..pool };
        let (less, all) = (packs(&waiting, &fewer, NOW), packs(&waiting, &pool, NOW));
        prop_assert_eq!(&less[..], &all[..less.len()]);
    }
}

/// Half an hour from its deadline, ten seconds of work, twenty in the realtime lane.
fn late(at: At) -> Shard {
    Shard {
        deadline: NOW + Millis::from_secs(1_800),
        promoted: false,
        left: Millis::from_secs(10),
        realtime: Some(Millis::from_secs(20)),
        chunk: Millis::from_secs(5),
        at,
        again: UnixMs(0),
    }
}

#[test]
fn rescues_begin_when_they_must() {
    let s = Millis::from_secs;
    let rescue = |claimed_s: u64, chunk_s: Option<u64>| At::Rescue {
        claimed: NOW + s(claimed_s),
        last_chunk: chunk_s.map(|at| NOW + s(at)),
    };
    let begin = 1_800 - 20 - 240;
    let promoted = |at| Shard { promoted: true, ..late(at) };
    let cases: &[(&str, Shard, u64, bool)] = &[
        ("early", late(At::Nowhere), begin - 1, false),
        ("in no task", late(At::Nowhere), begin, true),
        ("queued", late(At::Queued), begin, true),
        ("runs and will end in time", late(At::Running), begin, false),
        ("runs while there is time for a rescue", late(At::Running), 1_800 - 20 - 90 - 1, false),
        ("runs when a rescue cannot wait", late(At::Running), 1_800 - 20 - 90, true),
        ("much is left where it runs", Shard { left: s(600), ..late(At::Running) }, begin, true),
        ("not served", Shard { realtime: None, ..late(At::Nowhere) }, 1_799, false),
        ("promoted", promoted(At::Nowhere), 0, true),
        ("promoted and runs", promoted(At::Running), 0, true),
        ("promoted and not served", Shard { realtime: None, ..promoted(At::Nowhere) }, 0, false),
        ("promoted and rescued", promoted(rescue(0, None)), 44, false),
        ("nobody came", late(rescue(100, None)), 145, true),
        ("it is at work", late(rescue(100, Some(140))), 184, false),
        ("it fell silent", late(rescue(100, Some(140))), 185, true),
        ("its chunks take long", Shard { chunk: s(30), ..late(rescue(100, None)) }, 219, false),
        ("even for its long chunks", Shard { chunk: s(30), ..late(rescue(100, None)) }, 220, true),
        ("its tries failed", Shard { again: NOW + s(50), ..promoted(At::Nowhere) }, 49, false),
        ("its tries failed a while ago", Shard { again: NOW + s(50), ..promoted(At::Nowhere) }, 50, true),
        ("its rescues failed", Shard { again: NOW + s(50), ..late(rescue(0, None)) }, 49, false),
        ("a task has it now", Shard { again: NOW + s(50), ..promoted(At::Queued) }, 0, true),
        ("its chunk is of a task before", late(rescue(100, Some(20))), 144, false),
    ];
    for (what, shard, at, expected) in cases {
        assert_eq!(due(shard, NOW + s(*at)), *expected, "{what}");
    }
    assert_eq!(begins(&late(At::Nowhere)), Some(NOW + s(begin)));
    assert_eq!(SILENT_AFTER, s(45));
}

proptest! {
    #[test]
    fn a_rescue_that_is_due_stays_due_and_leaves_itself_time(
        (left, realtime, begin, wait) in (0..600_000_u64, 0..600_000_u64, 0..4_000_000_u64, 0..4_000_000_u64),
        at in prop_oneof![Just(At::Nowhere), Just(At::Queued), Just(At::Running)],
    ) {
        let deadline = NOW + Millis(2_000_000);
        let shard = Shard { deadline, promoted: false, left: Millis(left), realtime: Some(Millis(realtime)), chunk: Millis(0), at, again: UnixMs(0) };
        let now = NOW + Millis(begin);
        if due(&shard, now) {
            prop_assert!(due(&shard, now + Millis(wait)));
        }
        // Nothing is left to luck that could still be rescued, even by a second try.
        if now + Millis(realtime) + SILENT_AFTER + SILENT_AFTER >= deadline {
            prop_assert!(due(&shard, now));
        }
        // In no task, it is rung while its own time and that of its work lie ahead.
        if at != At::Running {
            prop_assert_eq!(due(&shard, now), now + Millis(realtime) + RESCUE_WITHIN >= deadline);
        }
    }
}
