//! The encoder on the CPU, in float32.
//!
//! Sequences are packed, never padded: those of a pack share the products of the linear layers and
//! attend each to itself; a free thread takes the next pack. A vector has the same bits alone, in any
//! company and for any number of threads, because a row of a product with factors 1 is summed in the
//! same order wherever it stands; tests hold the multiplication to that. A thread that loses its core
//! delays only its own pack.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::{Backend, BackendError};
use crate::maths::{self, Output, View};
use crate::model::Model;
use crate::tokenise::Sequence;
use crate::weights::Layer;

/// A model and the threads that it runs on.
pub struct Cpu {
    model: Arc<Model>,
    scratches: Vec<Scratch>,
}

impl Cpu {
    /// Runs `model` on `threads` threads, at least one.
    pub fn new(model: Arc<Model>, threads: usize) -> Cpu {
        Cpu { model, scratches: (0..threads.max(1)).map(|_| Scratch::default()).collect() }
    }
}

impl Backend for Cpu {
    fn dimensions(&self) -> usize {
        self.model.shape.hidden
    }

    fn encode(&mut self, batch: &[&Sequence]) -> Result<Vec<Vec<f32>>, BackendError> {
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(batch[*index].ids().len()));
        let total: usize = batch.iter().map(|sequence| sequence.ids().len()).sum();
        let share = total.div_ceil(self.scratches.len()).min(PACK_TOKENS_MAX);
        let packs = packs(&order, batch, share);
        let next = AtomicUsize::new(0);
        let model = &*self.model;
        let run = |scratch: &mut Scratch| {
            let mut done = Vec::new();
            while let Some(pack) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let ids: Vec<&[u32]> = pack.iter().map(|index| batch[*index].ids()).collect();
                done.extend(pack.iter().copied().zip(scratch.encode(model, &ids)));
            }
            done
        };

        let threads = self.scratches.len().min(packs.len());
        let mut vectors = vec![Vec::new(); batch.len()];
        let Some((own, others)) = self.scratches[..threads].split_first_mut() else { return Ok(vectors) };
        std::thread::scope(|scope| {
            let others: Vec<_> = others.iter_mut().map(|scratch| scope.spawn(|| run(scratch))).collect();
            let mut done = run(own);
            for other in others {
                done.extend(other.join().map_err(|_| BackendError("an encoder thread panicked".to_owned()))?);
            }
            for (index, vector) in done {
                vectors[index] = vector;
            }
            Ok(vectors)
        })
    }
}

/// Tokens that share a product, at most: past this the weights are read seldom enough, and the
/// states still fit a core's cache.
const PACK_TOKENS_MAX: usize = 256;

/// Cuts the order into runs of at most `tokens` tokens; a longer sequence is a run of its own.
fn packs<'a>(mut order: &'a [usize], batch: &[&Sequence], tokens: usize) -> Vec<&'a [usize]> {
    let mut packs = Vec::new();
    while !order.is_empty() {
        let mut sum = 0;
        let fits = |index: &&usize| {
            sum += batch[**index].ids().len();
            sum <= tokens
        };
        let (pack, rest) = order.split_at(order.iter().take_while(fits).count().max(1));
        packs.push(pack);
        order = rest;
    }
    packs
}

/// The buffers of one thread. They grow to the longest sequence seen and stay.
#[derive(Default)]
struct Scratch {
    state: Vec<f32>,
    qkv: Vec<f32>,
    scores: Vec<f32>,
    attended: Vec<f32>,
    mixed: Vec<f32>,
    inner: Vec<f32>,
}

/// The first `size` values of a buffer, which grows when it must. Old values may be in them.
fn room(buffer: &mut Vec<f32>, size: usize) -> &mut [f32] {
    if buffer.len() < size {
        buffer.resize(size, 0.0);
    }
    &mut buffer[..size]
}

impl Scratch {
    fn encode(&mut self, model: &Model, pack: &[&[u32]]) -> Vec<Vec<f32>> {
        let (weights, shape) = (&model.weights, &model.shape);
        let hidden = shape.hidden;
        let tokens: usize = pack.iter().map(|ids| ids.len()).sum();
        let lengths: Vec<usize> = pack.iter().map(|ids| ids.len()).collect();
        let state = room(&mut self.state, tokens * hidden);
        let positions = pack.iter().flat_map(|ids| ids.iter().zip(weights.positions.chunks_exact(hidden)));
        for (row, (id, position)) in state.chunks_exact_mut(hidden).zip(positions) {
            let word = &weights.words[*id as usize * hidden..][..hidden];
            row.iter_mut().zip(word).zip(position).for_each(|((sum, word), position)| *sum = word + position);
        }
        maths::layer_norm(&weights.norm, shape.epsilon, state);
        for layer in &weights.layers {
            self.attend(model, layer, &lengths);
            self.feed_forward(model, layer, tokens);
        }
        let mut rest = &self.state[..tokens * hidden];
        let pool = |length: &usize| {
            let (own, after) = rest.split_at(length * hidden);
            rest = after;
            let mut vector = vec![0.0; hidden];
            maths::mean_of_rows(own, &mut vector);
            maths::normalise(&mut vector);
            vector
        };
        lengths.iter().map(pool).collect()
    }

    /// `mixed = norm(state + attention(state))`.
    fn attend(&mut self, model: &Model, layer: &Layer, lengths: &[usize]) {
        let hidden = model.shape.hidden;
        let tokens: usize = lengths.iter().sum();
        let state = &self.state[..tokens * hidden];
        let qkv = room(&mut self.qkv, tokens * 3 * hidden);
        maths::linear(&layer.qkv, state, qkv);

        let attended = room(&mut self.attended, tokens * hidden);
        let mut first = 0;
        for length in lengths {
            let own = first * hidden..(first + length) * hidden;
            let scores = room(&mut self.scores, length * length);
            mix(model, *length, &qkv[first * 3 * hidden..], scores, &mut attended[own]);
            first += length;
        }

        let mixed = room(&mut self.mixed, tokens * hidden);
        maths::linear_with_residual(&layer.mixed, attended, state, mixed);
        maths::layer_norm(&layer.mixed_norm, model.shape.epsilon, mixed);
    }

    /// `state = norm(mixed + feed_forward(mixed))`.
    fn feed_forward(&mut self, model: &Model, layer: &Layer, tokens: usize) {
        let hidden = model.shape.hidden;
        let mixed = &self.mixed[..tokens * hidden];
        let inner = room(&mut self.inner, tokens * model.shape.inner);
        maths::linear(&layer.up, mixed, inner);
        maths::gelu(inner);
        let state = room(&mut self.state, tokens * hidden);
        maths::linear_with_residual(&layer.down, inner, mixed, state);
        maths::layer_norm(&layer.down_norm, model.shape.epsilon, state);
    }
}

/// Attention of one sequence: all heads of `qkv` into `attended`.
fn mix(model: &Model, tokens: usize, qkv: &[f32], scores: &mut [f32], attended: &mut [f32]) {
    let hidden = model.shape.hidden;
    let head_size = hidden / model.shape.heads;
    let scale = 1.0 / (head_size as f32).sqrt();
    for at in (0..hidden).step_by(head_size) {
        let part = |offset: usize| View::rows(&qkv[offset + at..], tokens, head_size, 3 * hidden);
        let (query, key, value) = (part(0), part(hidden), part(2 * hidden));
        maths::multiply(scale, query, key.transposed(), 0.0, Output { data: scores, stride: tokens });
        maths::softmax(tokens, scores);
        let weights = View::rows(scores, tokens, tokens, tokens);
        maths::multiply(1.0, weights, value, 0.0, Output { data: &mut attended[at..], stride: hidden });
    }
}
