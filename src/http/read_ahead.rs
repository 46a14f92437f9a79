//! Reads that take all there is: one system call for a burst of messages, however small the buffer that is to hold them.
//!
//! A websocket that costs little memory while it is idle reads into a small buffer. What a client says at once (a description and its
//! candidates) is larger, and a read costs more than anything that is done with what it brings. So the bytes are read into a buffer that
//! all connections of a thread share, and what does not fit is kept until it is asked for.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once, and most bytes kept for one connection: a description and a dozen candidates.
const AT_ONCE: usize = 16 << 10;

thread_local! {
    /// Where everything is read into. Holds nothing between two reads.
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; AT_ONCE].into());
}

/// A stream that is read ahead of who asks for it.
pub(super) struct ReadAhead<S> {
    stream: S,
    /// What was read and not asked for yet, from `taken` on; without memory of its own when that is nothing.
    kept: Box<[u8]>,
    taken: usize,
}

impl<S> ReadAhead<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, kept: Box::default(), taken: 0 }
    }

    /// The stream itself. What is read from it directly must not have been read ahead.
    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Hands out what was kept; false when that is nothing.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(rest) = self.kept.get(self.taken..).filter(|rest| !rest.is_empty()) else { return false };
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.kept.len() {
            (self.kept, self.taken) = (Box::default(), 0);
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 || this.give(buf) {
            return Poll::Ready(Ok(()));
        }
        if buf.remaining() >= AT_ONCE {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        SHARED.with_borrow_mut(|shared| {
            let mut all = ReadBuf::new(shared);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut all))?;
            let (now, later) = all.filled().split_at(all.filled().len().min(buf.remaining()));
            buf.put_slice(now);
            if !later.is_empty() {
                this.kept = later.into();
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Counts what it is asked for.
    struct Counting<S>(S, usize);

    impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
            self.1 += 1;
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    #[tokio::test]
    async fn a_burst_is_one_read_and_arrives_in_order() {
        let burst: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
        let mut stream = ReadAhead::new(Counting(&burst[..], 0));
        let mut heard = Vec::new();
        let mut small = [0; 3000];
        while heard.len() < burst.len() {
            let count = stream.read(&mut small).await.unwrap();
            assert!(count > 0);
            heard.extend_from_slice(&small[..count]);
        }
        assert_eq!((heard == burst, stream.stream.1), (true, 1));
        assert!(stream.kept.is_empty(), "an idle connection keeps nothing");
        assert_eq!(stream.read(&mut small).await.unwrap(), 0, "the end");
    }

    #[tokio::test]
    async fn no_more_is_kept_than_is_read_at_once() {
        let much = vec![7; 10 * AT_ONCE];
        let mut stream = ReadAhead::new(&much[..]);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 1);
        assert_eq!(stream.kept.len(), AT_ONCE - 1);
        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), much.len() - 1);
    }

    #[tokio::test]
    async fn an_empty_buffer_reads_nothing_and_a_large_one_reads_straight() {
        let mut stream = ReadAhead::new(Counting(&[1, 2, 3][..], 0));
        assert_eq!(stream.read(&mut []).await.unwrap(), 0);
        assert_eq!(stream.stream.1, 0);
        let mut large = vec![0; AT_ONCE];
        assert_eq!(stream.read(&mut large).await.unwrap(), 3);
        assert!(stream.kept.is_empty());
    }

    #[tokio::test]
    async fn what_is_written_passes() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = ReadAhead::new(near);
        near.write_all(b"word").await.unwrap();
        near.shutdown().await.unwrap();
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"word");
    }
}
