//! What carries decisions out: [`forward`] sends requests on, [`keep`] writes down what must not be
//! lost. [`files`] holds what tenants upload, [`results`] streams what their jobs brought, [`progress`]
//! tells how far they are; [`fact`] reads one of their facts.

pub mod fact;
pub mod files;
pub mod forward;
pub mod keep;
pub mod progress;
pub mod results;
