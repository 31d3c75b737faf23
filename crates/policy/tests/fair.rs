//! Weighted fair dispatch between tenants: the bound of start-time fair queueing as a property, and a
//! small pool in virtual time in which one tenant floods while nine others live.

use std::collections::{BTreeMap, BTreeSet};

use policy::dispatch::{AHEAD_MAX, Band, COMPANY_WAIT, Class, Pool, Waiting, band, packs, rank};
use policy::fair::{Queue, Shares};
use policy::snapshot::Spread;
use policy::units::{Millis, UnixMs};
use proptest::collection::vec;
use proptest::prelude::*;

const BEGIN: UnixMs = UnixMs(1_760_000_000_000);
const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// What it shows, queues, and the tenants of the items in the order in which they leave.
type Case<'a> = (&'a str, Vec<Queue<'a>>, &'a str);

#[test]
fn turns_go_round_by_weight() {
    let s = Millis::from_secs;
    let queue = |tenant, weight, items: usize, work| Queue { tenant, weight, work: vec![s(work); items] };
    let cases: Vec<Case<'_>> = vec![
        ("nothing", vec![], ""),
        ("one", vec![queue("a", 1, 3, 10)], "aaa"),
        ("alike", vec![queue("b", 1, 3, 10), queue("a", 1, 3, 10)], "ababab"),
        ("twice the weight", vec![queue("a", 1, 3, 10), queue("b", 2, 6, 10)], "abbabbabb"),
        ("twice the work", vec![queue("a", 1, 2, 20), queue("b", 1, 4, 10)], "abbabb"),
        ("a flood", vec![queue("a", 1, 6, 10), queue("b", 1, 1, 10)], "abaaaaa"),
        ("no weight is weight 1", vec![queue("a", 0, 2, 10), queue("b", 1, 2, 10)], "abab"),
        ("no work", vec![queue("a", 1, 3, 0), queue("b", 1, 3, 0)], "ababab"),
    ];
    for (what, queues, expected) in cases {
        let mut shares = Shares::default();
        shares.turn(&queues.iter().map(|queue| queue.tenant).collect::<Vec<_>>());
        let order = shares.order(&queues);
        let told: String = order.iter().map(|(queue, _)| queues[*queue].tenant).collect();
        assert_eq!(told, expected, "{what}");
        assert_eq!(order, shares.order(&queues), "{what}: the same twice");
    }
}

#[test]
fn idleness_saves_nothing_up_and_a_flood_leaves_no_debt() {
    let one = |tenant| Queue { tenant, weight: 1, work: vec![Millis(10); 2] };
    let mut shares = Shares::default();
    shares.turn(&["a"]);
    for _ in 0..1_000 {
        shares.gave("a", 1, Millis(10));
    }
    shares.turn(&["a", "b"]);
    assert_eq!(shares.order(&[one("a"), one("b")]), [(0, 0), (1, 0), (0, 1), (1, 1)], "b came anew");
    for _ in 0..1_000 {
        shares.gave("b", 1, Millis(10));
    }
    shares.turn(&["a", "b"]);
    assert_eq!(shares.order(&[one("a"), one("b")])[..2], [(0, 0), (0, 1)], "b is ahead");
    shares.turn(&[]);
    shares.turn(&["a", "b"]);
    assert_eq!(shares.order(&[one("a"), one("b")])[1], (1, 0), "nobody waited: nothing is owed");
}

proptest! {
    /// Goyal's bound: while two tenants wait, what they were given, by weight, differs by at most the
    /// largest item of each, whatever else comes and goes and however little leaves in a pass.
    #[test]
    fn two_who_wait_are_served_alike(
        weights in vec(1..8_u32, 5),
        passes in vec((vec(0..40_usize, 5), vec(1..60_000_u64, 1..6), 0..30_usize), 1..60),
        (first, second) in (0..5_usize, 0..5_usize),
    ) {
        let mut shares = Shares::default();
        let mut left: Vec<Vec<Millis>> = vec![Vec::new(); 5];
        let (mut given, mut largest) = ([0_u64; 5], [0_u64; 5]);
        for (arrivals, works, room) in passes {
            for (tenant, count) in arrivals.into_iter().enumerate() {
                left[tenant].extend((0..count).map(|n| Millis(works[n % works.len()])));
            }
            let waiting: Vec<usize> = (0..5).filter(|tenant| !left[*tenant].is_empty()).collect();
            shares.turn(&waiting.iter().map(|tenant| NAMES[*tenant]).collect::<Vec<_>>());
            let queues: Vec<Queue<'_>> = (waiting.iter())
                .map(|tenant| Queue { tenant: NAMES[*tenant], weight: weights[*tenant], work: left[*tenant].clone() })
                .collect();
            for tenant in 0..5 {
                largest[tenant] = left[tenant].iter().map(|work| work.0).fold(largest[tenant], u64::max);
            }
            let leaving: Vec<_> = shares.order(&queues).into_iter().take(room).collect();
            for (queue, item) in &leaving {
                let (tenant, work) = (waiting[*queue], queues[*queue].work[*item]);
                shares.gave(NAMES[tenant], weights[tenant], work);
                given[tenant] += work.0;
            }
            for (at, tenant) in waiting.iter().enumerate() {
                left[*tenant].drain(..leaving.iter().filter(|(queue, _)| *queue == at).count());
            }
            let names = (0..5).filter(|tenant| !left[*tenant].is_empty()).map(|tenant| NAMES[tenant]);
            shares.turn(&names.collect::<Vec<_>>());
            // Who had all of it leave does not wait any more, whatever comes next.
            if left[first].is_empty() || left[second].is_empty() {
                given = [0; 5];
            }
            let by_weight = |of: &[u64; 5], tenant: usize| of[tenant] as f64 / f64::from(weights[tenant]);
            let apart = (by_weight(&given, first) - by_weight(&given, second)).abs();
            let bound = by_weight(&largest, first) + by_weight(&largest, second);
            // Virtual time is cut to a thousandth of a ms an item: a few thousand items are a few ms.
            prop_assert!(apart <= bound + 10.0, "{apart} > {bound}");
        }
    }

    /// The upper bands never hold so much that the lowest starves, whatever classes and deadlines say.
    #[test]
    fn priority_is_scarce(slots in 1..40_u64, wishes in vec((0..3_usize, 0..100_000_000_u64), 0..200)) {
        let mut pool = Pool { slots, ..Pool::default() };
        for (class, left) in wishes {
            match band(Class::ALL[class], Millis(left), &pool) {
                Band::High => pool.above[0] += 1,
                Band::Middle => pool.above[1] += 1,
                Band::Low => {}
            }
        }
        prop_assert!(pool.above.iter().all(|tasks| *tasks <= (slots / 4).max(1)), "{pool:?}");
    }
}

#[test]
fn a_trickle_saves_nothing_up() {
    let one = |tenant| Queue { tenant, weight: 1, work: vec![Millis(10); 2] };
    let mut shares = Shares::default();
    for _ in 0..1_000 {
        shares.turn(&["flood", "trickle"]);
        ["trickle", "flood", "flood"].iter().for_each(|tenant| shares.gave(tenant, 1, Millis(10)));
        shares.turn(&["flood"]);
    }
    shares.turn(&["flood", "new", "trickle"]);
    let order = shares.order(&[one("flood"), one("new"), one("trickle")]);
    assert_eq!(order, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)], "all begin at the same time");
}

#[test]
fn bands_are_those_of_class_and_time() {
    let h = |hours: u64| Millis::from_secs(hours * 3_600);
    let pool = |high, middle| Pool { slots: 8, above: [high, middle], ..Pool::default() };
    let cases = [
        (Class::Interactive, h(24), pool(0, 0), Band::High),
        (Class::Standard, h(24), pool(0, 0), Band::Middle),
        (Class::Bulk, h(24), pool(0, 0), Band::Low),
        (Class::Bulk, h(6), pool(0, 0), Band::Middle),
        (Class::Bulk, h(1), pool(0, 0), Band::High),
        (Class::Interactive, h(24), pool(2, 0), Band::Middle),
        (Class::Interactive, h(24), pool(2, 2), Band::Low),
        (Class::Standard, h(24), pool(0, 2), Band::Low),
    ];
    for (class, left, pool, expected) in cases {
        assert_eq!(band(class, left, &pool), expected, "{class:?} {left:?} {:?}", pool.above);
    }
    for class in Class::ALL {
        assert_eq!(Class::parse(class.as_str()), Some(class));
    }
}

#[test]
fn within_a_tenant_what_must_leave_is_first_then_class_then_deadline() {
    let pool = Pool { slots: 4, ..Pool::default() };
    let shard =
        |class, hours: u64| Waiting { class, deadline: BEGIN + Millis::from_secs(hours * 3_600), ..light() };
    let late = Waiting { deadline: BEGIN + Millis::from_secs(60), ..shard(Class::Bulk, 0) };
    let expected = [
        late,
        shard(Class::Interactive, 9),
        shard(Class::Standard, 2),
        shard(Class::Standard, 3),
        shard(Class::Bulk, 2),
    ];
    let mut sorted = expected;
    sorted.reverse();
    sorted.sort_by_key(|shard| rank(shard, &pool, BEGIN));
    assert_eq!(sorted, expected);
}

/// A light tenant's shard: ten seconds on a slot, a day of time.
fn light() -> Waiting {
    Waiting {
        class: Class::Standard,
        work: Millis::from_secs(10),
        since: BEGIN,
        deadline: BEGIN + Millis::from_secs(86_400),
        realtime: Millis(0),
    }
}

/// How often a sweep comes.
const PASS: Millis = Millis::from_secs(30);

/// A task that waits for a slot: its band, its number, its members with their tenants.
type Task = (Band, u64, Vec<(usize, Waiting)>);

/// A pool that is swept, in virtual time; tasks are never interrupted, a higher band begins first.
struct Sim {
    slots: u64,
    weights: [u32; 10],
    shares: Shares,
    waiting: Vec<(usize, Waiting)>,
    active: Vec<Task>,
    running: Vec<(UnixMs, Band)>,
    added: u64,
    /// Longest time from acceptance to the end of the task, by tenant.
    longest: [Millis; 10],
    is_fair: bool,
}

impl Sim {
    fn new(slots: u64, weights: [u32; 10]) -> Sim {
        let longest = [Millis(0); 10];
        let (shares, waiting, active, running) = (Shares::default(), vec![], vec![], vec![]);
        Sim { slots, weights, shares, waiting, active, running, added: 0, longest, is_fair: true }
    }

    fn pool(&self) -> Pool {
        let load = Spread { p50: Millis::from_secs(5), p95: Millis::from_secs(10) };
        let busy = self.running.len() as u64;
        let of = |band| {
            let active = self.active.iter().filter(|task| task.0 == band).count();
            (active + self.running.iter().filter(|task| task.1 == band).count()) as u64
        };
        Pool {
            slots: self.slots,
            ready_slots: self.slots,
            idle_slots: if self.active.is_empty() { self.slots - busy } else { 0 },
            tasks: self.active.len() as u64 + busy,
            above: [of(Band::High), of(Band::Middle)],
            load,
            boot: Spread::default(),
        }
    }

    fn sweep(&mut self, now: UnixMs) {
        let pool = self.pool();
        let mut ordered = self.in_turn(&pool, now);
        if !self.is_fair {
            ordered.sort_by_key(|(_, shard)| shard.deadline);
        }
        let shards: Vec<Waiting> = ordered.iter().map(|(_, shard)| *shard).collect();
        let mut left: Vec<Option<(usize, Waiting)>> = ordered.into_iter().map(Some).collect();
        for pack in packs(&shards, &pool, now) {
            let members: Vec<_> = pack.iter().map(|n| left[*n].take().expect("it leaves once")).collect();
            let class = members.iter().map(|(_, shard)| shard.class).min().unwrap();
            let soonest = members.iter().map(|(_, shard)| shard.deadline).min().unwrap();
            for (tenant, shard) in &members {
                self.shares.gave(NAMES[*tenant], self.weights[*tenant], shard.work);
            }
            let band = band(class, soonest.since(now), &self.pool());
            self.active.push((band, self.added, members));
            self.added += 1;
        }
        self.waiting = left.into_iter().flatten().collect();
        let owners: BTreeSet<&str> = self.waiting.iter().map(|(tenant, _)| NAMES[*tenant]).collect();
        self.shares.turn(&owners.into_iter().collect::<Vec<_>>());
    }

    fn in_turn(&mut self, pool: &Pool, now: UnixMs) -> Vec<(usize, Waiting)> {
        let mut by_tenant: BTreeMap<usize, Vec<Waiting>> = BTreeMap::new();
        for (tenant, shard) in &self.waiting {
            by_tenant.entry(*tenant).or_default().push(*shard);
        }
        let mut queues = Vec::new();
        for (tenant, shards) in &mut by_tenant {
            shards.sort_by_key(|shard| rank(shard, pool, now));
            let work = shards.iter().map(|shard| shard.work).collect();
            queues.push(Queue { tenant: NAMES[*tenant], weight: self.weights[*tenant], work });
        }
        self.shares.turn(&queues.iter().map(|queue| queue.tenant).collect::<Vec<_>>());
        let owners: Vec<_> = by_tenant.into_iter().collect();
        let item = |(queue, item): (usize, usize)| (owners[queue].0, owners[queue].1[item]);
        self.shares.order(&queues).into_iter().map(item).collect()
    }

    /// Slots that are free take tasks.
    fn run(&mut self, now: UnixMs) {
        self.running.retain(|(until, _)| *until > now);
        while (self.running.len() as u64) < self.slots && !self.active.is_empty() {
            let next = (0..self.active.len()).min_by_key(|n| (self.active[*n].0, self.active[*n].1)).unwrap();
            let (band, _, members) = self.active.remove(next);
            let end = members.iter().fold(now, |at, (_, shard)| at + shard.work);
            for (tenant, shard) in members {
                self.longest[tenant] = self.longest[tenant].max(end.since(shard.since));
            }
            self.running.push((end, band));
        }
    }

    /// Lets what arrives arrive, until this instant.
    fn play(&mut self, mut arrivals: Vec<(UnixMs, usize, Waiting)>, until: UnixMs) {
        arrivals.sort_by_key(|(at, ..)| *at);
        let mut arrivals = arrivals.into_iter().peekable();
        let (mut now, mut sweep_at) = (BEGIN, BEGIN);
        while now < until {
            while let Some((at, tenant, shard)) = arrivals.next_if(|(at, ..)| *at <= now) {
                self.waiting.push((tenant, Waiting { since: at, ..shard }));
            }
            self.run(now);
            if sweep_at <= now {
                self.sweep(now);
                sweep_at = now + PASS;
                self.run(now);
            }
            now = self.running.iter().map(|(until, _)| *until).fold(sweep_at, UnixMs::min);
        }
    }
}

/// What the documentation promises to a tenant whose work lies under its share: until the task that
/// holds it has ended, counted from its acceptance, with at most `queued` of its own before it.
fn bound(slots: u64, weights: &[u32; 10], tenant: usize, queued: Millis, pool: &Pool) -> Millis {
    let shard = policy::shards::SHARD_WORK.0 as f64;
    let ours = (queued.0 as f64 + shard) / f64::from(weights[tenant]);
    let others = (0..10).filter(|other| *other != tenant);
    let before: f64 = others.map(|other| ours * f64::from(weights[other]) + shard).sum();
    let task = pool.pack_size();
    let in_batch = Millis(task.0 * (AHEAD_MAX + 2));
    PASS + COMPANY_WAIT + Millis((before / slots as f64) as u64) + in_batch
}

/// Nine tenants send ten seconds of work about every half hour; the tenth has more than three hours of it
/// for every slot, from the start.
fn arrivals(slots: u64, class: Class, hours_left: u64, offsets: &[u64]) -> Vec<(UnixMs, usize, Waiting)> {
    let deadline = BEGIN + Millis::from_secs(hours_left * 3_600);
    let flood = Waiting { class, work: Millis::from_secs(60), deadline, ..light() };
    let mut arrivals = vec![(BEGIN, 9, flood); 190 * slots as usize];
    for round in 0..4_u64 {
        for (tenant, offset) in offsets.iter().enumerate() {
            arrivals.push((BEGIN + Millis::from_secs(round * 1_800 + offset), tenant, light()));
        }
    }
    arrivals
}

const THREE_HOURS: Millis = Millis::from_secs(3 * 3_600);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_flood_delays_nobody_beyond_the_bound(
        slots in 1..16_u64,
        class in (0..3_usize).prop_map(|at| Class::ALL[at]),
        heavy in 1..4_u32,
        hours_left in 7..20_u64,
        offsets in vec(0..1_700_u64, 9),
    ) {
        let mut weights = [1; 10];
        weights[9] = heavy;
        let mut sim = Sim::new(slots, weights);
        sim.play(arrivals(slots, class, hours_left, &offsets), BEGIN + THREE_HOURS);
        prop_assert!(!sim.waiting.is_empty(), "the flood is larger than the time");
        for tenant in 0..9 {
            let bound = bound(slots, &weights, tenant, light().work, &sim.pool());
            let longest = sim.longest[tenant];
            prop_assert!(longest > Millis(0), "it was served");
            prop_assert!(longest <= bound, "tenant {tenant} waited {longest:?}, promised {bound:?}");
        }
    }
}

#[test]
fn without_turns_the_same_flood_delays_everybody() {
    let offsets: Vec<u64> = (0..9).map(|tenant| tenant * 100).collect();
    let mut sim = Sim::new(4, [1; 10]);
    sim.is_fair = false;
    sim.play(arrivals(4, Class::Standard, 8, &offsets), BEGIN + THREE_HOURS);
    let bound = bound(4, &[1; 10], 0, light().work, &sim.pool());
    let starved = sim.waiting.iter().filter(|(tenant, _)| *tenant < 9);
    let waited = starved.map(|(_, shard)| (BEGIN + THREE_HOURS).since(shard.since)).max();
    assert!(
        waited.is_some_and(|waited| waited > bound),
        "{waited:?} within {bound:?}: the bound says nothing"
    );
}

#[test]
fn a_weight_is_a_share_of_the_pool() {
    let flood = |tenant| (BEGIN, tenant, Waiting { work: Millis::from_secs(60), ..light() });
    let arrivals = (0..1_000).flat_map(|_| [flood(0), flood(1)]).collect();
    let mut weights = [1; 10];
    weights[1] = 3;
    let mut sim = Sim::new(4, weights);
    sim.play(arrivals, BEGIN + THREE_HOURS);
    let left = |tenant| sim.waiting.iter().filter(|(of, _)| *of == tenant).count();
    let (one, three) = (1_000 - left(0), 1_000 - left(1));
    assert!((one * 3).abs_diff(three) <= 6, "{one} and {three}");
}
