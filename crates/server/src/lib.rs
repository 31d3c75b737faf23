//! OpenAI-compatible inference server: `/v1/embeddings` and `/v1/models` over one [`engine`].
//!
//! - [`settings`]: flags and their environment twins; start here
//! - [`load`]: the model comes up and proves itself while the port is already open
//! - [`app`]: what all requests share
//! - [`routes`]: path and method to handler, and what every answer carries
//! - [`embeddings`]: one request, checked by [`wire::embeddings`]
//! - [`failure`]: every refusal, in OpenAI's shape
//! - [`metrics`]: what Prometheus scrapes
//! - [`listen`]: connections, their bounds and the end
//!
//! Absent on purpose: keys and TLS. The handler and the platform's ingress stand in front.

pub mod app;
pub mod embeddings;
pub mod failure;
pub mod listen;
pub mod load;
pub mod metrics;
pub mod routes;
pub mod settings;
