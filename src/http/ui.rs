//! The built-in page's files, embedded from `src/http/ui/`.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::conditional::unchanged;
use super::{ApiError, error};

#[derive(RustEmbed)]
#[folder = "src/http/ui/"]
struct Files;

/// Browsers ask every time and get 304: a page of an older gateway must never talk to a newer one.
const CACHE: &str = "no-cache";
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");

/// Any path that no other route has. `/` is `index.html`.
pub(super) async fn file(request: Request) -> Result<Response, ApiError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allow = [(header::ALLOW, "GET, HEAD")];
        return Ok((allow, error::method_not_allowed().await).into_response());
    }
    let path = match request.uri().path() {
        "/" => "index.html",
        path => path.strip_prefix('/').unwrap_or(path),
    };
    let missing = || ApiError::not_found("not_found", "there is nothing at this path");
    // the folder has plain names; whatever needs decoding or leads elsewhere is not in it
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) || path.contains(['%', '\\']) {
        return Err(missing());
    }
    let file = Files::get(path).ok_or_else(missing)?;
    let hash = file.metadata.sha256_hash();
    let tag = format!("\"{}\"", hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>());
    let mut response = match unchanged(request.headers(), &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, content_type(path))], file.data.into_owned()).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy(request.headers()));
    headers.insert(PERMISSIONS, HeaderValue::from_static("camera=(self), microphone=(self), display-capture=(self)"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Everything from here, nothing from elsewhere. The websocket is named besides `'self'` for browsers in which `'self'` does not
/// cover `ws:`. Styles and scripts stand in files: inline ones are refused.
fn policy(headers: &HeaderMap) -> HeaderValue {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    let sockets = if plain { format!(" ws://{host} wss://{host}") } else { String::new() };
    let policy = format!(
        "default-src 'self'; connect-src 'self'{sockets}; img-src 'self' data: blob:; media-src 'self' blob: mediastream:; \
         object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'self'"))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "mp3" => "audio/mpeg",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_host_does_not_reach_the_policy() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("a; script-src *"));
        assert!(!policy(&headers).to_str().unwrap().contains("script-src"));
        headers.insert(header::HOST, HeaderValue::from_static("[::1]:8780"));
        assert!(policy(&headers).to_str().unwrap().contains("connect-src 'self' ws://[::1]:8780 wss://[::1]:8780;"));
    }

    #[test]
    fn every_embedded_file_has_a_known_type() {
        for path in Files::iter() {
            let known = content_type(&path) != "application/octet-stream" || !path.contains('.') || path.ends_with("LICENSE");
            assert!(known, "{path} needs a content type");
        }
    }
}
