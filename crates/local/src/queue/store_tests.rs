//! Properties of the store against a model that a reader can check by eye.

use proptest::prelude::*;

use super::*;

const QUEUE: &str = "jobs";

fn store() -> Store {
    let mut store = Store::new(7);
    store.create(QUEUE, Metadata::new()).unwrap();
    store
}

#[test]
fn a_message_comes_back_when_its_visibility_ends() {
    let mut store = store();
    store.put(QUEUE, "a", (0, None), 1_000).unwrap();
    let first = store.take(QUEUE, 32, 500, 1_000).unwrap().remove(0);
    assert_eq!((first.dequeue_count, first.next_visible_ms), (1, 1_500));
    assert_eq!(store.take(QUEUE, 32, 500, 1_499).unwrap(), []);
    let second = store.take(QUEUE, 32, 500, 1_500).unwrap().remove(0);
    assert_eq!((second.dequeue_count, &second.id), (2, &first.id));
    let stale = store.delete_message(QUEUE, (&first.id, &first.pop_receipt), 1_600);
    assert_eq!(stale, Err(Refusal::PopReceiptMismatch));
    assert_eq!(store.delete_message(QUEUE, (&second.id, &second.pop_receipt), 1_600), Ok(()));
    let gone = store.delete_message(QUEUE, (&second.id, &second.pop_receipt), 1_600);
    assert_eq!(gone, Err(Refusal::MessageNotFound));
}

#[test]
fn an_expired_message_is_gone_even_for_its_holder() {
    let mut store = store();
    store.put(QUEUE, "a", (0, Some(1_000)), 0).unwrap();
    let held = store.take(QUEUE, 1, 5_000, 0).unwrap().remove(0);
    assert_eq!(store.describe(QUEUE, 999).unwrap().1, 1);
    assert_eq!(store.describe(QUEUE, 1_000).unwrap().1, 0);
    let refused = store.update(QUEUE, (&held.id, &held.pop_receipt), (0, None), 1_000);
    assert_eq!(refused, Err(Refusal::MessageNotFound));
}

#[test]
fn a_queue_is_made_once() {
    let mut store = store();
    assert_eq!(store.create(QUEUE, Metadata::new()), Ok(Created::Existed));
    let other = Metadata::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(store.create(QUEUE, other), Err(Refusal::QueueAlreadyExists));
    assert_eq!(store.delete(QUEUE), Ok(()));
    assert_eq!(store.take(QUEUE, 1, 1, 0), Err(Refusal::QueueNotFound));
}

#[test]
fn pages_of_queues_follow_each_other() {
    let mut store = Store::new(0);
    for name in ["alpha", "beta-1", "beta-2", "beta-3", "gamma"] {
        store.create(name, Metadata::new()).unwrap();
    }
    let names = |page: &Page| page.queues.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let first = store.list("beta", "", 2);
    assert_eq!(
        (names(&first), first.next.as_deref()),
        (vec!["beta-1".into(), "beta-2".into()], Some("beta-3"))
    );
    let second = store.list("beta", "beta-3", 2);
    assert_eq!((names(&second), second.next), (vec!["beta-3".to_owned()], None));
}

#[derive(Clone, Debug)]
enum Step {
    Put { hidden_ms: u64, ttl_ms: Option<u64> },
    Take { count: usize, hidden_ms: u64 },
    Hide { holder: usize, hidden_ms: u64 },
    Rewrite { holder: usize },
    Delete { holder: usize },
    Clear,
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..50u64, proptest::option::of(51..200u64))
            .prop_map(|(hidden_ms, ttl_ms)| Step::Put { hidden_ms, ttl_ms }),
        4 => (1..33usize, 1..100u64).prop_map(|(count, hidden_ms)| Step::Take { count, hidden_ms }),
        2 => (any::<usize>(), 0..100u64).prop_map(|(holder, hidden_ms)| Step::Hide { holder, hidden_ms }),
        1 => any::<usize>().prop_map(|holder| Step::Rewrite { holder }),
        2 => any::<usize>().prop_map(|holder| Step::Delete { holder }),
        1 => Just(Step::Clear),
        4 => (0..60u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// What a correct service knows of a message, kept as plainly as possible.
#[derive(Clone, Debug)]
struct Known {
    receipt: String,
    visible_ms: u64,
    expires_ms: u64,
    dequeue_count: u32,
}

proptest! {
    #[test]
    fn the_store_agrees_with_the_model(steps in proptest::collection::vec(step(), 1..120)) {
        let mut store = store();
        let mut model: BTreeMap<String, Known> = BTreeMap::new();
        // Every receipt ever given out: old ones must be refused for ever.
        let mut given: Vec<(String, String)> = Vec::new();
        let mut now_ms = 1_000;
        for step in steps {
            model.retain(|_, known| known.expires_ms > now_ms);
            match step {
                Step::Wait { ms } => now_ms += ms,
                Step::Clear => {
                    store.clear(QUEUE).unwrap();
                    model.clear();
                }
                Step::Put { hidden_ms, ttl_ms } => {
                    let message = store.put(QUEUE, "text", (hidden_ms, ttl_ms), now_ms).unwrap();
                    given.push((message.id.clone(), message.pop_receipt.clone()));
                    let known = Known {
                        receipt: message.pop_receipt,
                        visible_ms: now_ms + hidden_ms,
                        expires_ms: ttl_ms.map_or(NEVER_MS, |ttl| now_ms + ttl),
                        dequeue_count: 0,
                    };
                    prop_assert!(model.insert(message.id, known).is_none(), "ids are never given twice");
                }
                Step::Take { count, hidden_ms } => {
                    let due = model.values().filter(|known| known.visible_ms <= now_ms).count();
                    let taken = store.take(QUEUE, count, hidden_ms, now_ms).unwrap();
                    prop_assert_eq!(taken.len(), due.min(count));
                    for message in taken {
                        let known = model.get_mut(&message.id).expect("nothing is taken that is not there");
                        prop_assert!(known.visible_ms <= now_ms, "taken while another held it");
                        prop_assert_eq!(message.dequeue_count, known.dequeue_count + 1);
                        known.dequeue_count += 1;
                        known.visible_ms = now_ms + hidden_ms;
                        known.receipt = message.pop_receipt.clone();
                        given.push((message.id, message.pop_receipt));
                    }
                }
                Step::Hide { holder, .. } | Step::Rewrite { holder } | Step::Delete { holder }
                    if !given.is_empty() =>
                {
                    let (id, receipt) = given[holder % given.len()].clone();
                    let expected = match model.get(&id) {
                        None => Err(Refusal::MessageNotFound),
                        Some(known) if known.receipt != receipt => Err(Refusal::PopReceiptMismatch),
                        Some(_) => Ok(()),
                    };
                    let holder = (id.as_str(), receipt.as_str());
                    let (change, deleted) = match step {
                        Step::Hide { hidden_ms, .. } => ((hidden_ms, None), false),
                        Step::Rewrite { .. } => ((0, Some("another text")), false),
                        _ => ((0, None), true),
                    };
                    if deleted {
                        prop_assert_eq!(store.delete_message(QUEUE, holder, now_ms), expected);
                        if expected.is_ok() {
                            model.remove(&id);
                        }
                    } else {
                        let updated = store.update(QUEUE, holder, change, now_ms);
                        prop_assert_eq!(updated.as_ref().map(|_| ()).map_err(|refusal| *refusal), expected);
                        if let Ok(message) = updated {
                            let known = model.get_mut(&id).expect("it was found above");
                            known.receipt = message.pop_receipt.clone();
                            known.visible_ms = now_ms + change.0;
                            given.push((id, message.pop_receipt));
                        }
                    }
                }
                Step::Hide { .. } | Step::Rewrite { .. } | Step::Delete { .. } => {}
            }
            let alive = model.values().filter(|known| known.expires_ms > now_ms).count();
            prop_assert_eq!(store.describe(QUEUE, now_ms).unwrap().1, alive);
            check_indexes(&store);
        }
    }
}

fn check_indexes(store: &Store) {
    let mut bytes = 0;
    let mut messages = 0;
    for queue in store.queues.values() {
        let count = queue.messages.len();
        assert_eq!((queue.by_id.len(), queue.by_visible.len(), queue.by_expiry.len()), (count, count, count));
        for (&number, message) in &queue.messages {
            assert_eq!(queue.by_id.get(&message.id), Some(&number));
            assert!(queue.by_visible.contains(&(message.next_visible_ms, number)));
            assert!(queue.by_expiry.contains(&(message.expires_ms, number)));
            bytes += message.text.len();
        }
        messages += count;
    }
    assert_eq!((store.held.messages, store.held.bytes), (messages, bytes));
}
