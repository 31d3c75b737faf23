//! What carries decisions out: [`forward`] sends requests on, [`keep`] writes down what must not be lost.

pub mod forward;
pub mod keep;
