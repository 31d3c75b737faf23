//! Services of Azure that are called through their own protocols.
//!
//! - [`queue`]: the doorbell that tells of new work
//! - [`storage_key`]: signs the vendor's SDK's requests with an account's key

pub mod queue;
pub mod storage_key;
