//! What carries decisions out: [`forward`] sends requests on, [`jobs`] are the deferred
//! lane, [`keep`] writes down what must not be lost.

pub mod forward;
pub mod jobs;
pub mod keep;
pub mod merge;
pub mod realtime;
