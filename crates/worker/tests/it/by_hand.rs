//! From file to file: resumed behind what is there, renamed when all is there.

use facts::line::OutLine;
use tokio_util::sync::CancellationToken;
use worker::{Exit, by_hand};

use crate::fixture::{Folder, encoder, line, lines};

fn parts(folder: &Folder) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "part")).collect()
}

#[tokio::test]
async fn a_file_is_done_whole_and_gone_on_with_after_an_interruption() {
    let (folder, backend) = (Folder::new(), encoder());
    let (input, output) = (folder.0.join("in.jsonl"), folder.0.join("out.jsonl"));
    let text = format!("\u{feff}{}\r\n\n{}", lines(299).join("\r\n"), line(299, "the last has no line feed"));
    std::fs::write(&input, text).unwrap();

    let stop = CancellationToken::new();
    stop.cancel();
    let error = by_hand::run(&input, &output, &backend, &stop).await.expect_err("it is cancelled");
    assert_eq!(Exit::from(&error), Exit::Interrupted);
    assert!(!output.exists(), "a file with its name is whole");

    let go = CancellationToken::new();
    let seen = by_hand::run(&input, &output, &backend, &go).await.unwrap();
    assert_eq!((seen.done, seen.total, seen.errors), (300, 300, 0));
    let whole = std::fs::read_to_string(&output).unwrap();
    for (n, text) in whole.lines().enumerate() {
        let found: OutLine<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(found.custom_id, format!("c-{n}"));
        assert!(found.is_output());
    }
    assert_eq!((whole.lines().count(), parts(&folder).len()), (300, 0));

    let error = by_hand::run(&input, &output, &backend, &go).await.expect_err("it exists");
    assert_eq!(Exit::from(&error), Exit::CannotCreate, "{error}");
}

#[tokio::test]
async fn whatever_of_the_partial_file_is_there_the_output_is_the_same() {
    let (folder, backend, go) = (Folder::new(), encoder(), CancellationToken::new());
    let (input, output) = (folder.0.join("in.jsonl"), folder.0.join("out.jsonl"));
    std::fs::write(&input, lines(9).join("\n")).unwrap();
    // The partial file's name is the worker's own business: an interrupted run tells it.
    let stop = CancellationToken::new();
    stop.cancel();
    by_hand::run(&input, &output, &backend, &stop).await.expect_err("it is cancelled");
    let part = parts(&folder).pop().expect("there is a partial file");
    by_hand::run(&input, &output, &backend, &go).await.unwrap();
    let whole = std::fs::read(&output).unwrap();
    let torn = format!("{}{}", std::str::from_utf8(&whole[..700]).unwrap(), "x".repeat(2 * whole.len()));
    std::fs::remove_file(&output).unwrap();
    std::fs::write(&part, torn).unwrap();
    by_hand::run(&input, &output, &backend, &go).await.unwrap();
    assert_eq!(std::fs::read(&output).unwrap(), whole, "a line that broke off is gone");
    for length in [0, 1, whole.len() / 3, whole.len() / 2, whole.len() - 1, whole.len()] {
        std::fs::remove_file(&output).unwrap();
        std::fs::write(&part, &whole[..length]).unwrap();
        by_hand::run(&input, &output, &backend, &go).await.unwrap();
        assert_eq!(std::fs::read(&output).unwrap(), whole, "after {length} bytes");
    }
}

#[tokio::test]
async fn another_input_does_not_go_on_behind_these_results() {
    let (folder, backend, go) = (Folder::new(), encoder(), CancellationToken::new());
    let (input, output) = (folder.0.join("in.jsonl"), folder.0.join("out.jsonl"));
    let stop = CancellationToken::new();
    stop.cancel();
    for count in [3, 4] {
        std::fs::write(&input, lines(count).join("\n")).unwrap();
        by_hand::run(&input, &output, &backend, &stop).await.expect_err("it is cancelled");
    }
    assert_eq!(parts(&folder).len(), 2);
    by_hand::run(&input, &output, &backend, &go).await.unwrap();
    assert_eq!(std::fs::read_to_string(&output).unwrap().lines().count(), 4);
}

#[tokio::test]
async fn a_missing_input_and_an_endless_line_are_refused() {
    let (folder, backend, go) = (Folder::new(), encoder(), CancellationToken::new());
    let (input, output) = (folder.0.join("in.jsonl"), folder.0.join("out.jsonl"));
    let error = by_hand::run(&input, &output, &backend, &go).await.expect_err("there is no input");
    assert_eq!(Exit::from(&error), Exit::Missing, "{error}");
    std::fs::write(&input, "x".repeat(2 * 1024 * 1024)).unwrap();
    let error = by_hand::run(&input, &output, &backend, &go).await.expect_err("the line is too long");
    assert_eq!(Exit::from(&error), Exit::Unreadable, "{error}");
}
