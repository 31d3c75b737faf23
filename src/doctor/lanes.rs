//! The realtime backends of the catalogue: whether they answer, serve what the catalogue says, and run the
//! weights that the deferred lane runs.

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::Value;
use wire::catalogue::Style;
use wire::doctor::{Finding, Outcome};

use super::check::{Check, of};
use super::within;
use crate::catalogue::{Backend, Catalogue, Model};

/// Header in which a backend of ours tells its model as `NAME@sha256:…`.
const MODEL_HEADER: &str = "switchyard-model";
/// A list of models is short; what is longer is none.
const LIST_BYTES_MAX: usize = 1024 * 1024;

/// What a backend said when it was asked for its models.
#[derive(Debug, Default)]
struct Said {
    status: u16,
    /// None: what it answered is no list.
    models: Option<Vec<String>>,
    digest: Option<String>,
}

/// Why it said nothing.
#[derive(Debug, PartialEq, Eq)]
enum Silence {
    /// It accepted and did not answer in time.
    TimedOut,
    /// There is no connection.
    NotConnected,
}

/// Asks each backend once, which starts a replica where it has none.
pub async fn look(catalogue: &Catalogue, http: &reqwest::Client) -> Vec<Finding> {
    if catalogue.backends.is_empty() {
        return vec![
            Check::Backend.needs("a backend in the catalogue, or ACA_ENDPOINT"),
            Check::Parity.needs("a backend"),
        ];
    }
    let said = join_all(catalogue.backends.iter().map(|backend| ask(backend, http))).await;
    let said: Vec<_> = catalogue.backends.iter().zip(said).collect();
    let backends =
        said.iter().map(|(backend, said)| of(backend.name.clone(), judge(catalogue, backend, said)));
    let backends: Vec<Finding> = backends.collect();
    let parity = parity(catalogue, &|name| {
        let (_, said) = said.iter().find(|(backend, _)| backend.name == name)?;
        said.as_ref().ok()?.digest.clone()
    });
    backends.into_iter().chain(parity).collect()
}

async fn ask(backend: &Backend, http: &reqwest::Client) -> Result<Said, Silence> {
    let url = match (backend.style, &backend.api_version) {
        (Style::AzureOpenai, version) => {
            format!("{}/openai/models?api-version={}", backend.url, version.as_deref().unwrap_or_default())
        }
        (Style::Openai, _) => format!("{}/v1/models", backend.url),
    };
    let mut request = http.get(url);
    if let Some((name, value)) = &backend.key {
        request = request.header(name, value);
    }
    let answered = async {
        let answer = request.send().await.map_err(|_| Silence::NotConnected)?;
        let told = answer.headers().get(MODEL_HEADER).and_then(|told| told.to_str().ok());
        let digest = told.and_then(|told| Some(told.split_once('@')?.1.to_owned()));
        let status = answer.status().as_u16();
        Ok(Said { status, models: list(answer).await, digest })
    };
    within(answered).await.unwrap_or(Err(Silence::TimedOut))
}

/// Ids of an OpenAI list of models.
async fn list(mut answer: reqwest::Response) -> Option<Vec<String>> {
    let mut body = Vec::new();
    while let Ok(Some(part)) = answer.chunk().await {
        body.extend_from_slice(&part);
        if body.len() > LIST_BYTES_MAX {
            return None;
        }
    }
    let body: Value = serde_json::from_slice(&body).ok()?;
    let id = |model: &Value| Some(model.get("id")?.as_str()?.to_owned());
    Some(body.get("data")?.as_array()?.iter().filter_map(id).collect())
}

fn judge(catalogue: &Catalogue, backend: &Backend, said: &Result<Said, Silence>) -> Finding {
    let at = &backend.url;
    let said = match said {
        Ok(said) => said,
        Err(Silence::TimedOut) => {
            return Check::Backend.warning(
                format!(
                    "{at} did not answer within {}s: it starts from no replica, or hangs",
                    super::CHECK_MAX.as_secs()
                ),
                "run doctor again in two minutes; if it stays, look at the app's revision and its system log",
            );
        }
        Err(Silence::NotConnected) => {
            return Check::Backend.broken(
                format!("{at} cannot be reached"),
                "check the backend's url in the catalogue (or ACA_ENDPOINT), that its app has ingress, and that a revision runs",
            );
        }
    };
    match StatusCode::from_u16(said.status) {
        Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Check::Backend.broken(
            format!("{at} answered {} to the catalogue's key", said.status),
            "put the backend's key into the setting that its api_key_setting names, and restart the app",
        ),
        Ok(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => Check::Backend.warning(
            format!("{at} answered {}: it is starting, or has no room", said.status),
            "run doctor again in two minutes; if it stays, raise max-aca-replicas or look at the app's revision",
        ),
        Ok(status) if status.is_success() => serves(catalogue, backend, said),
        _ => Check::Backend.broken(
            format!("{at} answered {} to GET /v1/models", said.status),
            "check the backend's url and style in the catalogue; `az containerapp logs show` tells what the app says",
        ),
    }
}

/// Whether it lists every model that the catalogue sends to it. Deployments of Azure OpenAI are not listed.
fn serves(catalogue: &Catalogue, backend: &Backend, said: &Said) -> Finding {
    let at = &backend.url;
    let listed = match &said.models {
        _ if backend.style == Style::AzureOpenai => {
            return Check::Backend.ok(format!("{at} answers and takes the key"));
        }
        Some(listed) => listed,
        None => {
            return Check::Backend.broken(
                format!("{at} answers, but not with a list of models"),
                "check the backend's url in the catalogue: it must be an OpenAI-compatible server's, without /v1",
            );
        }
    };
    let is_listed = |model: &Model| {
        let names = std::iter::once(&model.spec.id).chain(&model.spec.aliases);
        names.into_iter().any(|name| listed.contains(name))
    };
    let missing: Vec<&str> = backend
        .models
        .iter()
        .filter(|id| !catalogue.model(id).is_some_and(is_listed))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Check::Backend.ok(format!("{at} answers and serves {}", backend.models.join(", ")));
    }
    Check::Backend.broken(
        format!(
            "{at} does not serve {}, which the catalogue sends there; it serves {}",
            missing.join(", "),
            listed.join(", ")
        ),
        "correct the backend's models in the catalogue, or the model that the app loads",
    )
}

/// Whether a model that both lanes serve is the same in both. `told` is the digest that a backend tells.
pub fn parity(catalogue: &Catalogue, told: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for model in &catalogue.models {
        let id = &model.spec.id;
        let pools = catalogue.pools.iter().filter(|pool| pool.models.contains(id));
        let workers = pools.filter_map(|pool| Some((&pool.facts.name, pool.worker.as_ref()?)));
        let workers: Vec<_> = workers.collect();
        let backends: Vec<&Backend> = catalogue
            .backends
            .iter()
            .map(AsRef::as_ref)
            .filter(|backend| backend.models.contains(id))
            .collect();
        if workers.is_empty() || backends.is_empty() {
            continue;
        }
        let homeless = workers
            .iter()
            .find(|(_, worker)| worker.backend_url.is_none() && !worker.folders.contains_key(id));
        let finding = match (&model.spec.digest, homeless) {
            (_, Some((pool, _))) => Check::Parity.broken(
                format!("pool `{pool}` is to run it and has no folder of its weights"),
                "give the pool's worker.folders an entry for the model in the catalogue",
            ),
            (None, None) => Check::Parity.warning(
                "the catalogue tells no digest of its weights, so nothing keeps both lanes on the same ones",
                "set the model's digest to what the server's header switchyard-model tells, sha256:…",
            ),
            (Some(digest), None) => same_weights(digest, &backends, told),
        };
        findings.push(of(id.clone(), finding));
    }
    if findings.is_empty() {
        findings.push(Check::Parity.needs("a model that a backend and a pool with a worker both serve"));
    }
    findings
}

fn same_weights(digest: &str, backends: &[&Backend], told: &dyn Fn(&str) -> Option<String>) -> Finding {
    let mut silent = Vec::new();
    for backend in backends {
        match told(&backend.name) {
            Some(theirs) if theirs == digest => {}
            Some(theirs) => {
                return Check::Parity.broken(
                    format!("backend `{}` runs {}, and pools run {}: their vectors are not comparable", backend.name, short(&theirs), short(digest)),
                    "give the backend the weights of the catalogue's digest, or the new weights an entry of their own",
                );
            }
            None => silent.push(backend.name.as_str()),
        }
    }
    if silent.is_empty() {
        return Check::Parity.ok(format!("both lanes run {}", short(digest)));
    }
    let finding = Check::Parity.needs(&format!(
        "the weights' digest, which backend `{}` does not tell; pools run {}",
        silent.join("`, `"),
        short(digest)
    ));
    debug_assert_eq!(finding.outcome, Outcome::NotChecked);
    finding
}

/// `sha256:` and its first twelve digits tell weights apart for people.
fn short(digest: &str) -> String {
    digest.chars().take(19).collect()
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
