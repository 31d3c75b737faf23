//! A plan as the text of a formula, and back.

use facts::view::PoolView;
use policy::rebalance::Plan;

/// The formula of a plan.
///
/// # Errors
/// Always, until `autoscale` renders plans: nothing is put into force.
pub fn write(_plan: &Plan, _seen: &PoolView) -> Result<String, String> {
    Err("this version writes no formula yet".to_owned())
}

/// The plan in the header of a formula of ours; none: it is not ours.
pub fn previous(_text: &str) -> Option<Plan> {
    None
}

/// Whether two formulas of ours differ in their headers alone.
pub fn says_the_same(one: &str, other: &str) -> bool {
    one == other
}
