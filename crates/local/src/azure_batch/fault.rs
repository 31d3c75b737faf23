//! What the service refuses, with the status, code and words it uses, in its flat body:
//! `{"odata.metadata", "code", "message": {"lang", "value"}, "values": [{"key", "value"}]}`.

use serde_json::{Value, json};

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: Code,
    /// Names and values that tell which part was wrong.
    pub(super) values: Vec<(&'static str, String)>,
}

/// Declares the codes with their status and words, once.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident $status:literal $message:literal,)*) => {
        /// The service's error codes, as far as the stand-in uses them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code { $($(#[$doc])* $code,)* }

        impl Code {
            /// HTTP status, the code on the wire, and one sentence.
            pub(super) fn told(self) -> (u16, &'static str, &'static str) {
                match self { $(Code::$code => ($status, stringify!($code), $message),)* }
            }
        }
    };
}

codes! {
    ActiveJobAndScheduleQuotaReached 409 "The active job and job schedule quota for the account has been reached.",
    AuthenticationFailed 403 "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.",
    AutoScalingFormulaSyntaxError 400 "The specified autoscaling formula has a syntax error.",
    AutoScalingFormulaTooLong 400 "The specified autoscaling formula is too long.",
    ConditionNotMet 412 "The condition specified using HTTP conditional header(s) is not met.",
    FileNotFound 404 "The specified file does not exist.",
    InternalError 500 "Server encountered an internal error. Please try again after some time.",
    InvalidAutoScalingSettings 400 "The specified autoscaling settings are invalid.",
    InvalidPropertyValue 400 "The value provided for one of the properties in the request body is invalid.",
    InvalidQueryParameterValue 400 "Value for one of the query parameters specified in the request URI is invalid.",
    InvalidRequestBody 400 "The specified Request Body is not syntactically valid.",
    JobCompleted 409 "The specified job is already in a completed state.",
    JobDisabled 409 "The specified job is disabled.",
    JobExists 409 "The specified job already exists.",
    JobNotFound 404 "The specified job does not exist.",
    MissingRequiredProperty 400 "A required property was not specified in the request body.",
    NodeNotFound 404 "The specified node does not exist.",
    /// Of the stand-in only: the service has the operation.
    NotImplemented 501 "The Azure Batch stand-in does not have this operation of the service.",
    OperationInvalidForCurrentState 409 "The specified operation is not valid for the current state of the resource.",
    OperationNotValidOnPool 409 "The specified operation is not valid for the specified pool.",
    OperationTimedOut 500 "Operation could not be completed within the permitted time.",
    OutOfRangeInput 400 "One of the request inputs is out of range.",
    PoolBeingResized 409 "The specified pool is being resized.",
    PoolExists 409 "The specified pool already exists.",
    PoolNotFound 404 "The specified pool does not exist.",
    PoolQuotaReached 409 "The pool quota for the account has been reached.",
    RequestBodyTooLarge 413 "The size of the request body exceeds the maximum permissible limit.",
    ResourceNotFound 404 "The specified resource does not exist.",
    ServerBusy 503 "The server is currently unable to receive requests. Please retry your request.",
    TaskCompleted 409 "The specified task is already in a completed state.",
    TaskDependenciesNotSpecifiedOnJob 400 "Task dependencies cannot be used with the specified job. To use task dependencies, usesTaskDependencies must be set on the job.",
    TaskExists 409 "The specified task already exists.",
    TaskFilesUnavailable 409 "The files of the specified task are unavailable since the node it ran on is not available.",
    TaskNotCompleted 409 "The specified task is not in a completed state.",
    TaskNotFound 404 "The specified task does not exist.",
    TaskSucceeded 409 "The specified task has already completed with success.",
    TooManyEnableAutoScaleRequests 503 "There must be at least 30 seconds between two requests to enable autoscale on one pool.",
    /// Throttling has no code of its own in the published list; 429 is announced as a status.
    TooManyRequests 429 "The server received too many requests. Please retry your request after some time.",
    UnsupportedProperty 400 "One of the properties specified in the request body is not supported.",
    UnsupportedRequestVersion 400 "The request version is not supported.",
}

impl From<Code> for Fault {
    fn from(code: Code) -> Fault {
        Fault { code, values: Vec::new() }
    }
}

impl Fault {
    /// A property that cannot be taken, and why.
    pub(super) fn property(code: Code, name: &str, reason: &str) -> Fault {
        let values = vec![("PropertyName", name.to_owned()), ("Reason", reason.to_owned())];
        Fault { code, values }
    }

    /// A query parameter that cannot be taken, and why.
    pub(super) fn query(name: &str, reason: &str) -> Fault {
        let values = vec![("QueryParameterName", name.to_owned()), ("Reason", reason.to_owned())];
        Fault { code: Code::InvalidQueryParameterValue, values }
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> u16 {
        self.code.told().0
    }

    /// The members that bodies of whole requests and items of a collection share.
    pub(super) fn body(&self, request_id: &str, time: &str) -> Value {
        let (_, code, message) = self.code.told();
        let message = format!("{message}\nRequestId:{request_id}\nTime:{time}");
        let mut body = json!({"code": code, "message": {"lang": "en-US", "value": message}});
        if !self.values.is_empty() {
            let value = |(key, value): &(&str, String)| json!({"key": key, "value": value});
            body["values"] = self.values.iter().map(value).collect();
        }
        body
    }
}
