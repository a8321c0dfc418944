//! The way of a piece of work through programs, as tracing tools show it: the words for it, and the handle by which the other rooms
//! tell of it.
//!
//! A span is told explicitly, with its parent, and ends when its handle is dropped; none is ever the current one. So a run's way can be
//! taken up by another process, and nothing is paid on the way of a delta.

use std::{fmt, sync::Arc};

/// The most bytes of what other tools hand along (<https://www.w3.org/TR/trace-context/#tracestate-limits>).
const MAX_STATE: usize = 512;

/// Members that are longer are left out first, where there is too much.
const LONG_MEMBER: usize = 128;

/// A place in a trace, as W3C's headers `traceparent` and `tracestate` say it (<https://www.w3.org/TR/trace-context/>).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    parent: String,
    state: String,
}

impl TraceContext {
    /// Reads the two headers; `None` if the first is not what the standard says. What is wrong with the second costs only itself.
    #[must_use]
    pub fn read(traceparent: &str, tracestate: &str) -> Option<Self> {
        let (known, more) = traceparent.trim().split_at_checked(55)?;
        let parts: Vec<&str> = known.split('-').collect();
        let [version, trace, span, flags] = parts[..] else {
            return None;
        };
        let hex = |text: &str, length: usize| {
            let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            text.len() == length && text.bytes().all(digit)
        };
        let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
        let formed = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        // Later versions may say more after a dash.
        let whole = match version {
            "00" => more.is_empty(),
            "ff" => false,
            _ => more.is_empty() || more.starts_with('-'),
        };
        if !formed || !whole || zero(trace) || zero(span) {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        Some(Self {
            parent: format!("00-{trace}-{span}-0{}", u8::from(sampled)),
            state: state(tracestate),
        })
    }

    /// The header `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        &self.parent
    }

    /// The header `tracestate`; empty if there is nothing to hand along.
    #[must_use]
    pub fn tracestate(&self) -> &str {
        &self.state
    }

    /// The id of the trace: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.parent.get(3..35).unwrap_or_default()
    }
}

/// What is handed along: whole members, the newest first, as many as fit. Long ones go before others, as the standard has it.
fn state(tracestate: &str) -> String {
    if !tracestate.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return String::new();
    }
    let members = tracestate.split(',').map(str::trim);
    let mut members: Vec<&str> = members.filter(|member| !member.is_empty()).collect();
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>();
    while length(&members) > MAX_STATE + 1 {
        let long = members
            .iter()
            .rposition(|member| member.len() > LONG_MEMBER);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    members.join(",")
}

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// An answer to somebody outside.
    Server,
    /// Work of our own.
    Internal,
    /// A question to somebody outside.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attribute<'a> {
    /// Text.
    Text(&'a str),
    /// A number.
    Number(u64),
    /// A time, in seconds.
    Seconds(f64),
    /// Several words.
    Words(&'a [&'a str]),
}

/// The beginning of a span.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// Its name, in two parts; the second may be empty.
    pub name: [&'a str; 2],
    /// What it is of.
    pub kind: SpanKind,
    /// The place from which it goes on; `None`: a new trace.
    pub parent: Option<&'a TraceContext>,
    /// What is known of it already, under OpenTelemetry's names.
    pub attributes: &'a [(&'static str, Attribute<'a>)],
}

/// Somebody who keeps spans.
pub trait Traces: fmt::Debug + Send + Sync {
    /// Begins one.
    fn begin(&self, beginning: Beginning<'_>) -> Box<dyn OpenSpan>;

    /// Whether what is said may stand in spans.
    fn records_content(&self) -> bool;
}

/// A span that has begun. It ends when it is dropped.
pub trait OpenSpan: fmt::Debug + Send + Sync {
    /// Where others go on from it.
    fn context(&self) -> &TraceContext;

    /// Adds what became known.
    fn note(&mut self, name: &'static str, value: Attribute<'_>);

    /// Says that it failed, and in which way.
    fn fail(&mut self, error_type: &str);
}

/// Whom the rooms tell their spans; by default nobody. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tracing(Option<Arc<dyn Traces>>);

impl Tracing {
    /// The handle that tells that one.
    #[must_use]
    pub fn new(traces: Arc<dyn Traces>) -> Self {
        Self(Some(traces))
    }

    /// Begins a span.
    #[must_use]
    pub fn begin(&self, beginning: Beginning<'_>) -> Span {
        Span(self.0.as_ref().map(|traces| traces.begin(beginning)))
    }

    /// Whether what is said may stand in spans.
    #[must_use]
    pub fn records_content(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|traces| traces.records_content())
    }
}

/// A span, if anybody keeps it. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<Box<dyn OpenSpan>>);

impl Span {
    /// Where others go on from it; `None` if nobody keeps it.
    #[must_use]
    pub fn context(&self) -> Option<&TraceContext> {
        self.0.as_ref().map(|span| span.context())
    }

    /// Adds what became known.
    pub fn note(&mut self, name: &'static str, value: Attribute<'_>) {
        if let Some(span) = &mut self.0 {
            span.note(name, value);
        }
    }

    /// Says that it failed, and in which way.
    pub fn fail(&mut self, error_type: &str) {
        if let Some(span) = &mut self.0 {
            span.fail(error_type);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn read(traceparent: &str, tracestate: &str) -> Option<(String, String)> {
        let read = TraceContext::read(traceparent, tracestate)?;
        assert_eq!(read.trace_id(), TRACE);
        Some((read.traceparent().to_owned(), read.tracestate().to_owned()))
    }

    #[test]
    fn the_standards_headers_are_read_and_nothing_else() {
        let sampled = format!("00-{TRACE}-{SPAN}-01");
        let whole = (sampled.clone(), "a=1,b=2".to_owned());
        assert_eq!(read(&sampled, "a=1,b=2"), Some(whole));
        let bare = (sampled.clone(), String::new());
        for later in ["00-T-S-03", "01-T-S-01", "cc-T-S-01-what-comes"] {
            let later = later.replace('T', TRACE).replace('S', SPAN);
            assert_eq!(read(&later, "é"), Some(bare.clone()), "{later}");
        }
        assert_eq!(read(&sampled, &"x".repeat(600)), Some(bare));
        let (long, short) = (
            format!("l={}", "x".repeat(300)),
            "s=".to_owned() + &"y".repeat(120),
        );
        for (state, kept) in [
            (
                format!("a=1 , {long},{short},{short}"),
                format!("a=1,{short},{short}"),
            ),
            (
                format!("a=1,{}", vec!["b=2"; 200].join(",")),
                format!("a=1{}", ",b=2".repeat(127)),
            ),
            (format!(",a=1,,{long},"), format!("a=1,{long}")),
        ] {
            let read = read(&sampled, &state);
            assert_eq!(read, Some((sampled.clone(), kept)), "{state}");
        }
        let unsampled = format!("00-{TRACE}-{SPAN}-00");
        assert_eq!(
            read(&unsampled, ""),
            Some((unsampled.clone(), String::new()))
        );
        for bad in [
            String::new(),
            "00-x-y-01".to_owned(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{SPAN}-é"),
            format!("é0-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(read(&bad, ""), None, "{bad}");
        }
    }

    #[test]
    fn nobody_is_told_by_default() {
        let tracing = Tracing::default();
        let mut span = tracing.begin(Beginning {
            name: ["x", ""],
            kind: SpanKind::Internal,
            parent: None,
            attributes: &[],
        });
        span.note("a", Attribute::Number(1));
        span.fail("x");
        assert_eq!((span.context(), tracing.records_content()), (None, false));
    }
}
