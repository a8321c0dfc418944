//! A run as a PDF, and how a file is asked for.

use parley::simulator::Script;

use super::exports::{SAID, file, over, say};
use crate::support::{TestApp, shown, within};

/// A PDF has a bound, and says which forms have none.
#[tokio::test]
async fn a_talk_that_is_too_long_for_a_pdf_has_its_other_forms() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = over(&app, 3).await;
    for turn in 0..3 {
        say(&app, &id, turn, &"x".repeat(1024 * 1024)).await;
    }
    let answer = app.get(&format!("/api/export/{id}.pdf")).await;
    insta::assert_snapshot!(shown("export_run", &answer), @r#"
    export_run → 409
    content-type: application/problem+json

    {
      "detail": "a PDF has at most 1048576 bytes of text and 2000 pages: take .html, .md or .json",
      "request_id": "7f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5",
      "status": 409,
      "title": "Too long for a PDF",
      "type": "/problems/too-long-for-pdf"
    }
    "#);
    file(&app, &id, "html").await;
    // Few bytes may be many pages.
    for turn in 0..3 {
        say(&app, &id, turn, &"\n".repeat(300_000 * turn)).await;
    }
    let answer = app.get(&format!("/api/export/{id}.pdf")).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (409, "too-long-for-pdf")
    );
    app.close().await;
}

#[tokio::test]
async fn a_pdf_is_the_same_each_time() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = over(&app, 14).await;
    for (turn, text) in SAID.iter().enumerate() {
        say(&app, &id, turn, text).await;
    }
    let pdf = async || {
        let answer = app
            .request("GET", &format!("/api/export/{id}.pdf"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["content-type"], "application/pdf");
        answer.bytes().await.unwrap()
    };
    let file = within("the file", pdf()).await;
    assert!(
        file.starts_with(b"%PDF-1.7") && file.len() > 50_000,
        "{}",
        file.len()
    );
    assert_eq!(within("it again", pdf()).await, file);
    app.close().await;
}

/// What is asked for is the head: no PDF is made for it.
#[tokio::test]
async fn the_head_of_a_pdf_is_that_of_the_file() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = over(&app, 2).await;
    let path = format!("/api/export/{id}.pdf");
    let head = app.send(app.request("HEAD", &path)).await;
    let file = app.request("GET", &path).send().await.unwrap();
    for name in [
        "content-type",
        "content-disposition",
        "etag",
        "cache-control",
    ] {
        assert_eq!(head.headers.get(name), file.headers().get(name), "{name}");
    }
    assert_eq!(head.header("content-length"), "", "nobody knows it");
    app.close().await;
}

#[tokio::test]
async fn what_inline_may_be() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = over(&app, 1).await;
    let kind = async |query: &str| {
        let answer = app.get(&format!("/api/export/{id}.md?{query}")).await;
        match answer.status {
            200 => answer
                .header("content-disposition")
                .split(';')
                .next()
                .unwrap_or_default()
                .to_owned(),
            status => format!("{status} {}", answer.problem()),
        }
    };
    for (query, expected) in [
        ("", "attachment"),
        ("inline=0", "attachment"),
        ("inline=false", "attachment"),
        ("inline=1", "inline"),
        ("inline=true", "inline"),
        ("inline=", "400 invalid-query"),
        ("inline=yes", "400 invalid-query"),
        ("inline=1&inline=1", "400 invalid-query"),
    ] {
        assert_eq!(kind(query).await, expected, "{query}");
    }
    app.close().await;
}
