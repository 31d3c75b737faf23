//! The formula language as its documentation and recordings of the service show it.

mod generate;
mod mistakes;
mod official;
mod operators;
mod pool;
mod properties;
mod recipe;
mod samples;
mod trace;
mod undefined;
