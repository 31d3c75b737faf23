//! Tokens: held, renewed, and served on while the platform is down.

use std::sync::atomic::{AtomicUsize, Ordering};

use azure_core::error::Error;

use super::*;

/// Answers by a script: seconds that a token lasts, or none for a failure. Its end is a hang.
#[derive(Debug)]
struct Scripted {
    script: Vec<Option<u64>>,
    asked: AtomicUsize,
}

#[async_trait]
impl TokenCredential for Scripted {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let at = self.asked.fetch_add(1, Ordering::Relaxed);
        match self.script.get(at) {
            Some(Some(lasts)) => {
                let expires_on = OffsetDateTime::now_utc() + Duration::from_secs(*lasts);
                Ok(AccessToken::new(format!("{at}-for-{}", scopes[0]), expires_on))
            }
            Some(None) => Err(Error::with_message(ErrorKind::Credential, "the platform is down")),
            None => std::future::pending().await,
        }
    }
}

fn identity(script: &[Option<u64>]) -> (Arc<Scripted>, Identity) {
    let inner = Arc::new(Scripted { script: script.to_vec(), asked: AtomicUsize::new(0) });
    let credential: Arc<dyn TokenCredential> = inner.clone();
    (inner, Identity::over(credential, PLATFORM_WITHIN, "set THIS".to_owned()))
}

async fn secret(identity: &Identity, scope: &str) -> String {
    identity.token(scope).await.unwrap().token.secret().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_held_for_its_scope_until_five_minutes_before_its_end() {
    let (inner, identity) = identity(&[Some(3_600), Some(3_600)]);
    for _ in 0..3 {
        assert_eq!(secret(&identity, scope::STORAGE).await, "0-for-https://storage.azure.com/.default");
    }
    let batch = secret(&identity, scope::BATCH).await;
    assert_eq!(batch, "1-for-https://batch.core.windows.net//.default");
    assert_eq!(inner.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_soon_is_renewed_and_serves_on_where_that_fails() {
    for failing in [Some(None), None] {
        let script: Vec<_> = [Some(200)].into_iter().chain(failing).collect();
        let (inner, identity) = identity(&script);
        assert!(secret(&identity, "s").await.starts_with("0-"));
        assert!(secret(&identity, "s").await.starts_with("0-"), "not at every call");
        assert_eq!(inner.asked.load(Ordering::Relaxed), 1);

        tokio::time::advance(RENEW_PAUSE).await;
        assert!(secret(&identity, "s").await.starts_with("0-"), "it is still valid");
        assert!(secret(&identity, "s").await.starts_with("0-"));
        assert_eq!(inner.asked.load(Ordering::Relaxed), 2, "a failed renewal rests");
    }
    let (_, identity) = identity(&[Some(200), Some(3_600)]);
    assert!(secret(&identity, "s").await.starts_with("0-"));
    tokio::time::advance(RENEW_PAUSE).await;
    assert!(secret(&identity, "s").await.starts_with("1-"));
}

#[tokio::test(start_paused = true)]
async fn without_a_valid_token_the_error_names_the_cause_and_the_remedy() {
    for (script, cause) in [(&[None][..], "the platform is down"), (&[], "no token within 5s")] {
        let (_, identity) = identity(script);
        let told = identity.token(scope::BATCH).await.unwrap_err();
        assert!(told.contains(cause) && told.contains("set THIS") && told.contains("//.default"), "{told}");
    }
    let (_, ended) = identity(&[Some(1), None]);
    ended.token("s").await.unwrap();
    tokio::time::advance(RENEW_PAUSE).await;
    assert!(ended.token("s").await.is_err(), "a token at its end is of no use");
}

#[test]
fn every_identity_has_a_remedy_that_names_a_setting_or_a_command() {
    let managed = |id: Option<&str>| Chosen::Managed { client_id: id.map(str::to_owned) };
    let workload =
        Chosen::Workload { tenant_id: "t".to_owned(), client_id: "c".to_owned(), token_file: "/f".into() };
    for (chosen, names) in [
        (workload, name::FEDERATED_TOKEN_FILE),
        (managed(Some("abc")), "abc"),
        (managed(None), name::CLIENT_ID),
        (Chosen::Developer, "az login"),
    ] {
        assert!(remedy(&chosen).contains(names), "{chosen:?}");
    }
}

#[test]
fn equal_choices_share_one_identity() {
    let chain = Chain::new(crate::azure::http().unwrap());
    let open = |id: &str| chain.open(&Chosen::Managed { client_id: Some(id.to_owned()) }).unwrap();
    assert!(Arc::ptr_eq(&open("a"), &open("a")));
    assert!(!Arc::ptr_eq(&open("a"), &open("b")));
}
