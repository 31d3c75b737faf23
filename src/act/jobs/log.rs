//! What a pack's worker wrote, as the owner of a job may see it. A pack may hold work of other tenants, and its
//! worker's log names their jobs and quotes what their requests were answered.

use facts::Job;
use serde::Deserialize;

use super::{Jobs, Trouble};

/// How much more is read of a log that tenants share: of a line in eight at least one is shown.
const SHARED_TIMES: usize = 8;

impl Jobs {
    /// The end of what a pack's worker wrote, at most this long; of a pack that holds work of other tenants
    /// only what is about this job. None: its node is gone, or it has not begun.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn log_about(
        &self,
        job: &Job,
        pack: &str,
        bytes_max: usize,
    ) -> Result<Option<String>, Trouble> {
        let Some(found) = self.pack(pack).await? else { return Ok(None) };
        let is_shared = found.members.iter().any(|member| member.tenant != job.tenant);
        let times = if is_shared { SHARED_TIMES } else { 1 };
        let log = self.log_of(pack, bytes_max * times).await?;
        let text = log.map(|log| String::from_utf8_lossy(&log).into_owned());
        Ok(text.map(|text| if is_shared { about(&text, job, bytes_max) } else { text }))
    }
}

/// The newest lines that stand in a span of this job, as many as fit. A line without one may be about anybody.
fn about(text: &str, job: &Job, bytes_max: usize) -> String {
    #[derive(Deserialize)]
    struct Line {
        span: Span,
    }
    #[derive(Deserialize)]
    struct Span {
        tenant: String,
        job: String,
    }
    let is_own = |line: &&str| {
        let read = serde_json::from_str::<Line>(line);
        read.is_ok_and(|Line { span }| span.tenant == job.tenant && span.job == job.job.as_str())
    };
    let mut left = bytes_max;
    let fits = |line: &&str| {
        let rest = left.checked_sub(line.len() + 1);
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let mut own: Vec<&str> = text.lines().rev().filter(is_own).take_while(fits).collect();
    own.reverse();
    own.iter().flat_map(|line| [*line, "\n"]).collect()
}
