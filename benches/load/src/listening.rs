//! Many readers at once, and the runs that they read.

use std::{rc::Rc, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use crate::{
    api::Api,
    body::Body,
    clock::now,
    http2::Connections,
    provider::TOPIC,
    reader::{Heard, Kind, Meter, Reader},
    server::Server,
    talk::Shape,
};

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How many connections are opened at the same time.
const OPENING: usize = 64;
/// How many clients start runs.
const CLIENTS: usize = 4;

/// Readers at work, and what those have that are done; each with the number of its run.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    readers: JoinSet<Result<(usize, Heard)>>,
    heard: Vec<(usize, Heard)>,
}

/// Starts so many runs, numbered from `first` on, and tells their ids; of the relay, nothing is to be started.
pub(crate) async fn start_runs(server: &Server, first: usize, runs: usize) -> Result<Vec<String>> {
    let mut ids = vec![String::new(); runs];
    if server.kind == Kind::Relay {
        return Ok(ids);
    }
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let address = server.address;
        clients.spawn_local(async move {
            let mut api = Api::open(address).await?;
            let mut started = Vec::new();
            for number in (client..runs).step_by(CLIENTS) {
                started.push((number, api.start(u64::try_from(first + number)?, 1).await?));
            }
            Ok::<_, anyhow::Error>(started)
        });
    }
    while let Some(started) = clients.join_next().await {
        for (number, id) in started?? {
            ids[number] = id;
        }
    }
    Ok(ids)
}

/// Opens all readers, some at a time, and has them read to the end.
pub(crate) fn listen(
    server: &Server,
    ids: &[String],
    shape: Shape,
    headers: &str,
    meter: &Rc<Meter>,
) -> Listening {
    let mut listening = Listening::default();
    let places = Rc::new(Semaphore::new(OPENING));
    let http2 = shape
        .http2
        .map(|window| Rc::new(Connections::new(server.address, window)));
    for _ in 0..shape.readers {
        for (number, id) in ids.iter().enumerate() {
            let path = match server.kind {
                Kind::Parley => format!("/api/stream/{id}"),
                Kind::Relay if shape.readers == 1 => format!("/pipe?topic={TOPIC}{number}"),
                Kind::Relay => broadcast(number),
            };
            let (places, meter, address, kind) = (
                Rc::clone(&places),
                Rc::clone(meter),
                server.address,
                server.kind,
            );
            let (headers, http2) = (headers.to_owned(), http2.clone());
            listening.readers.spawn_local(async move {
                let place = places.acquire().await?;
                let heard = Heard::default();
                let mut reader = match http2 {
                    Some(connections) => {
                        let body = Body::Http2(connections.get(&path, &headers).await?);
                        Reader::new(body, kind, &meter, heard)
                    }
                    None => Reader::open(address, &path, &headers, kind, &meter, heard)
                        .await?
                        .context("nothing to read")?,
                };
                drop(place);
                reader.read_all().await?;
                meter.ended.set(meter.ended.get() + 1);
                Ok((number, reader.heard))
            });
        }
    }
    listening
}

/// Where the relay broadcasts a run.
pub(crate) fn broadcast(number: usize) -> String {
    format!("/broadcast/{TOPIC}{number}")
}

/// Waits for something that happens by itself, as long as no reader fails.
pub(crate) async fn until(
    what: &str,
    listening: &mut Listening,
    happened: impl Fn() -> bool,
) -> Result<()> {
    let began = now();
    while !happened() {
        while let Some(reader) = listening.readers.try_join_next() {
            listening.heard.push(reader??);
        }
        if u128::from(now() - began) > PATIENCE.as_nanos() {
            bail!("waited in vain for {what}");
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

impl Listening {
    /// What all of them have heard, at their end.
    pub(crate) async fn joined(mut self) -> Result<Vec<(usize, Heard)>> {
        while let Some(reader) = self.readers.join_next().await {
            self.heard.push(reader??);
        }
        Ok(self.heard)
    }
}
