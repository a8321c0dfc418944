//! How the log looks where programs read it: one JSON object a line, flat and bounded.
//!
//! What the spans around a line know stands beside what it says itself, so that a line that belongs to a run has its `run_id`, one that
//! belongs to a request its `request_id`. Whoever comes later wins: the event over its span, the inner span over the outer one.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
    panic,
    time::SystemTime,
};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    fmt::MakeWriter,
    layer::{Context, Layer},
    registry::LookupSpan,
};

use crate::conversation::Timestamp;

/// The most bytes of a value. What providers and clients say may be long.
const MAX_VALUE: usize = 2 * 1024;

/// The most bytes of a line.
const MAX_LINE: usize = 16 * 1024;

/// What a line that was too long keeps.
const KEPT: [&str; 7] = [
    "timestamp",
    "level",
    "target",
    "message",
    "run_id",
    "request_id",
    "trace_id",
];

/// Writes each event as one line of JSON.
#[derive(Debug)]
pub struct JsonLines<W> {
    writer: W,
}

impl<W> JsonLines<W> {
    /// Lines that go there.
    #[must_use]
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

/// Makes a line of a panic, too: with what is known around it, and with its place.
pub fn tell_panics() {
    panic::set_hook(Box::new(|panicked| {
        let place = panicked.location().map(ToString::to_string);
        let said = panicked.payload_as_str().unwrap_or("no message");
        // After these words the standard library repeats the text that was cut wrongly.
        let said = said.split(" of `").next().unwrap_or(said);
        tracing::error!(place, cause = said, "panicked");
    }));
}

/// The fields of a span.
struct Fields(Map<String, Value>);

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut fields = Fields(Map::new());
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Fields(Map::new());
        event.record(&mut line);
        // From the inner span to the outer one: what is there already stays.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.complete(fields);
            }
        }
        let metadata = event.metadata();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = since.unwrap_or_default().as_millis();
        let now = Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX));
        for (name, value) in [
            ("timestamp", now.to_string()),
            ("level", metadata.level().to_string()),
            ("target", metadata.target().to_owned()),
        ] {
            line.0.insert(name.to_owned(), value.into());
        }
        // A log that cannot be written cannot say so either.
        let _ = self
            .writer
            .make_writer_for(metadata)
            .write_all(line.written().as_bytes());
    }
}

impl Fields {
    fn written(mut self) -> String {
        let mut line = self.shown();
        if line.len() > MAX_LINE {
            self.0.retain(|name, _| KEPT.contains(&name.as_str()));
            self.0.insert("cut".to_owned(), true.into());
            line = self.shown();
        }
        line.push('\n');
        line
    }

    fn shown(&self) -> String {
        // A map of values has no key that is no text, and nothing else can fail.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Takes over what is not there.
    fn complete(&mut self, from: &Self) {
        for (name, value) in &from.0 {
            if !self.0.contains_key(name) {
                self.0.insert(name.clone(), value.clone());
            }
        }
    }

    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded::default();
        // It never refuses; a value that cannot be shown is shown as far as it can.
        let _ = write!(text, "{value:?}");
        self.put(field, text.whole());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Bounded::default();
        let _ = text.write_str(value);
        self.put(field, text.whole());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = Bounded::default();
        let _ = write!(text, "{value}");
        self.put(field, text.whole());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

/// A text that takes no more than it may, however much is written.
#[derive(Default)]
struct Bounded {
    text: String,
    cut: bool,
}

impl Bounded {
    fn whole(mut self) -> String {
        if self.cut {
            self.text.push('…');
        }
        self.text
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = MAX_VALUE - self.text.len();
        let fits = more.floor_char_boundary(room);
        self.text.push_str(&more[..fits]);
        self.cut |= fits < more.len();
        Ok(())
    }
}

/// Cuts what is written at once to the length of a line: for the formats that people read, of which each event is one write.
#[derive(Debug)]
pub struct Cut<W>(pub W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Cut<W> {
    type Writer = CutWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        CutWriter(self.0.make_writer())
    }
}

/// What [`Cut`] writes with.
#[derive(Debug)]
pub struct CutWriter<W>(W);

impl<W: io::Write> io::Write for CutWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line.len() <= MAX_LINE {
            self.0.write_all(line)?;
        } else {
            let text = String::from_utf8_lossy(&line[..MAX_LINE]);
            let mut cut = text.trim_end_matches('\u{fffd}').to_owned();
            cut.push_str("…\n");
            self.0.write_all(cut.as_bytes())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(say: impl FnOnce()) -> Vec<Value> {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = JsonLines::new(move || writer.clone());
        // A process's only subscriber is not asked about a callsite that another thread comes upon first, and then never hears of it
        // (tracing-core 0.1, `Rebuilder::JustOne`); of two, each is.
        let _other = tracing::Dispatch::new(tracing_subscriber::registry());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_line_has_what_it_says_and_what_is_known_around_it() {
        let lines = said(|| {
            let outer =
                tracing::info_span!("request", request_id = "r1", run_id = tracing::field::Empty);
            let _outer = outer.enter();
            tracing::info!("before");
            outer.record("run_id", "r2");
            let _inner = tracing::info_span!("inner", n = 1).entered();
            tracing::warn!(n = 2, whole = true, text = %"a\nb", "after");
        });
        assert_eq!(lines.len(), 2);
        let known = [
            "level",
            "message",
            "request_id",
            "run_id",
            "n",
            "whole",
            "text",
        ];
        let shown = |line: &Value| Value::from(known.map(|name| line[name].clone()).to_vec());
        assert_eq!(
            shown(&lines[0]),
            json!(["INFO", "before", "r1", null, null, null, null])
        );
        assert_eq!(
            shown(&lines[1]),
            json!(["WARN", "after", "r1", "r2", 2, true, "a\nb"])
        );
        assert_eq!(lines[0]["target"], module_path!());
        assert!(lines[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn what_is_long_is_cut() {
        let long = "é".repeat(MAX_LINE);
        let lines = said(|| {
            let _span = tracing::info_span!("run", run_id = "r").entered();
            tracing::info!(long, "one");
            tracing::info!(
                a = long,
                b = long,
                c = long,
                d = long,
                e = long,
                f = long,
                g = long,
                h = long,
                i = long,
                "many"
            );
        });
        let text = lines[0]["long"].as_str().unwrap();
        assert!(text.ends_with("é…") && text.len() <= MAX_VALUE + 3);
        assert!(lines[1].to_string().len() <= MAX_LINE);
        assert_eq!(
            (&lines[1]["message"], &lines[1]["run_id"], &lines[1]["cut"]),
            (&json!("many"), &json!("r"), &json!(true))
        );
    }

    #[test]
    fn a_line_for_people_is_cut_too() {
        let kept = Kept::default();
        let mut writer = CutWriter(kept.clone());
        writer
            .write_all(&"é".repeat(MAX_LINE).into_bytes())
            .unwrap();
        writer.write_all(b"short\n").unwrap();
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(first.ends_with("é…") && first.len() <= MAX_LINE + 3);
        assert_eq!(rest, "short\n");
    }
}
