//! The machine-readable description of `/api/v1`, checked in as `docs/ref/openapi.json`.

use axum::Json;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::api::{bridges, mix, recordings, rooms, sinks, snapshot, sources, tokens, views};
use super::{api, error, events};

/// Everything below `/api/v1`.
#[derive(OpenApi)]
#[openapi(
    info(title = "Portico", description = "Rooms, members, streams, sources, tokens and events of a Portico gateway."),
    paths(
        api::version, rooms::list, rooms::one, rooms::members, rooms::evict, rooms::streams, mix::show, mix::change, snapshot::snapshot,
        recordings::all, recordings::of_room, recordings::start, recordings::stop, recordings::download, recordings::remove,
        sources::sources, sources::plan, sources::peers, sinks::sinks, bridges::list, bridges::one, bridges::add,
        bridges::remove, tokens::sign, events::events
    ),
    components(schemas(error::ErrorBody, views::TokenRequest, views::MixRequest, views::RecordRequest, bridges::BridgeRequest)),
    modifiers(&Bearer),
    security(("bearer" = []), ()),
    tags(
        (name = "rooms", description = "Who is where"),
        (name = "recordings", description = "What is recorded, and the files"),
        (name = "media", description = "Where pictures and sound come from and go"),
        (name = "bridges", description = "Rooms joined to remote places"),
        (name = "gateway", description = "The gateway itself")
    )
)]
pub struct ApiDoc;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The document as it is checked in.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&ApiDoc::openapi()).unwrap_or_default();
    text.push('\n');
    text
}

/// `/api/openapi.json`. Needs no right.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(ApiDoc::openapi())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checked_in_document_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ref/openapi.json");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ref")).unwrap();
            std::fs::write(path, super::text()).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(checked_in == super::text(), "docs/ref/openapi.json is old: run UPDATE=1 cargo test openapi");
    }
}
