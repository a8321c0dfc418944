//! What a browser is given to keep: by whom it may be read, how much of it, and what becomes of a login that cannot be kept.

use sea_orm::ConnectionTrait as _;
use serde_json::json;

use super::{Browser, House};
use crate::support::Answer;

/// All that an answer has a browser keep.
fn kept(answer: &Answer) -> Vec<String> {
    let lines = answer.headers.get_all("set-cookie").iter();
    lines
        .map(|line| line.to_str().unwrap().to_owned())
        .collect()
}

/// In front of the world no cookie goes in the clear, to another host or to a script, not even one that ends another.
#[tokio::test]
async fn cookies_are_ours_alone_where_there_is_tls() {
    let over = json!({"HOST": "https://parley.example"});
    let house = House::with(json!({}), over).await;
    let app = &house.app;
    let ask = async |method: &str, path: &str, cookies: &str| {
        app.send(app.request(method, path).header("cookie", cookies))
            .await
    };
    let pair = |line: &str| line.split(';').next().unwrap().to_owned();
    let begun = ask("GET", "/auth/login", "").await;
    let login = kept(&begun);
    assert_eq!(login.len(), 1, "{login:?}");
    let path = house.back(begun.header("location")).await;
    let completed = ask("GET", &path, &pair(&login[0])).await;
    assert_eq!(completed.status, 303, "{completed:?}");
    let session = kept(&completed);
    assert_eq!(session.len(), 2, "{session:?}");
    let own = session
        .iter()
        .find(|line| line.starts_with("__Host-parley="));
    let own = pair(own.unwrap());
    assert_eq!(ask("GET", "/api/run", &own).await.status, 200);
    // By its bare name anybody on the way could have put it there.
    let bare = own.replace("__Host-", "");
    assert_eq!(ask("GET", "/api/run", &bare).await.status, 401);
    let out = kept(&ask("POST", "/auth/logout", &own).await);
    assert_eq!(out.len(), 1, "{out:?}");
    for line in login.iter().chain(&session).chain(&out) {
        assert!(line.starts_with("__Host-parley"), "{line}");
        for attribute in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
            let mut said = line.split(';').map(str::trim);
            assert!(said.any(|said| said == attribute), "{attribute}: {line}");
        }
        assert!(!line.contains("Domain"), "{line}");
    }
    house.app.close().await;
}

/// Whoever makes a browser begin one login after the other does not fill what it sends with each request.
#[tokio::test]
async fn a_browser_keeps_few_logins_that_it_has_begun() {
    let house = House::usual().await;
    let app = &house.app;
    let mut browser = house.browser().await;
    let mut last = Vec::new();
    for _ in 0..20 {
        let begun = browser.ask(app, "GET", "/auth/login").await;
        last.push(house.back(begun.header("location")).await);
        assert!(browser.cookies.len() <= 5, "{:?}", browser.cookies);
    }
    assert!(browser.session().is_some());
    // The newest ones are those that are there.
    for path in &last[16..] {
        assert_eq!(browser.ask(app, "GET", path).await.status, 303);
    }
    let mut crowded = Browser::default();
    for number in 0..200 {
        let name = format!("parley-login-{number}");
        crowded.cookies.push((name, "planted".to_owned()));
    }
    let begun = crowded.ask(app, "GET", "/auth/login").await;
    assert_eq!(begun.status, 303);
    assert_eq!(kept(&begun).len(), 65);
    // What somebody else calls so is left alone.
    let mut other = Browser::default();
    for name in ["parley-login-ab.cd", "parley-login-123456789", "login"] {
        other.cookies.push((name.to_owned(), "x".to_owned()));
    }
    for _ in 0..5 {
        other.ask(app, "GET", "/auth/login").await;
    }
    assert_eq!(other.cookies.len(), 3 + 4);
    house.app.close().await;
}

/// The code is spent: to come back with it is of no use.
#[tokio::test]
async fn a_login_that_the_database_does_not_keep_is_begun_again() {
    let house = House::usual().await;
    let db = &house.app.ctx.db;
    let mut ada = Browser::default();
    let begun = ada.ask(&house.app, "GET", "/auth/login").await;
    let path = house.back(begun.header("location")).await;
    let rename = async |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        db.execute_unprepared(&sql).await.unwrap();
    };
    rename("sessions", "away").await;
    let answer = ada.ask(&house.app, "GET", &path).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "database-unavailable"),
        "{answer:?}"
    );
    assert!(answer.text.contains("begin again"), "{}", answer.text);
    rename("away", "sessions").await;
    house.log_in(&mut ada).await;
    assert!(house.is_in(&mut ada).await);
    house.app.close().await;
}

/// What is not ASCII becomes longer on its way, and a cookie has its bounds.
#[tokio::test]
async fn where_a_login_leads_is_kept_whole_or_refused() {
    let house = House::usual().await;
    for (path, status) in [
        ("/docs?q=".to_owned() + &"%C3%A4".repeat(160), 303),
        ("/".to_owned() + &"%C3%A4".repeat(300), 400),
    ] {
        let mut ada = Browser::default();
        let begin = format!("/auth/login?return_to={path}");
        let begun = ada.ask(&house.app, "GET", &begin).await;
        assert_eq!(begun.status, status, "{path}");
        if status == 303 {
            assert!(kept(&begun)[0].len() < 4_096);
            let back = house.back(begun.header("location")).await;
            let done = ada.ask(&house.app, "GET", &back).await;
            assert_eq!((done.status, done.header("location")), (303, path.as_str()));
        }
    }
    house.app.close().await;
}
