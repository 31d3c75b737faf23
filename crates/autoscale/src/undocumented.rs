//! What formulas can do that the service does not document. Each has an outcome here, and none may
//! be relied upon.

use crate::tree::Position;

/// A place in a formula that relies on what is not documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caution {
    /// Where.
    pub at: Position,
    /// What.
    pub what: Undocumented,
}

/// The undocumented constructs that a formula's text shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Undocumented {
    /// `ceil`, `floor` and `round`: formulas in use have them, the reference table does not.
    Rounding,
    /// A doubleVec is assigned to a target. Here: its last element.
    VectorAsTarget,
    /// Operators whose order no example shows, without parentheses. Here: as in C.
    Precedence,
    /// `GetSample` without a percentage may give an empty vector. Here: it adds nothing to a list,
    /// and a function of nothing but empty vectors fails.
    EmptyWindow,
    /// A variable takes another type. Here: it does.
    Retyped,
    /// A word of `$NodeDeallocationOption` in a variable of the formula's own. Here: it is kept.
    OptionInVariable,
    /// `stop()` inside an expression. Here: the statement is not carried out.
    StopInside,
    /// `TimeInterval_Year`: its length is not given. Here: 365 days.
    Year,
}

impl Undocumented {
    /// Every construct.
    pub const ALL: [Undocumented; 8] = [
        Undocumented::Rounding,
        Undocumented::VectorAsTarget,
        Undocumented::Precedence,
        Undocumented::EmptyWindow,
        Undocumented::Retyped,
        Undocumented::OptionInVariable,
        Undocumented::StopInside,
        Undocumented::Year,
    ];

    /// What is not documented and what this evaluator does, in a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Undocumented::Rounding => {
                "ceil, floor and round are missing in the reference table of functions; evaluated as usual, \
                 with halves rounded away from zero"
            }
            Undocumented::VectorAsTarget => {
                "what a vector assigned to a target means is not documented; taken as its last element"
            }
            Undocumented::Precedence => {
                "the order of these operators is not documented; taken as in C: add parentheses"
            }
            Undocumented::EmptyWindow => {
                "what an empty window of samples gives is not documented; it adds nothing to a list, and a \
                 function of nothing else fails: pass a percentage"
            }
            Undocumented::Retyped => "a variable that changes its type is not documented; it does",
            Undocumented::OptionInVariable => {
                "a deallocation option in a variable of the formula's own is not documented; it is kept"
            }
            Undocumented::StopInside => {
                "stop() inside an expression is not documented; the statement is not carried out"
            }
            Undocumented::Year => "the length of TimeInterval_Year is not documented; taken as 365 days",
        }
    }
}
