//! What the recipe's formula does, which is not what its text says.

use autoscale::{Deallocation, Metric};

use crate::pool::pool;

const FORMULA: &str = include_str!("../fixtures/recipe.txt");

#[test]
fn its_70_is_an_end_time_and_guards_nothing() {
    // Ages 0 to 180 s. The window takes the samples that are 90, 120 and 150 s old.
    let samples = [9.0, 3.0, 2.0, 3.0, 9.0, 9.0, 9.0];
    let window = pool()
        .with(Metric::PendingTasks, &samples)
        .x("$PendingTasks.GetSample(180 * TimeInterval_Second, 70 * TimeInterval_Second)");
    assert_eq!(window, "[3,2,3]");
    let lonely = pool().with_gaps(Metric::PendingTasks, &[Some(3.0), None, None, None]);
    assert_eq!(lonely.evaluate(FORMULA).results.dedicated(), Some(3), "a third of the samples will do");
}

#[test]
fn one_zero_sample_takes_every_node() {
    let pool = pool().with(Metric::PendingTasks, &[9.0, 9.0, 0.0, 9.0, 9.0, 9.0, 9.0]);
    assert_eq!(pool.evaluate(FORMULA).results.dedicated(), Some(0));
}

#[test]
fn without_samples_it_buys_four_nodes() {
    let evaluation = pool().evaluate(FORMULA);
    assert_eq!(evaluation.error, None);
    assert_eq!(evaluation.results.dedicated(), Some(4));
}

#[test]
fn it_buys_no_spot_node_and_kills_on_shrink() {
    let results = pool().with(Metric::PendingTasks, &[9.0; 7]).evaluate(FORMULA).results;
    assert_eq!(results.low_priority(), None);
    assert_eq!(results.deallocation(), Deallocation::Requeue);
}
