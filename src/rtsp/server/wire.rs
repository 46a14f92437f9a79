//! PURE. What crosses the TCP connection: requests, answers, and binary data in between (RFC 2326).

use std::fmt::Write as _;

use bytes::{Buf, Bytes, BytesMut};

/// Longest head of a request. A token of some hundred characters may be in its address.
const MAX_HEAD: usize = 8 * 1024;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Longest body. None is used; some clients send parameters.
const MAX_BODY: usize = 4 * 1024;
/// Channel, and the length in two bytes, after the dollar sign (section 10.12).
const BINARY_HEAD: usize = 4;

/// Why a connection cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not a request of RTSP 1.0.
    #[error("not a request of RTSP/1.0")]
    Malformed,
    /// Longer than anything a client has to say.
    #[error("a request is too long")]
    TooLong,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// In capitals, as it was written.
    pub method: String,
    /// An address, or `*`.
    pub uri: String,
    /// Its number; told back in the answer.
    pub cseq: u32,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The first header of that name, compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// One thing that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A request.
    Request(Request),
    /// Binary data: reports of the receiver.
    Binary {
        /// Which channel it names.
        channel: u8,
        /// What is in it.
        data: Bytes,
    },
}

/// Cuts what arrives into requests and binary data. Keeps at most one unfinished thing: 64 KiB.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What arrived and was not taken yet. The reader appends here, and takes [`Self::next`] until there is nothing.
    pub arrived: BytesMut,
}

impl Decoder {
    /// The next whole thing; `None` until more has arrived. After an error the connection is of no use.
    pub fn next(&mut self) -> Result<Option<Incoming>, WireError> {
        // between requests some clients send empty lines
        let blank = self.arrived.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.arrived.advance(blank);
        match self.arrived.first() {
            None => Ok(None),
            Some(b'$') => Ok(self.binary()),
            // a method, or an answer to something that was never asked
            Some(byte) if byte.is_ascii_uppercase() => self.request(),
            Some(_) => Err(WireError::Malformed),
        }
    }

    fn binary(&mut self) -> Option<Incoming> {
        let [_, channel, high, low, ..] = self.arrived[..] else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if self.arrived.len() < BINARY_HEAD + length {
            return None;
        }
        self.arrived.advance(BINARY_HEAD);
        Some(Incoming::Binary { channel, data: self.arrived.split_to(length).freeze() })
    }

    fn request(&mut self) -> Result<Option<Incoming>, WireError> {
        let head = &self.arrived[..self.arrived.len().min(MAX_HEAD)];
        let Some((end, after)) = end_of_head(head) else {
            // what is certainly no request need not be waited for
            let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return match () {
                _ if self.arrived.len() >= MAX_HEAD => Err(WireError::TooLong),
                _ if first.len() < head.len() => request_line(first).map(|_| None),
                _ => Ok(None),
            };
        };
        let text = std::str::from_utf8(&head[..end]).map_err(|_| WireError::Malformed)?;
        let (request, body) = parse(text)?;
        if body > MAX_BODY {
            return Err(WireError::TooLong);
        }
        if self.arrived.len() < after + body {
            return Ok(None);
        }
        self.arrived.advance(after + body);
        Ok(Some(Incoming::Request(request)))
    }
}

/// Where the head ends, and where what follows begins.
fn end_of_head(bytes: &[u8]) -> Option<(usize, usize)> {
    let crlf = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| (at, at + 4));
    let lf = memchr::memmem::find(bytes, b"\n\n").map(|at| (at, at + 2));
    [crlf, lf].into_iter().flatten().min()
}

/// Method and address.
fn request_line(line: &[u8]) -> Result<(String, String), WireError> {
    let text = std::str::from_utf8(line).map_err(|_| WireError::Malformed)?;
    let mut words = text.trim_end().split(' ');
    let (Some(method), Some(uri), Some("RTSP/1.0"), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(WireError::Malformed);
    };
    let is_method = (1..=20).contains(&method.len()) && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if !is_method || uri.is_empty() || uri.chars().any(char::is_control) {
        return Err(WireError::Malformed);
    }
    Ok((method.to_owned(), uri.to_owned()))
}

/// A request's head, and how long its body is.
fn parse(head: &str) -> Result<(Request, usize), WireError> {
    let mut lines = head.lines();
    let (method, uri) = request_line(lines.next().unwrap_or_default().as_bytes())?;
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            // folded (RFC 2326 section 15.1): goes on with the header before
            let (_, value) = headers.last_mut().ok_or(WireError::Malformed)?;
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(WireError::Malformed)?;
        if headers.len() == MAX_HEADERS {
            return Err(WireError::TooLong);
        }
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let request = Request { method, uri, cseq: 0, headers };
    let cseq = request.header("cseq").and_then(|value| value.parse().ok()).ok_or(WireError::Malformed)?;
    let body = match request.header("content-length") {
        Some(length) => length.parse().map_err(|_| WireError::Malformed)?,
        None => 0,
    };
    Ok((Request { cseq, ..request }, body))
}

/// The status of an answer (RFC 2326 section 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the words are the RFC's
pub enum Status {
    Ok,
    Unauthorized,
    Forbidden,
    NotFound,
    NotEnoughBandwidth,
    SessionNotFound,
    NotInThisState,
    AggregateNotAllowed,
    UnsupportedTransport,
    InternalError,
    NotImplemented,
    ServiceUnavailable,
    OptionNotSupported,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::Unauthorized => "401 Unauthorized",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::NotEnoughBandwidth => "453 Not Enough Bandwidth",
            Self::SessionNotFound => "454 Session Not Found",
            Self::NotInThisState => "455 Method Not Valid in This State",
            Self::AggregateNotAllowed => "460 Only aggregate operation allowed",
            Self::UnsupportedTransport => "461 Unsupported transport",
            Self::InternalError => "500 Internal Server Error",
            Self::NotImplemented => "501 Not Implemented",
            Self::ServiceUnavailable => "503 Service Unavailable",
            Self::OptionNotSupported => "551 Option not supported",
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// How it went.
    pub status: Status,
    text: String,
    body: String,
}

impl Response {
    /// The answer to the request of that number.
    pub fn new(cseq: u32, status: Status) -> Self {
        let text = format!("RTSP/1.0 {}\r\nCSeq: {cseq}\r\nServer: Portico\r\n", status.line());
        Self { status, text, body: String::new() }
    }

    /// With a header. The value is ours: it holds no line break.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        debug_assert!(!value.contains(['\r', '\n']));
        let _ = write!(self.text, "{name}: {value}\r\n");
        self
    }

    /// With a session description.
    #[must_use]
    pub fn with_sdp(self, base: &str, sdp: String) -> Self {
        let length = sdp.len().to_string();
        let mut response =
            self.with("Content-Base", base).with("Content-Type", "application/sdp").with("Content-Length", &length);
        response.body = sdp;
        response
    }

    /// As it is sent.
    pub fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.text.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoder(bytes: &[u8]) -> Decoder {
        Decoder { arrived: BytesMut::from(bytes) }
    }

    fn request(decoder: &mut Decoder) -> Request {
        match decoder.next() {
            Ok(Some(Incoming::Request(request))) => request,
            other => panic!("no request: {other:?}"),
        }
    }

    #[test]
    fn requests_and_reports_come_mixed_and_in_pieces() {
        let stream = b"\r\nOPTIONS * RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: LibVLC\r\n\r\n$\x01\x00\x03abc\
            SET_PARAMETER rtsp://h/a RTSP/1.0\ncseq:2\nContent-Length: 3\n\n\r\n$TEARDOWN rtsp://h/a RTSP/1.0\r\nCSeq: 3\r\n\r\n";
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for byte in stream {
            decoder.arrived.extend_from_slice(&[*byte]);
            while let Some(incoming) = decoder.next().unwrap() {
                seen.push(match incoming {
                    Incoming::Request(request) => format!("{} {} {}", request.cseq, request.method, request.uri),
                    Incoming::Binary { channel, data } => format!("{channel} {data:?}"),
                });
            }
        }
        assert_eq!(seen, ["1 OPTIONS *", "1 b\"abc\"", "2 SET_PARAMETER rtsp://h/a", "3 TEARDOWN rtsp://h/a"]);
    }

    #[test]
    fn headers_are_found_whatever_their_case_and_folded_ones_are_joined() {
        let text =
            b"SETUP rtsp://h/a/trackID=0 RTSP/1.0\r\nCSeq: 302\r\nTRANSPORT: RTP/AVP;unicast;\r\n client_port=4588-4589\r\n\r\n";
        let request = request(&mut decoder(text));
        assert_eq!(request.header("Transport"), Some("RTP/AVP;unicast; client_port=4588-4589"));
        assert_eq!(request.header("Session"), None);
    }

    #[test]
    fn what_is_no_request_ends_the_connection() {
        let error = |bytes: &[u8]| decoder(bytes).next().unwrap_err();
        for text in [
            &b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01\x02\x00",
            b"DESCRIBE rtsp://h/a RTSP/1.0\r\n\r\n",
            b"DESCRIBE rtsp://h/a RTSP/1.0\r\nCSeq: x\r\n\r\n",
            b"DESCRIBE rtsp://h/a RTSP/1.0\r\nno header\r\n\r\n",
            b"DESCRIBE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n",
            b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n",
        ] {
            assert_eq!(error(text), WireError::Malformed, "{}", text.escape_ascii());
        }
        assert_eq!(error(&[b'A'; MAX_HEAD]), WireError::TooLong);
        assert_eq!(error(b"PLAY a RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999999\r\n\r\n"), WireError::TooLong);
        let many = format!("PLAY a RTSP/1.0\r\nCSeq: 1\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS));
        assert_eq!(error(many.as_bytes()), WireError::TooLong);
    }

    #[test]
    fn an_answer_says_how_long_its_description_is() {
        let mut out = BytesMut::new();
        Response::new(7, Status::Ok).with_sdp("rtsp://h/a/", "v=0\r\n".into()).write(&mut out);
        let text = std::str::from_utf8(&out).unwrap();
        assert!(text.starts_with("RTSP/1.0 200 OK\r\nCSeq: 7\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 5\r\n\r\nv=0\r\n"), "{text}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_keep_much(bytes in prop::collection::vec(any::<u8>(), 0..2000), head in "[A-Z]{1,4} [ -~\r\n]{0,200}") {
            for bytes in [bytes.as_slice(), head.as_bytes()] {
                let mut decoder = decoder(bytes);
                while let Ok(Some(_)) = decoder.next() {}
            }
        }
    }
}
