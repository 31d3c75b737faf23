//! One request to a webhook, signed as Standard Webhooks says, to an address that was checked.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clock::Clock;
use facts::hook::Problem;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sha2::Sha256;
use url::Host;

use super::schedule::Ended;
use crate::catalogue::Webhook;
use crate::http::address::is_global;
use crate::http::header;

/// Longest attempt, from the look-up of the name to the headers of the answer. The vendor's own
/// webhooks give endpoints a few seconds.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(10);

/// Sends to webhooks.
#[derive(Clone, Debug)]
pub struct Sender {
    http: reqwest::Client,
    reach: Reach,
}

/// Where webhooks may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In the open Internet.
    Global,
    /// Anywhere: for tests on one machine.
    Anywhere,
}

impl Reach {
    fn allows(self, address: std::net::IpAddr) -> bool {
        self == Reach::Anywhere || is_global(address)
    }
}

/// What is sent: the same in every attempt.
#[derive(Debug)]
pub struct Message {
    /// The event's id.
    pub id: String,
    /// The event.
    pub body: String,
}

impl Sender {
    /// A client that goes where it is told and nowhere else: no redirects, no proxy of the environment,
    /// and no connection kept, so that every address was checked when it was used.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(reach: Reach) -> Result<Sender, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(ATTEMPT_MAX)
            .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Checked(reach))
            .build()?;
        Ok(Sender { http, reach })
    }

    /// Sends a message once. The answer's body is not read.
    pub async fn send(&self, webhook: &Webhook, message: &Message) -> Ended {
        // The resolver never sees an address that stands in the URL.
        let address = match webhook.url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        if address.is_some_and(|address| !self.reach.allows(address)) {
            return Ended::Unanswered(Problem::AddressRefused);
        }
        // By the clock that the endpoint looks at, however fast ours may run: it refuses old requests.
        let timestamp_s = Clock::REAL.now_ms() / 1_000;
        let request = self
            .http
            .post(webhook.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp_s)
            .header("webhook-signature", signatures(&webhook.secrets, message, timestamp_s))
            .body(message.body.clone());
        match request.send().await {
            Ok(answer) => Ended::Answered {
                status: answer.status().as_u16(),
                retry_after_ms: retry_after_ms(answer.headers()),
            },
            Err(error) => Ended::Unanswered(problem(&error)),
        }
    }
}

/// `v1,…` for each secret: the endpoint takes any that it knows.
fn signatures(secrets: &[Vec<u8>], message: &Message, timestamp_s: u64) -> String {
    let Message { id, body } = message;
    let signed = format!("{id}.{timestamp_s}.{body}");
    let sign = |secret: &Vec<u8>| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        mac.update(signed.as_bytes());
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

/// Seconds only; a date is as good as nothing, and the usual pause holds.
fn retry_after_ms(headers: &header::HeaderMap) -> Option<u64> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1_000))
}

fn problem(error: &reqwest::Error) -> Problem {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    if causes.any(|cause| cause.is::<Refused>()) {
        Problem::AddressRefused
    } else if error.is_timeout() {
        Problem::TimedOut
    } else if error.is_connect() {
        Problem::NotConnected
    } else {
        Problem::Broken
    }
}

/// Looks names up and gives only addresses that may be reached: those are the ones connected to, so
/// that a name cannot point elsewhere between check and use.
#[derive(Debug)]
struct Checked(Reach);

/// No address of a name may be reached.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has no address in the open Internet")
    }
}

impl Error for Refused {}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| reach.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(Box::new(Refused) as Box<dyn Error + Send + Sync>);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str) -> Webhook {
        Webhook {
            endpoint: "0".repeat(16),
            url: url.parse().unwrap(),
            events: Vec::new(),
            secrets: vec![b"012345678901234567890123".to_vec()],
        }
    }

    /// The example of the Standard Webhooks specification's libraries.
    #[test]
    fn requests_are_signed_as_the_standard_says() {
        let message = Message {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            body: r#"{"test": 2432232314}"#.to_owned(),
        };
        let secret = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(std::slice::from_ref(&secret), &message, 1_614_265_330), one);
        let both = signatures(&[secret.clone(), secret], &message, 1_614_265_330);
        assert_eq!(both, format!("{one} {one}"));
    }

    #[tokio::test]
    async fn closed_addresses_are_not_connected_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let sender = Sender::new(Reach::Global).unwrap();
        let message = Message { id: "evt_a".to_owned(), body: "{}".to_owned() };
        for host in ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
            let ended = sender.send(&webhook(&format!("http://{host}:{port}/")), &message).await;
            assert_eq!(ended, Ended::Unanswered(Problem::AddressRefused), "{host}");
        }
        assert!(listener.accept().is_err(), "somebody connected");
    }

    #[test]
    fn pauses_are_read_in_seconds() {
        let read = |text: &str| {
            let headers = header::HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
            retry_after_ms(&headers)
        };
        assert_eq!(read(" 120 "), Some(120_000));
        assert_eq!(read("99999999999999999999"), None);
        assert_eq!(read("Fri, 20 Nov 2026 10:00:00 GMT"), None);
    }
}
