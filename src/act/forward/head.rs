//! Which headers of a client a backend sees.

use crate::http::HeaderMap;

/// What never reaches a backend: ours, the host's, hop-by-hop ones and everything that may hold a secret.
const KEPT_BACK: &[&str] = &[
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "content-length",
    "authorization",
    "api-key",
    "x-api-key",
    "ocp-apim-subscription-key",
    "cookie",
    "accept-encoding",
    "prefer",
    "idempotency-key",
    "traceparent",
    "x-request-id",
];

/// The same of whole families.
const FAMILIES_KEPT_BACK: &[&str] = &["switchyard-", "x-azure-", "x-ms-", "x-functions-"];

/// The headers that go on, and none that the client's `connection` calls its own.
pub(super) fn passed_on(sent: &HeaderMap) -> HeaderMap {
    let of_the_hop: Vec<&str> = (sent.get_all("connection").iter())
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(',').map(str::trim))
        .collect();
    let is_kept_back = |name: &str| {
        KEPT_BACK.contains(&name)
            || FAMILIES_KEPT_BACK.iter().any(|family| name.starts_with(family))
            || of_the_hop.iter().any(|of_hop| of_hop.eq_ignore_ascii_case(name))
    };
    let mut passed = HeaderMap::with_capacity(sent.len());
    for (name, value) in sent {
        if !is_kept_back(name.as_str()) {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeaderValue;

    #[test]
    fn a_backend_sees_neither_secrets_nor_what_is_of_the_hop() {
        let cases = [
            ("content-type", "application/json", true),
            ("x-stainless-lang", "python", true),
            ("authorization", "Bearer k", false),
            ("ocp-apim-subscription-key", "k", false),
            ("x-functions-key", "k", false),
            ("x-ms-token-aad-refresh-token", "k", false),
            ("connection", "close, X-Of-The-Hop", false),
            ("x-of-the-hop", "1", false),
        ];
        let sent =
            cases.iter().map(|(name, value, _)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let passed = passed_on(&sent.collect());
        for (name, _, goes_on) in cases {
            assert_eq!(passed.contains_key(name), goes_on, "{name}");
        }
    }
}
