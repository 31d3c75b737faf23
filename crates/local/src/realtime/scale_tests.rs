//! The scaling rule on virtual time: a table and its properties.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { min: 0, max: 3, cooldown: Duration::from_secs(300) };

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn views(now: Instant, text: &str) -> Vec<View> {
    let phase = |c| match c {
        's' => Phase::Starting,
        'b' => Phase::Busy,
        'i' => Phase::Idle(now - seconds(10)),
        'I' => Phase::Idle(now - seconds(300)),
        _ => unreachable!("s, b, i or I"),
    };
    text.chars().zip(1..).map(|(c, id)| View { id, phase: phase(c) }).collect()
}

#[test]
fn one_table_says_it_all() {
    use Wanted::{Replicas, Unknown};
    let now = Instant::now() + seconds(1000);
    // wanted, held, replicas → start, stop
    let cases: &[(Wanted, usize, &str, u32, &[u64])] = &[
        (Replicas(0), 0, "", 0, &[]),
        (Replicas(0), 1, "", 1, &[]),
        (Replicas(0), 9, "s", 0, &[]),
        (Unknown, 9, "", 1, &[]),
        (Replicas(2), 0, "b", 1, &[]),
        (Replicas(7), 0, "b", 2, &[]),
        (Replicas(0), 0, "i", 0, &[]),
        (Replicas(0), 0, "I", 0, &[1]),
        (Replicas(0), 0, "bI", 0, &[2]),
        (Replicas(0), 0, "b", 0, &[]),
        (Replicas(1), 0, "III", 0, &[1, 2]),
        (Replicas(1), 0, "sIb", 0, &[2]),
        (Unknown, 0, "II", 0, &[]),
    ];
    for &(wanted, held, replicas, start, stop) in cases {
        let plan = plan(LIMITS, wanted, held, &views(now, replicas), now);
        assert_eq!(plan, Plan { start, stop: stop.to_vec() }, "{wanted:?} {held} {replicas}");
    }
    let kept = Limits { min: 1, ..LIMITS };
    assert_eq!(plan(kept, Replicas(0), 0, &[], now).start, 1);
    assert_eq!(plan(kept, Replicas(0), 0, &views(now, "II"), now).stop, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_scales_up_at_once_and_down_after_the_cooldown() {
    let start = Instant::now();
    assert_eq!(plan(LIMITS, Wanted::Replicas(0), 4, &[], start).start, 1);

    tokio::time::advance(seconds(5)).await;
    let idle_since = Instant::now();
    let replica = [View { id: 1, phase: Phase::Idle(idle_since) }];
    tokio::time::advance(seconds(299)).await;
    assert_eq!(plan(LIMITS, Wanted::Replicas(0), 0, &replica, Instant::now()), Plan::default());
    tokio::time::advance(seconds(1)).await;
    assert_eq!(plan(LIMITS, Wanted::Replicas(0), 0, &replica, Instant::now()).stop, [1]);
}

#[tokio::test(start_paused = true)]
async fn failed_starts_are_spaced_ever_wider_up_to_a_bound() {
    let mut failures = Failures::default();
    assert!(failures.allow(Instant::now()));
    for pause_ms in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
        failures.note(Instant::now());
        tokio::time::advance(Duration::from_millis(pause_ms - 1)).await;
        assert!(!failures.allow(Instant::now()), "{pause_ms}");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(failures.allow(Instant::now()), "{pause_ms}");
    }
    failures.clear();
    assert!(failures.allow(Instant::now()));
}

proptest! {
    #[test]
    fn never_past_the_bounds_and_never_a_busy_one(
        replicas in "[sbiI]{0,8}", wanted in proptest::option::of(0u32..12), held in 0usize..4, min in 0u32..3,
    ) {
        let now = Instant::now() + seconds(1000);
        let limits = Limits { min, max: 5, cooldown: seconds(300) };
        let wanted = wanted.map_or(Wanted::Unknown, Wanted::Replicas);
        let views = views(now, &replicas);
        let plan_now = plan(limits, wanted, held, &views, now);

        prop_assert!(plan_now.start == 0 || views.len() as u32 + plan_now.start <= limits.max);
        prop_assert!(plan_now.start == 0 || plan_now.stop.is_empty());
        for id in &plan_now.stop {
            let view = views.iter().find(|view| view.id == *id).expect("only present ones are stopped");
            prop_assert!(matches!(view.phase, Phase::Idle(_)));
        }
        let left = views.len() - plan_now.stop.len();
        prop_assert!(plan_now.stop.is_empty() || left as u32 >= limits.min);
        let rest: Vec<View> = views.into_iter().filter(|view| !plan_now.stop.contains(&view.id)).collect();
        prop_assert!(plan(limits, wanted, held, &rest, now).stop.is_empty(), "stable once carried out");
    }
}
