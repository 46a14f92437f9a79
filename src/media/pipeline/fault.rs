//! What a GStreamer error means for the source.

use std::path::Path;

use gstreamer as gst;

use crate::media::{SourceConfig, SourceError, SourceKind};

/// The error in the source's own terms. Credentials of addresses are left out.
pub(super) fn source_error(source: &SourceConfig, error: &gst::message::Error) -> SourceError {
    let (cause, details) = (error.error(), error.debug().unwrap_or_default());
    let text = redact(cause.message());
    let resource = cause.kind::<gst::ResourceError>();
    let what = what(source);
    match (&source.kind, resource) {
        (_, Some(gst::ResourceError::Busy)) => SourceError::Busy { what },
        (SourceKind::V4l2(_), Some(_)) if details.contains("Device or resource busy") => SourceError::Busy { what },
        (SourceKind::V4l2(_), Some(gst::ResourceError::NotFound)) => SourceError::Missing { what },
        (SourceKind::V4l2(_), Some(_)) if details.contains("No such file") || details.contains("No such device") => {
            SourceError::Missing { what }
        }
        (SourceKind::Rtsp(_), Some(gst::ResourceError::NotAuthorized)) => {
            SourceError::Failed(format!("{what} refuses the user name or password, or wants one"))
        }
        (SourceKind::Rtsp(_), Some(gst::ResourceError::NotFound)) if details.contains("404") || text.contains("Not found") => {
            SourceError::Failed(format!("the server has no stream {what}"))
        }
        (
            SourceKind::Rtsp(_),
            Some(gst::ResourceError::OpenRead | gst::ResourceError::OpenReadWrite | gst::ResourceError::NotFound),
        ) => SourceError::Failed(format!("{what} cannot be reached: {text}")),
        (SourceKind::File(file), Some(gst::ResourceError::NotFound)) if !file.path.exists() => SourceError::Missing { what },
        _ => SourceError::Failed(with_details(&text, &details)),
    }
}

/// The first line of the debug text that says more than the message, where there is one.
fn with_details(text: &str, details: &str) -> String {
    // the first line names the place in GStreamer's source, what follows is the reason
    match details.lines().nth(1).map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => format!("{text} ({})", redact(line)),
        None => text.to_owned(),
    }
}

/// The device, file or address for people, without credentials.
pub(super) fn what(source: &SourceConfig) -> String {
    match &source.kind {
        SourceKind::V4l2(camera) => format!("camera {}", camera.device),
        SourceKind::Csi(_) => "the CSI camera".into(),
        SourceKind::Test(_) => "the test picture".into(),
        SourceKind::File(file) => file_name(&file.path),
        SourceKind::Rtsp(rtsp) => rtsp.url.without_credentials(),
        SourceKind::Mix(_) => "the mix".into(),
    }
}

fn file_name(path: &Path) -> String {
    format!("file {}", path.display())
}

/// The text with `user:password@` taken out of every address in it.
pub(in crate::media) fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        clean.push_str(head);
        // a password may hold anything but white space; the last @ before it ends the credentials
        let word = tail.find(char::is_whitespace).unwrap_or(tail.len());
        let authority = tail.get(..word).and_then(|word| word.rfind('@'));
        rest = authority.map_or(tail, |at| &tail[at + 1..]);
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn credentials_leave_every_address() {
        assert_eq!(redact("open rtsp://me:p@ss@cam.local/a failed, rtsp://b/c"), "open rtsp://cam.local/a failed, rtsp://b/c");
        assert_eq!(redact("plain"), "plain");
        assert_eq!(redact("rtsp://u:p@"), "rtsp://");
    }
}
