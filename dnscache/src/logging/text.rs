//! Events as text lines an operator can read and grep.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes `TIME [LEVEL] message key=value ...`. Whatever a value contains, an event is one line.
pub(super) struct TextEvent;

impl<S, N> FormatEvent<S, N> for TextEvent
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        writeln!(writer, " [{}] {}{}", event.metadata().level(), fields.message, fields.others)
    }
}

/// The message and, after it, the other fields in the order in which the event gives them.
#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            write_printable(&mut self.message, value);
            return;
        }
        let bare = !value.is_empty() && !value.contains([' ', '"', '=']);
        let quote = if bare { "" } else { "\"" };
        self.others.push(' ');
        self.others.push_str(field.name());
        self.others.push('=');
        self.others.push_str(quote);
        write_printable(&mut self.others, &value.replace('"', "\\\""));
        self.others.push_str(quote);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Control characters (line feeds and terminal sequences among them) become escapes.
fn write_printable(out: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() {
            // Writing to a String does not fail.
            let _ = write!(out, "{}", character.escape_default());
        } else {
            out.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What one event looks like, without its time.
    fn line(event: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink(Arc::clone(&written));
        let subscriber = tracing_subscriber::fmt()
            .event_format(TextEvent)
            .with_writer(move || sink.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, event);
        let bytes = written.lock().expect("no panic while locked").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (time, rest) = text.split_once(' ').expect("a time and a space");
        assert!(time.ends_with('Z') && time.contains('T'), "{time}");
        rest.to_owned()
    }

    #[derive(Clone)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while locked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn level_message_and_fields_stand_in_that_order() {
        let text =
            line(|| tracing::warn!(count = 3, zone = %"a.b.", empty = "", "it {}", "happened"));
        assert_eq!(text, "[WARN] it happened count=3 zone=a.b. empty=\"\"\n");
    }

    #[test]
    fn values_with_spaces_and_quotes_are_quoted() {
        let text = line(|| tracing::info!(why = "a \"b\" c", "m"));
        assert_eq!(text, "[INFO] m why=\"a \\\"b\\\" c\"\n");
    }

    #[test]
    fn no_value_breaks_the_line_or_drives_the_terminal() {
        let text = line(|| tracing::info!(evil = "x\ny", "a\r\n\u{1b}[31m"));
        assert_eq!(text, "[INFO] a\\r\\n\\u{1b}[31m evil=x\\ny\n");
    }
}
