//! The one clock: real time, or scaled time on a local stack.
