//! What is wrong with a configuration, and where: file, line, key, value, what is allowed.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

/// A text that configuration came from: a file, the environment, the command line.
#[derive(Debug)]
pub struct Source {
    /// The file's path, `environment` or `command line`.
    pub name: String,
    /// Whether `name` is a file, so that a line number means something.
    pub is_file: bool,
    /// The text, secrets masked.
    shown: NamedSource<String>,
}

impl Source {
    /// Wraps a text. Values of secret keys and passwords in addresses are masked, byte for byte, before anything can show them.
    pub fn new(name: impl Into<String>, is_file: bool, text: &str) -> Arc<Self> {
        let name = name.into();
        Arc::new(Self { shown: NamedSource::new(&name, mask_secrets(text)), name, is_file })
    }

    /// Line and column, both from 1, of a byte offset.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let text = self.shown.inner();
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// A stretch of a [`Source`].
#[derive(Clone, Debug)]
pub struct Place {
    /// Where.
    pub source: Arc<Source>,
    /// Bytes.
    pub span: Range<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.source.position(self.span.start);
        match self.source.is_file {
            true => write!(f, "{}:{line}:{column}", self.source.name),
            false => f.write_str(&self.source.name),
        }
    }
}

/// One thing that is wrong or suspicious.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The key, as in `http.limits.sessions` or `source[1].device`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What is allowed, or what to do.
    pub help: Option<String>,
    /// Where; `None` when it is written nowhere (a default).
    pub place: Option<Place>,
    /// Whether Portico starts all the same.
    pub warning: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(if self.warning { Severity::Warning } else { Severity::Error })
    }
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|place| &place.source.shown as _)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some("here".into()), place.span.clone()))))
    }
}

/// Everything that is wrong, in the order of reading; never empty. Warnings may be among it.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    /// The problems.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.iter().filter(|problem| !problem.warning).count() {
            1 => f.write_str("the configuration has an error"),
            n => write!(f, "the configuration has {n} errors"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl Diagnostic for ConfigErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as _)))
    }
}

impl ConfigErrors {
    /// All problems with source lines, labels and help, for a terminal (`colour`) or a log.
    pub fn report(&self, colour: bool) -> String {
        let mut text = report(&self.problems, colour);
        text.push_str(&format!("{self}\n"));
        text
    }
}

/// Problems with source lines, labels and help.
pub fn report(problems: &[Problem], colour: bool) -> String {
    let theme = if colour { miette::GraphicalTheme::unicode() } else { miette::GraphicalTheme::unicode_nocolor() };
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_links(false).with_width(120);
    let mut text = String::new();
    for problem in problems {
        if handler.render_report(&mut text, problem).is_err() {
            text.push_str(&problem.to_string());
        }
        text.push('\n');
    }
    text
}

/// Replaces each byte of a token secret (`token_secret = …`) and of a password in an address (`scheme://user:password@…`) by `*`,
/// so that offsets stay.
pub fn mask_secrets(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let lower = line.to_ascii_lowercase();
        let secret = lower.find("token_secret").filter(|at| !lower[*at..].starts_with("token_secret_file"));
        if let Some(equals) = secret.and_then(|at| line[at..].find('=').map(|e| at + e + 1)) {
            mask(&mut bytes[start + equals..start + line.len()]);
        }
        for (scheme, _) in line.match_indices("://") {
            let rest = &line[scheme + 3..];
            let authority = &rest[..rest.find(['/', '"', '\'', '\n', ' ']).unwrap_or(rest.len())];
            if let Some(at) = authority.rfind('@')
                && let Some(colon) = authority[..at].find(':')
            {
                let from = start + scheme + 3;
                mask(&mut bytes[from + colon + 1..from + at]);
            }
        }
        start += line.len();
    }
    // every multi-byte character is masked whole, or not at all
    String::from_utf8(bytes).unwrap_or_default()
}

fn mask(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| *byte = b'*');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_offsets_stay() {
        let text = "token_secret = \"geheimnis ü\"\ntoken_secret_file = \"/a\"\nurl = \"rtsp://me:pässword@cam/1\"\n";
        let masked = mask_secrets(text);
        assert_eq!(masked.len(), text.len());
        assert!(!masked.contains("geheim") && !masked.contains("ssword"), "{masked}");
        assert!(masked.contains("token_secret_file = \"/a\"") && masked.contains("rtsp://me:") && masked.contains("@cam/1"));
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("f", true, "a\nüb\n");
        assert_eq!((source.position(0), source.position(2), source.position(4)), ((1, 1), (2, 1), (2, 2)));
        assert_eq!(source.position(99), (3, 1));
    }
}
