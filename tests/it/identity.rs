//! The identity of the handler against a stand-in of the platform's token endpoint (the App Service form:
//! IDENTITY_ENDPOINT, IDENTITY_HEADER), seen through the vault that it opens; and tokens towards Azure Batch
//! and blobs. The stand-ins need a thread of their own: a handler that starts asks them at once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use clock::Clock;
use handler::azure::batch::{CallError, Client, Credential, PoolError};
use handler::azure::identity::{ForBlobs, Identity, scope};
use local::vault::Vault;
use object_store::CredentialProvider as _;
use object_store::azure::AzureCredential;
use serde_json::Value;

use crate::handler_stage::*;

/// What the vault lets in.
pub const TOKEN: &str = "t0ken";
/// What the platform's endpoint wants to see.
const HEADER: &str = "pl4tform";
/// Long after any test.
const LATE: u64 = 4_102_444_800;

/// A vault without knobs.
pub fn vault() -> Vault {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    Vault::start(listener, Clock::REAL, TOKEN).expect("the stand-in starts on a fresh port")
}

/// An answer of the token endpoint: a token that ends at this Unix second.
fn token_until(ends: u64) -> Step {
    let body =
        format!(r#"{{"access_token":"{TOKEN}","expires_on":"{ends}","resource":"r","token_type":"Bearer"}}"#);
    Step::Answer(200, vec![("content-type", "application/json".to_owned())], body)
}

/// A token endpoint that gives tokens, and never runs out of them within a test.
pub async fn platform() -> Upstream {
    Upstream::start((0..50).map(|_| token_until(LATE))).await
}

/// A stage whose handler takes its knobs from the vault, by tokens of the platform.
pub fn stage(catalogue: &Value, vault: &Vault, platform: &Upstream) -> Stage {
    let stage = Stage::new(catalogue);
    let authority = stage.folder.join("authority.pem");
    std::fs::write(&authority, vault.authority()).unwrap();
    let endpoint = format!("{}/msi/token", platform.url);
    stage
        .with("KEY_VAULT_URL", vault.url())
        .with("SSL_CERT_FILE", authority.display().to_string())
        .with("IDENTITY_ENDPOINT", endpoint)
        .with("IDENTITY_HEADER", HEADER)
}

async fn refresh(handler: &Handler) -> (u16, String) {
    let answer = handler.post("/api/operate/knobs/refresh", ADMIN, "").send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platform_is_asked_once_for_the_vaults_audience() {
    for client_id in [None, Some("11111111-2222-3333-4444-555555555555")] {
        let (vault, platform) = (vault(), platform().await);
        let mut stage = stage(&catalogue(&[]), &vault, &platform);
        if let Some(id) = client_id {
            stage = stage.with("AZURE_CLIENT_ID", id);
        }
        let handler = stage.listen();
        for _ in 0..3 {
            assert_eq!(refresh(&handler).await.0, 200);
        }
        let seen = platform.seen();
        assert_eq!(seen.len(), 1, "the token is held");
        let expected = "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net";
        let expected = client_id.map_or(expected.to_owned(), |id| format!("{expected}&client_id={id}"));
        assert_eq!(seen[0].path, expected);
        assert_eq!(seen[0].header("metadata"), Some("true"));
        assert_eq!(seen[0].header("x-identity-header"), Some(HEADER));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_at_its_end_is_not_used_again() {
    let vault = vault();
    let soon = Clock::REAL.now_ms() / 1_000 + 10;
    let platform = Upstream::start((0..50).map(|_| token_until(soon))).await;
    let handler = stage(&catalogue(&[]), &vault, &platform).listen();
    assert_eq!(refresh(&handler).await.0, 200);
    let before = platform.seen().len();
    assert_eq!(refresh(&handler).await.0, 200);
    assert!(platform.seen().len() > before, "asked anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_stumbles_is_asked_again() {
    let refusal = |status| Step::Answer(status, Vec::new(), "{}".to_owned());
    let (given_up, _kept) = tokio::sync::mpsc::channel(1);
    let stumbles = [
        vec![Step::Answer(429, vec![("retry-after", "0".to_owned())], "{}".to_owned()), token_until(LATE)],
        vec![refusal(500), refusal(503), token_until(LATE)],
        vec![Step::Hang(given_up), token_until(LATE)],
        vec![Step::Close, token_until(LATE)],
    ];
    for (at, stumble) in stumbles.into_iter().enumerate() {
        let (vault, expected) = (vault(), stumble.len());
        let platform = Upstream::start(stumble).await;
        let handler = stage(&catalogue(&[]), &vault, &platform).listen();
        let shown = refresh(&handler).await;
        assert_eq!((shown.0, platform.seen().len()), (200, expected), "{at}: {}", shown.1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_gives_nothing_names_the_remedy_and_no_secret() {
    let vault = vault();
    let down = (0..50).map(|_| Step::Answer(500, Vec::new(), HEADER.to_owned()));
    let platform = Upstream::start(down).await;
    let handler = stage(&catalogue(&[]), &vault, &platform).listen();
    let (status, told) = refresh(&handler).await;
    assert_eq!(status, 409, "{told}");
    assert!(told.contains("vault.azure.net") && told.contains("AZURE_CLIENT_ID"), "{told}");
    let log = handler.log.lock().unwrap().join("\n");
    assert!(!told.contains(HEADER) && !log.contains(HEADER) && !log.contains(TOKEN), "{told}\n{log}");
}

/// Gives the scope as the token, so that it shows what was asked for.
#[derive(Debug)]
struct Echo;

#[async_trait]
impl TokenCredential for Echo {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let ends = azure_core::time::OffsetDateTime::now_utc() + Duration::from_secs(3_600);
        Ok(AccessToken::new(scopes.join(" "), ends))
    }
}

fn echo() -> Arc<Identity> {
    Arc::new(Identity::over(Arc::new(Echo), Duration::from_secs(5), "nothing to set".to_owned()))
}

/// A listener with TLS that lets in whoever brings the token of Azure Batch: it is no Azure Batch, and its
/// refusal of the path shows that the token was right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_batch_is_opened_by_a_token_for_its_audience_over_https_only() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let vault = Vault::start(listener, Clock::REAL, scope::BATCH).unwrap();
    let authority = reqwest::Certificate::from_pem(vault.authority().as_bytes()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
    let client = |url: String| {
        let credential = Credential::Identity { account: "acct".to_owned(), identity: echo() };
        Client::new(url.parse().unwrap(), credential, http.clone(), Clock::REAL)
    };
    let refused = client(vault.url()).pool("p").await.unwrap_err();
    assert!(matches!(refused, PoolError::Call(CallError::Rejected { .. })), "{refused}");
    assert_eq!((vault.counts().let_in, vault.counts().challenged), (1, 0));

    let upstream = Upstream::start([]).await;
    let unsafe_url = client(upstream.url.clone()).pool("p").await.unwrap_err();
    assert!(unsafe_url.to_string().contains("https only"), "{unsafe_url}");
    assert!(upstream.seen().is_empty(), "no token left this process");
    vault.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_are_opened_by_a_token_for_storage() {
    let credential = ForBlobs(echo()).get_credential().await.unwrap();
    let AzureCredential::BearerToken(token) = &*credential else { panic!("a token") };
    assert_eq!(token, scope::STORAGE);
}
