//! How many findings of each severity a linter has.

use std::fmt;

/// The severities of findings, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    errors: usize,
    warnings: usize,
    notes: usize,
}

impl Tally {
    /// Counts severities by their names.
    pub fn of<'a>(severities: impl IntoIterator<Item = &'a str>) -> Tally {
        let mut tally = Tally::default();
        for severity in severities {
            match severity {
                "error" => tally.errors += 1,
                "warning" => tally.warnings += 1,
                _ => tally.notes += 1,
            }
        }
        tally
    }

    /// Both together.
    pub fn plus(self, other: Tally) -> Tally {
        Tally {
            errors: self.errors + other.errors,
            warnings: self.warnings + other.warnings,
            notes: self.notes + other.notes,
        }
    }

    /// Whether there is nothing but notes.
    pub fn is_sound(self) -> bool {
        self.errors + self.warnings == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [(self.errors, "error"), (self.warnings, "warning"), (self.notes, "note")];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let told = counts.map(|(count, name)| format!("{count} {name}{}", if *count > 1 { "s" } else { "" }));
        let told: Vec<String> = told.collect();
        f.write_str(&if told.is_empty() { "nothing was found".to_owned() } else { told.join(", ") })
    }
}
