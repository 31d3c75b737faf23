//! The Storage Queue stand-in and a client of the service.

pub mod client;
