//! The one place that writes to the terminal: results to standard output, progress to standard
//! error, so that a pipe gets results alone.

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

/// Writes text for people, or JSON lines for programs.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    is_json: bool,
}

impl Printer {
    /// `is_json` keeps text for people away from standard output.
    pub fn new(is_json: bool) -> Printer {
        Printer { is_json }
    }

    /// A line for people.
    pub fn say(&self, line: &str) {
        if !self.is_json {
            written(writeln!(std::io::stdout(), "{line}"));
        }
    }

    /// The result itself, whoever reads it.
    pub fn result(&self, line: &str) {
        written(writeln!(std::io::stdout(), "{line}"));
    }

    /// That something takes a while.
    pub fn progress(&self, line: &str) {
        written(writeln!(std::io::stderr(), "  … {line}"));
    }

    /// Whether people watch the progress as it changes.
    pub fn is_watched(&self) -> bool {
        !self.is_json && std::io::stderr().is_terminal()
    }

    /// One line of progress that replaces the one before. The terminal cuts what it has no room for (DECAWM):
    /// of a line that goes on below, only the last row would be replaced.
    pub fn redraw(&self, line: &str) {
        written(write!(std::io::stderr(), "\r\x1b[2K\x1b[?7l{line}\x1b[?7h"));
    }

    /// Empties the line that was redrawn.
    pub fn erase(&self) {
        if self.is_watched() {
            self.redraw("");
        }
    }

    /// Empties the terminal, so that what follows stands at its top.
    pub fn clear(&self) {
        if !self.is_json && std::io::stdout().is_terminal() {
            written(write!(std::io::stdout(), "\x1b[H\x1b[2J"));
        }
    }

    /// A line for programs.
    pub fn record(&self, record: &impl Serialize) {
        if self.is_json {
            let line = serde_json::to_string(record).expect("records are plain data");
            written(writeln!(std::io::stdout(), "{line}"));
        }
    }

    /// Rows under a head, each column as wide as its widest cell.
    pub fn table<const N: usize>(&self, head: [&str; N], rows: &[[String; N]]) {
        for line in table(head, rows) {
            self.say(&line);
        }
    }

    /// Why the command failed.
    pub fn failed(why: &str) {
        written(writeln!(std::io::stderr(), "switchyard: {why}"));
    }
}

/// A reader that has seen enough, as `head`, is no reason to end: a submit goes on without it.
fn written(written: std::io::Result<()>) {
    if let Err(error) = written {
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "cannot write the output: {error}");
    }
}

fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rule = widths.map(|width| "-".repeat(width));
    std::iter::once(line(&head)).chain([line(&rule)]).chain(rows.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["größer".to_owned(), "22".to_owned()]];
        assert_eq!(table(["what", "n"], &rows), ["what    n", "------  --", "a       1", "größer  22"]);
    }
}
