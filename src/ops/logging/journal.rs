//! Turns tracing events, with the fields of the spans around them, into `log` records with key-values, which
//! `systemd-journal-logger` writes as journal fields: `journalctl -u portico ROOM=kitchen`.

use std::fmt;

use log::kv::{Key, Source, Value, VisitSource};
use log::{Log, Record};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::catalog::message_id;

/// Fields that the journal or its logger set themselves; an event's own field of that name gets `F_` before it.
const RESERVED: [&str; 6] = ["MESSAGE", "PRIORITY", "TARGET", "CODE_FILE", "CODE_LINE", "CODE_MODULE"];

/// Hands events to a `log` sink, fields as key-values with upper-case names; the innermost of equal names wins.
pub struct JournalLayer<L> {
    sink: L,
}

impl<L: Log> JournalLayer<L> {
    /// Writes to this sink.
    pub fn new(sink: L) -> Self {
        Self { sink }
    }
}

/// Field names (upper-case) and values, in the order they were first set.
#[derive(Clone, Debug, Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn set(&mut self, name: &str, value: String) {
        let mut name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        if RESERVED.contains(&name.as_str()) || name.starts_with("SYSLOG_") {
            name.insert_str(0, "F_");
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }
}

impl Source for Fields {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), log::kv::Error> {
        self.0.iter().try_for_each(|(name, value)| visitor.visit_pair(Key::from_str(name), Value::from(value.as_str())))
    }
}

/// Collects an event's or span's fields.
#[derive(Default)]
struct Collect {
    fields: Fields,
    message: String,
    /// The event's own fields as people read them, after the message.
    tail: String,
}

impl Collect {
    fn take(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            // what the bridge from `log` adds; it is in the metadata
            name if name.starts_with("log.") => {}
            name => {
                self.tail.push_str(&format!(" {name}={value}"));
                self.fields.set(name, value);
            }
        }
    }
}

impl Visit for Collect {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(inner) = cause {
            text.push_str(&format!(": {inner}"));
            cause = inner.source();
        }
        self.take(field, text);
    }
}

impl<L: Log + 'static, S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JournalLayer<L> {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut collected = Collect::default();
        attributes.record(&mut collected);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(collected.fields);
        }
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        let mut collected = Collect::default();
        values.record(&mut collected);
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(fields) = extensions.get_mut::<Fields>() {
            collected.fields.0.into_iter().for_each(|(name, value)| fields.set(&name, value));
        } else {
            extensions.insert(collected.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                of_span.0.iter().for_each(|(name, value)| fields.set(name, value.clone()));
            }
        }
        let mut collected = Collect::default();
        event.record(&mut collected);
        collected.fields.0.into_iter().for_each(|(name, value)| fields.set(&name, value));
        if let Some(id) = message_id(&collected.message) {
            fields.set("message_id", id.to_owned());
        }
        let bridged = event.normalized_metadata();
        let metadata = bridged.as_ref().unwrap_or_else(|| event.metadata());
        self.sink.log(
            &Record::builder()
                .args(format_args!("{}{}", collected.message, collected.tail))
                .level(log_level(*metadata.level()))
                .target(metadata.target())
                .module_path(metadata.module_path())
                .file(metadata.file())
                .line(metadata.line())
                .key_values(&fields)
                .build(),
        );
    }
}

fn log_level(level: Level) -> log::Level {
    match level {
        Level::ERROR => log::Level::Error,
        Level::WARN => log::Level::Warn,
        Level::INFO => log::Level::Info,
        Level::DEBUG => log::Level::Debug,
        Level::TRACE => log::Level::Trace,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use tracing::{info, info_span, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Line {
        level: log::Level,
        target: String,
        message: String,
        fields: BTreeMap<String, String>,
    }

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<Line>>>);

    struct Collector<'a>(&'a mut BTreeMap<String, String>);

    impl<'kvs> VisitSource<'kvs> for Collector<'_> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
            assert!(self.0.insert(key.to_string(), value.to_string()).is_none(), "{key} twice");
            Ok(())
        }
    }

    impl Log for Captured {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &Record<'_>) {
            let mut fields = BTreeMap::new();
            record.key_values().visit(&mut Collector(&mut fields)).unwrap();
            let (target, message) = (record.target().to_owned(), record.args().to_string());
            self.0.lock().unwrap().push(Line { level: record.level(), target, message, fields });
        }
        fn flush(&self) {}
    }

    fn captured(run: impl FnOnce()) -> Vec<Line> {
        let sink = Captured::default();
        let subscriber = tracing_subscriber::registry().with(JournalLayer::new(sink.clone()));
        tracing::subscriber::with_default(subscriber, run);
        std::mem::take(&mut *sink.0.lock().unwrap())
    }

    fn fields<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn fields_of_event_and_spans_become_upper_case_key_values() {
        let lines = captured(|| {
            let session = info_span!("session", dialect = "tribe", session = 7, room = tracing::field::Empty);
            let _in_session = session.enter();
            session.record("room", "kitchen");
            let _in_peer = info_span!("peer", session = 8).entered();
            info!(remote_addr = %"10.0.0.1", code = 1316, "member remarks");
        });
        let expected = Line {
            level: log::Level::Info,
            target: module_path!().into(),
            message: "member remarks remote_addr=10.0.0.1 code=1316".into(),
            fields: fields([
                ("DIALECT", "tribe"),
                ("SESSION", "8"),
                ("ROOM", "kitchen"),
                ("REMOTE_ADDR", "10.0.0.1"),
                ("CODE", "1316"),
            ]),
        };
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn errors_are_written_with_their_causes_and_reserved_names_are_moved() {
        let lines = captured(|| {
            let error = crate::ops::access::read_secret("/nowhere/at/all".as_ref()).unwrap_err();
            warn!(error = &error as &dyn std::error::Error, priority = 1, "no secret");
        });
        assert_eq!(lines[0].level, log::Level::Warn);
        assert!(lines[0].fields["ERROR"].contains("/nowhere/at/all cannot be read: No such file"), "{:?}", lines[0]);
        assert_eq!(lines[0].fields["F_PRIORITY"], "1");
    }

    #[test]
    fn what_operators_look_for_has_an_id() {
        let lines = captured(|| {
            info!(room = "kitchen", "member left");
            info!("something else");
        });
        assert_eq!(lines[0].fields["MESSAGE_ID"], message_id("member left").unwrap());
        assert!(!lines[1].fields.contains_key("MESSAGE_ID"));
    }

    #[test]
    fn users_of_log_are_bridged_in_with_their_own_target() {
        let lines = captured(|| {
            let record = Record::builder().args(format_args!("lost")).level(log::Level::Error).target("rtc_ice::agent").build();
            tracing_log::format_trace(&record).unwrap();
        });
        assert_eq!(
            (lines[0].level, lines[0].target.as_str(), lines[0].message.as_str()),
            (log::Level::Error, "rtc_ice::agent", "lost")
        );
        assert!(lines[0].fields.is_empty(), "{:?}", lines[0]);
    }
}
