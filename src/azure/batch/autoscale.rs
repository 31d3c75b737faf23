//! The formula that sets a pool's size: tried, and put into force.

use std::time::Duration;

use reqwest::Method;
use serde::Serialize;

use super::call::Call;
use super::client::{Client, checked};
use super::error::CallError;
use super::iso8601;
use super::pool::{AutoScaleRun, RunBody};

/// The service takes one formula for a pool in this time.
pub const ENABLE_EVERY: Duration = Duration::from_secs(30);

/// Codes of "a formula was enabled less than [`ENABLE_EVERY`] ago": the published one, and the name
/// of the .NET client's constant.
pub(super) const TOO_SOON: &[&str] = &["TooManyEnableAutoScaleRequests", "AutoScaleTooManyRequestsToEnable"];
/// Codes of a formula that the service does not take; the last is spelt in two ways.
const WRONG_FORMULA: &[&str] = &[
    "AutoScalingFormulaSyntaxError",
    "InvalidAutoScalingSettings",
    "AutoScalingFormulaTooLong",
    "AutoScaleFormulaTooLong",
];
/// Codes of a pool that does not take a formula now.
const BUSY: &[&str] =
    &["PoolBeingResized", "PoolBeingCreated", "PoolBeingDeleted", "OperationInvalidForCurrentState"];
/// Code of a formula that is tried on a pool whose size no formula sets.
const NOT_ENABLED: &[&str] = &["OperationNotValidOnPool", "AutoScaleNotEnabled"];

/// Why a formula was not put into force, or could not be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AutoScaleError {
    /// Another formula was enabled less than [`ENABLE_EVERY`] ago.
    #[error("azure batch takes one formula for a pool every {}s; come back later", ENABLE_EVERY.as_secs())]
    Later,
    /// The service does not take the formula.
    #[error("azure batch does not take the formula ({code}): {message}")]
    Formula {
        /// The service's code.
        code: String,
        /// The service's words.
        message: String,
    },
    /// The pool is being resized, made or deleted.
    #[error("the pool takes no formula now ({code}); come back later")]
    Busy {
        /// Which of them.
        code: String,
    },
    /// No formula sets the pool's size, so none can be tried on it.
    #[error("autoscale is not enabled on the pool; enable a formula first")]
    NotEnabled,
    /// The account has no such pool.
    #[error("azure batch has no such pool; check BATCH_POOL_ID or the catalogue")]
    NotFound,
    /// The call failed.
    #[error(transparent)]
    Call(CallError),
}

impl From<CallError> for AutoScaleError {
    fn from(error: CallError) -> AutoScaleError {
        if error.is_one_of(TOO_SOON) {
            return AutoScaleError::Later;
        }
        if error.is_one_of(NOT_ENABLED) {
            return AutoScaleError::NotEnabled;
        }
        if error.is_one_of(&["PoolNotFound"]) {
            return AutoScaleError::NotFound;
        }
        let (wrong, busy) = (error.is_one_of(WRONG_FORMULA), error.is_one_of(BUSY));
        match error {
            CallError::Rejected { code, message } if wrong => AutoScaleError::Formula { code, message },
            CallError::Rejected { code, .. } if busy => AutoScaleError::Busy { code },
            error => AutoScaleError::Call(error),
        }
    }
}

impl Client {
    /// Puts a formula, an interval or both into force; what is none stays as it is. An interval
    /// begins anew with every call that names it: name it only where it shall change.
    ///
    /// # Errors
    /// [`AutoScaleError`].
    pub async fn enable_autoscale(
        &self,
        pool: &str,
        formula: Option<&str>,
        interval: Option<Duration>,
    ) -> Result<(), AutoScaleError> {
        let url = self.url(&format!("/pools/{}/enableautoscale", checked("pool", pool)?), "");
        let interval = interval.map(iso8601::duration);
        let body = Body { auto_scale_formula: formula, auto_scale_evaluation_interval: interval };
        let call = Call::new("enable autoscale", Method::POST, url, 200).json(&body);
        self.send(call).await?;
        Ok(())
    }

    /// Tries a formula on a pool, whose size stays as it is. What is wrong with it stands in the
    /// run's `error`: the service answers 200 all the same.
    ///
    /// # Errors
    /// [`AutoScaleError`]; never for what the run itself says.
    pub async fn evaluate_autoscale(
        &self,
        pool: &str,
        formula: &str,
    ) -> Result<AutoScaleRun, AutoScaleError> {
        let url = self.url(&format!("/pools/{}/evaluateautoscale", checked("pool", pool)?), "");
        let body = Body { auto_scale_formula: Some(formula), auto_scale_evaluation_interval: None };
        let call = Call::new("evaluate autoscale", Method::POST, url, 200).json(&body);
        Ok(self.send(call).await?.decode::<RunBody>()?.into())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_scale_formula: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_scale_evaluation_interval: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_says_tells_a_wrong_formula_from_a_wrong_time() {
        let said = |code: &str| {
            let (code, message) = (code.to_owned(), "at line 1".to_owned());
            AutoScaleError::from(CallError::Rejected { code, message })
        };
        for code in TOO_SOON {
            assert_eq!(said(code), AutoScaleError::Later, "{code}");
        }
        for code in WRONG_FORMULA {
            let wrong = AutoScaleError::Formula { code: (*code).to_owned(), message: "at line 1".to_owned() };
            assert_eq!(said(code), wrong, "{code}");
        }
        for code in BUSY {
            assert_eq!(said(code), AutoScaleError::Busy { code: (*code).to_owned() }, "{code}");
        }
        assert_eq!(said("OperationNotValidOnPool"), AutoScaleError::NotEnabled);
        assert_eq!(said("PoolNotFound"), AutoScaleError::NotFound);
        assert!(matches!(said("Other"), AutoScaleError::Call(_)));
        assert_eq!(AutoScaleError::from(CallError::Timeout), AutoScaleError::Call(CallError::Timeout));
    }
}
