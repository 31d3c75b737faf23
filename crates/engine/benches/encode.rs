//! Texts in, vectors out, tokenising included: short, medium and long, one text and 32.
//!
//! `SWITCHYARD_MODEL_DIR=DIR cargo bench -p engine` (without it, the synthetic model, whose figures
//! mean little). `SWITCHYARD_THREADS` is 1 when unset.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::disallowed_methods, reason = "a bench takes its model from the environment")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine::cpu::Cpu;
use engine::{Backend, Model, Sequence};

/// Sentence to be repeated; 12 tokens with the two special ones.
const SENTENCE: &str = "the quick brown fox jumps over the lazy dog . ";
/// Repetitions: 12, 62 and 242 tokens, near the lengths of queries, paragraphs and documents.
const LENGTHS: [(&str, usize); 3] = [("short", 1), ("medium", 6), ("long", 24)];

fn encode(criterion: &mut Criterion) {
    let synthetic = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/synthetic-bert");
    let folder = std::env::var("SWITCHYARD_MODEL_DIR").unwrap_or_else(|_| synthetic.to_owned());
    let threads = std::env::var("SWITCHYARD_THREADS").map_or(1, |threads| threads.parse().expect("a number"));
    let model = Arc::new(Model::load(&PathBuf::from(folder), None).expect("the model loads"));
    let mut cpu = Cpu::new(model.clone(), threads);

    let mut group = criterion.benchmark_group("encode");
    group.sample_size(10).measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    for (name, repetitions) in LENGTHS {
        let text = SENTENCE.repeat(repetitions);
        for count in [1, 32] {
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    let sequences: Vec<Sequence> =
                        (0..count).map(|_| model.tokeniser.text(&text).expect("it tokenises")).collect();
                    let batch: Vec<&Sequence> = sequences.iter().collect();
                    cpu.encode(&batch).expect("it encodes")
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
