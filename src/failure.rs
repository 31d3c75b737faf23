//! What went wrong, at the edge: whose fault it is and whether to try again. Status, headers, log
//! level and the OpenAI-shaped body are functions of that value.

use std::borrow::Cow;

use wire::openai::{ErrorBody, ErrorDetail};

/// Why a request gets no result.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which answer it is.
    pub kind: Kind,
    /// For programs, as `model_not_found`.
    pub code: &'static str,
    /// For the caller: the cause and the remedy. Never holds a secret or a path of this machine.
    pub message: String,
    /// The field or header that caused it.
    pub param: Option<Cow<'static, str>>,
    /// How long to wait before another try; none: waiting does not help.
    pub retry_after_ms: Option<u64>,
    /// What would be possible instead. Boxed, so that results stay small.
    pub alternatives: Option<Box<serde_json::Value>>,
    /// Whether waiting cannot help although the kind says it might.
    pub vain: bool,
    /// Methods that the path has, on [`Kind::Method`].
    pub allow: Option<&'static str>,
}

/// The closed list of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 400
    Invalid,
    /// 401
    Unauthenticated,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 405
    Method,
    /// 408: the body came too slowly.
    TooSlow,
    /// 409: not in the state that this needs.
    Conflict,
    /// 410: there was never a result, and there will be none.
    Gone,
    /// 413
    TooLarge,
    /// 416: no such part of a content.
    OutOfRange,
    /// 422: the wish cannot be met.
    Infeasible,
    /// 429
    Overloaded,
    /// 500: a bug of ours.
    Bug,
    /// 502: the backend failed.
    Upstream,
    /// 503: nothing can serve it now.
    Unavailable,
    /// 504: no answer in time.
    TimedOut,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The caller must change something.
    Client,
    /// A backend or too much load; it may pass.
    Upstream,
    /// Ours; somebody must act.
    Us,
}

impl Kind {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Kind::Invalid => 400,
            Kind::Unauthenticated => 401,
            Kind::Forbidden => 403,
            Kind::NotFound => 404,
            Kind::Method => 405,
            Kind::TooSlow => 408,
            Kind::Conflict => 409,
            Kind::Gone => 410,
            Kind::TooLarge => 413,
            Kind::OutOfRange => 416,
            Kind::Infeasible => 422,
            Kind::Overloaded => 429,
            Kind::Bug => 500,
            Kind::Upstream => 502,
            Kind::Unavailable => 503,
            Kind::TimedOut => 504,
        }
    }

    /// The OpenAI error type.
    pub fn openai_type(self) -> &'static str {
        match self {
            Kind::Unauthenticated => "authentication_error",
            Kind::Forbidden => "permission_error",
            Kind::NotFound => "not_found_error",
            Kind::Overloaded => "rate_limit_error",
            Kind::Bug | Kind::Upstream | Kind::Unavailable | Kind::TimedOut => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// Whose fault it is.
    pub fn source(self) -> Source {
        match self {
            Kind::Bug => Source::Us,
            Kind::Overloaded | Kind::Upstream | Kind::Unavailable | Kind::TimedOut => Source::Upstream,
            _ => Source::Client,
        }
    }

    /// Whether the same request may succeed later. SDKs obey it before their own rules.
    pub fn should_retry(self) -> bool {
        self.source() == Source::Upstream || matches!(self, Kind::TooSlow | Kind::Bug)
    }
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Failure {
        let message = message.into();
        Failure {
            kind,
            code,
            message,
            param: None,
            retry_after_ms: None,
            alternatives: None,
            vain: false,
            allow: None,
        }
    }

    /// The caller's input is wrong; `param` names the field or header.
    pub fn invalid(param: &'static str, code: &'static str, message: impl Into<String>) -> Failure {
        Failure::new(Kind::Invalid, code, message).of(param)
    }

    /// Nothing is here.
    pub fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(Kind::NotFound, "not_found", message)
    }

    /// The path is right, the method is not.
    pub fn method(allow: &'static str) -> Failure {
        let message = format!("this path does not take that method; it takes {allow}");
        Failure { allow: Some(allow), ..Failure::new(Kind::Method, "method_not_allowed", message) }
    }

    /// Names the field or header that caused it.
    #[must_use]
    pub fn of(mut self, param: impl Into<Cow<'static, str>>) -> Failure {
        self.param = Some(param.into());
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Failure {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The OpenAI-shaped body.
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorDetail {
                message: self.message.clone(),
                kind: Cow::Borrowed(self.kind.openai_type()),
                param: self.param.clone(),
                code: Some(Cow::Borrowed(self.code)),
                alternatives: self.alternatives.as_deref().cloned(),
            },
        }
    }

    /// Headers that go with it.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("x-should-retry", (self.kind.should_retry() && !self.vain).to_string())];
        if let Some(ms) = self.retry_after_ms {
            headers.push(("retry-after-ms", ms.to_string()));
            headers.push(("retry-after", ms.div_ceil(1_000).to_string()));
        }
        if let Some(allow) = self.allow {
            headers.push(("allow", allow.to_owned()));
        }
        if self.kind == Kind::Unauthenticated {
            headers.push(("www-authenticate", "Bearer".to_owned()));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_type_and_retry_agree() {
        let cases = [
            (Kind::Invalid, 400, "invalid_request_error", false),
            (Kind::Unauthenticated, 401, "authentication_error", false),
            (Kind::Overloaded, 429, "rate_limit_error", true),
            (Kind::Infeasible, 422, "invalid_request_error", false),
            (Kind::Bug, 500, "server_error", true),
            (Kind::Unavailable, 503, "server_error", true),
        ];
        for (kind, status, openai, retry) in cases {
            assert_eq!(
                (kind.status(), kind.openai_type(), kind.should_retry()),
                (status, openai, retry),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_wait_is_told_in_both_headers() {
        let failure = Failure::new(Kind::Overloaded, "overloaded", "busy").retry_after(1_200);
        assert_eq!(
            failure.headers(),
            [
                ("x-should-retry", "true".to_owned()),
                ("retry-after-ms", "1200".to_owned()),
                ("retry-after", "2".to_owned()),
            ]
        );
    }
}
