//! What `handler --doctor --json` says and `switchyard doctor` shows: on standard output one [`Report`], and
//! on standard error one [`Finding`] a line, as soon as it and all before it are known.

use serde::{Deserialize, Serialize};

/// The version that this code writes and reads.
pub const VERSION: u32 = 1;

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub v: u32,
    /// The handler's version.
    pub handler: String,
    /// In the order of the documentation; a check may say several things.
    pub findings: Vec<Finding>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Finding {
    /// From the closed list of checks.
    pub check: String,
    /// Which of several: a pool, a backend, a setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How bad it is.
    pub outcome: Outcome,
    /// What was seen, in one line; of what was not checked, what is missing.
    pub found: String,
    /// What one can do, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It could not be looked at, for want of something else.
    NotChecked,
    /// It works, and somebody should look.
    Warning,
    /// It does not work.
    Broken,
}

impl Outcome {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::NotChecked => "not checked",
            Outcome::Warning => "warning",
            Outcome::Broken => "broken",
        }
    }
}

impl Report {
    /// 2 where something is broken, 1 where there are only warnings, else 0. What was not checked counts
    /// by its cause, which is a finding of its own or nobody's fault.
    pub fn exit_code(&self) -> u8 {
        match self.findings.iter().map(|finding| finding.outcome).max() {
            Some(Outcome::Broken) => 2,
            Some(Outcome::Warning) => 1,
            Some(Outcome::Ok | Outcome::NotChecked) | None => 0,
        }
    }
}
