//! TLS that cannot be had, or not be trusted: no key is sent.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use parley::conversation::FailureCode;
use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::{HEAD, Hostile, asked, told};
use crate::providers::{OPENAI, PATIENT};

const MOST: Duration = Duration::from_secs(5);

/// What a server is sent once the handshake is done, whose certificate its own key has signed, and nobody else.
fn served() -> (String, Arc<Mutex<Vec<u8>>>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config =
        ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], PrivateKeyDer::from(key))
            .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let heard = Arc::new(Mutex::new(Vec::new()));
    let heard_there = Arc::clone(&heard);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            let mut bytes = [0; 4096];
            if let Ok(count) = stream.read(&mut bytes) {
                heard_there.lock().unwrap().extend(&bytes[..count]);
                let _ = stream.write_all(HEAD.as_bytes());
            }
        }
    });
    (base, heard)
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_refused_before_the_key_is_sent() {
    let (base, received) = served();
    let heard = asked(MOST, OPENAI, &base, PATIENT).await;
    let expected = (
        Some(FailureCode::Timeout),
        "the provider cannot be reached: its certificate is not trusted (UnknownIssuer)",
    );
    assert_eq!(told(&heard), expected);
    assert!(received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_port_without_tls_is_told_as_such() {
    let plain = Hostile::start(|mut wire| async move {
        wire.say(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            .await?;
        wire.hold().await
    })
    .await;
    let heard = asked(
        MOST,
        OPENAI,
        &plain.base.replace("http:", "https:"),
        PATIENT,
    )
    .await;
    let expected = (
        Some(FailureCode::Timeout),
        "the provider cannot be reached: it does not speak TLS as it should",
    );
    assert_eq!(told(&heard), expected);
}

/// Bound: `connect`, for the handshake as for the connection.
#[tokio::test]
async fn a_handshake_that_is_not_answered_ends_by_connect() {
    let silent = Hostile::start(super::Wire::hold).await;
    let timeouts = crate::providers::Timeouts {
        connect: Duration::from_millis(300),
        ..PATIENT
    };
    let base = silent.base.replace("http:", "https:");
    let heard = asked(MOST, OPENAI, &base, timeouts).await;
    let expected = (
        Some(FailureCode::Timeout),
        "the provider cannot be reached: connecting took too long",
    );
    assert_eq!(told(&heard), expected);
}
