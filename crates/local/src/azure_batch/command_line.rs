//! A task's command line as the service reads it on Linux: a program and its arguments, no shell.
//! Quotes group words; variables, globs, pipes and `&&` are ordinary characters.

/// The words of a command line; none when a quote is not closed.
pub(super) fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        match character {
            character if character.is_whitespace() => words.extend(word.take()),
            '\'' => word.get_or_insert_default().push_str(&single_quoted(&mut rest)?),
            '"' => word.get_or_insert_default().push_str(&double_quoted(&mut rest)?),
            '\\' => word.get_or_insert_default().push(rest.next()?),
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    Some(words)
}

fn single_quoted(rest: &mut std::str::Chars<'_>) -> Option<String> {
    let (text, after) = rest.as_str().split_once('\'')?;
    *rest = after.chars();
    Some(text.to_owned())
}

fn double_quoted(rest: &mut std::str::Chars<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => match rest.next()? {
                escaped @ ('"' | '\\') => text.push(escaped),
                other => text.extend(['\\', other]),
            },
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_and_nothing_is_expanded() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            ("", Some(&[])),
            ("  /bin/true\t", Some(&["/bin/true"])),
            ("/bin/sh -c 'echo $HOME && ls *'", Some(&["/bin/sh", "-c", "echo $HOME && ls *"])),
            ("worker --pack \"a b\" ''", Some(&["worker", "--pack", "a b", ""])),
            (r#"a "b\"c\d" e\ f"#, Some(&["a", r#"b"c\d"#, "e f"])),
            ("a'b'\"c\"d", Some(&["abcd"])),
            ("a && b | c", Some(&["a", "&&", "b", "|", "c"])),
            ("it's", None),
            ("a \"b", None),
            ("a\\", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect());
            assert_eq!(split(line), expected, "{line}");
        }
    }
}
