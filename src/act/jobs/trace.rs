//! One trace id from the client's request to the last chunk: every log line about a job stands in a span
//! that carries it, here as in the worker.

use facts::{Job, JobId};
use tracing::{Span, error_span, field};

/// The span of whatever is done about a job. It names its trace once the job's facts are read
/// ([`found`]). At the level of errors, so that no filter takes it away from a warning.
pub fn span(tenant: &str, job: &JobId) -> Span {
    error_span!("job", trace_id = field::Empty, tenant, %job)
}

/// The span of whatever is done about a job whose facts are known.
pub fn span_of(job: &Job) -> Span {
    let span = span(&job.tenant, &job.job);
    span.in_scope(|| found(job));
    span
}

/// Names the trace of the job in the span that is entered.
pub fn found(job: &Job) {
    Span::current().record("trace_id", trace_id(job));
}

/// The trace that a job was sent under; none where its client sent none.
pub fn trace_id(job: &Job) -> Option<&str> {
    job.traceparent.as_deref()?.split('-').nth(1)
}
