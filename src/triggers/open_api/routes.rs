//! Every HTTP route that exists: what is not in this table is not served, and the description has each of
//! its rows (a test compares them).

use crate::failure::Failure;
use crate::http::Method;

/// A path and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// A segment in braces stands for any that is not empty.
    pub path: &'static str,
    /// Methods, as `Allow` tells them. Whatever can be read has HEAD too.
    pub methods: &'static str,
    /// Whether it is there under the Functions host only, which checks its key.
    pub host_only: bool,
}

const fn route(path: &'static str, methods: &'static str) -> Route {
    Route { path, methods, host_only: false }
}

/// All of them.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route("/api/v1/embeddings", "POST"),
    route("/api/v1/chat/completions", "POST"),
    route("/api/v1/completions", "POST"),
    route("/api/v1/models", "GET, HEAD"),
    route("/api/v1/models/{id}", "GET, HEAD"),
    route("/api/v1/files", "GET, HEAD, POST"),
    route("/api/v1/files/{id}", "GET, HEAD, DELETE"),
    route("/api/v1/files/{id}/content", "GET, HEAD"),
    route("/api/v1/uploads", "POST"),
    route("/api/v1/uploads/{id}", "GET, HEAD"),
    route("/api/v1/uploads/{id}/parts", "POST"),
    route("/api/v1/uploads/{id}/complete", "POST"),
    route("/api/v1/uploads/{id}/cancel", "POST"),
    route("/api/v1/batches", "GET, HEAD, POST"),
    route("/api/v1/batches/{id}", "GET, HEAD"),
    route("/api/v1/batches/{id}/cancel", "POST"),
    route("/api/jobs", "GET, HEAD"),
    route("/api/jobs/{id}", "GET, HEAD, DELETE"),
    route("/api/jobs/{id}/result", "GET, HEAD"),
    route("/api/jobs/{id}/logs", "GET, HEAD"),
    route("/api/jobs/{id}/webhooks", "GET, HEAD"),
    route("/api/jobs/{id}/cancel", "POST"),
    route("/api/jobs/{id}/promote", "POST"),
    route("/api/explain", "POST"),
    route("/api/status", "GET, HEAD"),
    route("/api/status/cost", "GET, HEAD"),
    route("/api/status/replicas/{backend}", "GET, HEAD"),
    route("/api/operate/knobs", "GET, HEAD, PATCH"),
    route("/api/operate/knobs/refresh", "POST"),
    route("/api/operate/knobs/rollback", "POST"),
    route("/api/operate/dead", "GET, HEAD"),
    route("/api/operate/dead/replay", "POST"),
    route("/api/operate/dead/{id}", "GET, HEAD, DELETE"),
    route("/api/health", "GET, HEAD"),
    route("/api/openapi.json", "GET, HEAD"),
    Route { path: "/api/alerts", methods: "POST", host_only: true },
];

/// The path of the table that these segments are one of; none: they are none.
pub fn named(segments: &[&str]) -> Option<&'static str> {
    ROUTES.iter().map(|route| route.path).find(|path| matches(path, segments))
}

/// Whether this method of this path is served.
///
/// # Errors
/// 404 where there is no such path, 405 with the methods that it has.
pub fn judge(segments: &[&str], method: &Method, under_host: bool) -> Result<(), Failure> {
    // The host's own route of the page ends so.
    let segments = if let ["api", "status", ""] = segments { &segments[..2] } else { segments };
    let mut here = ROUTES.iter().filter(|route| under_host || !route.host_only);
    match here.find(|route| matches(route.path, segments)) {
        Some(route) if route.methods.split(", ").any(|one| one == method.as_str()) => Ok(()),
        Some(route) => Err(Failure::method(route.methods)),
        None if segments.starts_with(&["api", "v1"]) => {
            Err(crate::triggers::openai::unsupported(&segments[2..].join("/")))
        }
        None => Err(Failure::not_found("nothing is here; see /api/openapi.json")),
    }
}

fn matches(path: &str, segments: &[&str]) -> bool {
    let mut wanted = path.trim_start_matches('/').split('/');
    let all = segments.iter().all(|segment| match wanted.next() {
        Some(any) if any.starts_with('{') => !segment.is_empty(),
        Some(wanted) => wanted == *segment,
        None => false,
    });
    all && wanted.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_not_served() {
        let cases = [
            ("api/jobs", Method::HEAD, "ok"),
            ("api/jobs", Method::POST, "GET, HEAD"),
            ("api/jobs/x", Method::DELETE, "ok"),
            ("api/jobs/x/color", Method::GET, "not_found"),
            ("api/jobs/", Method::GET, "not_found"),
            ("api/status/", Method::GET, "ok"),
            ("api/status/replicas", Method::GET, "not_found"),
            ("api/v1/models/org/m", Method::GET, "unsupported_endpoint"),
            ("api/v1/responses", Method::POST, "unsupported_endpoint"),
            ("api/alerts", Method::POST, "not_found"),
            ("api/operate/dead/replay", Method::GET, "POST"),
            ("api", Method::GET, "not_found"),
        ];
        for (path, method, wanted) in cases {
            let segments: Vec<&str> = path.split('/').collect();
            let judged = judge(&segments, &method, false);
            let got = judged.map_or_else(|failure| failure.allow.unwrap_or(failure.code), |()| "ok");
            assert_eq!(got, wanted, "{method} {path}");
        }
        assert!(judge(&["api", "alerts"], &Method::POST, true).is_ok());
    }
}
