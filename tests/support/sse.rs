//! A client for Server-Sent Events made of a socket and two small decoders, so that it can be cut at any byte.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::contract;

/// No single wait for the server may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// One event as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

impl Event {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).expect("data is JSON")
    }
}

/// Bytes of an event stream into events, by the rules of the HTML standard as far as our server uses them.
#[derive(Debug, Default)]
pub(crate) struct SseDecoder {
    line: Vec<u8>,
    name: String,
    id: String,
    data: Vec<String>,
    pub(crate) retry: Option<u64>,
    pub(crate) comments: usize,
}

impl SseDecoder {
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line =
                String::from_utf8(std::mem::take(&mut self.line)).expect("the stream is UTF-8");
            events.extend(self.line(&line));
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data).join("\n");
            let name = std::mem::take(&mut self.name);
            return (!data.is_empty()).then(|| Event {
                name,
                id: self.id.clone(),
                data,
            });
        }
        match line.split_once(':') {
            Some(("", _)) => self.comments += 1,
            Some((field, value)) => {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match field {
                    "event" => value.clone_into(&mut self.name),
                    "id" => value.clone_into(&mut self.id),
                    "data" => self.data.push(value.to_owned()),
                    "retry" => self.retry = value.parse().ok(),
                    other => panic!("an unknown field {other:?}"),
                }
            }
            None => panic!("a line that is no field: {line:?}"),
        }
        None
    }
}

/// An open stream over a raw socket.
pub(crate) struct SseClient {
    socket: TcpStream,
    raw: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) decoder: SseDecoder,
    /// How many bytes of the body were taken so far.
    pub(crate) taken: usize,
    ended: bool,
}

impl SseClient {
    /// Asks for the stream and reads the head of the answer.
    pub(crate) async fn open(address: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect(address)
            .await
            .expect("the server listens");
        socket.set_nodelay(true).unwrap();
        let mut request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut client = Self {
            socket,
            raw: Vec::new(),
            status: 0,
            head: String::new(),
            decoder: SseDecoder::default(),
            taken: 0,
            ended: false,
        };
        client.read_head().await;
        client
    }

    async fn read_head(&mut self) {
        let end = loop {
            if let Some(end) = self.raw.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            assert!(self.more().await > 0, "the connection ended in the head");
        };
        self.head = String::from_utf8(self.raw[..end].to_vec())
            .unwrap()
            .to_ascii_lowercase();
        self.raw.drain(..end + 4);
        self.status = self.head[9..12].parse().unwrap();
        self.ended = self.head.contains("content-length: 0") || self.status == 204;
    }

    async fn more(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut buffer))
            .await
            .expect("the server went silent");
        let read = read.unwrap_or(0);
        self.raw.extend_from_slice(&buffer[..read]);
        read
    }

    /// The next piece of the body: one chunk of the transfer coding. `None` at its end, or when the connection was lost.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
                let size = usize::from_str_radix(
                    std::str::from_utf8(&self.raw[..line]).unwrap().trim(),
                    16,
                )
                .unwrap();
                if self.raw.len() >= line + 2 + size + 2 {
                    let chunk = self.raw[line + 2..line + 2 + size].to_vec();
                    self.raw.drain(..line + 2 + size + 2);
                    self.ended = size == 0;
                    self.taken += size;
                    return (size > 0).then_some(chunk);
                }
            }
            if self.more().await == 0 {
                self.ended = true;
                return None;
            }
        }
    }

    /// The next events; empty at the end.
    pub(crate) async fn events(&mut self) -> Vec<Event> {
        while let Some(chunk) = self.chunk().await {
            let events = self.decoder.feed(&chunk);
            if !events.is_empty() {
                events
                    .iter()
                    .for_each(|event| contract().check_event(event));
                return events;
            }
        }
        Vec::new()
    }

    /// All events until one fits, that one and what came in the same piece included.
    pub(crate) async fn until(&mut self, fits: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut all = Vec::new();
        while !all.iter().any(&fits) {
            let more = self.events().await;
            assert!(!more.is_empty(), "the stream ended after {all:?}");
            all.extend(more);
        }
        all
    }

    /// All events until the server ends the stream.
    pub(crate) async fn rest(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        loop {
            let more = self.events().await;
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }

    /// The events in the next bytes of the body, cut in the middle of whatever stands there.
    pub(crate) async fn cut_after(mut self, bytes: usize) -> Vec<Event> {
        let mut all = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let Some(chunk) = self.chunk().await else {
                break;
            };
            let taken = chunk.len().min(left);
            all.extend(self.decoder.feed(&chunk[..taken]));
            left -= taken;
        }
        all
    }
}

#[test]
fn the_decoder_gives_the_same_whatever_the_pieces() {
    let stream = "retry: 2000\nevent: a\nid: 1-0\ndata: {\"x\":\"é\"}\n\n:\n:\nevent: b\nid: 1-1\ndata: 2\n\n".as_bytes();
    let whole = SseDecoder::default().feed(stream);
    assert_eq!(whole.len(), 2);
    assert_eq!(
        (
            whole[0].name.as_str(),
            whole[0].id.as_str(),
            whole[1].data.as_str()
        ),
        ("a", "1-0", "2")
    );
    for cut in 0..=stream.len() {
        let mut decoder = SseDecoder::default();
        let mut pieces = decoder.feed(&stream[..cut]);
        pieces.extend(decoder.feed(&stream[cut..]));
        assert_eq!(pieces, whole);
        assert_eq!((decoder.retry, decoder.comments), (Some(2000), 2));
    }
}
