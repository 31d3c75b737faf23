//! Which waiting sequences run together: a queue in arrival order, cut by tokens.
//!
//! There is no timer. A free worker takes what waits, up to the token budget: alone when the server
//! is idle, full batches when it is busy. Nothing overtakes, so nothing starves.

use std::collections::VecDeque;

/// Sequences that wait, each with its count of tokens.
#[derive(Debug)]
pub struct Waiting<T> {
    entries: VecDeque<(usize, T)>,
    tokens: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Waiting { entries: VecDeque::new(), tokens: 0 }
    }
}

impl<T> Waiting<T> {
    /// Tokens that wait.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Sequences that wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts a sequence at the end.
    pub fn push(&mut self, tokens: usize, sequence: T) {
        self.tokens += tokens;
        self.entries.push_back((tokens, sequence));
    }

    /// Takes the longest prefix that has at most `budget` tokens in all. A first sequence that is
    /// longer than the budget is taken alone, so that every sequence runs some time.
    pub fn take(&mut self, budget: usize) -> Vec<T> {
        let mut sum = 0;
        let fits = |(tokens, _): &&(usize, T)| {
            sum += tokens;
            sum <= budget
        };
        let count = self.entries.iter().take_while(fits).count().max(1).min(self.entries.len());
        let taken = self.entries.drain(..count);
        let (tokens, batch): (Vec<usize>, Vec<T>) = taken.unzip();
        self.tokens -= tokens.iter().sum::<usize>();
        batch
    }

    /// Drops every sequence for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.entries.retain(|(_, sequence)| keep(sequence));
        self.tokens = self.entries.iter().map(|(tokens, _)| tokens).sum();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn batches_keep_the_order_fit_the_budget_and_are_as_full_as_can_be(
            lengths in prop::collection::vec(1usize..600, 0..60),
            budget in 0usize..2000,
        ) {
            let mut waiting = Waiting::default();
            for (index, tokens) in lengths.iter().enumerate() {
                waiting.push(*tokens, index);
            }
            prop_assert_eq!(waiting.tokens(), lengths.iter().sum::<usize>());
            let mut seen = Vec::new();
            while !waiting.is_empty() {
                let batch = waiting.take(budget);
                prop_assert!(!batch.is_empty());
                let sum: usize = batch.iter().map(|index| lengths[*index]).sum();
                prop_assert!(sum <= budget || batch.len() == 1);
                seen.extend(batch);
                if let Some(next) = lengths.get(seen.len()) {
                    prop_assert!(sum + next > budget, "the next one had room");
                }
            }
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            prop_assert_eq!(waiting.tokens(), 0);
        }

        #[test]
        fn dropped_sequences_free_their_tokens(lengths in prop::collection::vec(1usize..600, 0..60), nth in 1usize..5) {
            let mut waiting = Waiting::default();
            for (index, tokens) in lengths.iter().enumerate() {
                waiting.push(*tokens, index);
            }
            waiting.retain(|index| index % nth != 0);
            let kept: Vec<usize> = (0..lengths.len()).filter(|index| index % nth != 0).collect();
            prop_assert_eq!(waiting.tokens(), kept.iter().map(|index| lengths[*index]).sum::<usize>());
            prop_assert_eq!(waiting.len(), kept.len());
            prop_assert_eq!(waiting.take(usize::MAX), kept);
        }
    }

    #[test]
    fn an_empty_queue_gives_an_empty_batch() {
        assert!(Waiting::<()>::default().take(10).is_empty());
    }
}
