//! A command line that means the same to everybody who splits it.
//!
//! Azure Batch starts a task without a shell and splits its command line by rules of its own. Instead
//! of quoting for rules that are not written down, only characters that need no quoting are taken:
//! then the line is split at its blanks, whoever does it. A secret has no place in a command line;
//! what does not fit the alphabet, as a URL with its signature, goes into the environment.

/// Longest command line, in bytes. The service's own limit is not published.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Why a command line cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCommandLine {
    /// One part has a character that some splitter or shell would not leave alone, or is empty.
    #[error("{part} of the command line is {what}; use letters, digits and `_./:@%+=,-`, or the environment")]
    Part {
        /// `the program` or `argument N`, counted from 1. Never its text, which might be a secret.
        part: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The whole is too long.
    #[error("the command line has {bytes} bytes; {LINE_BYTES_MAX} are the most")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// The program and its arguments as one line, from which every splitter gets exactly them back.
///
/// # Errors
/// Which part does not fit.
pub fn command_line(program: &str, arguments: &[String]) -> Result<String, BadCommandLine> {
    check(program, || "the program".to_owned())?;
    let mut line = program.to_owned();
    for (at, argument) in arguments.iter().enumerate() {
        check(argument, || format!("argument {}", at + 1))?;
        line.push(' ');
        line.push_str(argument);
    }
    if line.len() > LINE_BYTES_MAX {
        return Err(BadCommandLine::TooLong { bytes: line.len() });
    }
    Ok(line)
}

fn check(part: &str, name: impl Fn() -> String) -> Result<(), BadCommandLine> {
    if part.is_empty() {
        return Err(BadCommandLine::Part { part: name(), what: "empty" });
    }
    if !part.bytes().all(is_plain) {
        return Err(BadCommandLine::Part { part: name(), what: "not plain" });
    }
    Ok(())
}

/// Whether no splitter and no shell gives the byte a meaning of its own inside a word.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./:@%+=,-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_refused_part_is_named_but_not_shown() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("", &[], "the program of the command line is empty"),
            ("/bin/sh -c", &[], "the program of the command line is not plain"),
            ("/w", &["ok", ""], "argument 2 of the command line is empty"),
            ("/w", &["https://h/c?sig=secret"], "argument 1 of the command line is not plain"),
            ("/w", &["$HOME"], "argument 1 of the command line is not plain"),
            ("/w", &["größe"], "argument 1 of the command line is not plain"),
        ];
        for (program, arguments, expected) in cases {
            let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
            let error = command_line(program, &arguments).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let long = command_line("/w", &["a".repeat(LINE_BYTES_MAX)]);
        assert_eq!(long, Err(BadCommandLine::TooLong { bytes: LINE_BYTES_MAX + 3 }));
    }

    proptest! {
        #[test]
        fn plain_parts_come_back_from_any_splitter(
            program in "[A-Za-z0-9_./:@%+=,-]{1,20}",
            arguments in proptest::collection::vec("[A-Za-z0-9_./:@%+=,-]{1,20}", 0..8),
        ) {
            let line = command_line(&program, &arguments).unwrap();
            let parts: Vec<&str> = line.split(' ').collect();
            prop_assert_eq!(parts[0], program);
            prop_assert_eq!(&parts[1..], &arguments[..]);
        }

        #[test]
        fn nothing_that_means_something_to_a_shell_gets_through(
            program in "\\PC{0,6}",
            arguments in proptest::collection::vec("(?s).{0,6}", 0..3),
        ) {
            if let Ok(line) = command_line(&program, &arguments) {
                prop_assert_eq!(line.split(' ').count(), 1 + arguments.len());
                let meaning = |c: char| "'\"\\`$&|;<>()[]{}*?!#~^\n\r\t\0".contains(c) || !c.is_ascii();
                prop_assert!(!line.contains(meaning), "{}", line);
            }
        }
    }
}
