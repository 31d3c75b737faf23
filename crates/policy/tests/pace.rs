//! The pace that answers show: bounded, forgotten, merged; and a rescue from a pool to a lane that is slower
//! than the catalogue says.

use policy::pace::{ANSWERS_MIN, Measured, Pace};
use policy::rescue::{self, At, Condition, RESCUE_WITHIN, Shard};
use policy::snapshot::Speed;
use policy::units::{Millis, UnixMs};
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_795_000_000_000);
const MINUTE: Millis = Millis::from_secs(60);

/// So many answers, each in this percentage of what was expected.
fn after(answers: u64, percent: u64) -> Measured {
    let expected = Millis(200);
    (0..answers).fold(Measured::default(), |seen, _| seen.with(expected.scaled(percent, 100), expected, NOW))
}

#[test]
fn a_pace_is_believed_after_a_few_answers() {
    let cases = [
        (0, 300, 100..=100),
        (ANSWERS_MIN - 1, 300, 100..=100),
        // Five slow ones, against two at the catalogue's pace that are taken for granted.
        (ANSWERS_MIN, 300, 227..=243),
        (64, 300, 280..=300),
        (64, 50, 50..=55),
        (64, 100, 100..=100),
        (64, 1_000_000, 1_400..=1_600),
        (64, 0, 25..=35),
    ];
    for (answers, percent, expected) in cases {
        let found = after(answers, percent).pace(NOW).percent();
        assert!(
            expected.contains(&found),
            "{answers} answers of {percent} %: {found} is not in {expected:?}"
        );
    }
}

#[test]
fn what_was_measured_is_forgotten() {
    let seen = after(40, 300);
    let at = |minutes: u64| seen.pace(NOW + MINUTE.scaled(minutes, 1)).percent();
    assert!(at(5) > 250, "{}", at(5));
    assert!(at(5) >= at(15) && at(15) >= at(30), "it goes one way: back");
    assert_eq!((at(60), at(1_000)), (100, 100));
}

#[test]
fn one_odd_answer_is_no_pace() {
    let odd = after(30, 100).with(Millis(90_000), Millis(200), NOW).pace(NOW);
    assert!(odd.percent() < 120, "{odd:?}");
}

#[test]
fn long_answers_weigh_more_than_short_ones() {
    let mixed = (0..20).fold(Measured::default(), |seen, _| {
        // A short one is slow by what the network adds; a long one is as expected.
        seen.with(Millis(8), Millis(2), NOW).with(Millis(2_000), Millis(2_000), NOW)
    });
    assert!(mixed.pace(NOW).percent() <= 101, "{:?}", mixed.pace(NOW));
}

proptest! {
    #[test]
    fn a_pace_stays_within_its_bounds(
        answers in proptest::collection::vec((0..=u64::MAX, 0..=u64::MAX, 0..200_000_u64), 0..80),
        later in 0..100_000_000_u64,
    ) {
        let mut now = NOW;
        let mut seen = Measured::default();
        for (took, expected, gap) in answers {
            now = now + Millis(gap);
            seen = seen.with(Millis(took), Millis(expected), now);
        }
        let pace = seen.pace(now + Millis(later));
        prop_assert!((Pace::FASTEST..=Pace::SLOWEST).contains(&pace));
    }

    #[test]
    fn who_merges_first_does_not_matter(a in 0..40_u64, b in 0..40_u64, slow in 30..900_u64) {
        let (one, other) = (after(a, slow), after(b, 100));
        prop_assert_eq!(one.and(other), other.and(one));
        prop_assert_eq!(one.and(Measured::default()).pace(NOW), one.pace(NOW));
    }

    #[test]
    fn two_who_saw_the_same_see_it_together(answers in 5..40_u64, percent in 30..900_u64) {
        let (alone, both) = (after(answers, percent).pace(NOW), after(answers, percent).and(after(answers, percent)).pace(NOW));
        // More answers take the pace nearer to what was seen, never past it.
        let off = |pace: Pace| u64::from(pace.percent()).abs_diff(percent);
        prop_assert!(off(both) <= off(alone) + 1, "{alone:?} {both:?} {percent}");
    }

    #[test]
    fn a_slower_pace_never_makes_work_shorter(
        base in 0..10_000_u64, item in 0..100_000_u64, slow in 25..1_600_u32, more in 0..400_u32,
    ) {
        let speed = Speed { base: Millis(base), per_item_us: item, p95_percent: 150, ..Speed::default() };
        let at = |percent| speed.at_pace(Pace::of_percent(percent));
        prop_assert!(at(slow).base <= at(slow + more).base);
        prop_assert!(at(slow).per_item_us <= at(slow + more).per_item_us);
        prop_assert_eq!(at(100), speed);
    }

    #[test]
    fn a_rescue_never_begins_later_than_the_catalogue_says(
        whole in 0..10_000_000_u64, start in 0..300_000_u64, percent in 25..1_600_u32,
    ) {
        let condition = Condition { start: Millis(start), pace: Pace::of_percent(percent) };
        prop_assert!(condition.of(Millis(whole)) >= Millis(whole));
        prop_assert_eq!(Condition::default().of(Millis(whole)), Millis(whole));
    }
}

/// A lane that answers line after line, each in `times` of what the catalogue says.
struct Lane {
    line: Millis,
    times: u64,
}

/// Lets a job of `lines` wait for its pool in vain, minute after minute, while clients of the same lane are
/// answered at its real pace. When all of it is done, were it rescued as soon as that is due.
fn rescued_at(lane: &Lane, lines: u64, deadline: UnixMs, is_measured: bool) -> UnixMs {
    let whole = lane.line.scaled(lines, 1);
    let mut seen = Measured::default();
    let mut now = NOW;
    loop {
        let pace = if is_measured { seen.pace(now) } else { Pace::CATALOGUE };
        let condition = Condition { start: Millis(0), pace };
        let (realtime, chunk) = (Some(condition.of(whole)), condition.of(lane.line));
        let shard = Shard {
            deadline,
            promoted: false,
            left: whole,
            realtime,
            chunk,
            at: At::Nowhere,
            again: UnixMs(0),
        };
        if rescue::due(&shard, now) {
            return now + lane.line.scaled(lines * lane.times, 1);
        }
        for _ in 0..4 {
            seen = seen.with(lane.line.scaled(lane.times, 1), lane.line, now);
        }
        now = now + MINUTE;
    }
}

#[test]
fn a_rescue_to_a_slow_lane_begins_early_enough() {
    let lane = Lane { line: Millis(1_500), times: 3 };
    let deadline = NOW + Millis::from_secs(3_600);
    // 400 lines: 10 minutes by the catalogue, 30 in truth.
    let unmeasured = rescued_at(&lane, 400, deadline, false);
    assert!(unmeasured > deadline, "by the catalogue alone it comes too late: that is what is mended");
    let measured = rescued_at(&lane, 400, deadline, true);
    assert!(measured <= deadline, "{} s too late", measured.since(deadline).0 / 1_000);
    assert!(deadline.since(measured) <= RESCUE_WITHIN + MINUTE, "and not much earlier than need be");
}

#[test]
fn a_lane_as_the_catalogue_says_is_rescued_to_as_before() {
    let lane = Lane { line: Millis(1_500), times: 1 };
    let deadline = NOW + Millis::from_secs(3_600);
    assert_eq!(rescued_at(&lane, 400, deadline, true), rescued_at(&lane, 400, deadline, false));
}
