//! The doorbell and the queue of what the host gave up: metadata is read and messages are peeked at, so
//! nothing is taken, put or made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use wire::doctor::Finding;
use wire::ticket::Ticket;

use super::check::Check;
use super::denied::{Denied, Opened};
use super::role::Role;
use super::tokens::{Audience, Tokens};
use super::within;
use crate::azure::queue::{Doorbell, RingError, Seen};
use crate::settings::storage::Access;
use crate::settings::table::DOORBELL_QUEUE;
use crate::settings::{self, name};

/// A ring is heard within seconds; one that lies longer has no listener.
const UNHEARD_MS: u64 = 10 * 60 * 1_000;

/// The account of the doorbell and how it was opened.
pub struct Place<'a> {
    /// The settings that name it.
    pub asked: &'a settings::Doorbell,
    /// Its client.
    pub doorbell: &'a Doorbell,
    /// Who is asking.
    pub tokens: &'a Tokens,
    /// Now, by the service's clock; none: time is scaled.
    pub now_ms: Option<u64>,
}

impl Place<'_> {
    /// Looks at both queues.
    pub async fn look(&self) -> Vec<Finding> {
        if self.opened().is_identity() && self.tokens.principal(Audience::Storage).is_err() {
            return vec![Check::Queue.needs("identity"), Check::PoisonQueue.needs("identity")];
        }
        let (queue, poison) = (self.asked.queue.clone(), format!("{}-poison", self.asked.queue));
        let (rings, poisoned) =
            tokio::join!(within(self.doorbell.look(&queue)), within(self.doorbell.look(&poison)));
        let rings = match rings.unwrap_or(Err(RingError::TimedOut)) {
            Ok(Some(seen)) => self.heard(&seen),
            Ok(None) => Check::Queue.broken(
                format!("queue `{queue}` does not exist in account `{}`", self.account()),
                self.create(&queue),
            ),
            Err(error) => self.told(&error),
        };
        let poisoned = match poisoned.unwrap_or(Err(RingError::TimedOut)) {
            Ok(Some(Seen { about: 0, .. })) => Check::PoisonQueue.ok(format!("queue `{poison}` is empty")),
            Ok(Some(seen)) => Check::PoisonQueue.warning(
                format!(
                    "about {} messages lie in queue `{poison}`, which DeadLetter should have kept",
                    seen.about
                ),
                "look whether the app runs and its function DeadLetter is enabled",
            ),
            Ok(None) => Check::PoisonQueue.warning(
                format!("queue `{poison}` does not exist, so DeadLetter has nothing to listen to"),
                self.create(&poison),
            ),
            Err(_) => Check::PoisonQueue.needs("queue"),
        };
        vec![rings, poisoned]
    }

    fn heard(&self, seen: &Seen) -> Finding {
        let queue = &self.asked.queue;
        let strange = seen.texts.iter().filter(|text| !is_ticket(text)).count();
        let waits = seen.oldest_unix_ms.zip(self.now_ms).map(|(oldest, now)| now.saturating_sub(oldest));
        if waits.is_some_and(|ms| ms > UNHEARD_MS) {
            let minutes = waits.unwrap_or_default() / 60_000;
            return Check::Queue.warning(
                format!("the oldest of about {} messages in queue `{queue}` has been there for {minutes} minutes", seen.about),
                "look whether the app runs and its function Dispatch is enabled; the sweep does the work meanwhile, later",
            );
        }
        if strange > 0 {
            return Check::Queue.warning(
                format!("{strange} of {} messages that were peeked at in queue `{queue}` are no tickets", seen.texts.len()),
                "nothing is lost: Dispatch keeps them as dead letters; find out who else writes to this queue",
            );
        }
        if queue != DOORBELL_QUEUE {
            return Check::Queue.warning(
                format!("queue `{queue}` exists, but Dispatch/function.json as it is shipped listens to `{DOORBELL_QUEUE}`"),
                format!("unset {}, or write that queue and its -poison into the function.json of Dispatch and DeadLetter", name::QUEUE),
            );
        }
        Check::Queue.ok(format!(
            "queue `{queue}` of account `{}`: about {} messages, {} peeked at and understood",
            self.account(),
            seen.about,
            seen.texts.len()
        ))
    }

    fn told(&self, error: &RingError) -> Finding {
        let account = self.account();
        match error {
            RingError::Denied { told, .. } => {
                let service = format!("the queues of account `{account}`");
                let (check, role) = (Check::Queue, Role::QueueContributor);
                Denied { check, service: &service, resource: &account, role, told }.finding(&self.opened())
            }
            RingError::Refused { told, .. } => Check::Queue.broken(
                format!("queue `{}` of account `{account}` answered {told}", self.asked.queue),
                "look at the account in the portal: its state, its limits, its region's health",
            ),
            RingError::Unreachable(_) | RingError::TimedOut | RingError::TooLong(_) => Check::Queue.broken(
                format!("the queues of account `{account}` cannot be reached"),
                format!(
                    "check {} and the way to it: name resolution, firewall, private endpoint",
                    name::STORAGE
                ),
            ),
        }
    }

    fn create(&self, queue: &str) -> String {
        format!("az storage queue create --name {queue} --account-name {} --auth-mode login", self.account())
    }

    fn opened(&self) -> Opened {
        match &self.asked.storage.access {
            Access::Key { .. } => Opened::Key(name::STORAGE),
            Access::Sas(_) => Opened::Sas(name::STORAGE),
            Access::Identity(_) => {
                Opened::Identity(self.tokens.principal(Audience::Storage).unwrap_or_default())
            }
        }
    }

    fn account(&self) -> String {
        if let Access::Key { account, .. } = &self.asked.storage.access {
            return account.clone();
        }
        let host = self.asked.storage.queues.host_str().unwrap_or_default();
        host.split('.').next().unwrap_or_default().to_owned()
    }
}

/// Clients of Azure encode texts as base64 or not; both are understood.
fn is_ticket(text: &str) -> bool {
    let parses = |text: &[u8]| serde_json::from_slice::<Ticket>(text).is_ok();
    parses(text.as_bytes()) || BASE64.decode(text.trim()).is_ok_and(|text| parses(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_known_in_either_encoding() {
        let ticket = r#"{"v":1,"tenant":"a","job_id":"j"}"#;
        assert!(is_ticket(ticket) && is_ticket(&BASE64.encode(ticket)));
        for other in ["", "hello", "{}", "aGVsbG8=", r#"{"v":1,"tenant":"a","job_id":"j","x":1}"#] {
            assert!(!is_ticket(other), "{other}");
        }
    }
}
