//! How sessions end: by themselves, and by the issuer.

use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use super::House;
use crate::support::{Answer, now};

#[tokio::test]
async fn a_session_ends_when_it_is_idle_and_when_its_time_is_over() {
    let house = House::usual().await;
    let db = &house.app.ctx.db;
    let age = async |column: &str, hours: i64| {
        let by = hours * 3_600_000;
        let aged = format!("UPDATE sessions SET {column} = {column} - {by}");
        db.execute_unprepared(&aged).await.unwrap();
    };
    let mut idle = house.browser().await;
    age("seen", 11).await;
    assert!(house.is_in(&mut idle).await, "which counts as use");
    age("seen", 11).await;
    assert!(house.is_in(&mut idle).await);
    age("seen", 12).await;
    assert!(!house.is_in(&mut idle).await);
    let mut old = house.browser().await;
    age("expires", 167).await;
    assert!(house.is_in(&mut old).await);
    age("expires", 1).await;
    assert!(!house.is_in(&mut old).await);
    // House-keeping takes them away; what goes on stays.
    let mut new = house.browser().await;
    house.app.parts().supervisor.keep_house().await.unwrap();
    assert!(house.is_in(&mut new).await);
    // The idle one ends with its time.
    let sql = "SELECT count(*) FROM sessions".to_owned();
    let statement = sea_orm::Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await.unwrap().unwrap();
    assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 1);
    house.app.close().await;
}

#[tokio::test]
async fn the_issuer_ends_logins_where_a_setting_lets_it() {
    let house = House::new(json!({"backchannel_logout": true}), json!({})).await;
    let mut one = house.browser().await;
    house.know("ada", "s-2");
    let mut two = house.browser().await;
    house.know("eve", "s-3");
    let mut eve = house.browser().await;
    let refused = |answer: &Answer| {
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-logout-token")
        );
    };
    for change in [
        ("nonce", json!("n")),
        ("events", Value::Null),
        ("events", json!({"other": {}})),
        (
            "events",
            json!(["http://schemas.openid.net/event/backchannel-logout"]),
        ),
        ("aud", json!("parley")),
        ("iss", json!("https://evil.example")),
        ("exp", json!(now() - 1)),
        ("exp", Value::Null),
        ("iat", Value::Null),
        ("iat", json!("now")),
        ("iat", json!(now() + 60)),
        ("iat", json!(now() - 600)),
        ("jti", json!(7)),
        ("jti", Value::Null),
        ("sub", Value::Null),
    ] {
        let (name, value) = change;
        refused(&house.logout_token(|token| token.claim(name, value)).await);
    }
    refused(
        &house
            .logout_token(|token| token.header("typ", json!("at+jwt")))
            .await,
    );
    refused(&house.send_logout("").await);
    refused(&house.send_logout("logout_token=a.b.c").await);
    for browser in [&mut one, &mut two, &mut eve] {
        assert!(house.is_in(browser).await);
    }
    let once =
        || house.logout_token(|token| token.claim("sid", json!("s-1")).claim("jti", json!("x")));
    let sid = once().await;
    assert_eq!(sid.status, 200, "{}", sid.text);
    assert!(!house.is_in(&mut one).await);
    // What was carried out is not carried out again.
    refused(&once().await);
    assert!(house.is_in(&mut two).await && house.is_in(&mut eve).await);
    let sub = house
        .logout_token(|token| token.header("typ", json!("JWT")))
        .await;
    assert_eq!(sub.status, 200, "{}", sub.text);
    assert!(!house.is_in(&mut two).await && house.is_in(&mut eve).await);
    house.app.close().await;
    // One of which the issuer has said no name ends with its subject's.
    let house = House::new(json!({"backchannel_logout": true}), json!({})).await;
    house.know("ada", "");
    let mut unnamed = house.browser().await;
    house.know("ada", "s-4");
    let mut named = house.browser().await;
    let sid = house
        .logout_token(|token| token.claim("sid", json!("s-5")))
        .await;
    assert_eq!(sid.status, 200, "{}", sid.text);
    assert!(!house.is_in(&mut unnamed).await && house.is_in(&mut named).await);
    house.app.close().await;
    let house = House::usual().await;
    refused(&house.logout_token(|token| token).await);
    house.app.close().await;
}
