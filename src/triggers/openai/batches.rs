//! `/v1/batches`. [`shown`] tells a job as a batch.

pub mod shown;
