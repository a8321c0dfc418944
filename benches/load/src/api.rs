//! Parley's API, as far as the load needs it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::{http::Connection, provider::TOPIC};

/// A client on one connection.
#[derive(Debug)]
pub(crate) struct Api {
    connection: Connection,
    /// More header lines, such as a login.
    pub(crate) headers: String,
}

#[derive(Debug, Deserialize)]
struct Started {
    run_id: String,
}

#[derive(Debug, Deserialize)]
struct Export {
    messages: Vec<Message>,
}

#[derive(Debug, Deserialize)]
struct Message {
    kind: String,
    turn: Option<usize>,
    text: String,
}

impl Api {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(address).await?,
            headers: String::new(),
        })
    }

    /// Starts a run whose topic has this number.
    pub(crate) async fn start(&mut self, number: u64, turns: usize) -> Result<String> {
        let bot = r#"{"provider":"openai","model":"bench"}"#;
        let body =
            format!(r#"{{"topic":"{TOPIC}{number}","max_turns":{turns},"bots":[{bot},{bot}]}}"#);
        let body = self.ask("POST", "/api/run", &body, 201).await?;
        Ok(serde_json::from_slice::<Started>(&body)?.run_id)
    }

    /// The text of each turn that has ended, as the export tells it.
    pub(crate) async fn export(&mut self, run: &str) -> Result<Vec<String>> {
        let body = self
            .ask("GET", &format!("/api/export/{run}.json"), "", 200)
            .await?;
        let export: Export = serde_json::from_slice(&body).context("an export")?;
        let mut turns = Vec::new();
        for message in export
            .messages
            .into_iter()
            .filter(|message| message.kind == "bot")
        {
            ensure!(
                message.turn == Some(turns.len()),
                "an export whose turns are out of order"
            );
            turns.push(message.text);
        }
        Ok(turns)
    }

    pub(crate) async fn stop(&mut self, run: &str) -> Result<()> {
        self.ask("POST", &format!("/api/run/{run}/stop"), "", 200)
            .await
            .map(drop)
    }

    pub(crate) async fn delete(&mut self, run: &str) -> Result<()> {
        self.ask("DELETE", &format!("/api/run/{run}"), "", 204)
            .await
            .map(drop)
    }

    pub(crate) async fn text(&mut self, path: &str) -> Result<String> {
        Ok(String::from_utf8(self.ask("GET", path, "", 200).await?)?)
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str, status: u16) -> Result<Vec<u8>> {
        let answer = self
            .connection
            .ask(method, path, &self.headers, body)
            .await?;
        if answer.status != status {
            bail!(
                "{method} {path} was answered {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
        Ok(answer.body)
    }
}
