//! The file of requests, checked and sent: real files, whatever they hold.

use futures_util::TryStreamExt as _;
use proptest::prelude::*;

use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Scratch {
        let path = std::env::temp_dir().join(format!("switchyard-input-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Scratch(path)
    }

    fn check(&self, form: Form) -> Result<Input, Error> {
        Input::check(&self.0, form)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn texts(endpoint: Endpoint) -> Form {
    Form::Texts { model: "minilm".to_owned(), endpoint }
}

fn line(id: &str) -> String {
    format!(
        r#"{{"custom_id":"{id}","method":"POST","url":"/v1/embeddings","body":{{"model":"m","input":"x"}}}}"#
    )
}

async fn sent(input: &Input) -> io::Result<Vec<u8>> {
    Ok(input.pieces()?.try_collect::<Vec<_>>().await?.concat())
}

#[tokio::test]
async fn lines_are_sent_as_they_are() {
    let content = format!("\u{feff}{}\r\n\n{}", line("a"), line("b"));
    let file = Scratch::new("lines", content.as_bytes());
    let input = file.check(Form::Batch).unwrap();
    assert_eq!((input.lines, input.endpoint.as_str(), input.model.as_str()), (2, "/v1/embeddings", "m"));
    assert_eq!(input.bytes, content.len() as u64);
    assert_eq!(input.sha256, hex(&Sha256::digest(&content)));
    assert_eq!(sent(&input).await.unwrap(), content.as_bytes());
    assert!(input.remote_name().ends_with(&format!("-{}.jsonl", &input.sha256[..32])));
}

#[tokio::test]
async fn texts_become_lines() {
    // endpoint → where the text lies in the body
    let cases = [
        (Endpoint::Embeddings, "/input"),
        (Endpoint::ChatCompletions, "/messages/0/content"),
        (Endpoint::Completions, "/prompt"),
    ];
    let file = Scratch::new("texts", "\u{feff}Call me \"Ishmael\".\r\n\n  Some years ago  ".as_bytes());
    for (endpoint, place) in cases {
        let input = file.check(texts(endpoint)).unwrap();
        let sent = sent(&input).await.unwrap();
        assert_eq!(sent.len() as u64, input.bytes);
        let lines: Vec<serde_json::Value> =
            sent.split_inclusive(|b| *b == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
        let told: Vec<_> = lines
            .iter()
            .map(|line| {
                (line["custom_id"].as_str().unwrap(), line["body"].pointer(place).unwrap().as_str().unwrap())
            })
            .collect();
        assert_eq!(told, [("line-1", "Call me \"Ishmael\"."), ("line-3", "Some years ago")]);
        assert!(lines.iter().all(|line| line["url"] == endpoint.path() && line["body"]["model"] == "minilm"));
    }
}

#[test]
fn wrong_lines_are_told_with_their_numbers() {
    let good = line("a");
    let cases = [
        ("{", "EOF while parsing"),
        ("\"text\"", "--model"),
        (&good.replace("custom_id", "id"), "unknown field `id`"),
        (&good.replace("\"a\"", "\"\""), "from 1 to 512"),
        (&good.replace("\"a\"", "7"), "invalid type"),
        (&good.replace("POST", "GET"), "must be POST"),
        (&good.replace("/v1/", "/v2/"), "must be a path"),
        (&good.replace("embeddings", "completions"), "but `/v1/embeddings` before"),
        (&good.replace("\"m\"", "\"n\""), "but `m` before"),
        (&good.replace("\"model\"", "\"modell\""), "missing field `model`"),
        (&good, "that of line 1 too"),
    ];
    for (wrong, part) in cases {
        let file = Scratch::new("wrong", format!("{good}\n\n{wrong}\n").as_bytes());
        let Err(Error::Wrong { wrong: told, total: 1 }) = file.check(Form::Batch) else { panic!("{wrong}") };
        assert_eq!(told[0].line, 3);
        assert!(told[0].message.contains(part), "{wrong}: {}", told[0].message);
    }
}

#[test]
fn what_is_too_much_is_refused() {
    let long = format!("{}\n{}\n", line(&"x".repeat(LINE_BYTES_MAX as usize)), line("a"));
    let file = Scratch::new("long", long.as_bytes());
    let Err(Error::Wrong { wrong, total: 1 }) = file.check(Form::Batch) else { panic!("a line is too long") };
    assert_eq!((wrong[0].line, wrong[0].message.as_str()), (1, "it has more than 1048576 bytes"));

    let many = "x\n".repeat(LINES_MAX as usize + 1);
    let file = Scratch::new("many", many.as_bytes());
    assert!(matches!(file.check(texts(Endpoint::Embeddings)), Err(Error::Unfit(_))));
    let Err(Error::Wrong { wrong, total: 50_001.. }) = file.check(Form::Batch) else {
        // Too many lines end the reading before every wrong one is counted.
        assert!(matches!(file.check(Form::Batch), Err(Error::Unfit(_))));
        return;
    };
    assert_eq!(wrong.len(), WRONG_MAX);
}

#[test]
fn an_empty_file_and_binary_are_refused() {
    for (content, form) in [(&b"\n\n"[..], Form::Batch), (b" \n", texts(Endpoint::Embeddings))] {
        let file = Scratch::new("empty", content);
        assert!(matches!(file.check(form), Err(Error::Unfit(_))));
    }
    for form in [Form::Batch, texts(Endpoint::Embeddings)] {
        let file = Scratch::new("binary", b"{\xff}\n");
        let Err(Error::Wrong { wrong, total: 1 }) = file.check(form) else { panic!("it is no text") };
        assert_eq!(wrong[0].message, NO_UTF8);
    }
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_not_sent() {
    let file = Scratch::new("changes", line("a").as_bytes());
    let input = file.check(Form::Batch).unwrap();
    for changed in [line("b"), format!("{}\n{}", line("a"), line("b")), String::new()] {
        std::fs::write(&file.0, &changed).unwrap();
        let said = sent(&input).await.unwrap_err().to_string();
        assert!(said.contains("changed"), "{said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the texts hold, each that is not blank arrives, in its line's name and in order.
    #[test]
    fn every_text_arrives(all in proptest::collection::vec("[^\n]{0,40}", 0..40)) {
        let file = Scratch::new("every", all.join("\n").as_bytes());
        let wanted: Vec<(String, &str)> = (1..)
            .zip(&all)
            .map(|(number, text): (u64, &String)| (number, text.strip_prefix('\u{feff}').filter(|_| number == 1).unwrap_or(text).trim()))
            .filter(|(_, text)| !text.is_empty())
            .map(|(number, text)| (format!("line-{number}"), text))
            .collect();
        let checked = file.check(texts(Endpoint::Embeddings));
        if wanted.is_empty() {
            prop_assert!(matches!(checked, Err(Error::Unfit(_))));
            return Ok(());
        }
        let input = checked.unwrap();
        prop_assert_eq!(input.lines, wanted.len() as u64);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sent = runtime.block_on(sent(&input)).unwrap();
        let lines = sent.split_inclusive(|b| *b == b'\n').map(|line| serde_json::from_slice(line).unwrap());
        let lines: Vec<serde_json::Value> = lines.collect();
        let told: Vec<(String, &str)> = lines
            .iter()
            .map(|line| (line["custom_id"].as_str().unwrap().to_owned(), line["body"]["input"].as_str().unwrap()))
            .collect();
        prop_assert_eq!(told, wanted);
    }
}
