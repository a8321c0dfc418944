//! Starts a talk, or comes back to one, and shows it as it is spoken.
//!
//! cargo run -- http://localhost:5150 "Is tea better than coffee?"
//! cargo run -- "http://localhost:5150/api/stream/RUN_ID?last_event_id=2-7"
//!
//! The talk goes by on stderr; in the end the turns' texts come as JSON on stdout. `PARLEY_LOGIN=user:password` logs in.

use std::{collections::BTreeMap, error::Error, time::Duration};

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// The server says something every 4 s, so after this the connection is dead.
const SILENCE: Duration = Duration::from_secs(10);
const FINAL: [&str; 3] = ["run.completed", "run.stopped", "run.failed"];

struct Watcher {
    client: Client,
    login: Option<(String, String)>,
    /// Before a client comes back; the stream's `retry:` says how long.
    wait: Duration,
    /// The last event that was seen.
    cursor: Option<String>,
    /// The text of each turn.
    turns: BTreeMap<u64, String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().ok_or("which server?")?;
    let login = std::env::var("PARLEY_LOGIN").ok();
    let mut watcher = Watcher {
        client: Client::builder()
            .connect_timeout(SILENCE)
            .read_timeout(SILENCE)
            .build()?,
        login: login.and_then(|login| {
            login
                .split_once(':')
                .map(|(user, word)| (user.into(), word.into()))
        }),
        wait: Duration::from_secs(2),
        cursor: None,
        turns: BTreeMap::new(),
    };
    let url = match arguments.next() {
        Some(topic) => watcher.start(&base, &topic).await?,
        None => base,
    };
    watcher.watch(&url).await?;
    eprintln!();
    let turns: Vec<String> = watcher.turns.into_values().collect();
    print!("{}", json!(turns));
    Ok(())
}

impl Watcher {
    /// Starts a run, once: the key makes every further try the same one. The address of its stream.
    async fn start(&self, base: &str, topic: &str) -> Result<String, Box<dyn Error>> {
        let key = uuid::Uuid::now_v7().to_string();
        let bots = json!([{"provider": "openai", "model": "gpt-6-luna"},
                          {"provider": "anthropic", "model": "claude-haiku-5-5", "name": "Bob"}]);
        let order = json!({"topic": topic, "max_turns": 4, "bots": bots});
        loop {
            let request = self.client.post(format!("{base}/api/run")).json(&order);
            match self.send(request.header("idempotency-key", &key)).await {
                Ok(answer) if answer.status() == StatusCode::CREATED => {
                    if let Ok(run) = answer.json::<Value>().await {
                        return Ok(format!(
                            "{base}{}",
                            run["stream_url"].as_str().unwrap_or_default()
                        ));
                    }
                    self.come_back(None).await;
                }
                Ok(answer) if passes(answer.status()) => self.come_back(Some(&answer)).await,
                Ok(answer) => return Err(refusal(answer).await),
                Err(_) => self.come_back(None).await,
            }
        }
    }

    /// Shows the run to its end, through whatever happens to the connection.
    async fn watch(&mut self, url: &str) -> Result<(), Box<dyn Error>> {
        loop {
            let mut request = self.client.get(url);
            if let Some(cursor) = &self.cursor {
                request = request.header("last-event-id", cursor);
            }
            match self.send(request).await {
                // Over, and nothing is missing.
                Ok(answer) if answer.status() == StatusCode::NO_CONTENT => return Ok(()),
                Ok(answer) if answer.status() == StatusCode::OK => {
                    if self.read(answer).await? {
                        return Ok(());
                    }
                    // Also after a clean end: only a final event is the end.
                    self.come_back(None).await;
                }
                Ok(answer) if passes(answer.status()) => self.come_back(Some(&answer)).await,
                Ok(answer) => return Err(refusal(answer).await),
                Err(_) => self.come_back(None).await,
            }
        }
    }

    /// Reads a stream until it ends, is cut off or is silent for too long. True after the event that ends the run.
    async fn read(&mut self, mut answer: Response) -> Result<bool, Box<dyn Error>> {
        let (mut bytes, mut id, mut data) = (Vec::new(), String::new(), String::new());
        while let Ok(Some(piece)) = answer.chunk().await {
            bytes.extend_from_slice(&piece);
            // Whole lines only: what is cut off in the middle comes again.
            while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8(bytes.drain(..=end).collect())?;
                match line.trim_end_matches('\n').split_once(": ") {
                    Some(("retry", millis)) => self.wait = Duration::from_millis(millis.parse()?),
                    Some(("id", value)) => value.clone_into(&mut id),
                    Some(("data", value)) => value.clone_into(&mut data),
                    // A heartbeat is a lone colon; an empty line ends an event.
                    None if line == "\n" && !data.is_empty() => {
                        let event: Value = serde_json::from_str(&std::mem::take(&mut data))?;
                        self.cursor = Some(std::mem::take(&mut id));
                        if self.apply(&event) {
                            return Ok(true);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(false)
    }

    /// The client's rule. True after the event that ends the run.
    fn apply(&mut self, event: &Value) -> bool {
        let kind = event["type"].as_str().unwrap_or_default();
        let text = event["text"].as_str().unwrap_or_default();
        let turn = event["turn"].as_u64().unwrap_or_default();
        match kind {
            "turn.started" => eprint!("\n\n{}: ", event["bot_name"].as_str().unwrap_or_default()),
            "turn.delta" if event["kind"] != "reasoning" => {
                let text = self.turns.get(&turn).cloned().unwrap_or_default() + text;
                self.show(turn, text);
            }
            "turn.completed" | "turn.interrupted" | "turn.failed" => {
                self.show(turn, text.to_owned())
            }
            "turn.restarted" => self.show(turn, String::new()),
            _ => {}
        }
        FINAL.contains(&kind)
    }

    /// The turn's text is this now. Prints what is new of it, or all of it where the old was taken back.
    fn show(&mut self, turn: u64, text: String) {
        let shown = self.turns.entry(turn).or_default();
        match text.strip_prefix(shown.as_str()) {
            Some(new) => eprint!("{new}"),
            None => eprint!("\n↺ {text}"),
        }
        *shown = text;
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, reqwest::Error> {
        match &self.login {
            Some((user, password)) => request.basic_auth(user, Some(password)).send().await,
            None => request.send().await,
        }
    }

    /// Waits as long as the server asks for.
    async fn come_back(&self, answer: Option<&Response>) {
        let asked = answer.and_then(|answer| answer.headers().get("retry-after"));
        let seconds = asked.and_then(|value| value.to_str().ok()?.parse().ok());
        tokio::time::sleep(seconds.map_or(self.wait, Duration::from_secs)).await;
    }
}

/// Whether the same request may succeed later.
fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502..=504)
}

/// A problem that does not pass by itself, in the server's own words.
async fn refusal(answer: Response) -> Box<dyn Error> {
    let status = answer.status();
    let problem: Value = answer.json().await.unwrap_or_default();
    let mut words = format!(
        "{status}: {}",
        problem["detail"].as_str().unwrap_or_default()
    );
    for rule in problem["errors"].as_array().into_iter().flatten() {
        let part = |name: &str| rule[name].as_str().unwrap_or_default().to_owned();
        words += &format!("\n  {}: {}", part("pointer"), part("reason"));
    }
    words.into()
}
