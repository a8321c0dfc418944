//! HTTP/2 by hand: frames that no client library sends, and none that one would send by itself.

use std::collections::VecDeque;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::within;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Of HEADERS: the request has no body, and all of its headers are in it.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A frame as it came.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The code of an error, of a reset and in GOAWAY.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET path`, without a table and without Huffman's code.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(path))
}

/// The same, but its headers go on.
pub(super) fn begin_get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM, stream, &fields(path))
}

fn fields(path: &str) -> Vec<u8> {
    // :method GET, :scheme http, then :authority and :path as literals.
    let mut fields = vec![0x82, 0x86];
    for (name, value) in [(0x01, "localhost"), (0x04, path)] {
        fields.push(name);
        fields.push(u8::try_from(value.len()).unwrap());
        fields.extend(value.bytes());
    }
    fields
}

pub(super) fn reset(stream: u32) -> Vec<u8> {
    // CANCEL.
    frame(RESET, 0, stream, &8u32.to_be_bytes())
}

/// A connection that answers what it must, SETTINGS and PING, and nothing else.
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    raw: VecDeque<u8>,
}

impl Connection {
    pub(super) async fn open(address: &str) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut connection = Self {
            socket,
            raw: VecDeque::new(),
        };
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        connection.send(&frame(SETTINGS, 0, 0, &[])).await;
        connection
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The other side may have closed: what it said before that can still be read.
    async fn answer(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    /// Lets the stream send so many bytes more; stream 0 is the connection.
    pub(super) async fn give(&mut self, stream: u32, bytes: u32) {
        let update = frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
        self.send(&update).await;
    }

    /// The next frame that says something; `None` at the end of the connection.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = within("a frame", self.read()).await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => {
                    self.answer(&self::frame(SETTINGS, ACK, 0, &[])).await;
                }
                PING if frame.flags & ACK == 0 => {
                    self.answer(&self::frame(PING, ACK, 0, &frame.payload))
                        .await;
                }
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload).await?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
            payload,
        })
    }

    async fn fill(&mut self, into: &mut [u8]) -> Option<()> {
        let mut buffer = [0; 2048];
        while self.raw.len() < into.len() {
            match self.socket.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.raw.extend(&buffer[..read]),
            }
        }
        let length = into.len();
        for (place, byte) in into.iter_mut().zip(self.raw.drain(..length)) {
            *place = byte;
        }
        Some(())
    }
}
