//! Child processes: the one home of spawning in this crate, and nothing survives its parent.
