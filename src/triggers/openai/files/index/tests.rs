//! The index does not depend on how the content is cut, and agrees with whoever reads it back.

use proptest::prelude::*;

use super::*;

fn request(id: &str, input: &str) -> String {
    format!(
        r#"{{"custom_id":"{id}","method":"POST","url":"/v1/embeddings","body":{{"model":"m","input":"{input}"}}}}"#
    )
}

fn index(content: &[u8], cuts: &[usize]) -> Result<Indexed, Refused> {
    let mut index = Index::default();
    let mut rest = content;
    for cut in cuts {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        index.push(piece)?;
        rest = after;
    }
    index.push(rest)?;
    index.finish()
}

/// Blocks follow each other from the first byte (or the byte order mark) to the last, and hold the
/// lines that a reader finds in them.
fn assert_covers(content: &[u8], lines: &Lines) {
    let mut at = if content.starts_with(BYTE_ORDER_MARK) { 3 } else { 0 };
    let mut first_line = 0;
    for block in &lines.blocks {
        assert_eq!((block.offset, block.first_line), (at, first_line));
        let part = &content[at as usize..(at + block.bytes) as usize];
        assert_eq!(facts::line::split(part).count(), block.lines as usize);
        assert!((1..=BLOCK_LINES_MAX).contains(&block.lines));
        at += block.bytes;
        first_line += u64::from(block.lines);
    }
    assert_eq!(at, content.len() as u64);
}

/// Contents with every kind of line and ending.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => (0_u32..500, 0_usize..40).prop_map(|(id, n)| request(&id.to_string(), &"ä".repeat(n)).into_bytes()),
        1 => Just(Vec::new()),
        1 => Just(b"{\"broken\r\xff\xe2\x80\xa8".to_vec()),
        1 => Just(request("big", &"x".repeat(100_000)).into_bytes()),
    ];
    let ended = (line, prop::sample::select(vec!["\n", "\r\n", "\n\n"]));
    let lines = prop::collection::vec(ended, 1..200);
    (any::<bool>(), lines, any::<bool>()).prop_map(|(mark, lines, cut_end)| {
        let mut content = if mark { BYTE_ORDER_MARK.to_vec() } else { Vec::new() };
        for (line, ending) in &lines {
            content.extend(line);
            content.extend(ending.as_bytes());
        }
        if cut_end {
            content.pop();
        }
        content
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_cut_gives_the_same_index_and_blocks_cover_the_content(
        content in contents(), cuts in prop::collection::vec(0_usize..5_000, 0..300)
    ) {
        let whole = index(&content, &[]);
        prop_assert_eq!(&whole, &index(&content, &cuts));
        let text = content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&content);
        let counted = facts::line::split(text).count() as u64;
        match whole {
            Ok(indexed) => {
                prop_assert_eq!(indexed.lines.count(), counted);
                prop_assert_eq!(indexed.bytes, content.len() as u64);
                assert_covers(&content, &indexed.lines);
            }
            Err(refused) => prop_assert_eq!((refused, counted), (Refused::Empty, 0)),
        }
    }
}

#[test]
fn one_byte_at_a_time_is_the_same() {
    let content =
        format!("\u{feff}{}\r\n\r\n{}\n{}", request("a", "x"), "{\"no\u{2028}\r", request("b", "y"));
    let whole = index(content.as_bytes(), &[]).unwrap();
    assert_eq!(index(content.as_bytes(), &vec![1; content.len()]).unwrap(), whole);
    assert_eq!(whole.lines.count(), 3);
    let errors: Vec<_> = whole.lines.errors.iter().map(|error| (error.line, error.code.as_str())).collect();
    assert_eq!(errors, [(3, "invalid_json_line")], "numbers are an editor's");
    assert_eq!((whole.lines.url.as_str(), whole.lines.model.as_str()), ("/v1/embeddings", "m"));
    assert_eq!(whole.lines.blocks[0].items, 2);
    assert_eq!(whole.sha256, key::hex_sha256(content.as_bytes()));
    assert_covers(content.as_bytes(), &whole.lines);
}

#[test]
fn blocks_end_by_lines_or_by_bytes() {
    let many: String = (0..130).map(|n| request(&n.to_string(), "x") + "\n").collect();
    let lines = index(many.as_bytes(), &[]).unwrap().lines;
    assert_eq!(lines.blocks.iter().map(|block| block.lines).collect::<Vec<_>>(), [64, 64, 2]);
    let large: String = (0..5).map(|n| request(&n.to_string(), &"x".repeat(100_000)) + "\n").collect();
    let lines = index(large.as_bytes(), &[]).unwrap().lines;
    assert_eq!(lines.blocks.iter().map(|block| block.lines).collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn lines_must_go_together() {
    let other_model = request("b", "x").replace("\"m\"", "\"n\"");
    let chat =
        r#"{"custom_id":"c","method":"POST","url":"/v1/completions","body":{"model":"m","prompt":"x"}}"#;
    let content = [request("a", "x"), other_model, chat.to_owned(), request("a", "z")].join("\n");
    let errors = index(content.as_bytes(), &[]).unwrap().lines.errors;
    let found: Vec<_> = errors.iter().map(|e| (e.line, e.code.as_str(), e.param.as_deref())).collect();
    assert_eq!(
        found,
        [
            (2, "mismatched_model", Some("body.model")),
            (3, "mismatched_url", Some("url")),
            (4, "duplicate_custom_id", Some("custom_id")),
        ]
    );
    assert!(errors[2].message.contains("line 1"), "{}", errors[2].message);
}

#[test]
fn limits_hold() {
    let longest = |bytes: usize| {
        let empty = request("a", "");
        request("a", &"x".repeat(bytes - empty.len()))
    };
    for ending in ["", "\n", "\r\n"] {
        let fits = format!("{}{ending}", longest(LINE_BYTES_MAX));
        assert_eq!(first_code(&fits), None, "{ending:?}");
        let too_long = format!("{}{ending}", longest(LINE_BYTES_MAX + 1));
        assert_eq!(first_code(&too_long).as_deref(), Some("line_too_long"), "{ending:?}");
    }
    assert_eq!(index(b"\xef\xbb\xbf\r\n\n", &[]), Err(Refused::Empty));
    assert_eq!(index(b"", &[]), Err(Refused::Empty));
    let wrong = "x\n".repeat(LINES_MAX as usize);
    assert_eq!(index(wrong.as_bytes(), &[]).unwrap().lines.errors.len(), ERRORS_MAX);
    assert_eq!(index((wrong + "x").as_bytes(), &[]), Err(Refused::TooManyLines));
    let mut full = Index { bytes: FILE_BYTES_MAX - 1, ..Index::default() };
    assert_eq!(full.push(b"x"), Ok(()));
    assert_eq!(full.push(b"x"), Err(Refused::TooLarge));
}

fn first_code(content: &str) -> Option<String> {
    let cuts = vec![65_536; content.len() / 65_536];
    let indexed = index(content.as_bytes(), &cuts).unwrap();
    assert_covers(content.as_bytes(), &indexed.lines);
    indexed.lines.errors.first().map(|error| error.code.clone())
}
