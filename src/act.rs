//! What carries decisions out: [`forward`] sends requests on, [`keep`] writes down what must not be
//! lost, [`files`] holds what tenants upload.

pub mod files;
pub mod forward;
pub mod keep;
