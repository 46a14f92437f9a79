//! PURE. The encodings of one picture that a section's sender would send: `a=rid` (RFC 8851) and `a=simulcast` (RFC 8853).

/// Most of one kind that is read in a section.
const MAX_RIDS: usize = 16;
/// Longest name, in characters. RFC 8851 sets no limit; libwebrtc's is the same.
const MAX_NAME: usize = 16;

/// One `a=rid` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::peer) struct Rid {
    pub(in crate::peer) name: String,
    /// Payload types it is restricted to; empty for none (RFC 8851 §5).
    pub(in crate::peer) payload_types: Vec<u8>,
}

/// One name in an `a=simulcast` line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice {
    name: String,
    /// Its sender begins with it switched off (RFC 8853 §5.2).
    paused: bool,
}

/// What a section says of its sender's encodings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::peer) struct Rids {
    declared: Vec<Rid>,
    /// Streams in order of preference, each with its alternatives; empty without a line.
    streams: Vec<Vec<Choice>>,
}

/// An encoding that can be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::peer) struct Encoding<'a> {
    pub(in crate::peer) rid: &'a Rid,
    pub(in crate::peer) paused: bool,
}

impl Rids {
    /// Reads the value of `a=rid`. A line of a wrong form is left out (RFC 8851 §6.2.1), and so is a name's second line.
    pub(super) fn rid(&mut self, value: &str) {
        let mut words = value.split_ascii_whitespace();
        let (Some(name), Some("send")) = (words.next(), words.next()) else { return };
        if !is_name(name) || self.declared.len() == MAX_RIDS || self.declared.iter().any(|rid| rid.name == name) {
            return;
        }
        let restrictions = words.next().unwrap_or_default();
        let list = restrictions.split(';').find_map(|restriction| restriction.strip_prefix("pt="));
        let Some(payload_types) =
            list.map_or(Some(Vec::new()), |list| list.split(',').take(128).map(|pt| pt.parse().ok()).collect())
        else {
            return;
        };
        self.declared.push(Rid { name: name.into(), payload_types });
    }

    /// Reads the value of `a=simulcast`. A line of a wrong form is left out, and so is a second one.
    pub(super) fn simulcast(&mut self, value: &str) {
        let words: Vec<&str> = value.split_ascii_whitespace().take(4).collect();
        let Some([_, list]) = words.chunks_exact(2).find(|pair| pair[0] == "send") else { return };
        if !self.streams.is_empty() {
            return;
        }
        let choice = |text: &str| {
            let name = text.strip_prefix('~').unwrap_or(text);
            is_name(name).then(|| Choice { name: name.into(), paused: text.starts_with('~') })
        };
        let stream = |text: &str| text.split(',').take(MAX_RIDS).map(choice).collect::<Option<Vec<_>>>();
        self.streams = list.split(';').take(MAX_RIDS).map(stream).collect::<Option<_>>().unwrap_or_default();
    }

    /// The encodings that use this payload type, at most so many: those that flow from the beginning first, then in the sender's order of
    /// preference. Of alternatives the first is taken.
    pub(in crate::peer) fn encodings(&self, payload_type: u8, most: usize) -> Vec<Encoding<'_>> {
        let usable = |rid: &&Rid| rid.payload_types.is_empty() || rid.payload_types.contains(&payload_type);
        let mut found: Vec<Encoding<'_>> = if self.streams.is_empty() {
            self.declared.iter().filter(usable).map(|rid| Encoding { rid, paused: false }).collect()
        } else {
            let named = |choice: &Choice| {
                let rid = self.declared.iter().filter(usable).find(|rid| rid.name == choice.name)?;
                Some(Encoding { rid, paused: choice.paused })
            };
            self.streams.iter().filter_map(|stream| stream.iter().find_map(named)).collect()
        };
        let mut seen: Vec<&str> = Vec::new();
        found.retain(|encoding| {
            let again = seen.contains(&encoding.rid.name.as_str());
            seen.push(&encoding.rid.name);
            !again
        });
        found.sort_by_key(|encoding| encoding.paused);
        found.truncate(most);
        found
    }
}

/// RFC 8851 §10 `rid-id`.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rids(lines: &[&str]) -> Rids {
        let mut rids = Rids::default();
        for line in lines {
            match line.split_once(':').unwrap() {
                ("rid", value) => rids.rid(value),
                (_, value) => rids.simulcast(value),
            }
        }
        rids
    }

    fn names(rids: &Rids, payload_type: u8) -> Vec<&str> {
        rids.encodings(payload_type, 3).into_iter().map(|encoding| encoding.rid.name.as_str()).collect()
    }

    #[test]
    fn the_order_is_that_of_the_simulcast_line() {
        let rids = rids(&["rid:h send", "rid:m send", "rid:l send", "simulcast:send l;m;h"]);
        assert_eq!(names(&rids, 96), ["l", "m", "h"]);
    }

    #[test]
    fn what_is_paused_comes_last() {
        let rids = rids(&["rid:a send", "rid:b send", "rid:c send", "simulcast:recv x send ~a;b;~c"]);
        assert_eq!(names(&rids, 96), ["b", "a", "c"]);
        assert_eq!(rids.encodings(96, 3).iter().map(|encoding| encoding.paused).collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn of_alternatives_the_first_that_can_be_received_is_taken() {
        let rids = rids(&["rid:a send pt=98", "rid:b send pt=96,97;max-width=640", "rid:c send", "simulcast:send a,b;c,a"]);
        assert_eq!(names(&rids, 96), ["b", "c"]);
        assert_eq!(names(&rids, 98), ["a", "c"]);
    }

    #[test]
    fn no_more_than_asked_for_and_nothing_twice() {
        let many = rids(&["rid:a send", "rid:b send", "rid:c send", "rid:d send", "rid:a send pt=1"]);
        assert_eq!(names(&many, 96), ["a", "b", "c"]);
        let twice = rids(&["rid:a send", "rid:b send", "simulcast:send a;a;b"]);
        assert_eq!(names(&twice, 96), ["a", "b"]);
    }

    #[test]
    fn lines_of_a_wrong_form_are_left_out() {
        let long = format!("rid:{} send", "a".repeat(17));
        let rids = rids(&["rid:", "rid:a", "rid:a recv", "rid:ü send", "rid:a b", "rid:a send pt=x", "rid:b;c send", &long]);
        assert_eq!(names(&rids, 96), [""; 0], "{rids:?}");
        let rids = self::rids(&["rid:a send", "simulcast:send a;ü", "simulcast:send", "simulcast: a"]);
        assert_eq!(names(&rids, 96), ["a"], "as if there were no such line");
    }

    proptest! {
        #[test]
        fn any_lines_are_read_within_bounds(
            lines in proptest::collection::vec(("(rid|simulcast)", "\\PC{0,40}|[a-c~;,]{1,6} send( pt=[0-9,]{0,8})?|send [a-c~;,]{0,60}"), 0..60),
            payload_type in any::<u8>(),
        ) {
            let mut rids = Rids::default();
            for (kind, value) in &lines {
                if kind == "rid" { rids.rid(value) } else { rids.simulcast(value) }
            }
            prop_assert!(rids.declared.len() <= MAX_RIDS && rids.streams.len() <= MAX_RIDS);
            let taken = names(&rids, payload_type);
            prop_assert!(taken.len() <= 3);
            prop_assert!(taken.iter().all(|name| is_name(name)));
        }
    }
}
