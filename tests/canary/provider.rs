//! A provider that repeats the key it was sent, in the way that the model's name asks for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Where the key is repeated.
pub(super) const FAULTS: [&str; 22] = [
    "text",
    "text-split",
    "text-letters",
    "text-escaped",
    "text-and-break",
    "thoughts-split",
    "refusal-split",
    "finish",
    "finish-escaped",
    "error-in-stream",
    "error-escaped",
    "garbage",
    "garbage-split",
    "data-lines",
    "id-event-comment",
    "other-fields",
    "status-401",
    "status-500",
    "status-429-typed",
    "redirect",
    "page",
    "packed",
];

pub(super) struct Parrot {
    pub(super) base: String,
    repeated: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Parrot {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let repeated = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&repeated);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                open.spawn(async move {
                    // Who asks may have gone.
                    if answer(socket).await.is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self {
            base,
            repeated,
            _tasks: tasks,
        }
    }

    /// How often.
    pub(super) fn repeated(&self) -> usize {
        self.repeated.load(Ordering::Relaxed)
    }
}

async fn answer(mut socket: TcpStream) -> std::io::Result<()> {
    let request = crate::providers::read_request(&mut socket).await?;
    let header = |name: &str| {
        let line = request
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
        line.map(|line| {
            line[name.len() + 2..]
                .trim_start_matches("Bearer ")
                .to_owned()
        })
    };
    let key = ["authorization", "x-api-key", "api-key"]
        .into_iter()
        .find_map(header)
        .expect("a key");
    let api = Api::of(&request);
    let fault = FAULTS
        .iter()
        .find(|fault| request.contains(&format!("\"model\":\"{fault}\"")))
        .expect("a fault");
    let (status, headers, body) = api.answer(fault, &key);
    let head = format!(
        "HTTP/1.1 {status} {key}\r\nset-cookie: {key}\r\nx-{key}: 1\r\nx-request-id: {key}\r\nconnection: close\r\n{headers}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await?;
    // In two pieces, so that the key is cut on the wire, too.
    let (one, two) = body.split_at(body.len() / 2);
    socket.write_all(one.as_bytes()).await?;
    tokio::task::yield_now().await;
    socket.write_all(two.as_bytes()).await?;
    socket.shutdown().await?;
    // What the client still sends is let go of, so that nothing is reset.
    let mut rest = [0; 1024];
    while socket.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    Ok(())
}

#[derive(Clone, Copy)]
enum Api {
    Chat,
    Responses,
    Messages,
}

impl Api {
    fn of(request: &str) -> Self {
        let line = request.lines().next().unwrap_or_default();
        if line.contains("/responses") {
            Self::Responses
        } else if line.contains("/messages") {
            Self::Messages
        } else {
            Self::Chat
        }
    }

    fn text(self, words: &str) -> String {
        match self {
            Self::Chat => delta("content", words),
            Self::Responses => {
                format!(
                    "data: {{\"type\":\"response.output_text.delta\",\"delta\":\"{words}\"}}\n\n"
                )
            }
            Self::Messages => piece("text_delta", "text", words),
        }
    }

    fn thoughts(self, words: &str) -> String {
        match self {
            Self::Chat => delta("reasoning_content", words),
            Self::Responses => {
                format!(
                    "data: {{\"type\":\"response.reasoning_text.delta\",\"delta\":\"{words}\"}}\n\n"
                )
            }
            Self::Messages => piece("thinking_delta", "thinking", words),
        }
    }

    fn refusal(self, words: &str) -> String {
        match self {
            Self::Chat => delta("refusal", words),
            Self::Responses => {
                format!("data: {{\"type\":\"response.refusal.delta\",\"delta\":\"{words}\"}}\n\n")
            }
            // Messages has a refusal's words in one piece.
            Self::Messages => String::new(),
        }
    }

    fn end(self, reason: &str) -> String {
        match self {
            Self::Chat => format!(
                "data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\ndata: [DONE]\n\n"
            ),
            Self::Responses => format!(
                "data: {{\"type\":\"response.incomplete\",\"response\":{{\"incomplete_details\":{{\"reason\":\"{reason}\"}}}}}}\n\n"
            ),
            Self::Messages => format!(
                "data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{reason}\",\"stop_details\":{{\"explanation\":\"{reason}\"}}}}}}\n\n\
                 data: {{\"type\":\"message_stop\"}}\n\n"
            ),
        }
    }

    /// The status, the headers and the body.
    fn answer(self, fault: &str, key: &str) -> (u16, String, String) {
        let json = |status: u16, error: String| {
            let body = format!("{{\"error\":{error}}}");
            (status, "content-type: application/json".to_owned(), body)
        };
        let said = |headers: String| (200, headers, key.to_owned());
        let stream = "content-type: text/event-stream";
        match fault {
            "status-401" => json(401, format!("{{\"message\":\"Incorrect key {key}\"}}")),
            "status-500" => json(500, format!("<html>{key}")),
            "status-429-typed" => {
                let message = escaped(key);
                let error =
                    format!("{{\"type\":\"{key}\",\"code\":\"{key}\",\"message\":\"{message}\"}}");
                json(429, error)
            }
            "redirect" => {
                let location = format!("location: http://127.0.0.1:1/{key}");
                (307, location, String::new())
            }
            "page" => said(format!("content-type: text/{key}")),
            "packed" => said(format!("{stream}\r\ncontent-encoding: {key}")),
            fault => (200, stream.to_owned(), self.stream(fault, key)),
        }
    }

    /// The body of a stream.
    fn stream(self, fault: &str, key: &str) -> String {
        let (one, two) = key.split_at(key.len() / 2);
        let end = self.end("stop");
        let hi = self.text("Hi");
        let letters = key.chars().map(|c| self.text(&c.to_string()));
        match fault {
            "text" => self.text(&format!("It is {key}.")) + &end,
            "text-split" => self.text(&format!("It is {one}")) + &self.text(two) + &end,
            "text-letters" => letters.collect::<String>() + &end,
            "text-escaped" => self.text(&escaped(key)) + &end,
            "text-and-break" => self.text("It is ") + &self.text(one),
            "thoughts-split" => self.thoughts(one) + &self.thoughts(two) + &end,
            "refusal-split" => self.refusal(one) + &self.refusal(two) + &self.end("refusal"),
            "finish" => hi + &self.end(key),
            "finish-escaped" => hi + &self.end(&escaped(key)),
            "error-in-stream" => error(&format!("\"type\":\"{key}\",\"message\":\"no {key}\"")),
            "error-escaped" => error(&format!("\"message\":\"{}\"", escaped(key))),
            "garbage" => format!("data: what is {key}\n\n"),
            "garbage-split" => format!("data: {{\"x\": {one}\n\ndata: {two}\n\n"),
            "data-lines" => format!("data: {one}\ndata: {two}\n\n"),
            "id-event-comment" => {
                let fields = format!("id: {key}\nevent: {key}\n: {key}\nretry: {key}\n");
                format!("{fields}{hi}{key}: {key}\n{end}")
            }
            "other-fields" => {
                let fields = format!("data: {{\"id\":\"{key}\",\"{key}\":\"{key}\",");
                (hi + &end).replace("data: {", &fields)
            }
            other => panic!("{other}"),
        }
    }
}

fn error(fields: &str) -> String {
    format!("data: {{\"type\":\"error\",\"error\":{{{fields}}}}}\n\n")
}

/// The words as JSON may have them, too.
fn escaped(words: &str) -> String {
    let escape = |c: char| format!("\\u{:04x}", u32::from(c));
    words.chars().map(escape).collect()
}

fn delta(field: &str, words: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{\"{field}\":\"{words}\"}}}}]}}\n\n")
}

fn piece(kind: &str, field: &str, words: &str) -> String {
    format!(
        "data: {{\"type\":\"content_block_delta\",\"delta\":{{\"type\":\"{kind}\",\"{field}\":\"{words}\"}}}}\n\n"
    )
}
