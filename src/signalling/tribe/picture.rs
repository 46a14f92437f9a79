//! What a client is told to capture (`userMediaConfiguration`): less, the more members there are.

use serde::Serialize;

/// Above so many members the values stay as they are: tribe rooms hold eight, but other dialects may add more.
const MOST_COUNTED: usize = 8;

/// The configuration object. Numbers are strings on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct UserMedia {
    audio: bool,
    video: Video,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Video {
    width: Range,
    height: Range,
    frame_rate: Range,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Range {
    min: String,
    max: String,
}

impl Range {
    fn up_to(max: usize) -> Self {
        Self { min: (max / 3).to_string(), max: max.to_string() }
    }
}

impl UserMedia {
    /// For a room of that many members, the client included. `halved` halves width and height.
    pub(super) fn for_members(members: usize, halved: bool) -> Self {
        let others = members.clamp(1, MOST_COUNTED) - 1;
        let width = if others > 2 { 320 } else { 640 };
        let height = if others > 1 { 580 / others.div_ceil(2) } else { 580 };
        let divisor = if halved { 2 } else { 1 };
        Self {
            audio: true,
            video: Video {
                width: Range::up_to(width / divisor),
                height: Range::up_to(height / divisor),
                frame_rate: Range::up_to(30),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_one_to_eight_members_holds() {
        let table = [(640, 580), (640, 580), (640, 580), (320, 290), (320, 290), (320, 193), (320, 193), (320, 145), (320, 145)];
        for (n, (width, height)) in (1..).zip(table) {
            let shown = serde_json::to_value(UserMedia::for_members(n, false)).unwrap();
            let range = |max: usize| serde_json::json!({"min": (max / 3).to_string(), "max": max.to_string()});
            let expected = serde_json::json!({
                "audio": true,
                "video": {"width": range(width), "height": range(height), "frameRate": {"min": "10", "max": "30"}},
            });
            assert_eq!(shown, expected, "{n} members");
        }
    }

    #[test]
    fn minima_are_those_of_the_table() {
        let text = |n| serde_json::to_string(&UserMedia::for_members(n, false)).unwrap();
        assert!(text(1).contains(r#""width":{"min":"213","max":"640"},"height":{"min":"193","max":"580"}"#));
        assert!(text(5).contains(r#""width":{"min":"106","max":"320"},"height":{"min":"96","max":"290"}"#));
        assert!(text(8).contains(r#""height":{"min":"48","max":"145"}"#));
        assert_eq!(text(0), text(1));
        assert!(serde_json::to_string(&UserMedia::for_members(1, true)).unwrap().contains(r#""max":"290""#));
    }
}
