//! What the service refuses, with the status, code and words it uses.

use super::store::Refusal;

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An operation on the store was refused.
    Refused(Refusal),
    /// The signature is missing or wrong.
    AuthenticationFailed,
    /// The SAS does not cover the operation.
    AuthorizationPermissionMismatch,
    /// The address names no account, queue or message of ours.
    ResourceNotFound,
    /// A queue name with characters that are not allowed.
    InvalidResourceName,
    /// A queue name shorter than 3 or longer than 63 characters.
    NameLength,
    /// A metadata name that is not an identifier.
    InvalidMetadata,
    /// The body is not the XML of the operation.
    InvalidXmlDocument,
    /// The text is over 64 KiB or the body over what a text of 64 KiB can need.
    RequestBodyTooLarge,
    /// A number in the query that is not one, or contradicts another: name, value, reason.
    InvalidQuery(&'static str, String, &'static str),
    /// A number in the query that is out of range.
    OutOfRange {
        /// The parameter.
        name: &'static str,
        /// As it was given.
        value: String,
        /// The range that is allowed, both ends included.
        allowed: (i64, i64),
    },
    /// A parameter that the operation cannot do without.
    MissingQuery(&'static str),
    /// The service has the operation and the stand-in has not.
    NotImplemented,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        Fault::Refused(refusal)
    }
}

/// A fault in the service's words.
pub struct Told {
    /// HTTP status.
    pub status: u16,
    /// The value of `x-ms-error-code` and of the element `Code`.
    pub code: &'static str,
    /// One sentence.
    pub message: &'static str,
    /// Further elements of the body.
    pub details: Vec<(&'static str, String)>,
}

impl Fault {
    /// Status, code and words.
    pub fn told(&self) -> Told {
        let (status, code, message) = match self {
            Fault::Refused(refusal) => refused(*refusal),
            Fault::AuthenticationFailed => (
                403,
                "AuthenticationFailed",
                "Server failed to authenticate the request. Make sure the value of the Authorization header is formed correctly including the signature.",
            ),
            Fault::AuthorizationPermissionMismatch => (
                403,
                "AuthorizationPermissionMismatch",
                "This request is not authorized to perform this operation using this permission.",
            ),
            Fault::ResourceNotFound => (404, "ResourceNotFound", "The specified resource does not exist."),
            Fault::InvalidResourceName => {
                (400, "InvalidResourceName", "The specified resource name contains invalid characters.")
            }
            Fault::NameLength => (
                400,
                "OutOfRangeInput",
                "The specified resource name length is not within the permissible limits.",
            ),
            Fault::InvalidMetadata => (
                400,
                "InvalidMetadata",
                "The metadata specified is invalid. It has characters that are not permitted.",
            ),
            Fault::InvalidXmlDocument => {
                (400, "InvalidXmlDocument", "XML specified is not syntactically valid.")
            }
            Fault::RequestBodyTooLarge => (
                413,
                "RequestBodyTooLarge",
                "The request body is too large and exceeds the maximum permissible limit.",
            ),
            Fault::InvalidQuery(..) => (
                400,
                "InvalidQueryParameterValue",
                "Value for one of the query parameters specified in the request URI is invalid.",
            ),
            Fault::OutOfRange { .. } => (
                400,
                "OutOfRangeQueryParameterValue",
                "One of the query parameters specified in the request URI is outside the permissible range.",
            ),
            Fault::MissingQuery(_) => (
                400,
                "MissingRequiredQueryParameter",
                "A query parameter that's mandatory for this request is not specified.",
            ),
            Fault::NotImplemented => {
                (501, "NotImplemented", "The queue stand-in does not have this operation of the service.")
            }
        };
        Told { status, code, message, details: self.details() }
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        match self {
            Fault::RequestBodyTooLarge => vec![("MaxLimit", super::store::MESSAGE_BYTES_MAX.to_string())],
            Fault::InvalidQuery(name, value, reason) => vec![
                ("QueryParameterName", (*name).to_owned()),
                ("QueryParameterValue", value.clone()),
                ("Reason", (*reason).to_owned()),
            ],
            Fault::OutOfRange { name, value, allowed } => vec![
                ("QueryParameterName", (*name).to_owned()),
                ("QueryParameterValue", value.clone()),
                ("MinimumAllowed", allowed.0.to_string()),
                ("MaximumAllowed", allowed.1.to_string()),
            ],
            Fault::MissingQuery(name) => vec![("QueryParameterName", (*name).to_owned())],
            _ => Vec::new(),
        }
    }
}

fn refused(refusal: Refusal) -> (u16, &'static str, &'static str) {
    match refusal {
        Refusal::QueueNotFound => (404, "QueueNotFound", "The specified queue does not exist."),
        Refusal::QueueAlreadyExists => (409, "QueueAlreadyExists", "The specified queue already exists."),
        Refusal::MessageNotFound => (404, "MessageNotFound", "The specified message does not exist."),
        Refusal::PopReceiptMismatch => (
            400,
            "PopReceiptMismatch",
            "The specified pop receipt did not match the pop receipt for a dequeued message.",
        ),
        Refusal::Full => (
            503,
            "ServerBusy",
            "The queue stand-in holds as much as it may in memory. Delete messages first.",
        ),
    }
}
