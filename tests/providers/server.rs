//! A provider made of bytes: answers each connection with what the test wrote, in pieces of a chosen size.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What is answered to every request.
#[derive(Clone)]
pub(crate) struct Canned {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body is written in pieces of so many bytes, each flushed.
    pub(crate) piece: usize,
    /// Whether the connection stays open, and silent, after the body.
    pub(crate) stays_open: bool,
}

impl Canned {
    pub(crate) fn stream(body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
        Self {
            status: 200,
            headers,
            body: body.into(),
            piece: usize::MAX,
            stays_open: false,
        }
    }
}

/// A listening provider; gone when dropped.
pub(crate) struct CannedServer {
    pub(crate) base: String,
    /// The requests' bytes, as they came.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    /// Sent to when a client has closed its connection.
    pub(crate) closed: tokio::sync::watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

impl CannedServer {
    pub(crate) async fn start(canned: Canned) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (closing, closed) = tokio::sync::watch::channel(0);
        let (seen, closing) = (Arc::clone(&requests), Arc::new(closing));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (canned, seen, closing) =
                    (canned.clone(), Arc::clone(&seen), Arc::clone(&closing));
                connections.spawn(async move {
                    // A client may leave at any moment: that is what some tests are about.
                    let _ = answer(socket, canned, &seen).await;
                    closing.send_modify(|count| *count += 1);
                });
            }
        });
        Self {
            base,
            requests,
            closed,
            _tasks: tasks,
        }
    }
}

async fn answer(
    mut socket: TcpStream,
    canned: Canned,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let request = read_request(&mut socket).await?;
    seen.lock().unwrap().push(request);
    let mut head = format!("HTTP/1.1 {} Canned\r\nconnection: close\r\n", canned.status);
    for (name, value) in &canned.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    socket.write_all(head.as_bytes()).await?;
    for piece in canned.body.chunks(canned.piece.max(1)) {
        socket.write_all(piece).await?;
        tokio::task::yield_now().await;
    }
    if canned.stays_open {
        // Ends when the client closes.
        let mut rest = [0; 64];
        while socket.read(&mut rest).await? > 0 {}
    }
    Ok(())
}

pub(crate) async fn read_request(socket: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = socket.read(&mut buffer).await?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .map(str::to_owned)
            })
            .map_or(0, |length| length.trim().parse().unwrap());
        if body.len() >= length || read == 0 {
            return Ok(text);
        }
    }
}
