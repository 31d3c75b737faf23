//! Builds the programs by a child `cargo build`.
