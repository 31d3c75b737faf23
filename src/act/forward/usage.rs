//! What a backend says at the end of its answer that it used: read from the last bytes as they pass.

use bytes::Bytes;
use serde::Deserialize;

use super::Ended;

/// The end of an answer that is kept: `usage` stands behind everything large, and vendors' details of it take
/// some 400 bytes.
const TAIL_BYTES: usize = 2_048;
const NAME: &[u8] = b"\"usage\":";

/// Tokens of an answer, as its backend counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// That went in.
    pub prompt_tokens: u64,
    /// That came out; none are told of embeddings.
    #[serde(default)]
    pub completion_tokens: u64,
}

/// The end of an answer, and who is told what stands in it. It is told when this is dropped.
pub(super) struct Tail {
    bytes: Vec<u8>,
    ended: Option<Ended>,
}

impl Tail {
    pub(super) fn of(ended: Ended) -> Tail {
        Tail { bytes: Vec::new(), ended: Some(ended) }
    }

    pub(super) fn pass(&mut self, part: &Bytes) {
        let part = &part[part.len().saturating_sub(TAIL_BYTES)..];
        let over = (self.bytes.len() + part.len()).saturating_sub(TAIL_BYTES);
        self.bytes.drain(..over);
        self.bytes.extend_from_slice(part);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended(read(&self.bytes));
        }
    }
}

/// The last `usage` of an answer or of its events; none where it says none, or broke off before. A text that
/// holds the word has a backslash before its quotes.
fn read(tail: &[u8]) -> Option<Usage> {
    let at = tail.windows(NAME.len()).rposition(|bytes| bytes == NAME)? + NAME.len();
    serde_json::Deserializer::from_slice(&tail[at..]).into_iter().next()?.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is told of an answer that came in these parts.
    fn told(parts: &[&str]) -> Option<Usage> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let mut tail = Tail::of(Box::new(move |usage| telling.lock().unwrap().push(usage)));
        for part in parts {
            tail.pass(&Bytes::copy_from_slice(part.as_bytes()));
            assert!(tail.bytes.len() <= TAIL_BYTES, "what is kept is bounded");
        }
        drop(tail);
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1, "once");
        told[0]
    }

    #[test]
    fn usage_is_read_from_the_end_of_answers_and_events() {
        let used = |prompt_tokens, completion_tokens| Some(Usage { prompt_tokens, completion_tokens });
        let vectors = "0.25,".repeat(5_000);
        let large = format!(
            r#"{{"data":[{{"embedding":[{vectors}1]}}],"usage":{{"prompt_tokens":8,"total_tokens":8}}}}"#
        );
        let (front, back) = large.split_at(large.len() - 20);
        let text = r#"{"choices":[{"text":"say \"usage\":{\"prompt_tokens\":1}"}]"#;
        let cases: [(&[&str], Option<Usage>); 9] = [
            (&[&large], used(8, 0)),
            (&[front, back], used(8, 0)),
            (
                &[
                    r#"{"usage": {"completion_tokens":3,"prompt_tokens":5,"completion_tokens_details":{"a":0}},"x":null}"#,
                ],
                used(5, 3),
            ),
            // Of a stream the last event says it, where the client asked for it.
            (
                &[
                    "data: {\"choices\":[{}],\"usage\":null}\n\n",
                    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":9}}\n\n",
                    "data: [DONE]\n\n",
                ],
                used(2, 9),
            ),
            (&["data: {\"choices\":[{}],\"usage\":null}\n\n", "data: [DONE]\n\n"], None),
            (&["data: {\"choices\":[{}]}\n\n"], None),
            // It broke off, and a text that holds the word.
            (&[&large[..large.len() - 12]], None),
            (&[text, "}"], None),
            (&[], None),
        ];
        for (parts, expected) in cases {
            assert_eq!(told(parts), expected, "{:?}", parts.last());
        }
    }
}
