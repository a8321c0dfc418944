//! A run as a file: what was said stands in every form as it was said, and a file that lacks something never looks whole.

use parley::{
    conversation::RunId,
    simulator::{Gate, Script},
};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Answer, TestApp, shown_head, talk, within};

/// What breaks forms: markup of each, fences of any length, directions, marks, pictures of several characters, all line ends.
pub(super) const SAID: [&str; 14] = [
    "</pre></article><script>alert(1)</script>]]>--><!-- &lt;b&gt; &amp;amp; <b>\"'",
    "```\n# no heading\n``````\n~~~\n````text\n## Turn 9 · Ada\n\n> - 1. [x](y) ![z](w)\n\n```",
    "`````````````` `",
    "\n\n  leading and trailing lines \t\n\n",
    "fn main() {\n\tprintln!(\"{}\", 1 << 2 & 3);\n}\r\nnext\rlast",
    "مرحبا بالعالم، هذا نص عربي مع أرقام 123 وكلمة English في الوسط.",
    "שלום עולם, זה טקסט עם (סוגריים) ועוד 45%.",
    "你好，世界。日本語もここに。그리고 한국어도.",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵 👍🏽 ❤️ 1️⃣ 🫠",
    "e\u{301} a\u{308}\u{323} Ṩ Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!",
    "\u{202e}txt.exe\u{2066} and \u{2069}\u{200f} unclosed \u{202b}",
    "no face has \u{e000}\u{10fffd}\u{1}\u{7f}\u{85}\u{2028}, nor a replaced \u{fffd}",
    "Ελληνικά, русский, Türkçe, Việt, ไทย, हिन्दी, ქართული, አማርኛ",
    "Donaudampfschifffahrtsgesellschaftskapitän-abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
];

/// A run of so many turns that is over.
pub(super) async fn over(app: &TestApp, turns: u32) -> String {
    let id = app.start_run(turns).await;
    app.events(&id).await;
    id
}

/// Puts a text into the place of the one that was said in that turn.
pub(super) async fn say(app: &TestApp, id: &str, turn: usize, text: &str) {
    let id: RunId = id.parse().unwrap();
    let db = &app.ctx.db;
    let values = [
        text.into(),
        id.as_uuid().into(),
        i32::try_from(turn).unwrap().into(),
    ];
    let sql = "UPDATE messages SET text = $1 WHERE run_id = $2 AND turn = $3";
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    assert_eq!(db.execute_raw(statement).await.unwrap().rows_affected(), 1);
}

pub(super) async fn file(app: &TestApp, id: &str, format: &str) -> Answer {
    let answer = app.get(&format!("/api/export/{id}.{format}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

/// The fenced blocks of a Markdown file, each with the heading before it, as `CommonMark` reads them.
fn blocks(markdown: &str) -> Vec<(String, String)> {
    let (mut found, mut heading, mut rest) = (Vec::new(), String::new(), markdown);
    while let Some((line, after)) = rest.split_once('\n') {
        rest = after;
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut heading);
        }
        let Some(fence) = line
            .strip_suffix("text")
            .filter(|fence| fence.len() >= 3 && fence.bytes().all(|b| b == b'`'))
        else {
            continue;
        };
        let end = format!("\n{fence}\n");
        let (text, after) = after.split_once(&end).expect("a fence is closed");
        found.push((heading.clone(), text.to_owned()));
        rest = after;
    }
    found
}

/// The texts of an HTML file, each with its heading.
fn texts(html: &str) -> Vec<(String, String)> {
    let articles = html.split("<article>\n").skip(1);
    articles
        .map(|article| {
            let between = |from: &str, to: &str| {
                let (_, after) = article.split_once(from).unwrap();
                unescaped(after.split_once(to).unwrap().0)
            };
            let text = between("<pre dir=\"auto\" lang=\"\">\n", "</pre>");
            (between("<h2><bdi>", "</bdi></h2>"), text)
        })
        .collect()
}

fn unescaped(html: &str) -> String {
    let names = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#13;", "\r"),
        ("&amp;", "&"),
    ];
    names
        .iter()
        .fold(html.to_owned(), |text, (name, c)| text.replace(name, c))
}

#[tokio::test]
async fn what_was_said_stands_in_every_form_as_it_was_said() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = over(&app, 15).await;
    for (turn, text) in SAID.iter().enumerate() {
        say(&app, &id, turn, text).await;
    }
    // An empty message stands in the data alone.
    say(&app, &id, 14, "").await;
    let export = file(&app, &id, "json").await.json();
    let said: Vec<&str> = export["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["text"].as_str().unwrap())
        .collect();
    assert_eq!((said[0], said.len(), said[15]), ("Tea or coffee?", 16, ""));
    assert_eq!(said[1..15], SAID);
    let titles = |n: usize| match n {
        0 => "Topic".to_owned(),
        n => format!("Turn {n} · {}", if n % 2 == 1 { "Ada" } else { "Bob" }),
    };
    let expected: Vec<(String, String)> = said[..15]
        .iter()
        .enumerate()
        .map(|(n, text)| (titles(n), (*text).to_owned()))
        .collect();
    let markdown = file(&app, &id, "md").await;
    assert_eq!(blocks(&markdown.text), expected);
    let html = file(&app, &id, "html").await;
    assert_eq!(texts(&html.text), expected);
    assert!(!html.text.contains("<script") && !markdown.text.contains("not over"));
    for (answer, kind) in [
        (&markdown, "text/markdown; charset=utf-8"),
        (&html, "text/html; charset=utf-8"),
    ] {
        assert_eq!(answer.header("content-type"), kind);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    let policy = html.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-")
            && policy.ends_with("; sandbox"),
        "{policy}"
    );
    app.close().await;
}

#[tokio::test]
async fn a_name_is_text_like_any_other() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let mut order = talk(1);
    order["bots"][0]["name"] = json!("<b>*E_ve*</b> \u{202e}`x`");
    let id = app.start(&order).await;
    app.events(&id).await;
    let markdown = file(&app, &id, "md").await.text;
    assert!(
        markdown.contains("\n## Turn 1 · \\<b\\>\\*E\\_ve\\*\\</b\\> \u{fffd}\\`x\\`\n"),
        "{markdown}"
    );
    let html = file(&app, &id, "html").await.text;
    assert!(
        html.contains("<h2><bdi>Turn 1 · &lt;b&gt;*E_ve*&lt;/b&gt; \u{fffd}`x`</bdi></h2>"),
        "{html}"
    );
    app.close().await;
}

#[tokio::test]
async fn a_file_of_a_run_that_is_over_is_asked_for_again_by_its_tag() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = over(&app, 1).await;
    let mut blocks = Vec::new();
    let mut tags = std::collections::BTreeSet::new();
    for format in ["json", "md", "html", "pdf"] {
        let path = format!("/api/export/{id}.{format}");
        let whole = app.get(&path).await;
        let tag = whole.header("etag").to_owned();
        let weak = if format == "pdf" { "\"" } else { "W/\"" };
        assert!(tag.starts_with(weak) && tags.insert(tag.clone()), "{tag}");
        assert_eq!(whole.header("cache-control"), "private, no-cache");
        let again = app
            .send(
                app.request("GET", &path)
                    .header("if-none-match", format!("\"x\", {tag}")),
            )
            .await;
        assert_eq!(
            (again.status, again.text.as_str(), again.header("etag")),
            (304, "", tag.as_str())
        );
        let other = app
            .send(app.request("GET", &path).header("if-none-match", "\"x\""))
            .await;
        assert_eq!((other.status, &other.text), (200, &whole.text));
        let head = app.send(app.request("HEAD", &path)).await;
        assert_eq!(
            (head.status, head.text.as_str(), head.header("etag")),
            (200, "", tag.as_str())
        );
        let inline = app.get(&format!("{path}?inline=1")).await;
        let name = format!("parley-{id}.{format}");
        for (answer, kind) in [(&head, "attachment"), (&inline, "inline")] {
            let disposition = format!("{kind}; filename=\"{name}\"; filename*=UTF-8''{name}");
            assert_eq!(answer.header("content-disposition"), disposition);
        }
        blocks.push(shown_head("export_run", &whole));
        if format == "json" {
            blocks.push(shown_head("export_run", &again));
        }
    }
    insta::assert_snapshot!(blocks.join("\n\n"), @r#"
    export_run → 200
    content-disposition: attachment; filename="parley-019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071.json"; filename*=UTF-8''parley-019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071.json
    content-type: application/json
    etag: W/"json-4-0-0.1.0"

    export_run → 304
    etag: W/"json-4-0-0.1.0"

    export_run → 200
    content-disposition: attachment; filename="parley-019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071.md"; filename*=UTF-8''parley-019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071.md
    content-type: text/markdown; charset=utf-8
    etag: W/"md-4-0-0.1.0"

    export_run → 200
    content-disposition: attachment; filename="parley-019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071.html"; filename*=UTF-8''parley-019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071.html
    content-type: text/html; charset=utf-8
    etag: W/"html-4-0-0.1.0"

    export_run → 200
    content-disposition: attachment; filename="parley-019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071.pdf"; filename*=UTF-8''parley-019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071.pdf
    content-type: application/pdf
    etag: "pdf-4-0-0.1.0"
    "#);
    app.close().await;
}

#[tokio::test]
async fn a_run_that_goes_on_says_so_and_has_no_tag() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::deltas(["Hello."]).gate(&gate)).await;
    let id = app.start_run(2).await;
    app.stream(&id, "")
        .await
        .until(|event| event.name == "turn.started")
        .await;
    let notice = "This run is not over: this is how it stood at event 2-0. Turn 1 (Ada) was being spoken and is not in it.";
    for format in ["json", "md", "html"] {
        let path = format!("/api/export/{id}.{format}");
        let answer = app
            .send(app.request("GET", &path).header("if-none-match", "*"))
            .await;
        assert_eq!(
            (
                answer.status,
                answer.header("etag"),
                answer.header("cache-control")
            ),
            (200, "", "no-store")
        );
        match format {
            "json" => assert_eq!(
                answer.json()["in_progress"],
                json!({"turn": 0, "bot_index": 0})
            ),
            _ => assert_eq!(answer.text.matches(notice).count(), 1, "{}", answer.text),
        }
    }
    let stopped = app.stop(&id).await;
    assert_eq!(stopped.status, 200);
    gate.open();
    app.close().await;
}

/// What was cut short, and what a bot is not shown any more, is marked.
#[tokio::test]
async fn what_is_no_whole_message_is_marked() {
    let gate = Gate::closed();
    gate.let_through(2);
    let app = TestApp::spawn(Script::deltas(["Half", " a", " word"]).gate(&gate)).await;
    let id = app.start_run(2).await;
    let mut stream = app.stream(&id, "").await;
    let seen = std::cell::Cell::new(0);
    stream
        .until(|event| {
            seen.set(seen.get() + usize::from(event.name == "turn.delta"));
            seen.get() == 2
        })
        .await;
    app.stop(&id).await;
    let markdown = file(&app, &id, "md").await.text;
    assert!(
        markdown.contains("\n**Interrupted: a stop cut this short.**\n\n```text\nHalf a\n```\n"),
        "{markdown}"
    );
    let html = file(&app, &id, "html").await.text;
    assert!(
        html.contains("<p class=\"mark\"><bdi>Interrupted"),
        "{html}"
    );
    gate.open();
    app.close().await;
}

/// A talk that is far longer than what fits between server and client.
async fn long(app: &TestApp, turns: usize) -> String {
    let id = over(app, u32::try_from(turns).unwrap()).await;
    let text = "x".repeat(1024 * 1024);
    for turn in 0..turns {
        say(app, &id, turn, &text).await;
    }
    id
}

/// Asks for a file, and reads only its first bytes.
async fn begun(app: &TestApp, path: &str) -> tokio::net::TcpStream {
    let mut socket = tokio::net::TcpStream::connect(&app.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 1024];
    within("the first bytes", socket.read_exact(&mut first))
        .await
        .unwrap();
    assert!(
        first.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&first)
    );
    socket
}

/// The rest; whether the body came to its end.
async fn rest(mut socket: tokio::net::TcpStream) -> (usize, bool) {
    let mut body = Vec::new();
    // A connection that is reset has not come to its end either.
    let read = within("the rest", socket.read_to_end(&mut body)).await;
    (body.len(), read.is_ok() && body.ends_with(b"\r\n0\r\n\r\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_to_its_end_never_looks_whole() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let turns = 32;
    for format in ["json", "md", "html"] {
        let id = long(&app, turns).await;
        let path = format!("/api/export/{id}.{format}");
        let (length, whole) = rest(begun(&app, &path).await).await;
        assert!(whole && length > turns * 1024 * 1024, "{length}");
        // Deleted while it is read.
        let reading = begun(&app, &path).await;
        let deleted = app
            .send(app.request("DELETE", &format!("/api/run/{id}")))
            .await;
        assert_eq!(deleted.status, 204);
        let (length, whole) = rest(reading).await;
        assert!(!whole && length < turns * 1024 * 1024, "{format}: {length}");
    }
    let id = long(&app, turns).await;
    let reading = begun(&app, &format!("/api/export/{id}.json")).await;
    app.ctx
        .db
        .execute_unprepared("ALTER TABLE messages RENAME TO gone")
        .await
        .unwrap();
    let (length, whole) = rest(reading).await;
    assert!(!whole && length < turns * 1024 * 1024, "{length}");
    app.close().await;
}

/// A page holds little, however long the talk, and each is read only when it is asked for.
#[tokio::test]
async fn a_long_talk_is_read_in_small_pages() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let (turns, length) = (40, 100 * 1024);
    let id = over(&app, turns).await;
    for turn in 0..40 {
        say(&app, &id, turn, &"é".repeat(length)).await;
    }
    let mut transcript = app
        .parts()
        .runs
        .transcript(
            &parley::conversation::Whose::Everybodys,
            id.parse().unwrap(),
        )
        .await
        .unwrap();
    let (mut pages, mut read) = (0, Vec::new());
    while let Some(page) = transcript.next().await.unwrap() {
        let chars: usize = page
            .iter()
            .map(|said| said.message.text.chars().count())
            .sum();
        assert!(chars <= 256 * 1024 + length, "a page of {chars} characters");
        pages += 1;
        read.extend(
            page.into_iter()
                .map(|said| (said.message.turn, said.total.is_some())),
        );
    }
    assert!(pages > 15, "{pages}");
    let expected: Vec<(Option<u32>, bool)> = [(None, false)]
        .into_iter()
        .chain((0..turns).map(|turn| (Some(turn), true)))
        .collect();
    assert_eq!(read, expected);
    app.close().await;
}

/// The export as it was before it was read in pages: the same, whatever the pages.
#[tokio::test]
async fn pages_leave_no_trace_in_the_data() {
    let app = TestApp::spawn(Script::text("Hello.").usage(3, 2)).await;
    let id = over(&app, 50).await;
    for turn in (0..50).step_by(3) {
        say(&app, &id, turn, &"x".repeat(200 * 1024)).await;
    }
    let export = file(&app, &id, "json").await.json();
    let messages = export["messages"].as_array().unwrap();
    for (n, message) in messages.iter().enumerate().skip(1) {
        assert_eq!(message["turn"], n - 1);
        assert_eq!(message["total"]["attempts"], 1);
        assert_eq!(message["total"]["usage"]["input_tokens"], 3);
    }
    let members: Vec<&str> = export
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let run: Value = app.run(&id).await;
    assert!(
        run.as_object()
            .unwrap()
            .keys()
            .all(|name| members.contains(&name.as_str()))
    );
    app.close().await;
}
