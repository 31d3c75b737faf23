//! The size of pools: what is seen of them and of the work that waits for them, and how a plan
//! becomes the formula that sets it. What the plan is, `policy::rebalance` decides.
//!
//! - [`sight`]: what Azure Batch says of a pool; [`watch`] keeps what passes between two looks
//! - [`demand`]: the work of open jobs, by pool and deadline
//! - [`alerts`]: alerts that fired and are not over
//! - [`formula`]: a plan as text, and whether a text is one of ours
//! - [`carry_out`]: the text tried and put into force
//! - [`state`]: what became of it, for everybody who asks

pub mod alerts;
pub mod carry_out;
pub mod demand;
pub mod formula;
pub mod sight;
pub mod state;
pub mod watch;
