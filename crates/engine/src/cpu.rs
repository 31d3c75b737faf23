//! The encoder on the CPU, in float32.
//!
//! Sequences are never padded and never share a product: each runs alone on one thread, the longest
//! first, and a free thread takes the next. So a vector has the same bits alone, in any company and
//! for any number of threads, and a thread that loses its core delays only its own sequence.

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
        let next = AtomicUsize::new(0);
        let model = &*self.model;
        let run = |scratch: &mut Scratch| {
            let mut done = Vec::new();
            while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((*index, scratch.encode(model, batch[*index].ids())));
            }
            done
        };

        let threads = self.scratches.len().min(batch.len());
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
    fn encode(&mut self, model: &Model, ids: &[u32]) -> Vec<f32> {
        let (weights, shape) = (&model.weights, &model.shape);
        let hidden = shape.hidden;
        let state = room(&mut self.state, ids.len() * hidden);
        let rows = state.chunks_exact_mut(hidden).zip(weights.positions.chunks_exact(hidden));
        for ((row, position), id) in rows.zip(ids) {
            let word = &weights.words[*id as usize * hidden..][..hidden];
            row.iter_mut().zip(word).zip(position).for_each(|((sum, word), position)| *sum = word + position);
        }
        maths::layer_norm(&weights.norm, shape.epsilon, state);
        for layer in &weights.layers {
            self.attend(model, layer, ids.len());
            self.feed_forward(model, layer, ids.len());
        }
        let mut vector = vec![0.0; hidden];
        maths::mean_of_rows(&self.state[..ids.len() * hidden], &mut vector);
        maths::normalise(&mut vector);
        vector
    }

    /// `mixed = norm(state + attention(state))`.
    fn attend(&mut self, model: &Model, layer: &Layer, tokens: usize) {
        let hidden = model.shape.hidden;
        let head_size = hidden / model.shape.heads;
        let state = &self.state[..tokens * hidden];
        let qkv = room(&mut self.qkv, tokens * 3 * hidden);
        maths::linear(&layer.qkv, state, qkv);

        let scores = room(&mut self.scores, tokens * tokens);
        let attended = room(&mut self.attended, tokens * hidden);
        let scale = 1.0 / (head_size as f32).sqrt();
        for at in (0..hidden).step_by(head_size) {
            let part = |offset: usize| View::rows(&qkv[offset + at..], tokens, head_size, 3 * hidden);
            let (query, key, value) = (part(0), part(hidden), part(2 * hidden));
            let out = Output { data: scores, stride: tokens };
            maths::multiply(scale, query, key.transposed(), 0.0, out);
            maths::softmax(tokens, scores);
            let weights = View::rows(scores, tokens, tokens, tokens);
            maths::multiply(1.0, weights, value, 0.0, Output { data: &mut attended[at..], stride: hidden });
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
