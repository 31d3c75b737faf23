//! The secrets of a Key Vault, as its data plane serves them: over TLS, with the challenge that answers a
//! request without a token, versions, and what a vault answers when it will not.
//!
//! - [`Vault`]: the running stand-in, and what tests put into it and make it do
//! - `secrets`: what it holds
//! - `answer`: requests, and the bodies that the service writes
//!
//! Deliberately absent: deleted secrets, backups, and everything that is not a secret (501).

mod answer;
mod secrets;

use std::sync::{Arc, Mutex, MutexGuard};

use clock::Clock;
use hyper::StatusCode;

use crate::loopback::Server;
use crate::tls;
use answer::Desk;
use secrets::Secrets;

/// How requests with a token are answered, until another script is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Script {
    /// As they should be.
    #[default]
    Serve,
    /// 429 with this `Retry-After`, in seconds.
    Throttle(u32),
    /// 403: the caller has no role.
    Forbid,
    /// 403 for writes: the caller may only read.
    ForbidWrites,
    /// This status.
    Fail(StatusCode),
    /// No answer until the client gives up.
    Hang,
}

/// What arrived since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests without a usable token, which were challenged.
    pub challenged: u64,
    /// Requests with one.
    pub let_in: u64,
}

/// A running vault.
pub struct Vault {
    server: Server,
    shared: Arc<Shared>,
    authority: String,
}

struct Shared {
    token: String,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    script: Script,
    counts: Counts,
    secrets: Secrets,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}

impl Vault {
    /// Serves an empty vault on `listener` to whoever brings `token`.
    ///
    /// # Errors
    /// When the listener cannot be handed to the runtime, or no certificate can be made.
    pub fn start(listener: std::net::TcpListener, clock: Clock, token: &str) -> std::io::Result<Vault> {
        let (tls, authority) = tls::loopback()?;
        let url = format!("https://{}", listener.local_addr()?);
        let shared = Arc::new(Shared { token: token.to_owned(), clock, state: Mutex::default() });
        let desk = Desk { url, shared: Arc::clone(&shared) };
        let server = Server::start_with(listener, Some(tls), move |request| {
            let desk = desk.clone();
            async move { desk.answer(request).await }
        })?;
        Ok(Vault { server, shared, authority })
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The certificate of the authority that clients must trust, as PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Gives a secret a new version.
    pub fn set(&self, name: &str, value: &str) {
        let now = self.shared.clock.now_ms() / 1_000;
        self.shared.lock().secrets.set(name, value, true, now);
    }

    /// Switches the newest version of a secret off, as `az keyvault secret set-attributes --enabled false`.
    pub fn switch_off(&self, name: &str) {
        let now = self.shared.clock.now_ms() / 1_000;
        self.shared.lock().secrets.switch(name, None, false, now);
    }

    /// The value of a secret's newest version; none when it is absent or switched off.
    pub fn value(&self, name: &str) -> Option<String> {
        let state = self.shared.lock();
        let newest = state.secrets.find(name, None)?;
        newest.is_enabled.then(|| newest.value.clone())
    }

    /// How many versions a secret has.
    pub fn versions(&self, name: &str) -> usize {
        self.shared.lock().secrets.versions(name).count()
    }

    /// Answers like this from the next request on.
    pub fn script(&self, script: Script) {
        self.shared.lock().script = script;
    }

    /// What has arrived since the start.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// Stops serving.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

#[cfg(test)]
mod tests;
