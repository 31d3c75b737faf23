//! The real binary over real HTTP on port 0, with the synthetic model.

mod api;
mod life;
mod process;
