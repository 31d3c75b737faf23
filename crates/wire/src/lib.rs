//! Shapes that Switchyard's own processes exchange: serde and base64 only, no behaviour
//! beyond decoding and encoding.
//!
//! - [`envelope`]: what the Functions host posts for queue messages and timer ticks
//! - [`catalogue`][]: `config/catalogue.json`
//! - [`ticket`]: the message of the doorbell queue
//! - [`jobs`]: a job as `/api/jobs` shows it; [`status`]: the status page; [`cost`]: what a month cost;
//!   [`dead`]: dead letters
//! - [`doctor`]: what was found of settings and services
//! - [`openai`]: the part of the OpenAI API that we speak
//! - [`embeddings`]: one embeddings request, checked, and its answer
//! - [`whole`]: integers as clients write them

pub mod catalogue;
pub mod cost;
pub mod dead;
pub mod doctor;
pub mod embeddings;
pub mod envelope;
pub mod jobs;
pub mod openai;
pub mod status;
pub mod ticket;
pub mod whole;
