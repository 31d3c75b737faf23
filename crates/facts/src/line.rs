//! An item going in and its result coming out, both as lines of JSON in the form of the OpenAI batch
//! API (<https://platform.openai.com/docs/api-reference/batch>).

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::store::OBJECT_BYTES_MAX;

/// Longest line that is accepted, in bytes.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A line of the input.
#[derive(Debug, Deserialize, Serialize)]
pub struct InLine<'a> {
    /// The client's own name of the item; unique in the file.
    pub custom_id: String,
    /// `POST`.
    pub method: String,
    /// As `/v1/embeddings`.
    pub url: String,
    /// The request.
    #[serde(borrow)]
    pub body: &'a RawValue,
}

/// A line of the output.
#[derive(Debug, Deserialize, Serialize)]
pub struct OutLine<'a> {
    /// `batch_req_` and the number of the line: the same on every machine and every try.
    pub id: String,
    /// The input's.
    pub custom_id: String,
    /// The answer; none where there is an error.
    #[serde(borrow)]
    pub response: Option<Response<'a>>,
    /// Why there is no answer.
    pub error: Option<ItemError>,
}

/// An answer as the realtime API would have given it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Response<'a> {
    /// 200, or the status of an error body.
    pub status_code: u16,
    /// Empty unless an upstream gave one: it would differ between tries.
    pub request_id: String,
    /// Its body.
    #[serde(borrow)]
    pub body: &'a RawValue,
}

/// Why an item has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ItemError {
    /// For programs, as `batch_expired`.
    pub code: String,
    /// For people.
    pub message: String,
}

/// The id of the result of a line (from 0).
pub fn result_id(line: u64) -> String {
    format!("batch_req_{line:08}")
}

/// A result line, with its line feed.
pub fn result(line: u64, custom_id: &str, status: u16, request_id: &str, body: &RawValue) -> String {
    let response = Response { status_code: status, request_id: request_id.to_owned(), body };
    render(&OutLine {
        id: result_id(line),
        custom_id: custom_id.to_owned(),
        response: Some(response),
        error: None,
    })
}

/// An error line, with its line feed.
pub fn error(line: u64, custom_id: &str, code: &str, message: &str) -> String {
    let error = ItemError { code: code.to_owned(), message: message.to_owned() };
    render(&OutLine {
        id: result_id(line),
        custom_id: custom_id.to_owned(),
        response: None,
        error: Some(error),
    })
}

fn render(line: &OutLine<'_>) -> String {
    let mut text = serde_json::to_string(line).expect("a line has only text and JSON");
    text.push('\n');
    text
}

/// The content of a chunk: its lines in order. Where they are more than an object may hold, the largest become
/// error lines until the rest fits: another try would bring the same, and the others shall have their results.
pub fn chunk(lines: Vec<String>) -> String {
    fitting(lines, OBJECT_BYTES_MAX as usize)
}

/// Code of the error line of an item whose answer is too large.
pub const ANSWER_TOO_LARGE: &str = "answer_too_large";

fn fitting(mut lines: Vec<String>, most: usize) -> String {
    let mut bytes: usize = lines.iter().map(String::len).sum();
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by_key(|at| Reverse(lines[*at].len()));
    for at in order {
        if bytes <= most {
            break;
        }
        let short = too_large(&lines[at], most);
        bytes = bytes - lines[at].len() + short.len();
        lines[at] = short;
    }
    lines.concat()
}

fn too_large(line: &str, most: usize) -> String {
    let OutLine { id, custom_id, .. } = serde_json::from_str(line).expect("lines are written here alone");
    let bytes = line.len();
    let message = format!(
        "the answer has {bytes} bytes and does not fit beside those of the items around it, {most} together; ask for less in one item"
    );
    let error = Some(ItemError { code: ANSWER_TOO_LARGE.to_owned(), message });
    render(&OutLine { id, custom_id, response: None, error })
}

/// A request's body that names this model, whatever alias the client wrote; a body without a model, or
/// one that is no object, stays as it is.
pub fn with_model(body: &RawValue, model: &str) -> String {
    #[derive(Deserialize)]
    struct Asked<'a> {
        #[serde(borrow)]
        model: &'a RawValue,
    }
    let text = body.get();
    let Ok(Asked { model: found }) = serde_json::from_str::<Asked<'_>>(text) else { return text.to_owned() };
    // The borrowed value lies inside the text: that is where the other name goes.
    let at = found.get().as_ptr() as usize - text.as_ptr() as usize;
    let name = serde_json::to_string(model).expect("text serializes");
    format!("{}{name}{}", &text[..at], &text[at + found.get().len()..])
}

/// JSON as it may stand in a line. Line feeds can only stand between its tokens, where a space means the same.
///
/// # Errors
/// With what is no JSON.
pub fn flat(mut body: Vec<u8>) -> Result<Box<RawValue>, Vec<u8>> {
    for byte in &mut body {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    let text = String::from_utf8(body).map_err(std::string::FromUtf8Error::into_bytes)?;
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(value) => Ok(value.to_owned()),
        Err(_) => Err(text.into_bytes()),
    }
}

/// Cuts text into its lines: at LF only, without a trailing CR; empty lines do not count. The last
/// line need not end in LF. A byte order mark is the caller's to take off.
pub fn split(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

impl OutLine<'_> {
    /// Whether it belongs to the output file; otherwise to the error file.
    pub fn is_output(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.status_code == 200)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_line_feeds_only() {
        let lines: Vec<&[u8]> = split("a\r\nb\u{2028}c\n\n\rd".as_bytes()).collect();
        assert_eq!(lines, ["a".as_bytes(), "b\u{2028}c".as_bytes(), b"\rd"]);
    }

    #[test]
    fn a_body_names_the_model_that_is_meant() {
        let cases = [
            (r#"{"model":"alias","input":"model"}"#, r#"{"model":"minilm","input":"model"}"#),
            (r#"{"input":"x", "model" : "a\"b" }"#, r#"{"input":"x", "model" : "minilm" }"#),
            (r#"{"input":"x"}"#, r#"{"input":"x"}"#),
            ("[]", "[]"),
        ];
        for (given, expected) in cases {
            let given = RawValue::from_string(given.to_owned()).unwrap();
            assert_eq!(with_model(&given, "minilm"), expected);
        }
    }

    #[test]
    fn a_chunk_that_is_too_large_loses_its_largest_lines() {
        let body = |chars: usize| RawValue::from_string(format!("\"{}\"", "x".repeat(chars))).unwrap();
        let lines: Vec<String> = [10, 3_000, 20, 2_000]
            .iter()
            .zip(0..)
            .map(|(chars, n)| result(n, &format!("c-{n}"), 200, "", &body(*chars)))
            .collect();
        let all = lines.concat();
        assert_eq!(fitting(lines.clone(), all.len()), all);
        for (most, left) in [(all.len() - 1, [0, 2, 3].as_slice()), (2_500, &[0, 2])] {
            let text = fitting(lines.clone(), most);
            assert!(text.len() <= most, "{} above {most}", text.len());
            for (n, line) in text.lines().enumerate() {
                let line: OutLine<'_> = serde_json::from_str(line).unwrap();
                assert_eq!(
                    (line.id.as_str(), line.custom_id.as_str()),
                    (&*result_id(n as u64), &*format!("c-{n}"))
                );
                assert_eq!(line.is_output(), left.contains(&n), "{n}");
                assert!(line.error.is_none_or(|error| error.code == ANSWER_TOO_LARGE));
            }
        }
    }

    #[test]
    fn answers_are_one_line_and_keep_their_numbers() {
        let body = flat(b"{\n  \"a\": 1.0e-5,\r\n \"b\": \"x\\ny\" }\n".to_vec()).unwrap();
        assert_eq!(body.get(), "{   \"a\": 1.0e-5,   \"b\": \"x\\ny\" }");
        assert!(flat(b"<html>".to_vec()).is_err() && flat(vec![0xff]).is_err() && flat(Vec::new()).is_err());
    }

    #[test]
    fn lines_have_the_form_of_the_openai_batch_api() {
        let body = RawValue::from_string("{\"a\":1}".to_owned()).unwrap();
        let text = result(7, "c-1", 200, "", &body);
        assert_eq!(
            text,
            "{\"id\":\"batch_req_00000007\",\"custom_id\":\"c-1\",\"response\":{\"status_code\":200,\
             \"request_id\":\"\",\"body\":{\"a\":1}},\"error\":null}\n"
        );
        let read: OutLine<'_> = serde_json::from_str(&text).unwrap();
        assert!(read.is_output());
        let text = error(7, "c-1", "batch_expired", "too late");
        assert!(!serde_json::from_str::<OutLine<'_>>(&text).unwrap().is_output());
    }
}
