//! The bytes of a stream: those of an HTTP/1.1 connection, or a share of one by HTTP/2.

use std::{cell::RefCell, io};

use anyhow::{Context as _, Result};
use h2::RecvStream;

use crate::http::{Chunks, Connection};

/// How much is read at once.
const BUFFER: usize = 64 * 1024;

/// What is left of a stream.
#[derive(Debug)]
pub(crate) enum Body {
    Http1(Connection, Chunks),
    Http2(RecvStream),
}

impl Body {
    /// Puts what comes next at the end of `frames`; false: that was the end. All who read may share the buffer.
    pub(crate) async fn read(
        &mut self,
        buffer: &RefCell<Vec<u8>>,
        frames: &mut Vec<u8>,
    ) -> Result<bool> {
        match self {
            Self::Http1(connection, chunks) => read(connection, chunks, buffer, frames).await,
            Self::Http2(body) => {
                let Some(data) = body.data().await else {
                    return Ok(false);
                };
                let data = data.context("a stream was cut")?;
                frames.extend_from_slice(&data);
                body.flow_control().release_capacity(data.len())?;
                Ok(true)
            }
        }
    }
}

async fn read(
    connection: &mut Connection,
    chunks: &mut Chunks,
    buffer: &RefCell<Vec<u8>>,
    frames: &mut Vec<u8>,
) -> Result<bool> {
    if !connection.rest.is_empty() {
        let used = chunks.take(&connection.rest, frames)?;
        connection.rest.drain(..used);
        return Ok(!chunks.ended());
    }
    connection.stream.readable().await?;
    let mut buffer = buffer.borrow_mut();
    buffer.resize(BUFFER, 0);
    match connection.stream.try_read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(count) => {
            chunks.take(&buffer[..count], frames)?;
            Ok(!chunks.ended())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error).context("a stream was cut"),
    }
}
