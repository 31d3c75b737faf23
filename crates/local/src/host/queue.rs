//! The queue trigger: polling, visibility, retries, the poison queue.
//!
//! [`listen`] polls and starts a task for each message; [`Listener::process`] is the life of one:
//! decode, invoke while the message stays hidden, then delete, release or poison. [`Backoff`] and
//! the envelopes are pure.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clock::Clock;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::app::{Function, MessageEncoding, Queues, Trigger};
use super::dotnet;
use super::invocation::{Envelope, Outcome, double_encoded};
use crate::queue::client::{Error, Message, Queue};
use crate::queue::date;
use crate::queue::store::NEVER_MS;

/// How long a taken message is hidden: fixed in the host (`QueueListener`).
const VISIBILITY: Duration = Duration::from_secs(10 * 60);
/// While the function runs the message is hidden anew at half that time.
const RENEWAL: Duration = Duration::from_secs(5 * 60);
/// The first pause of an empty queue, and the least there is.
const POLLING_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The least real pause on a scaled clock, so that a fast stack does not only poll. Ours.
const REAL_PAUSE_MIN: Duration = Duration::from_millis(10);
/// Poison queues are named so.
const POISON_SUFFIX: &str = "-poison";
/// Longest queue name of the service.
const QUEUE_NAME_MAX: usize = 63;

/// One function with a queue trigger and the queue it watches.
#[derive(Clone)]
pub struct Listener {
    /// The function.
    pub function: Arc<Function>,
    /// Its queue.
    pub queue: Queue,
    /// How to poll, from host.json.
    pub settings: Queues,
    /// Scales pauses and renewals.
    pub clock: Clock,
}

/// Polls until `stop`, then waits for the messages under way. A queue that does not exist is
/// looked for again and again, as one that is empty.
pub async fn listen<I, F>(listener: Listener, invoke: I, stop: CancellationToken)
where
    I: Fn(Envelope) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send,
{
    let mut running = JoinSet::new();
    let mut backoff = Backoff::new(listener.settings.max_polling_interval);
    let mut found = false;
    while !stop.is_cancelled() {
        while running.try_join_next().is_some() {}
        if running.len() > listener.settings.new_batch_threshold {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = running.join_next() => continue,
            }
        }
        let messages = listener.poll().await;
        if messages.is_empty() {
            let pause = listener.clock.real(backoff.next(found, jitter())).max(REAL_PAUSE_MIN);
            found = false;
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        for message in messages {
            found = true;
            let (listener, invoke) = (listener.clone(), invoke.clone());
            running.spawn(async move { listener.process(message, invoke).await });
        }
    }
    while running.join_next().await.is_some() {}
}

/// The pauses between polls of an empty queue: the first is 100 ms, then 100 ms and a fifth more
/// or less of 100, 200, 400 … ms, up to `maxPollingInterval` (`RandomizedExponentialBackoffStrategy`).
#[derive(Debug)]
pub struct Backoff {
    longest: Duration,
    current: Duration,
    exponent: u32,
}

impl Backoff {
    /// Starts with the shortest pause.
    pub fn new(longest: Duration) -> Backoff {
        Backoff { longest, current: Duration::ZERO, exponent: 0 }
    }

    /// The next pause. `found` says that there were messages since the last one; `jitter` lies
    /// between 0.8 and 1.2.
    pub fn next(&mut self, found: bool, jitter: f64) -> Duration {
        if found {
            self.current = POLLING_INTERVAL_MIN;
            self.exponent = 1;
        } else if self.current != self.longest {
            let grown = match self.exponent.checked_sub(1) {
                None => POLLING_INTERVAL_MIN,
                Some(doublings) => {
                    let factor = jitter * 2f64.powi(i32::try_from(doublings).unwrap_or(i32::MAX));
                    POLLING_INTERVAL_MIN + POLLING_INTERVAL_MIN.mul_f64(factor)
                }
            };
            if grown < self.longest {
                self.current = grown;
                self.exponent += 1;
            } else {
                self.current = self.longest;
            }
        }
        self.current
    }
}

fn jitter() -> f64 {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    0.8 + 0.4 * f64::from(random) / f64::from(u32::MAX)
}

/// What a message carries for the function.
#[derive(Debug, PartialEq)]
enum Payload {
    /// Ready to be sent.
    Decoded(Vec<u8>),
    /// Not base64 although it must be: nothing is invoked and nothing tried again.
    NotBase64,
    /// base64 of bytes that are not text: fails like an invocation, without one.
    NotText,
}

impl Listener {
    async fn poll(&self) -> Vec<Message> {
        match self.queue.get(self.settings.batch_size, VISIBILITY).await {
            Ok(messages) => messages,
            Err(Error::NotFound(_)) => Vec::new(),
            Err(error) => {
                tracing::warn!(function = self.function.name, %error, "polling failed");
                Vec::new()
            }
        }
    }

    async fn process<I, F>(&self, mut message: Message, invoke: I)
    where
        I: Fn(Envelope) -> F,
        F: Future<Output = Outcome>,
    {
        let poison = poison_queue(self.queue.name());
        if message.dequeue_count > self.settings.max_dequeue_count && poison.is_some() {
            return self.poison(&message, poison.as_deref()).await;
        }
        let outcome = match payload(&self.function, &message.text, self.settings.message_encoding) {
            Payload::NotBase64 => {
                tracing::warn!(
                    function = self.function.name,
                    id = message.id,
                    "message decoding has failed; check `messageEncoding` in host.json"
                );
                return self.poison(&message, poison.as_deref()).await;
            }
            Payload::NotText => Outcome::Failed("the message is not UTF-8".to_owned()),
            Payload::Decoded(bytes) => {
                let envelope = envelope(&self.function, &message, &bytes, self.clock.now_ms());
                self.keep_hidden(&mut message, invoke(envelope)).await
            }
        };
        match outcome {
            Outcome::Succeeded => self.report("delete", self.queue.delete(&message).await),
            // Without a poison queue the message is left as it is: hidden for the rest of its 10 min.
            Outcome::Failed(_) if poison.is_none() => {}
            Outcome::Failed(_) if message.dequeue_count >= self.settings.max_dequeue_count => {
                self.poison(&message, poison.as_deref()).await;
            }
            Outcome::Failed(_) => {
                let hidden = self.queue.hide(&message, self.settings.visibility_timeout).await;
                self.report("release", hidden.map(drop));
            }
        }
    }

    /// Waits for an invocation and hides its message anew meanwhile.
    async fn keep_hidden(&self, message: &mut Message, run: impl Future<Output = Outcome>) -> Outcome {
        let mut run = std::pin::pin!(run);
        loop {
            tokio::select! {
                outcome = &mut run => return outcome,
                () = tokio::time::sleep(self.clock.real(RENEWAL)) => {
                    match self.queue.hide(message, VISIBILITY).await {
                        Ok(pop_receipt) => message.pop_receipt = pop_receipt,
                        Err(error) => self.report("renew", Err(error)),
                    }
                }
            }
        }
    }

    /// Copies the text to the poison queue, made on demand, and deletes the message. A copy that
    /// failed leaves the message, which comes back after its 10 min.
    async fn poison(&self, message: &Message, name: Option<&str>) {
        let Some(name) = name else { return };
        tracing::warn!(function = self.function.name, id = message.id, "message moved to queue `{name}`");
        let queue = self.queue.sibling(name);
        let copied = match queue.put(&message.text).await {
            Err(Error::NotFound(_)) => match queue.create().await {
                Ok(()) => queue.put(&message.text).await,
                Err(error) => Err(error),
            },
            put => put,
        };
        match copied {
            Ok(()) => self.report("delete", self.queue.delete(message).await),
            Err(error) => self.report("poison", Err(error)),
        }
    }

    /// A lost receipt means that somebody else has the message by now: surprising, but nothing is
    /// lost, and the same for any other failure, after which the message comes back.
    fn report(&self, what: &'static str, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            tracing::warn!(function = self.function.name, %error, "could not {what} a message");
        }
    }
}

/// The poison queue of a queue; none of a poison queue, nor where the name would be too long.
fn poison_queue(name: &str) -> Option<String> {
    let poison = format!("{name}{POISON_SUFFIX}");
    (!name.ends_with(POISON_SUFFIX) && poison.len() <= QUEUE_NAME_MAX).then_some(poison)
}

fn is_binary(function: &Function) -> bool {
    matches!(function.trigger, Trigger::Queue { binary: true, .. })
}

fn payload(function: &Function, text: &str, encoding: MessageEncoding) -> Payload {
    match encoding {
        MessageEncoding::None => Payload::Decoded(text.as_bytes().to_vec()),
        MessageEncoding::Base64 => match BASE64.decode(text) {
            Err(_) => Payload::NotBase64,
            Ok(bytes) if !is_binary(function) && std::str::from_utf8(&bytes).is_err() => Payload::NotText,
            Ok(bytes) => Payload::Decoded(bytes),
        },
    }
}

/// The envelope of a message that was taken from its queue.
fn envelope(function: &Function, message: &Message, payload: &[u8], now_ms: u64) -> Envelope {
    let time = |text: &str| Value::String(dotnet::whole_seconds(date::parse_rfc1123(text).unwrap_or(now_ms)));
    let quoted = |text: &str| double_encoded(&Value::String(text.to_owned()));
    let metadata = Map::from_iter([
        ("DequeueCount".to_owned(), double_encoded(&json!(message.dequeue_count))),
        ("ExpirationTime".to_owned(), time(&message.expires)),
        ("Id".to_owned(), quoted(&message.id)),
        ("InsertionTime".to_owned(), time(&message.inserted)),
        ("NextVisibleTime".to_owned(), time(&message.next_visible)),
        ("PopReceipt".to_owned(), quoted(&message.pop_receipt)),
        ("sys".to_owned(), dotnet::sys(&function.name, now_ms)),
    ]);
    finish(function, metadata, payload)
}

/// The envelope of `POST /admin/functions/{name}`: a message that was never in a queue.
pub fn manual_envelope(function: &Arc<Function>, input: &str, now_ms: u64) -> Envelope {
    let Trigger::Queue { binding, .. } = &function.trigger else {
        return Envelope { data: Map::new(), metadata: Map::new() };
    };
    let never = Value::String(dotnet::whole_seconds(NEVER_MS));
    let metadata = Map::from_iter([
        ("DequeueCount".to_owned(), double_encoded(&json!(0))),
        ("ExpirationTime".to_owned(), never.clone()),
        ("InsertionTime".to_owned(), Value::String(dotnet::whole_seconds(now_ms))),
        ("NextVisibleTime".to_owned(), never),
        (binding.clone(), double_encoded(&Value::String(input.to_owned()))),
        ("sys".to_owned(), dotnet::sys(&function.name, now_ms)),
    ]);
    finish(function, metadata, input.as_bytes())
}

fn finish(function: &Function, mut metadata: Map<String, Value>, payload: &[u8]) -> Envelope {
    let text = std::str::from_utf8(payload);
    if let Ok(text) = text {
        dotnet::merge_members(&mut metadata, text);
    }
    let value = match text {
        Ok(text) if !is_binary(function) => double_encoded(&Value::String(text.to_owned())),
        _ => Value::String(BASE64.encode(payload)),
    };
    let binding = match &function.trigger {
        Trigger::Queue { binding, .. } => binding.clone(),
        Trigger::Http(_) | Trigger::Timer { .. } => String::new(),
    };
    Envelope { data: Map::from_iter([(binding, value)]), metadata }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
