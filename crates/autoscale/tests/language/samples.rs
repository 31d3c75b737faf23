//! `GetSample` and its companions over histories with and without gaps.

use autoscale::history::ROWS_MAX;
use autoscale::{History, Metric, Timestamp};

use crate::pool::{PERIOD, pool, thursday};

/// Ten samples, 1 the oldest and 10 the newest, at ages 270 s to 0 s.
const TEN: [f64; 10] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0];

#[test]
fn windows_hold_what_lies_in_them() {
    let pool = pool().with(Metric::RunningTasks, &TEN);
    for (arguments, samples) in [
        ("1", "[10]"),
        ("3.9", "[8,9,10]"),
        ("0", "[]"),
        ("-1", "[]"),
        ("0 / 0", "[]"),
        ("99", "[1,2,3,4,5,6,7,8,9,10]"),
        ("TimeInterval_Minute", "[9,10]"),
        ("TimeInterval_Zero", "[]"),
        ("-TimeInterval_Minute", "[]"),
        ("TimeInterval_Minute, TimeInterval_Minute * 2", "[7,8]"),
        ("TimeInterval_Minute * 2, TimeInterval_Minute", "[7,8]"),
        ("TimeInterval_Minute * 0, TimeInterval_Minute", "[9,10]"),
        ("time() + -TimeInterval_Minute", "[9,10]"),
        ("time() + -TimeInterval_Minute, time()", "[9,10]"),
        ("time() + -TimeInterval_Minute * 2, TimeInterval_Minute", "[7,8]"),
        ("time() + TimeInterval_Minute", "[]"),
        ("TimeInterval_Minute * 5, 100", "[1,2,3,4,5,6,7,8,9,10]"),
        ("TimeInterval_Minute * 10, 50", "[1,2,3,4,5,6,7,8,9,10]"),
        ("TimeInterval_Minute, TimeInterval_Minute * 3, 100", "[5,6,7,8]"),
    ] {
        assert_eq!(pool.x(&format!("$RunningTasks.GetSample({arguments})")), samples, "{arguments}");
    }
}

#[test]
fn gaps_count_as_missing() {
    let gaps = [Some(1.0), None, None, Some(4.0), None, Some(6.0)];
    let pool = pool().with_gaps(Metric::RunningTasks, &gaps).with(Metric::ActiveTasks, &[0.0; 6]);
    for (call, value) in [
        ("GetSample(TimeInterval_Minute * 3)", "[1,4,6]"),
        ("GetSample(2)", "[4,6]"),
        ("GetSamplePercent(TimeInterval_Minute * 3)", "50"),
        ("GetSamplePercent(TimeInterval_Minute)", "50"),
        ("GetSamplePercent(TimeInterval_Minute, TimeInterval_Minute * 2)", "50"),
        ("GetSamplePercent(TimeInterval_Minute * 6)", "25"),
        ("GetSamplePercent(TimeInterval_Zero)", "0"),
        ("GetSamplePercent(TimeInterval_Second)", "100"),
        ("GetSamplePeriod()", "00:00:30"),
        ("Count()", "3"),
        ("HistoryBeginTime()", "2016-10-13T19:16:17.805Z"),
    ] {
        assert_eq!(pool.x(&format!("$RunningTasks.{call}")), value, "{call}");
    }
}

#[test]
fn a_variable_used_as_a_number_is_its_newest_sample() {
    let pool = pool().with(Metric::PendingTasks, &[4.0, 9.0]);
    assert_eq!(pool.x("$PendingTasks / 3"), "3");
    assert_eq!(pool.x("max($PendingTasks, 2)"), "9");
    assert_eq!(
        pool.x("$RunningTasks + 1"),
        "Line 1, Col 5: Insufficient data from data set: $RunningTasks wanted 100%, received 0%"
    );
}

#[test]
fn a_history_sorts_merges_and_forgets() {
    let mut history = History::new(PERIOD);
    let at = |step: i64| Timestamp(thursday().0 + step * PERIOD.0);
    history.push(at(2), &[(Metric::ActiveTasks, 2.0)]);
    history.push(at(0), &[(Metric::ActiveTasks, 0.0)]);
    history.push(at(1), &[(Metric::ActiveTasks, 7.0), (Metric::RunningTasks, 5.0)]);
    history.push(at(1), &[(Metric::ActiveTasks, 1.0), (Metric::CpuPercent, f64::NAN)]);
    let active: Vec<f64> = history.samples(Metric::ActiveTasks).map(|(_, value)| value).collect();
    assert_eq!(active, [0.0, 1.0, 2.0]);
    assert_eq!(history.samples(Metric::RunningTasks).collect::<Vec<_>>(), [(at(1), 5.0)]);
    assert_eq!(history.samples(Metric::CpuPercent).count(), 0, "NaN is missing");

    history.forget_before(at(1));
    assert_eq!(history.len(), 2);
    for step in 0..i64::try_from(ROWS_MAX).expect("a small number") + 10 {
        history.push(at(step), &[]);
    }
    assert_eq!(history.len(), ROWS_MAX);
    assert_eq!(history.samples(Metric::ActiveTasks).count(), 0, "the oldest rows left");
}
