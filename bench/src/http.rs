//! A lean HTTP/1.1 client for the generator: one request at a time on a connection that is kept.
//!
//! The generator shares the machine with what it measures, so what it costs is taken from the servers. It writes
//! requests that were put together beforehand and reads of a reply what it needs: the status, the length, the body.
//! A library's client (header maps, body streams, a pool) costs several times that.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A reply is refused beyond this.
const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
}

/// What the generator looks at of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    /// Whether it says when to come again.
    pub(crate) retry_after: bool,
    /// Whether the server ends the connection with it.
    pub(crate) closes: bool,
    pub(crate) body: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    retry_after: bool,
    closes: bool,
    /// Where the body begins and ends in what was read.
    body: std::ops::Range<usize>,
}

impl Connection {
    /// Connects, if need be from one address of several: a pair of addresses has so many ports only.
    pub(crate) async fn open(to: SocketAddr, from: Option<IpAddr>) -> io::Result<Self> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::new(), filled: 0 })
    }

    /// Sends a request and waits for its reply. After an error the connection is of no further use.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Reply<'_>> {
        self.stream.write_all(request).await?;
        self.filled = 0;
        let head = loop {
            self.fill().await?;
            if let Some(head) = head(&self.input[..self.filled])? {
                break head;
            }
        };
        while self.filled < head.body.end {
            self.fill().await?;
        }
        let Head { status, retry_after, closes, body } = head;
        Ok(Reply { status, retry_after, closes, body: &self.input[body] })
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.filled == self.input.len() {
            if self.filled >= REPLY_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a reply without end"));
            }
            self.input.resize((self.filled * 2).max(2_048), 0);
        }
        let read = self.stream.read(&mut self.input[self.filled..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += read;
        Ok(())
    }
}

/// Reads a reply's head once it is whole.
fn head(input: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let text = std::str::from_utf8(&input[..end]).map_err(|_| invalid("a head that is not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
    let status = status.and_then(|code| code.parse().ok()).ok_or_else(|| invalid("no status line of HTTP/1.1"))?;
    let (mut length, mut retry_after, mut closes) = (None, false, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().map_err(|_| invalid("a length that is no number"))?);
        } else if name.eq_ignore_ascii_case("retry-after") {
            retry_after = true;
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("a reply in chunks, which this client does not read"));
        }
    }
    let begin = end + 4;
    let length: usize = length.unwrap_or(0);
    let end = begin.checked_add(length).filter(|end| *end <= REPLY_BYTES_MAX).ok_or_else(|| invalid("too long"))?;
    Ok(Some(Head { status, retry_after, closes, body: begin..end }))
}

/// The head of a request up to its key, written once for a connection.
pub(crate) fn request_head(method: &str, path: &str, host: SocketAddr, token: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n")
}

/// One request without a body on a connection of its own; the body of a reply in the 200s.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut connection = Connection::open(address, None).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let reply = connection.exchange(request.as_bytes()).await?;
    Ok((reply.status, reply.body.to_vec()))
}

/// The number behind `"name":` in a flat piece of JSON.
pub(crate) fn number(body: &[u8], name: &[u8]) -> Option<u64> {
    let at = body.windows(name.len()).position(|window| window == name)? + name.len();
    let digits = body[at..].iter().skip_while(|byte| **byte == b' ').take_while(|byte| byte.is_ascii_digit());
    let (value, count) = digits.fold((0u64, 0), |(value, count), digit| {
        (value.saturating_mul(10).saturating_add(u64::from(digit - b'0')), count + 1)
    });
    (count > 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nx: y\r\n\r\nhe";
        assert_eq!(head(&text[..30]).unwrap(), None);
        let begin = text.len() - 2;
        assert_eq!(
            head(text).unwrap(),
            Some(Head { status: 201, retry_after: false, closes: false, body: begin..begin + 5 })
        );
        let shed = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nConnection: close\r\n\r\n";
        assert_eq!(head(shed).unwrap().unwrap(), Head { status: 503, retry_after: true, closes: true, body: 71..71 });
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").is_err());
        assert!(head(b"SMTP 1\r\n\r\n").is_err());
    }

    #[test]
    fn numbers_are_found_in_flat_json() {
        let body = br#"{"id":"x","version":1,"position": 4711,"balances":[]}"#;
        assert_eq!(number(body, b"\"position\":"), Some(4711));
        assert_eq!(number(body, b"\"id\":"), None);
        assert_eq!(number(body, b"\"nothing\":"), None);
    }
}
