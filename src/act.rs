//! What carries decisions out: [`forward`] sends requests on, [`keep`] writes down what must not be
//! lost, [`files`] holds what tenants upload, [`results`] streams what their jobs brought.

pub mod files;
pub mod forward;
pub mod keep;
pub mod results;
