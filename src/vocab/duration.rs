//! How a duration is written in the configuration.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Stands for a duration in the configuration's schema: `500ms`, `30s`, `2m 30s`. Use with
/// `#[schemars(with = "DurationText")]` beside `#[serde(with = "humantime_serde")]`.
pub struct DurationText;

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^\s*(0|(\d+\s*(ns|us|ms|s|sec|m|min|h|hr|d|day|days)\s*)+)$" })
    }
}
