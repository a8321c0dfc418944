//! `cargo loco task healthcheck`: asks the process that runs beside it whether it is ready, for supervisors where there is no curl.
//!
//! Needs the configuration for the port and nothing else: the command line runs it without Loco, so that a check every few seconds opens
//! no database.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use loco_rs::{config::Server, prelude::*};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// More than a status line has.
const STATUS_LINE: u64 = 64;

/// The task.
pub struct Healthcheck;

#[async_trait]
impl Task for Healthcheck {
    fn task(&self) -> TaskInfo {
        TaskInfo {
            name: "healthcheck".to_string(),
            detail:
                "Asks the server on this machine for its readiness; ends with 1 if it is not ready"
                    .to_string(),
        }
    }

    async fn run(&self, ctx: &AppContext, _vars: &task::Vars) -> Result<()> {
        ask(&ctx.config.server).map_err(|reason| Error::string(&reason))
    }
}

/// Asks the server that listens as the configuration says.
///
/// # Errors
/// Why it is not ready.
pub fn ask(server: &Server) -> std::result::Result<(), String> {
    let address = address(server)?;
    let status =
        status(address).map_err(|error| format!("nothing answers at {address}: {error}"))?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some("503") => Err(format!("the server at {address} is not ready")),
        _ => Err(format!("at {address} something else answers: {status:?}")),
    }
}

/// Where to ask: on this machine, whatever it listens on.
fn address(server: &Server) -> std::result::Result<SocketAddr, String> {
    let (binding, port) = (server.binding.as_str(), server.port);
    let port = u16::try_from(port).map_err(|_| format!("server.port is no port: {port}"))?;
    let mut found = (binding, port)
        .to_socket_addrs()
        .map_err(|error| format!("server.binding {binding:?}: {error}"))?;
    let found = found
        .next()
        .ok_or_else(|| format!("server.binding {binding:?} has no address"))?;
    let ip = match found.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, port))
}

fn status(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream
        .write_all(b"GET /_readiness HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut head = Vec::new();
    stream.take(STATUS_LINE).read_to_end(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    Ok(head.lines().next().unwrap_or_default().to_owned())
}
