//! Request bodies that nobody read to the end.
//!
//! A server that answers early and closes its socket while the client still sends makes the kernel reset the connection: the client sees
//! a broken pipe, and never the answer that says why (RFC 9112 §9.6). So what is left of a body is read and thrown away, for a while.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use http_body::{Frame, SizeHint};

/// Most bytes thrown away of one body.
const MOST: usize = 4 << 20;
/// For this long.
const TIME: Duration = Duration::from_secs(2);

/// A body whose rest is thrown away when it is dropped.
struct Lingering(Body);

/// Makes a body linger. One that the client has not begun to send, and will not without being asked to, stays as it is.
pub(super) fn linger(headers: &HeaderMap, body: Body) -> Body {
    if body.is_end_stream() || headers.contains_key(header::EXPECT) { body } else { Body::new(Lingering(body)) }
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if self.0.is_end_stream() {
            return;
        }
        let rest = std::mem::take(&mut self.0);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // whichever comes first; what is then left is cut off
                let _ = tokio::time::timeout(TIME, throw_away(rest)).await;
            });
        }
    }
}

async fn throw_away(mut body: Body) {
    let mut left = MOST;
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}
