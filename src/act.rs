//! What carries decisions out.

pub mod forward;
