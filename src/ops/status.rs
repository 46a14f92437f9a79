//! PURE. The line that `systemctl status` shows.

/// Sources shown by name; the others are counted.
const NAMED: usize = 4;
/// Longest text, in characters: more does not fit a terminal's line.
const MOST_CHARS: usize = 400;

/// A source as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// `idle`, `opening`, `running`, `lingering` or `failed`.
    pub state: &'static str,
    /// Viewers now.
    pub viewers: usize,
    /// Why it gives nothing.
    pub error: Option<String>,
}

/// The gateway as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What is not ready yet; empty when all is.
    pub waiting: Vec<String>,
    /// What keeps the watchdog from being fed.
    pub troubles: Vec<String>,
    /// Rooms.
    pub rooms: usize,
    /// Members, without the sources.
    pub members: usize,
    /// All sources.
    pub sources: Vec<SourceStatus>,
}

impl Status {
    /// One line: no control characters, at most 400 characters.
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        if !self.troubles.is_empty() {
            parts.push(format!("TROUBLE: {}", self.troubles.join(", ")));
        }
        parts.push(match self.waiting.is_empty() {
            true => "ready".to_owned(),
            false => format!("listening, still looking at: {}", self.waiting.join(", ")),
        });
        parts.push(format!("{}, {}", count(self.rooms, "room"), count(self.members, "member")));
        parts.extend(self.sources_line());
        let line: String = parts.join("; ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match line.char_indices().nth(MOST_CHARS) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    /// What needs somebody first, what nobody uses last.
    fn sources_line(&self) -> Option<String> {
        let rank = |source: &&SourceStatus| match (source.error.is_some(), source.state) {
            (true, _) | (_, "failed") => 0,
            (_, "idle") => 2,
            _ => 1,
        };
        let mut named: Vec<&SourceStatus> = self.sources.iter().filter(|source| rank(source) < 2).collect();
        named.sort_by_key(rank);
        let rest = self.sources.len().saturating_sub(named.len().min(NAMED));
        let mut shown: Vec<String> = named.iter().take(NAMED).map(|source| one(source)).collect();
        if rest > 0 {
            let idle = if named.len() <= NAMED { "idle" } else { "more" };
            shown.push(format!("{rest} {idle}"));
        }
        (!shown.is_empty()).then(|| format!("sources: {}", shown.join(", ")))
    }
}

fn one(source: &SourceStatus) -> String {
    let SourceStatus { name, state, viewers, error } = source;
    match error {
        Some(error) => format!("{name} failed ({error})"),
        None if *viewers > 0 => format!("{name} {state} ({})", count(*viewers, "viewer")),
        None => format!("{name} {state}"),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, state: &'static str, viewers: usize, error: Option<&str>) -> SourceStatus {
        SourceStatus { name: name.into(), state, viewers, error: error.map(Into::into) }
    }

    #[test]
    fn a_line_says_what_is_ready_and_what_is_not() {
        let mut status = Status { rooms: 1, members: 3, ..Status::default() };
        assert_eq!(status.line(), "ready; 1 room, 3 members");
        status.waiting = vec!["sources".into()];
        status.sources = vec![
            source("garden", "idle", 0, None),
            source("camera", "running", 2, None),
            source("door", "idle", 0, Some("/dev/v4l/by-id/door is missing")),
        ];
        let expected = "listening, still looking at: sources; 1 room, 3 members; \
                        sources: door failed (/dev/v4l/by-id/door is missing), camera running (2 viewers), 1 idle";
        assert_eq!(status.line(), expected);
        status.troubles = vec!["the hub has not answered for 9 s".into()];
        assert!(status.line().starts_with("TROUBLE: the hub has not answered for 9 s; listening"));
    }

    #[test]
    fn a_line_is_one_line_and_not_long() {
        let sources = (0..20).map(|i| source(&format!("s{i}"), "failed", 0, Some("no\nREADY=0"))).collect();
        let line = Status { sources, ..Status::default() }.line();
        assert!(!line.contains('\n') && line.contains("no READY=0") && line.ends_with("16 more"), "{line}");
        let long = Status { troubles: vec!["ü".repeat(1000)], ..Status::default() }.line();
        assert_eq!(long.chars().count(), MOST_CHARS + 1);
    }
}
