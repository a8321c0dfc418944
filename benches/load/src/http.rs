//! As much HTTP/1.1 as a cheap client needs: one connection, whole answers or the bytes of a stream.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

/// A connection that is kept alive.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// What has been read and belongs to nothing yet.
    pub(crate) rest: Vec<u8>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// `None`: in chunks.
    length: Option<usize>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        Self::of(TcpSocket::new_v4()?, address).await
    }

    /// One whose receive buffer is small: for a reader that stops reading.
    pub(crate) async fn narrow(address: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        Self::of(socket, address).await
    }

    async fn of(socket: TcpSocket, address: SocketAddr) -> Result<Self> {
        let stream = socket.connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            rest: Vec::new(),
        })
    }

    /// Sends a request, and reads the whole answer.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<Answer> {
        self.send(method, path, headers, body).await?;
        let head = self.head().await?;
        let body = match head.length {
            Some(length) => {
                while self.rest.len() < length {
                    self.more().await?;
                }
                self.rest.drain(..length).collect()
            }
            None => self.chunks().await?,
        };
        Ok(Answer {
            status: head.status,
            body,
        })
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<()> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}");
        if !body.is_empty() {
            request += &format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            );
        } else if method == "POST" {
            request += "content-length: 0\r\n";
        }
        request += "\r\n";
        request += body;
        self.stream
            .write_all(request.as_bytes())
            .await
            .context("cannot send a request")
    }

    pub(crate) async fn head(&mut self) -> Result<Head> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.rest, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.rest[..end]).to_ascii_lowercase();
                self.rest.drain(..end + 4);
                let status = head
                    .split(' ')
                    .nth(1)
                    .and_then(|status| status.parse().ok())
                    .context("no status")?;
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
                let chunked = head.contains("transfer-encoding: chunked");
                let length = if chunked {
                    None
                } else {
                    Some(length.unwrap_or(0))
                };
                return Ok(Head { status, length });
            }
            self.more().await?;
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>> {
        let (mut body, mut chunks) = (Vec::new(), Chunks::default());
        loop {
            let used = chunks.take(&self.rest, &mut body)?;
            self.rest.drain(..used);
            if chunks.ended() {
                return Ok(body);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.rest).await?;
        ensure!(
            read > 0,
            "the connection was closed in the middle of an answer"
        );
        Ok(())
    }
}

/// Takes HTTP chunks apart, however they come.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    at: At,
    /// The size of the chunk that is read, and then what is left of it.
    left: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    Extension,
    Data,
    /// The line's end after the data.
    Between,
    /// After the last chunk: the empty line.
    Trailer,
    End,
}

impl Chunks {
    /// Whether the last chunk has been read.
    pub(crate) fn ended(&self) -> bool {
        self.at == At::End
    }

    /// Puts what is data at the end of `body`; tells how much was used.
    pub(crate) fn take(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize> {
        let mut used = 0;
        while used < bytes.len() && self.at != At::End {
            if self.at == At::Data {
                let take = self.left.min(bytes.len() - used);
                body.extend_from_slice(&bytes[used..used + take]);
                used += take;
                self.left -= take;
                if self.left == 0 {
                    self.at = At::Between;
                }
                continue;
            }
            self.byte(bytes[used])?;
            used += 1;
        }
        Ok(used)
    }

    fn byte(&mut self, byte: u8) -> Result<()> {
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.left = self.left * 16 + usize::try_from(digit)?;
                At::Size
            }
            (At::Size, b';') => At::Extension,
            (At::Size | At::Extension, b'\n') if self.left == 0 => At::Trailer,
            (At::Size | At::Extension, b'\n') => At::Data,
            (At::Between, b'\n') => At::Size,
            (At::Trailer, b'\n') => At::End,
            (at, b'\r') => at,
            (At::Extension, _) => At::Extension,
            (at, byte) => bail!("{byte} in a chunk's frame, at {at:?}"),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_taken_apart_wherever_they_are_cut() {
        let bytes = b"5\r\nhello\r\n1a;x=y\r\n, said somebody to others.\r\n0\r\n\r\nrest";
        for cut in 1..bytes.len() {
            let (mut chunks, mut body) = (Chunks::default(), Vec::new());
            let mut used = 0;
            for part in bytes.chunks(cut) {
                used += chunks.take(part, &mut body).unwrap();
            }
            assert_eq!(
                String::from_utf8_lossy(&body),
                "hello, said somebody to others."
            );
            assert!(chunks.ended());
            assert_eq!(used, bytes.len() - 4);
        }
    }
}
