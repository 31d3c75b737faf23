//! The functions: their signatures as data, and what they compute.
//!
//! A doubleVecList is any list of doubles and doubleVecs, also an empty one; it becomes one
//! vector before the call. Of an empty vector `len`, `sum` and `norm` are 0 and everything else
//! fails (not documented).

use crate::types::Type;

/// A function of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// The mean.
    Avg,
    /// The number of elements.
    Len,
    /// The logarithm to base 2.
    Lg,
    /// The natural logarithm.
    Ln,
    /// The logarithm to base 10.
    Log,
    /// The largest element.
    Max,
    /// The smallest element.
    Min,
    /// The Euclidean norm.
    Norm,
    /// The element at a percentage of the sorted vector, by nearest rank (not documented).
    Percentile,
    /// A random number from 0 to 1.
    Rand,
    /// The largest element less the smallest.
    Range,
    /// The sample deviation; of one element 0 (not documented).
    Std,
    /// Ends the evaluation.
    Stop,
    /// The sum.
    Sum,
    /// Now, or the moment that a text says.
    Time,
    /// The element at an index from 0; an index outside fails (not documented).
    Val,
    /// The list as one vector.
    Vec,
    /// The next whole number up (not documented).
    Ceil,
    /// The next whole number down (not documented).
    Floor,
    /// The nearest whole number, halves away from zero (not documented).
    Round,
}

/// What a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// Exactly these.
    Exactly(&'static [Type]),
    /// A doubleVecList.
    List,
}

/// One overload of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What it takes.
    pub parameters: Parameters,
    /// What it gives.
    pub result: Type,
}

const fn exactly(types: &'static [Type], result: Type) -> Signature {
    Signature { parameters: Parameters::Exactly(types), result }
}

const fn list(result: Type) -> Signature {
    Signature { parameters: Parameters::List, result }
}

impl Signature {
    /// Whether arguments of these types fit.
    pub fn takes(&self, arguments: &[Type]) -> bool {
        match self.parameters {
            Parameters::Exactly(types) => types == arguments,
            Parameters::List => arguments.iter().all(|ty| matches!(ty, Type::Double | Type::DoubleVec)),
        }
    }
}

impl Function {
    /// Every function.
    pub const ALL: [Function; 20] = [
        Function::Avg,
        Function::Len,
        Function::Lg,
        Function::Ln,
        Function::Log,
        Function::Max,
        Function::Min,
        Function::Norm,
        Function::Percentile,
        Function::Rand,
        Function::Range,
        Function::Std,
        Function::Stop,
        Function::Sum,
        Function::Time,
        Function::Val,
        Function::Vec,
        Function::Ceil,
        Function::Floor,
        Function::Round,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Function::Avg => "avg",
            Function::Len => "len",
            Function::Lg => "lg",
            Function::Ln => "ln",
            Function::Log => "log",
            Function::Max => "max",
            Function::Min => "min",
            Function::Norm => "norm",
            Function::Percentile => "percentile",
            Function::Rand => "rand",
            Function::Range => "range",
            Function::Std => "std",
            Function::Stop => "stop",
            Function::Sum => "sum",
            Function::Time => "time",
            Function::Val => "val",
            Function::Vec => "vec",
            Function::Ceil => "ceil",
            Function::Floor => "floor",
            Function::Round => "round",
        }
    }

    /// The function of that name.
    pub fn named(name: &str) -> Option<Function> {
        Function::ALL.into_iter().find(|function| function.name() == name)
    }

    /// Its overloads; the first that fits is called.
    pub const fn signatures(self) -> &'static [Signature] {
        match self {
            Function::Avg
            | Function::Len
            | Function::Max
            | Function::Min
            | Function::Norm
            | Function::Range
            | Function::Std
            | Function::Sum => const { &[list(Type::Double)] },
            Function::Lg | Function::Ln | Function::Log => {
                const { &[exactly(&[Type::Double], Type::Double), list(Type::DoubleVec)] }
            }
            Function::Percentile | Function::Val => {
                const { &[exactly(&[Type::DoubleVec, Type::Double], Type::Double)] }
            }
            Function::Rand => const { &[exactly(&[], Type::Double)] },
            Function::Stop => const { &[exactly(&[], Type::Never)] },
            Function::Time => {
                const { &[exactly(&[], Type::Timestamp), exactly(&[Type::Text], Type::Timestamp)] }
            }
            Function::Vec => const { &[list(Type::DoubleVec)] },
            Function::Ceil | Function::Floor | Function::Round => {
                const { &[exactly(&[Type::Double], Type::Double)] }
            }
        }
    }

    /// What a call with arguments of these types gives.
    pub fn result(self, arguments: &[Type]) -> Option<Type> {
        self.signatures().iter().find(|signature| signature.takes(arguments)).map(|found| found.result)
    }
}

/// A function of one double.
pub(crate) fn of_double(function: Function, x: f64) -> f64 {
    match function {
        Function::Lg => x.log2(),
        Function::Ln => x.ln(),
        Function::Log => x.log10(),
        Function::Ceil => x.ceil(),
        Function::Floor => x.floor(),
        Function::Round => x.round(),
        _ => x,
    }
}

/// A function of a list that gives a double, or `None` where the list is empty and the function
/// needs an element.
pub(crate) fn of_list(function: Function, list: &[f64]) -> Option<f64> {
    let sum: f64 = list.iter().sum();
    let count = list.len() as f64;
    let largest = list.iter().copied().reduce(f64::max);
    let smallest = list.iter().copied().reduce(f64::min);
    match function {
        Function::Len => Some(count),
        Function::Sum => Some(sum),
        Function::Norm => Some(list.iter().map(|x| x * x).sum::<f64>().sqrt()),
        Function::Max => largest,
        Function::Min => smallest,
        Function::Range => Some(largest? - smallest?),
        Function::Avg => (!list.is_empty()).then(|| sum / count),
        Function::Std => (!list.is_empty()).then(|| deviation(list, sum / count)),
        _ => None,
    }
}

fn deviation(list: &[f64], mean: f64) -> f64 {
    let squares: f64 = list.iter().map(|x| (x - mean) * (x - mean)).sum();
    let degrees = list.len().saturating_sub(1).max(1);
    (squares / degrees as f64).sqrt()
}

/// The element at `percent` of the sorted list, or `None` where there is none: an empty list, or
/// a percentage that is not from 0 to 100.
pub(crate) fn percentile(list: &[f64], percent: f64) -> Option<f64> {
    if !(0.0..=100.0).contains(&percent) {
        return None;
    }
    let mut sorted = list.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The element at an index that is truncated, or `None` outside the list.
pub(crate) fn element(list: &[f64], index: f64) -> Option<f64> {
    (index > -1.0).then(|| list.get(index as usize).copied()).flatten()
}

/// The next random number from 0 to 1, and the state after it (splitmix64).
pub(crate) fn random(state: u64) -> (f64, u64) {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    // The upper 53 bits are what a double holds.
    ((mixed >> 11) as f64 / (1_u64 << 53) as f64, state)
}
