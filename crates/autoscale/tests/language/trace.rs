//! What a trace tells of each statement.

use autoscale::evaluate::SEEN_MAX;
use autoscale::{Metric, parse};

use crate::pool::pool;

/// `text = value` of everything that was seen, and the values assigned, per statement.
fn told(text: &str, pool: &crate::pool::Pool) -> Vec<(Vec<String>, Option<String>)> {
    let formula = parse(text).expect(text);
    let (evaluation, steps) = formula.trace(&pool.world());
    assert_eq!(evaluation, formula.evaluate(&pool.world()), "a trace changes nothing");
    let told = steps.iter().map(|step| {
        let seen = step.seen.iter().map(|(expr, value)| format!("{expr} = {value}")).collect();
        (seen, step.value.as_ref().map(ToString::to_string))
    });
    told.collect()
}

#[test]
fn the_branch_that_was_not_needed_is_missing() {
    let pool = pool().with(Metric::ActiveTasks, &[3.0, 5.0]);
    let text = "a = $ActiveTasks.GetSamplePercent(TimeInterval_Minute); \
                b = a < 70 ? rand() : avg($ActiveTasks.GetSample(2)) + 1";
    assert_eq!(
        told(text, &pool),
        [
            (
                vec!["$ActiveTasks.GetSamplePercent(TimeInterval_Minute) = 100".to_owned()],
                Some("100".to_owned())
            ),
            (
                vec![
                    "a = 100".to_owned(),
                    "$ActiveTasks.GetSample(2) = [3,5]".to_owned(),
                    "avg($ActiveTasks.GetSample(2)) = 4".to_owned(),
                ],
                Some("5".to_owned())
            ),
        ]
    );
}

#[test]
fn it_ends_with_the_statement_that_failed_or_stopped() {
    let failed = told("a = 1; b = val(vec(2), a); c = 3", &pool());
    assert_eq!(failed.len(), 2);
    assert_eq!(failed[1], (vec!["vec(2) = [2]".to_owned(), "a = 1".to_owned()], None));
    assert_eq!(told("a = 1; stop(); c = 3", &pool()).len(), 2);
}

#[test]
fn what_it_keeps_is_bounded() {
    let text = format!("v = vec(1, 2); {}", "v = vec(v, v); ".repeat(15));
    let kept: usize = parse(&text)
        .expect("a formula")
        .trace(&pool().world())
        .1
        .iter()
        .flat_map(|step| &step.seen)
        .map(|(_, value)| if let autoscale::Value::Vector(elements) = value { elements.len() } else { 1 })
        .sum();
    assert!((SEEN_MAX / 2..=SEEN_MAX).contains(&kept), "{kept}");
}
