//! What holds for every formula: nothing panics, what is printed reads back, targets are counts.

use autoscale::{Evaluation, Metric, parse};
use proptest::prelude::*;

use crate::generate::Dice;
use crate::pool::{Pool, pool};

/// Damaged texts that one run of the tests tries; a few seconds in a debug build.
const FUZZ_ROUNDS: u64 = 6_000;

const FORMULAS: [&str; 6] = [
    include_str!("../fixtures/pending-tasks.txt"),
    include_str!("../fixtures/task-based.txt"),
    include_str!("../fixtures/initial-size.txt"),
    include_str!("../fixtures/cpu.txt"),
    include_str!("../fixtures/work-hours.txt"),
    include_str!("../fixtures/recipe.txt"),
];

fn some_pool(samples: &[Option<f64>]) -> Pool {
    let pool = pool().with_gaps(Metric::PendingTasks, samples).with_gaps(Metric::RunningTasks, samples);
    pool.with(Metric::CurrentDedicatedNodes, &[3.0]).targeting(3, 5)
}

/// Evaluates a text that parses, and checks what holds for all of them.
fn check(text: &str, pool: &Pool) -> Result<Option<Evaluation>, TestCaseError> {
    let Ok(formula) = parse(text) else { return Ok(None) };
    let printed = formula.to_string();
    let again = match parse(&printed) {
        Ok(again) => again,
        Err(error) => return Err(TestCaseError::fail(format!("{text}\nprints as\n{printed}\n{error}"))),
    };
    prop_assert_eq!(again.to_string(), printed);
    let evaluation = formula.evaluate(&pool.world());
    // Places differ in the printed text; results do not.
    prop_assert_eq!(again.evaluate(&pool.world()).results.to_string(), evaluation.results.to_string());
    for assignment in evaluation.results.to_string().split(';') {
        prop_assert!(assignment.split_once('=').is_some_and(|(name, _)| !name.is_empty()), "{}", assignment);
    }
    prop_assert_eq!(evaluation.error.is_some(), formula.trace(&pool.world()).0.error.is_some());
    if evaluation.error.is_some() {
        prop_assert_eq!((evaluation.results.dedicated(), evaluation.results.low_priority()), (None, None));
    }
    Ok(Some(evaluation))
}

proptest! {
    #[test]
    fn formulas_by_the_grammar_parse_and_evaluate(
        seed in any::<u64>(),
        samples in prop::collection::vec(prop::option::of(-10.0..1_000.0), 0..40),
    ) {
        let text = Dice::new(seed).formula();
        let evaluation = check(&text, &some_pool(&samples))?;
        prop_assert!(evaluation.is_some(), "{}\n{:?}", text, parse(&text).err());
    }

    #[test]
    fn results_read_back_as_a_formula(seed in any::<u64>()) {
        let pool = some_pool(&[Some(2.0), None, Some(4.0)]);
        let Some(evaluation) = check(&Dice::new(seed).formula(), &pool)? else { return Ok(()) };
        let own = evaluation.results.to_string();
        // Doubles, targets and the option are literals; the other values have none.
        let literal = |value: &str| value.parse::<f64>().is_ok_and(f64::is_finite) || value.chars().all(char::is_lowercase);
        let kept: Vec<&str> = own.split(';').filter(|part| part.split_once('=').is_some_and(|(_, value)| literal(value))).collect();
        let again = pool.results(&kept.join(";"));
        prop_assert_eq!(again, kept.join(";"));
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,200}") {
        check(&text, &pool())?;
    }
}

#[test]
fn damaged_formulas_are_parsed_or_refused() {
    let pool = some_pool(&[Some(1.0), None, Some(7.0)]);
    let mut parsed = 0;
    for seed in 0..FUZZ_ROUNDS {
        let mut dice = Dice::new(seed);
        let whole =
            if seed % 2 == 0 { FORMULAS[dice.below(FORMULAS.len())].to_owned() } else { dice.formula() };
        let text = dice.damage(&whole);
        match check(&text, &pool) {
            Ok(evaluation) => parsed += usize::from(evaluation.is_some()),
            Err(error) => panic!("seed {seed}: {error}\n{text}"),
        }
    }
    assert!(parsed > 100, "only {parsed} damaged formulas parse: the damage is too heavy to test anything");
}
