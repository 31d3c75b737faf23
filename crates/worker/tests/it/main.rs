//! The worker, in this process on every kind of store and as a process of its own.

mod by_hand;
mod faults;
mod fixture;
mod packs;
mod process;
mod scripted;
mod upstream;
