//! Every operator between every pair of types: in the service's table it gives the type of the
//! table, outside it is refused.

use autoscale::types::{BinaryOperator, Type, UnaryOperator, binary, unary};
use autoscale::{ErrorKind, parse};

use crate::pool::pool;

/// An expression of each type.
fn sample(ty: Type) -> &'static str {
    match ty {
        Type::Double => "6",
        Type::DoubleVec => "vec(6, 3)",
        Type::Text => "\"b\"",
        Type::Timestamp => "time()",
        Type::TimeInterval => "TimeInterval_Minute",
        Type::Deallocation => "requeue",
        Type::Never => "stop()",
    }
}

/// The service's table, written out once more as text: what the code may take.
const TABLE: &str = "
    double double: + - * / < <= == >= > != && ||
    double timeinterval: *
    doubleVec double: + - * /
    doubleVec doubleVec: + - * /
    timeinterval double: * /
    timeinterval timeinterval: + - < <= == >= > !=
    timeinterval timestamp: +
    timestamp timeinterval: +
    timestamp timestamp: - < <= == >= > !=
    string string: < <= == >= > !=
";

fn in_table(left: Type, operator: BinaryOperator, right: Type) -> bool {
    let pair = format!("{left} {right}: ");
    let row = TABLE.lines().find_map(|line| line.trim().strip_prefix(&pair));
    row.is_some_and(|operators| operators.split(' ').any(|symbol| symbol == operator.symbol()))
}

#[test]
fn every_pair_is_in_the_table_or_refused() {
    for left in Type::ALL {
        for right in Type::ALL {
            for operator in BinaryOperator::ALL {
                let text = format!("x = {} {} {}", sample(left), operator.symbol(), sample(right));
                let parsed = parse(&text);
                assert_eq!(parsed.is_ok(), in_table(left, operator, right), "{text}: {parsed:?}");
                assert_eq!(binary(left, operator, right).is_some(), parsed.is_ok(), "{text}");
                match parsed {
                    Ok(formula) => {
                        let evaluation = formula.evaluate(&pool().world());
                        assert_eq!(evaluation.error, None, "{text}");
                        let value = evaluation.results.variable("x").map(autoscale::Value::ty);
                        assert_eq!(value, binary(left, operator, right), "{text}");
                    }
                    Err(error) => assert_eq!(error.kind, ErrorKind::Type, "{text}"),
                }
            }
        }
    }
}

#[test]
fn every_unary_operator_is_in_the_table_or_refused() {
    for of in Type::ALL {
        for operator in UnaryOperator::ALL {
            let text = format!("x = {}{}", operator.symbol(), sample(of));
            let taken = of == Type::Double || (of == Type::TimeInterval && operator == UnaryOperator::Minus);
            assert_eq!(parse(&text).is_ok(), taken, "{text}");
            assert_eq!(unary(operator, of).is_some(), taken, "{text}");
        }
    }
}

#[test]
fn operators_compute() {
    for (expression, value) in [
        ("7 / 2 - 1", "2.5"),
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("10 - 4 - 3", "3"),
        ("16 / 4 / 2", "2"),
        ("-3 + 5", "2"),
        ("--3", "3"),
        ("!0 + !7", "1"),
        ("1 < 2 && 2 < 1", "0"),
        ("1 < 2 || 1 / 0 > 1", "1"),
        ("2 > 1 ? 3 > 4 ? 5 : 6 : 7", "6"),
        ("vec(1, 2) * 3", "[3,6]"),
        ("vec(1, 2) - vec(3, 5)", "[-2,-3]"),
        ("\"a\" < \"b\"", "1"),
        ("TimeInterval_Minute * 1.5", "00:01:30"),
        ("2 * TimeInterval_Day / 4", "12:00:00"),
        ("TimeInterval_Hour - TimeInterval_Day", "-23:00:00"),
        ("TimeInterval_Second * 60 == TimeInterval_Minute", "1"),
        ("time() + TimeInterval_Hour", "2016-10-13T20:18:47.805Z"),
        ("TimeInterval_Week + time()", "2016-10-20T19:18:47.805Z"),
        ("time() - time(\"2016-10-13\")", "19:18:47.8050000"),
        ("(time() + TimeInterval_Year).year", "2017"),
        ("time(\"\") == time()", "1"),
    ] {
        assert_eq!(pool().x(expression), value, "{expression}");
    }
}

#[test]
fn functions_compute() {
    for (expression, value) in [
        ("avg(1, vec(2, 3), 6)", "3"),
        ("len(vec(1, 2), 7)", "3"),
        ("len()", "0"),
        ("lg(8) + ln(1) + log(1000)", "6"),
        ("lg(vec(8))", "[3]"),
        ("lg(2, 4)", "[1,2]"),
        ("max(3, vec(9, 4)) - min(3, vec(9, 4))", "6"),
        ("range(3, vec(9, 4))", "6"),
        ("norm(3, 4)", "5"),
        ("std(1, 2, 3, 4)", "1.2909944487358056"),
        ("std(4)", "0"),
        ("sum(1, vec(2, 3))", "6"),
        ("percentile(vec(15, 20, 35, 40, 50), 40)", "20"),
        ("percentile(vec(15, 20), 0) + percentile(vec(15, 20), 100)", "35"),
        ("val(vec(5, 6, 7), 2)", "7"),
        ("val(vec(5, 6, 7), 0.9)", "5"),
        ("ceil(1.2) + floor(1.8) + round(2.5)", "6"),
        ("rand() >= 0 && rand() < 1", "1"),
        ("time(\"Thu, 13 Oct 2016 19:18:47 GMT\").minute", "18"),
        ("TimeInterval_Zero", "00:00:00"),
        ("TimeInterval_100ns * 10 == TimeInterval_Microsecond", "1"),
    ] {
        assert_eq!(pool().x(expression), value, "{expression}");
    }
}

#[test]
fn a_seed_gives_its_random_numbers_and_another_gives_others() {
    let draw = |seed| {
        let pool = pool();
        let world = autoscale::World { seed, ..pool.world() };
        parse("a = rand(); b = rand()").expect("a formula").evaluate(&world).results.to_string()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}
