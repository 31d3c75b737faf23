//! A pool of nodes in virtual time, as Azure Batch runs one: nodes boot, tasks run on free nodes in the
//! order of their deadlines, the platform takes spot nodes away, a shrink drains.

use std::ops::Range;

use autoscale::{Deallocation, Evaluation, History, Interval, Metric, Targets, Timestamp, World};

/// Between two steps: the period of samples.
pub const STEP_S: u64 = 30;
const MINUTE: u64 = 60;
/// A sample is seen this late.
const SAMPLE_LATE_S: u64 = 60;
/// What an eviction loses of a task.
const CHUNK_S: u64 = 20;
/// Boots take four to eight minutes.
const BOOT_S: Range<u64> = 4 * MINUTE..8 * MINUTE;
/// An evicted node comes back after this, unless there are none.
const BACK_S: u64 = 2 * MINUTE;

/// A deterministic sequence of numbers (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, range: Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start + (mixed ^ (mixed >> 31)) % (range.end - range.start)
    }
}

/// A task of one slot.
#[derive(Clone, Debug)]
pub struct Task {
    pub job: usize,
    pub deadline_s: u64,
    pub left_s: u64,
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Starting { until_s: u64 },
    Ready,
    Preempted { until_s: u64 },
}

#[derive(Clone, Debug)]
pub struct Node {
    pub spot: bool,
    pub state: State,
    pub draining: bool,
    pub task: Option<usize>,
}

pub struct Cloud {
    pub now_s: u64,
    pub nodes: Vec<Node>,
    pub tasks: Vec<Task>,
    pub targets: Targets,
    /// When the region has no spot nodes, from the start of the day.
    pub storms: Vec<Range<u64>>,
    pub evictions_per_node_hour_milli: u64,
    /// Since when a target of spot nodes is not met.
    pub short_since_s: Option<u64>,
    /// Tasks that a shrink killed.
    pub killed: usize,
    pub dice: Dice,
    history: History,
    late: Vec<(u64, f64)>,
}

impl Cloud {
    pub fn new(now_s: u64, storms: Vec<Range<u64>>, evictions_per_node_hour_milli: u64, seed: u64) -> Cloud {
        Cloud {
            now_s,
            nodes: Vec::new(),
            tasks: Vec::new(),
            targets: Targets::default(),
            storms,
            evictions_per_node_hour_milli,
            short_since_s: None,
            killed: 0,
            dice: Dice(seed),
            history: History::new(Interval::from_ms(STEP_S * 1_000)),
            late: Vec::new(),
        }
    }

    pub fn stormy(&self) -> bool {
        self.storms.iter().any(|storm| storm.contains(&self.now_s))
    }

    /// Tasks that are not over.
    pub fn pending(&self) -> usize {
        self.tasks.iter().filter(|task| !task.done).count()
    }

    /// What a formula would give now.
    pub fn evaluate(&self, formula: &str) -> Evaluation {
        let world = World {
            now: Timestamp::from_unix_ms(self.now_s * 1_000),
            history: &self.history,
            targets: self.targets,
            deallocation: Deallocation::Requeue,
            seed: 1,
        };
        autoscale::parse(formula).expect("it parses").evaluate(&world)
    }

    /// Sets the pool's targets.
    pub fn resize(&mut self, evaluation: &Evaluation) {
        assert_eq!(evaluation.error, None);
        let results = &evaluation.results;
        let targets = Targets {
            dedicated: results.dedicated().expect("set"),
            low_priority: results.low_priority().expect("set"),
        };
        if targets != self.targets {
            self.short_since_s = None;
        }
        self.targets = targets;
        for (spot, target) in [(true, targets.low_priority), (false, targets.dedicated)] {
            self.resize_kind(spot, target as usize, results.deallocation());
        }
    }

    fn resize_kind(&mut self, spot: bool, target: usize, option: Deallocation) {
        let kept = |node: &&Node| node.spot == spot && !node.draining;
        let now = self.nodes.iter().filter(kept).count();
        for _ in now..target {
            if spot && self.stormy() {
                self.short_since_s.get_or_insert(self.now_s);
                break;
            }
            let until_s = self.now_s + self.dice.roll(BOOT_S);
            self.nodes.push(Node { spot, state: State::Starting { until_s }, draining: false, task: None });
        }
        for _ in target..now {
            let node = self.nodes.iter_mut().filter(|node| node.spot == spot && !node.draining);
            let node =
                node.min_by_key(|node| (node.task.is_some(), node.state == State::Ready)).expect("one");
            node.draining = true;
            if option != Deallocation::TaskCompletion && node.task.take().is_some() {
                self.killed += 1;
            }
        }
    }

    /// Half a minute passes.
    pub fn step(&mut self) {
        let storm = self.stormy();
        self.now_s += STEP_S;
        for node in 0..self.nodes.len() {
            self.change(node, storm);
        }
        self.nodes.retain(|node| !node.draining || node.task.is_some());
        self.schedule();
        self.late.push((self.now_s, self.pending() as f64));
        let seen = self.late.iter().take_while(|(at_s, _)| at_s + SAMPLE_LATE_S <= self.now_s).count();
        for (at_s, pending) in self.late.drain(..seen) {
            let at = Timestamp::from_unix_ms(at_s * 1_000);
            self.history.push(at, &[(Metric::PendingTasks, pending)]);
        }
    }

    fn change(&mut self, n: usize, storm: bool) {
        let evicted = self.dice.roll(0..3_600_000 / STEP_S) < self.evictions_per_node_hour_milli;
        let node = &mut self.nodes[n];
        if let Some(task) = node.task {
            let task = &mut self.tasks[task];
            task.left_s = task.left_s.saturating_sub(STEP_S);
            if task.left_s == 0 || task.done {
                task.done = true;
                node.task = None;
            }
        }
        match node.state {
            State::Preempted { until_s } if !storm && self.now_s >= until_s => {
                let until_s = self.now_s + self.dice.roll(BOOT_S);
                node.state = State::Starting { until_s };
            }
            State::Starting { .. } | State::Ready if node.spot && (storm || evicted) => {
                node.state = State::Preempted { until_s: self.now_s + BACK_S };
                if let Some(task) = node.task.take() {
                    self.tasks[task].left_s += CHUNK_S;
                }
            }
            State::Starting { until_s } if self.now_s >= until_s => node.state = State::Ready,
            State::Preempted { .. } | State::Starting { .. } | State::Ready => {}
        }
    }

    fn schedule(&mut self) {
        let free = |node: &Node| node.state == State::Ready && !node.draining && node.task.is_none();
        if !self.nodes.iter().any(free) {
            return;
        }
        let running: Vec<usize> = self.nodes.iter().filter_map(|node| node.task).collect();
        let waits = |n: &usize| !self.tasks[*n].done && !running.contains(n);
        let mut waiting: Vec<usize> = (0..self.tasks.len()).filter(waits).collect();
        waiting.sort_by_key(|n| (self.tasks[*n].deadline_s, *n));
        for (node, task) in self.nodes.iter_mut().filter(|node| free(node)).zip(waiting) {
            node.task = Some(task);
        }
    }
}
