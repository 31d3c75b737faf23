//! Every refusal, in OpenAI's shape: the status, who is at fault and when to come back.

use std::borrow::Cow;
use std::time::Duration;

use engine::Refused;
use warp::http::StatusCode;
use wire::embeddings::Invalid;
use wire::openai::{ErrorBody, ErrorDetail};

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// A field is wrong.
    Invalid(Invalid),
    /// The model is not the one that is served.
    UnknownModel {
        /// What was asked for.
        asked: String,
        /// What there is.
        served: String,
    },
    /// No such path.
    UnknownPath(String),
    /// The path exists, with another method.
    Method(&'static str),
    /// The body is larger than this many bytes.
    TooLarge(usize),
    /// The body did not arrive in time.
    TooSlow(Duration),
    /// The body broke off.
    Broken,
    /// The model is not up yet.
    Loading,
    /// The server is ending.
    Draining,
    /// Too much waits.
    Overloaded(Duration),
    /// Inference failed; the cause is in the log.
    Internal,
}

/// How often a client should ask whether the model is up: a small model takes about a second.
const LOADING_RETRY: Duration = Duration::from_millis(500);
/// Another replica can answer at once.
const DRAINING_RETRY: Duration = Duration::from_millis(100);

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        match refused {
            Refused::Overloaded { retry_after, .. } => Failure::Overloaded(retry_after),
            Refused::Closed => Failure::Draining,
        }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Failure {
        Failure::Invalid(invalid)
    }
}

impl Failure {
    /// A wrong field.
    pub fn invalid(param: &'static str, message: impl Into<String>) -> Failure {
        Failure::Invalid(Invalid::new(param, message))
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Failure::Invalid(_) | Failure::Broken => StatusCode::BAD_REQUEST,
            Failure::UnknownModel { .. } | Failure::UnknownPath(_) => StatusCode::NOT_FOUND,
            Failure::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Failure::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Failure::Loading | Failure::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Overloaded(_) => StatusCode::TOO_MANY_REQUESTS,
            Failure::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When the same request may succeed here or elsewhere.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Loading => Some(LOADING_RETRY),
            Failure::Draining => Some(DRAINING_RETRY),
            Failure::Overloaded(after) => Some(*after),
            _ => None,
        }
    }

    /// The body of the answer.
    pub fn body(&self) -> ErrorBody {
        let (kind, code, param) = match self {
            // The worker answers such an item with the same body.
            Failure::Invalid(invalid) => return invalid.clone().body(),
            Failure::UnknownModel { .. } => ("invalid_request_error", Some("model_not_found"), Some("model")),
            Failure::UnknownPath(_) => ("invalid_request_error", Some("unknown_path"), None),
            Failure::Method(_) => ("invalid_request_error", Some("method_not_allowed"), None),
            Failure::TooLarge(_) => ("invalid_request_error", Some("body_too_large"), None),
            Failure::TooSlow(_) => ("invalid_request_error", Some("body_too_slow"), None),
            Failure::Broken => ("invalid_request_error", Some("body_incomplete"), None),
            Failure::Loading => ("server_error", Some("model_loading"), None),
            Failure::Draining => ("server_error", Some("draining"), None),
            Failure::Overloaded(_) => ("rate_limit_error", Some("overloaded"), None),
            Failure::Internal => ("server_error", Some("inference_failed"), None),
        };
        let (param, code) = (param.map(Cow::Borrowed), code.map(Cow::Borrowed));
        ErrorBody {
            error: ErrorDetail {
                message: self.message(),
                kind: kind.into(),
                param,
                code,
                alternatives: None,
            },
        }
    }

    fn message(&self) -> String {
        match self {
            Failure::Invalid(invalid) => invalid.message.clone(),
            Failure::UnknownModel { asked, served } => {
                format!("model `{asked}` is not served here; ask for {served}, or see GET /v1/models")
            }
            Failure::UnknownPath(path) => {
                format!("there is nothing at `{path}`; see POST /v1/embeddings and GET /v1/models")
            }
            Failure::Method(allowed) => format!("this path does not know that method; use {allowed}"),
            Failure::TooLarge(limit) => {
                format!("the body is larger than {limit} bytes; send fewer inputs a request")
            }
            Failure::TooSlow(limit) => {
                format!("the body took longer than {} s; send it faster", limit.as_secs())
            }
            Failure::Broken => "the body broke off before its end; send it again".to_owned(),
            Failure::Loading => "the model is loading; try again after retry-after-ms".to_owned(),
            Failure::Draining => "this server is ending; try again at another replica".to_owned(),
            Failure::Overloaded(_) => "too many tokens wait; try again after retry-after-ms".to_owned(),
            Failure::Internal => {
                "inference failed; try again, and give the operator x-request-id if it repeats".to_owned()
            }
        }
    }
}
