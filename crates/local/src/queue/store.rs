//! The state of a Storage Queue account and every transition of it. Time comes in as Unix
//! milliseconds and ids grow from a seed: nothing here reads a clock, rolls dice or does I/O.
//!
//! What the service promises and this keeps: a message that was taken is invisible to all others
//! until its visibility ends; whoever took it last holds the only valid pop receipt; an expired
//! message is gone, whoever holds it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Largest message text in bytes of UTF-8, as the service documents it.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// 9999-12-31T23:59:59Z in Unix milliseconds: what the service shows for "never expires".
pub const NEVER_MS: u64 = 253_402_300_799_000;
/// Message text held in all queues together. Ours: the stand-in lives in memory and refuses
/// before the machine suffers; 256 MiB is 4,096 messages of the largest size.
pub const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Messages held in all queues together, so that empty texts are bounded too.
pub const HELD_MESSAGES_MAX: usize = 1_000_000;
/// Queues of the account. Ours, for the same reason.
pub const QUEUES_MAX: usize = 10_000;

/// User-given names and values of a queue, sorted by name.
pub type Metadata = BTreeMap<String, String>;

/// Why an operation was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No queue of that name.
    QueueNotFound,
    /// The queue exists with other metadata.
    QueueAlreadyExists,
    /// No such message: deleted, expired or never there.
    MessageNotFound,
    /// The message was taken or updated by somebody since.
    PopReceiptMismatch,
    /// A bound of this stand-in is reached.
    Full,
}

/// Whether a queue was made or was already as wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is new.
    New,
    /// It existed, with the same metadata.
    Existed,
}

/// A message as the service shows it; times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// A GUID.
    pub id: String,
    /// Proof of being the last who put, took or updated it.
    pub pop_receipt: String,
    /// When it was put.
    pub inserted_ms: u64,
    /// From when on it is gone.
    pub expires_ms: u64,
    /// From when on it can be taken.
    pub next_visible_ms: u64,
    /// How often it was taken.
    pub dequeue_count: u32,
    /// The text as it was put.
    pub text: Arc<str>,
}

/// One page of queue names with their metadata.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// In order of name.
    pub queues: Vec<(String, Metadata)>,
    /// The name to ask from next.
    pub next: Option<String>,
}

/// All queues of one account.
pub struct Store {
    queues: BTreeMap<String, Queue>,
    held: Held,
    ids: Ids,
}

#[derive(Default)]
struct Queue {
    metadata: Metadata,
    messages: HashMap<u64, Message>,
    by_id: HashMap<String, u64>,
    /// (visible from, number of the message): the order in which messages are taken.
    by_visible: BTreeSet<(u64, u64)>,
    /// (gone from, number of the message).
    by_expiry: BTreeSet<(u64, u64)>,
}

#[derive(Default)]
struct Held {
    messages: usize,
    bytes: usize,
}

impl Store {
    /// An empty account. Two stores with the same seed make the same ids and pop receipts.
    pub fn new(seed: u64) -> Store {
        Store { queues: BTreeMap::new(), held: Held::default(), ids: Ids { state: seed, messages: 0 } }
    }

    /// Makes a queue. `name` has been checked by the caller.
    ///
    /// # Errors
    /// [`Refusal::QueueAlreadyExists`] when it is there with other metadata; [`Refusal::Full`].
    pub fn create(&mut self, name: &str, metadata: Metadata) -> Result<Created, Refusal> {
        match self.queues.get(name) {
            Some(queue) if queue.metadata == metadata => Ok(Created::Existed),
            Some(_) => Err(Refusal::QueueAlreadyExists),
            None if self.queues.len() >= QUEUES_MAX => Err(Refusal::Full),
            None => {
                self.queues.insert(name.to_owned(), Queue { metadata, ..Queue::default() });
                Ok(Created::New)
            }
        }
    }

    /// Deletes a queue with its messages.
    ///
    /// # Errors
    /// [`Refusal::QueueNotFound`].
    pub fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        let queue = self.queues.remove(name).ok_or(Refusal::QueueNotFound)?;
        self.held.release(queue.messages.values());
        Ok(())
    }

    /// Up to `max` queues from the name `from` on whose names start with `prefix`.
    pub fn list(&self, prefix: &str, from: &str, max: usize) -> Page {
        let start = from.max(prefix).to_owned();
        let mut matching = self.queues.range(start..).take_while(|(name, _)| name.starts_with(prefix));
        let queues =
            matching.by_ref().take(max).map(|(name, queue)| (name.clone(), queue.metadata.clone())).collect();
        Page { queues, next: matching.next().map(|(name, _)| name.clone()) }
    }

    /// The metadata of a queue and how many messages it holds, invisible ones included.
    ///
    /// # Errors
    /// [`Refusal::QueueNotFound`].
    pub fn describe(&mut self, name: &str, now_ms: u64) -> Result<(Metadata, usize), Refusal> {
        let (queue, _) = self.current(name, now_ms)?;
        Ok((queue.metadata.clone(), queue.messages.len()))
    }

    /// Replaces the metadata of a queue.
    ///
    /// # Errors
    /// [`Refusal::QueueNotFound`].
    pub fn set_metadata(&mut self, name: &str, metadata: Metadata) -> Result<(), Refusal> {
        self.queues.get_mut(name).ok_or(Refusal::QueueNotFound)?.metadata = metadata;
        Ok(())
    }

    /// Adds a message that can be taken after `hidden_ms` and is gone after `ttl_ms`; `None` is
    /// never.
    ///
    /// # Errors
    /// [`Refusal::QueueNotFound`]; [`Refusal::Full`].
    pub fn put(
        &mut self,
        name: &str,
        text: &str,
        (hidden_ms, ttl_ms): (u64, Option<u64>),
        now_ms: u64,
    ) -> Result<Message, Refusal> {
        let id = self.ids.guid();
        let pop_receipt = self.ids.receipt();
        let number = self.ids.next_message();
        let (queue, held) = self.current(name, now_ms)?;
        held.reserve(text)?;
        let message = Message {
            id,
            pop_receipt,
            inserted_ms: now_ms,
            expires_ms: ttl_ms.map_or(NEVER_MS, |ttl| now_ms.saturating_add(ttl).min(NEVER_MS)),
            next_visible_ms: now_ms + hidden_ms,
            dequeue_count: 0,
            text: text.into(),
        };
        queue.insert(number, message.clone());
        Ok(message)
    }

    /// Takes up to `count` visible messages, the longest visible first, and hides them for
    /// `hidden_ms`.
    ///
    /// # Errors
    /// [`Refusal::QueueNotFound`].
    pub fn take(
        &mut self,
        name: &str,
        count: usize,
        hidden_ms: u64,
        now_ms: u64,
    ) -> Result<Vec<Message>, Refusal> {
        let numbers = self.current(name, now_ms)?.0.visible(count, now_ms);
        let mut taken = Vec::with_capacity(numbers.len());
        for number in numbers {
            let pop_receipt = self.ids.receipt();
            let queue = self.queues.get_mut(name).expect("looked up above");
            queue.hide_until(number, now_ms + hidden_ms);
            let message = queue.messages.get_mut(&number).expect("every index entry has its message");
            message.pop_receipt = pop_receipt;
            message.dequeue_count = message.dequeue_count.saturating_add(1);
            taken.push(message.clone());
        }
        Ok(taken)
    }

    /// Up to `count` visible messages, untouched.
    ///
    /// # Errors
    /// [`Refusal::QueueNotFound`].
    pub fn peek(&mut self, name: &str, count: usize, now_ms: u64) -> Result<Vec<Message>, Refusal> {
        let (queue, _) = self.current(name, now_ms)?;
        let numbers = queue.visible(count, now_ms);
        Ok(numbers.iter().map(|number| queue.messages[number].clone()).collect())
    }

    /// Hides a message for `hidden_ms` from now on, replaces its text if one is given, and gives
    /// it a new pop receipt.
    ///
    /// # Errors
    /// Any [`Refusal`]; [`Refusal::Full`] only with a new text.
    pub fn update(
        &mut self,
        name: &str,
        (id, receipt): (&str, &str),
        (hidden_ms, text): (u64, Option<&str>),
        now_ms: u64,
    ) -> Result<Message, Refusal> {
        let pop_receipt = self.ids.receipt();
        let (queue, held) = self.current(name, now_ms)?;
        let number = queue.holder(id, receipt)?;
        let message = queue.messages.get_mut(&number).expect("the index of ids has its message");
        if let Some(text) = text {
            held.reserve(text)?;
            held.release([&*message]);
            message.text = text.into();
        }
        message.pop_receipt = pop_receipt;
        queue.hide_until(number, now_ms + hidden_ms);
        Ok(queue.messages[&number].clone())
    }

    /// Deletes one message.
    ///
    /// # Errors
    /// [`Refusal::QueueNotFound`], [`Refusal::MessageNotFound`], [`Refusal::PopReceiptMismatch`].
    pub fn delete_message(
        &mut self,
        name: &str,
        (id, receipt): (&str, &str),
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let (queue, held) = self.current(name, now_ms)?;
        let number = queue.holder(id, receipt)?;
        held.release([&queue.remove(number)]);
        Ok(())
    }

    /// Deletes every message of a queue.
    ///
    /// # Errors
    /// [`Refusal::QueueNotFound`].
    pub fn clear(&mut self, name: &str) -> Result<(), Refusal> {
        let queue = self.queues.get_mut(name).ok_or(Refusal::QueueNotFound)?;
        self.held.release(queue.messages.values());
        *queue = Queue { metadata: std::mem::take(&mut queue.metadata), ..Queue::default() };
        Ok(())
    }

    /// The queue without what has expired by now.
    fn current(&mut self, name: &str, now_ms: u64) -> Result<(&mut Queue, &mut Held), Refusal> {
        let queue = self.queues.get_mut(name).ok_or(Refusal::QueueNotFound)?;
        while let Some(&(expires_ms, number)) = queue.by_expiry.first()
            && expires_ms <= now_ms
        {
            self.held.release([&queue.remove(number)]);
        }
        Ok((queue, &mut self.held))
    }
}

impl Queue {
    fn insert(&mut self, number: u64, message: Message) {
        self.by_visible.insert((message.next_visible_ms, number));
        self.by_expiry.insert((message.expires_ms, number));
        self.by_id.insert(message.id.clone(), number);
        self.messages.insert(number, message);
    }

    fn remove(&mut self, number: u64) -> Message {
        let message = self.messages.remove(&number).expect("every index entry has its message");
        self.by_visible.remove(&(message.next_visible_ms, number));
        self.by_expiry.remove(&(message.expires_ms, number));
        self.by_id.remove(&message.id);
        message
    }

    fn visible(&self, count: usize, now_ms: u64) -> Vec<u64> {
        self.by_visible.range(..=(now_ms, u64::MAX)).take(count).map(|&(_, number)| number).collect()
    }

    fn hide_until(&mut self, number: u64, visible_ms: u64) {
        let message = self.messages.get_mut(&number).expect("every index entry has its message");
        self.by_visible.remove(&(message.next_visible_ms, number));
        self.by_visible.insert((visible_ms, number));
        message.next_visible_ms = visible_ms;
    }

    /// The message of that id, if the receipt is the one given out last. A receipt stays good
    /// after the visibility ended, until somebody else takes the message.
    fn holder(&self, id: &str, receipt: &str) -> Result<u64, Refusal> {
        let &number = self.by_id.get(id).ok_or(Refusal::MessageNotFound)?;
        if self.messages[&number].pop_receipt == receipt {
            Ok(number)
        } else {
            Err(Refusal::PopReceiptMismatch)
        }
    }
}

impl Held {
    fn reserve(&mut self, text: &str) -> Result<(), Refusal> {
        if self.messages >= HELD_MESSAGES_MAX || self.bytes + text.len() > HELD_BYTES_MAX {
            return Err(Refusal::Full);
        }
        self.messages += 1;
        self.bytes += text.len();
        Ok(())
    }

    fn release<'a>(&mut self, messages: impl IntoIterator<Item = &'a Message>) {
        for message in messages {
            self.messages -= 1;
            self.bytes -= message.text.len();
        }
    }
}

/// Grows ids and receipts from a seed by SplitMix64, which never repeats within 2^64 steps.
struct Ids {
    state: u64,
    messages: u64,
}

impl Ids {
    fn next_message(&mut self) -> u64 {
        self.messages += 1;
        self.messages
    }

    fn guid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        // Version 4, variant 1, as clients that parse GUIDs expect.
        let (high, low) = ((high & !0xf000) | 0x4000, (low & !(0b11 << 62)) | (0b10 << 62));
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    fn receipt(&mut self) -> String {
        use base64::Engine;
        let bytes = [self.next().to_le_bytes(), self.next().to_le_bytes()].concat();
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
