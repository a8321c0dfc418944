//! A queue that is away costs a run a second, and a client nothing.

use std::time::{Duration, Instant};

use parley::simulator::Script;
use tokio::{io::copy_bidirectional, net::TcpListener, task::JoinSet};

use super::{SETTINGS, accepted, ends, queued, redis, simulator, sqlite};
use crate::crashes::node::Node;

/// A queue that does not answer is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(3);

const NOT_HEARD: &str = "the bell was not heard";

/// A node that serves and works, with a Redis there.
async fn node(folder: &tempfile::TempDir, base: &str, redis: &str) -> Node {
    let database = sqlite(folder, "parley.sqlite");
    let mut node =
        Node::new(folder.path(), &database, base, SETTINGS).with(&["--server-and-worker"]);
    let queue = format!("{{ kind: Redis, uri: \"{redis}\", num_workers: 1 }}");
    queued(&node, &queue);
    node.start().await;
    node
}

async fn runs_without_the_bell(node: &Node) {
    let asked = Instant::now();
    let id = accepted(node, 2).await;
    assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
    assert!(node.log().contains(NOT_HEARD), "{}", node.log());
    ends(node, &id, "run.completed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_not_there_or_says_nothing() {
    let (simulator, base) = simulator(Script::text("Yes.")).await;
    let folder = tempfile::tempdir().unwrap();
    runs_without_the_bell(&node(&folder, &base, "redis://127.0.0.1:1").await).await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = format!("redis://{}", mute.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    runs_without_the_bell(&node(&folder, &base, &mute).await).await;
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies() {
    let Some(redis) = redis(2) else { return };
    let mut uri = url::Url::parse(&redis).unwrap();
    let upstream = format!("{}:{}", uri.host_str().unwrap(), uri.port().unwrap_or(6379));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    uri.set_port(Some(port)).unwrap();
    let way = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = tokio::net::TcpStream::connect(&upstream).await.unwrap();
            connections.spawn(async move {
                // An end of either side is the end of both.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let (simulator, base) = simulator(Script::text("Yes.")).await;
    let folder = tempfile::tempdir().unwrap();
    let mut node = node(&folder, &base, uri.as_str()).await;
    ends(&node, &accepted(&node, 2).await, "run.completed").await;
    assert!(!node.log().contains(NOT_HEARD), "{}", node.log());
    way.abort();
    // Dropped, and its connections with it.
    assert!(way.await.unwrap_err().is_cancelled());
    runs_without_the_bell(&node).await;
    node.signal("TERM");
    assert!(node.ended().await.success(), "{}", node.log());
    simulator.stop().await;
}
