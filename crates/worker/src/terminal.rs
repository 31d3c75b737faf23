//! The log for a person: one plain line an event, progress as a sentence. In a task the same events are
//! lines of JSON.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Writes events for a person.
#[derive(Clone, Copy, Debug)]
pub struct Terminal;

impl<S, N> FormatEvent<S, N> for Terminal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut told = Told::default();
        event.record(&mut told);
        match *event.metadata().level() {
            Level::ERROR => write!(to, "error: ")?,
            Level::WARN => write!(to, "warning: ")?,
            _ => {}
        }
        writeln!(to, "{told}")
    }
}

/// What an event says.
#[derive(Default)]
struct Told {
    message: String,
    done: Option<u64>,
    total: Option<u64>,
    errors: u64,
    per_second: f64,
    left_s: Option<u64>,
    others: String,
}

impl Visit for Told {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "done" => self.done = Some(value),
            "total" => self.total = Some(value),
            "errors" => self.errors = value,
            "eta_s" => self.left_s = Some(value),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match field.name() {
            "items_per_s" => self.per_second = value,
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
        written.expect("writing to a String succeeds");
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let (Some(done), Some(total)) = (self.done, self.total) {
            let percent = (done * 100).checked_div(total).unwrap_or(100);
            write!(f, ": {done} of {total} items ({percent} %), {:.1}/s", self.per_second)?;
            if self.errors > 0 {
                write!(f, ", {} errors", self.errors)?;
            }
            if let Some(left) = self.left_s.filter(|_| done < total) {
                write!(f, ", {}:{:02} left", left / 60, left % 60)?;
            }
        }
        write!(f, "{}", self.others)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn progress_reads_as_a_sentence() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let log = tracing_subscriber::fmt().event_format(Terminal).with_writer(move || writer.clone());
        tracing::subscriber::with_default(log.finish(), || {
            let (done, total, errors, eta_s) = (1_200_u64, 12_000_u64, 3_u64, Some(95_u64));
            tracing::info!(done, total, errors, items_per_s = 113.66, eta_s, "progress");
            tracing::warn!(line = 7_u64, "an item is given up");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            "progress: 1200 of 12000 items (10 %), 113.7/s, 3 errors, 1:35 left\n\
             warning: an item is given up line=7\n"
        );
    }
}
