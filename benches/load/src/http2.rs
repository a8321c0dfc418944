//! Readers by HTTP/2, several of which share a connection, as a browser's tabs do.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use h2::{RecvStream, client, client::SendRequest};
use tokio::{net::TcpStream, sync::Mutex};

/// What a request is sent by.
type Sender = SendRequest<bytes::Bytes>;

/// How many streams share a connection.
const SHARING: usize = 10;

/// Connections to one server.
#[derive(Debug)]
pub(crate) struct Connections {
    address: SocketAddr,
    /// How many bytes may be on their way, for each stream and for each connection.
    window: u32,
    /// The last one, and how many places it has left.
    last: Mutex<Option<(Sender, usize)>>,
}

impl Connections {
    pub(crate) fn new(address: SocketAddr, window: u32) -> Self {
        Self {
            address,
            window,
            last: Mutex::new(None),
        }
    }

    /// Asks for a stream.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> Result<RecvStream> {
        let uri = format!("http://{}{path}", self.address);
        let mut request = ::http::Request::get(uri);
        for header in headers.lines() {
            let (name, value) = header
                .split_once(": ")
                .context("a header without a value")?;
            request = request.header(name, value);
        }
        let request = request.body(())?;
        let mut sender = self.place().await?.ready().await?;
        let (answer, _) = sender.send_request(request, true)?;
        let answer = answer.await?;
        let status = answer.status();
        ensure!(status == 200, "{path} was answered {status}");
        Ok(answer.into_body())
    }

    /// A place on a connection.
    async fn place(&self) -> Result<Sender> {
        let mut last = self.last.lock().await;
        if let Some((sender, left @ 1..)) = &mut *last {
            *left -= 1;
            return Ok(sender.clone());
        }
        let sender = self.open().await?;
        *last = Some((sender.clone(), SHARING - 1));
        Ok(sender)
    }

    async fn open(&self) -> Result<Sender> {
        let stream = TcpStream::connect(self.address)
            .await
            .context("cannot connect")?;
        stream.set_nodelay(true)?;
        let mut builder = client::Builder::new();
        builder
            .initial_window_size(self.window)
            .initial_connection_window_size(self.window);
        let (sender, connection) = builder.handshake(stream).await?;
        tokio::task::spawn_local(async move {
            // Its streams tell of an error.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
