//! Text to vectors: tokenise, batch, run.
//!
//! - [`model`]: a model's folder read and checked ([`Model::load`]); start here
//! - [`weights`]: its tensors, in the layout that the encoder multiplies
//! - [`tokenise`]: texts or token ids to sequences that the model accepts
//! - [`batch`]: which waiting sequences run together, as a plain data structure
//! - [`backend`]: the seam to what computes; [`cpu`] in float32, [`test`] with made-up vectors
//! - [`engine`]: the bounded queue and its worker thread
//! - [`gpu`]: how much this machine's GPUs work
//!
//! Absent on purpose: HTTP, the wire's shapes and policy. Nothing here reads the wall clock or the
//! environment. A sequence's vector does not depend on what else runs beside it or on how many
//! threads there are.

pub mod backend;
pub mod batch;
pub mod cpu;
pub mod engine;
pub mod gpu;
mod maths;
pub mod model;
pub mod test;
pub mod tokenise;
pub mod weights;

pub use backend::{Backend, BackendError};
pub use engine::{Engine, Limits, Load, Pending, Refused};
pub use maths::shorten;
pub use model::{LoadError, Model};
pub use tokenise::{InputsError, Sequence, TokenError, Tokeniser, gather};
