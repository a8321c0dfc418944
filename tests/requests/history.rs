//! The list of runs, its pages and filters, the search; deleted and pruned runs.

use std::collections::HashSet;

use parley::{conversation::Timestamp, models::Store, simulator::Script};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, within};

/// A talk about that, between these models.
async fn talk(app: &TestApp, topic: &str, models: [&str; 2], turns: u32) -> String {
    let order = json!({
        "topic": topic,
        "max_turns": turns,
        "bots": [{"provider": "openai", "model": models[0]}, {"provider": "anthropic", "model": models[1]}],
    });
    let answer = app.post("/api/run", &order).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["run_id"].as_str().unwrap().to_owned()
}

async fn ended(app: &TestApp, topic: &str, models: [&str; 2]) -> String {
    let id = talk(app, topic, models, 1).await;
    app.events(&id).await;
    id
}

fn ids(list: &Value) -> Vec<String> {
    let runs = list["runs"].as_array().unwrap();
    runs.iter()
        .map(|run| run["run_id"].as_str().unwrap().to_owned())
        .collect()
}

async fn list(app: &TestApp, query: &str) -> Vec<String> {
    let answer = app.get(&format!("/api/run?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    ids(&answer.json())
}

/// The path in `Link: <…>; rel="next"`.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link").strip_prefix('<')?;
    let (path, rest) = link.split_once('>')?;
    assert_eq!(rest, "; rel=\"next\"");
    Some(path.to_owned())
}

#[tokio::test]
async fn pages_follow_each_other_newest_first() {
    let app = TestApp::spawn(Script::text("Fine.")).await;
    let mut all = Vec::new();
    for number in 0..7 {
        all.push(ended(&app, &format!("Topic {number}"), ["a", "b"]).await);
    }
    all.reverse();
    assert_eq!(list(&app, "").await, all);
    assert_eq!(list(&app, "limit=10000").await, all);
    for limit in 1..=7 {
        let mut seen = Vec::new();
        let mut path = Some(format!("/api/run?limit={limit}&status=completed"));
        while let Some(this) = path {
            let answer = app.get(&this).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let page = ids(&answer.json());
            assert!(!page.is_empty() && page.len() <= limit, "{page:?}");
            seen.extend(page);
            path = next(&answer);
            assert_eq!(path.is_some(), answer.json()["next_cursor"].is_string());
            // What is new comes before the first page and moves none.
            if limit == 3 && seen.len() == 3 {
                ended(&app, "In between", ["a", "b"]).await;
            }
        }
        let old: Vec<&String> = seen.iter().filter(|id| all.contains(id)).collect();
        assert_eq!(old, all.iter().collect::<Vec<_>>(), "limit {limit}");
    }
    let run = &app.get("/api/run?limit=1").await.json()["runs"][0];
    let alone = app.run(run["run_id"].as_str().unwrap()).await;
    assert_eq!(run, &alone, "a run is the same in the list and by itself");
    app.close().await;
}

/// What each query finds.
fn cases<'a>(
    german: &'a String,
    english: &'a String,
    going: &'a String,
) -> Vec<(&'static str, Vec<&'a String>)> {
    vec![
        ("", vec![going, english, german]),
        ("status=completed", vec![english, german]),
        ("status=running", vec![going]),
        ("status=failed", vec![]),
        ("model=claude", vec![english]),
        // Any version counts.
        ("model=later", vec![going]),
        ("model=b", vec![going, german]),
        ("provider=openai", vec![going, english, german]),
        ("provider=openai&model=gpt", vec![english]),
        ("provider=anthropic&model=gpt", vec![]),
        ("provider=nobody", vec![]),
        ("q=tee", vec![german]),
        ("q=TEE%20kaffee", vec![german]),
        ("q=tee%20tea", vec![]),
        // In the topic and in a message.
        ("q=kaffee%20%C3%BCberraschung", vec![german]),
        ("q=%C3%9CBERRASCHUNG", vec![german]),
        ("q=uberraschung", vec![]),
        ("q=%22earl%20grey%22", vec![german]),
        ("q=earl-grey", vec![german]),
        ("q=na%C3%AFve", vec![german]),
        ("q=%E6%9D%B1%E4%BA%AC", vec![german]),
        ("q=x1%20y2", vec![german]),
        ("q=100%25", vec![english]),
        ("q=tea's", vec![english]),
        // No part of a word, and no wildcard.
        ("q=te", vec![]),
        ("q=te*", vec![]),
        ("q=te%25", vec![]),
        ("q=tee%3A*", vec![german]),
        ("q=special%20NOT%20better", vec![]),
        (
            "q=special%20better&status=completed&model=gpt",
            vec![english],
        ),
        (
            "created_after=2000-01-01T00:00:00Z",
            vec![going, english, german],
        ),
        ("created_before=2000-01-01T00:00:00Z", vec![]),
        ("created_after=2099-01-01T00:00:00Z", vec![]),
        (
            "created_after=1000-01-01T00:00:00Z&created_before=9999-01-01T00:00:00%2B01:00",
            vec![going, english, german],
        ),
    ]
}

#[tokio::test]
async fn filters_and_words_find_the_same_in_every_database() {
    let app = TestApp::spawn(Script::text("Nothing special.")).await;
    app.simulator.enqueue_for(
        "tee",
        Script::text("Die ÜBERRASCHUNG: „Earl-Grey“, naïve 東京 x1_y2!"),
    );
    let german = ended(&app, "Tee oder Kaffee?", ["tee", "b"]).await;
    let english = ended(&app, "Tea's 100% better", ["gpt", "claude"]).await;
    let going = {
        app.simulator.enqueue_for("mute", Script::silent());
        talk(&app, "Silence", ["mute", "b"], 1).await
    };
    within(
        "the silence",
        app.simulator.wait_for(|activity| activity.open == 1),
    )
    .await;
    let changed = app
        .patch(
            &format!("/api/run/{going}/bot/1"),
            &json!({"model": "later"}),
        )
        .await;
    assert_eq!(changed.status, 200);
    let cases = cases(&german, &english, &going);
    for (query, expected) in cases {
        let found = list(&app, query).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let at = app.run(&english).await["created_at"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        list(&app, &format!("created_after={at}"))
            .await
            .contains(&english)
    );
    assert!(
        !list(&app, &format!("created_before={at}"))
            .await
            .contains(&english)
    );
    app.stop(&going).await;
    app.close().await;
}

/// Rows that no version of Parley writes: each run with such rows is left out, and the log says so.
#[tokio::test]
async fn a_run_that_cannot_be_read_hides_no_other() {
    let app = TestApp::spawn(Script::text("Fine.")).await;
    let mut all = Vec::new();
    for number in 0..9 {
        all.push(ended(&app, &format!("Topic {number}"), ["a", "b"]).await);
    }
    let of = |number: u32| format!("(SELECT id FROM runs WHERE topic = 'Topic {number}')");
    let mut spoiling = vec![
        // The newest ones: a page of one has none to begin with.
        format!("DELETE FROM bots WHERE run_id IN {}", of(8)),
        format!("DELETE FROM bots WHERE run_id IN {}", of(7)),
        format!(
            "DELETE FROM bots WHERE bot_index = 0 AND run_id IN {}",
            of(6)
        ),
        format!(
            "UPDATE bots SET params = 'no JSON' WHERE run_id IN {}",
            of(4)
        ),
        "UPDATE runs SET usage = 'no JSON' WHERE topic = 'Topic 2'".to_owned(),
    ];
    if app.ctx.db.get_database_backend() == DbBackend::Sqlite {
        spoiling.push("UPDATE runs SET topic = x'ff' WHERE topic = 'Topic 0'".to_owned());
    } else {
        spoiling.push("UPDATE runs SET last_seq = -1 WHERE topic = 'Topic 0'".to_owned());
    }
    for sql in &spoiling {
        app.ctx.db.execute_unprepared(sql).await.unwrap();
    }
    let whole = [5, 3, 1].map(|number: usize| all[number].clone());
    for query in ["", "&q=topic", "&provider=openai", "&status=completed"] {
        for limit in 1..=10 {
            let mut seen = Vec::new();
            let mut path = Some(format!("/api/run?limit={limit}{query}"));
            while let Some(this) = path {
                let answer = within("a page", app.get(&this)).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
                seen.extend(ids(&answer.json()));
                path = next(&answer);
            }
            assert_eq!(seen, whole, "limit {limit}{query}");
        }
    }
    app.close().await;
}

/// A bot that was changed thousands of times is shown as it is; what it was is read by nobody but the export.
#[tokio::test]
async fn only_the_newest_version_of_a_bot_is_read() {
    let app = TestApp::spawn(Script::text("Fine.")).await;
    let id = ended(&app, "Tea", ["a", "b"]).await;
    for sql in [
        "INSERT INTO bots (run_id, bot_index, version, name, provider, model, params) \
         SELECT run_id, bot_index, 10, name, provider, 'newest', params FROM bots WHERE bot_index = 1",
        "INSERT INTO bots (run_id, bot_index, version, name, provider, model, params) \
         SELECT run_id, bot_index, 9, name, provider, 'newer', params FROM bots WHERE version = 10",
        "UPDATE bots SET params = 'no JSON' WHERE version < 10 AND bot_index = 1",
    ] {
        app.ctx.db.execute_unprepared(sql).await.unwrap();
    }
    let run = app.run(&id).await;
    let models = |run: &Value| [0, 1].map(|bot| run["bots"][bot]["model"].clone());
    assert_eq!(models(&run), [json!("a"), json!("newest")]);
    assert_eq!(app.get("/api/run").await.json()["runs"][0], run);
    // Found by what it was, too.
    assert_eq!(list(&app, "model=newer").await, [id]);
    app.close().await;
}

#[tokio::test]
async fn a_query_that_is_wrong_says_where() {
    let app = TestApp::spawn(Script::text("Fine.")).await;
    for _ in 0..2 {
        ended(&app, "Tea", ["a", "b"]).await;
    }
    let cursor = app.get("/api/run?limit=1").await.json()["next_cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    // A run's id begins with the time: never so late.
    let altered = format!("z{}", &cursor[1..]);
    let long = "x".repeat(10 * 1024);
    let words = (0..30)
        .map(|n| format!("w{n}"))
        .collect::<Vec<_>>()
        .join("+");
    for (query, place) in [
        ("limit=0", "/limit"),
        ("limit=10001", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("status=done", "/status"),
        ("provider=", "/provider"),
        ("model=a%00b", "/model"),
        ("created_after=yesterday", "/created_after"),
        ("created_before=2026-13-01T00:00:00Z", "/created_before"),
        (&format!("q={long}"), "/q"),
        ("q=%22*%25%20_", "/q"),
        ("q=", "/q"),
        (&format!("q={words}"), "/q"),
        ("surprise=1", "/surprise"),
        (&format!("cursor={altered}"), "/cursor"),
        (&format!("cursor={cursor}&status=completed"), "/cursor"),
        ("cursor=", "/cursor"),
        ("cursor=%FF", "/cursor"),
    ] {
        let answer = app.get(&format!("/api/run?{query}")).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-query"),
            "{query}"
        );
        assert_eq!(answer.json()["errors"][0]["pointer"], place, "{query}");
    }
    assert_eq!(
        list(&app, &format!("limit=1&cursor={cursor}")).await.len(),
        1
    );
    app.close().await;
}

/// Every table that has rows of runs.
async fn rows(app: &TestApp) -> Vec<(String, i64)> {
    let mut counts = Vec::new();
    for table in [
        "runs",
        "bots",
        "messages",
        "attempts",
        "events",
        "commands",
        "message_words",
    ] {
        let statement = Statement::from_string(
            app.ctx.db.get_database_backend(),
            format!("SELECT count(*) FROM {table}"),
        );
        let row = app.ctx.db.query_one_raw(statement).await.unwrap().unwrap();
        counts.push((table.to_owned(), row.try_get_by_index(0).unwrap()));
    }
    counts
}

/// What is read of a run in several statements is there as a whole, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_deleted_while_it_is_asked_for_is_not_there() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    for _ in 0..20 {
        let id = app.start_run(1).await;
        app.events(&id).await;
        let run = format!("/api/run/{id}");
        let ask = |method: &'static str, path: String| app.send(app.request(method, &path));
        let mut asked: Vec<_> = (0..8)
            .map(|_| ask("GET", run.clone()))
            .chain((0..4).map(|_| ask("POST", format!("{run}/stop"))))
            // Its head: the rest may break off.
            .chain((0..4).map(|_| ask("HEAD", format!("/api/export/{id}.md"))))
            .collect();
        asked.insert(6, ask("DELETE", run.clone()));
        for answer in futures_util::future::join_all(asked).await {
            assert!(
                matches!(answer.status, 200 | 204 | 404),
                "{} {}",
                answer.status,
                answer.text
            );
        }
    }
    app.close().await;
}

#[tokio::test]
async fn a_run_that_is_deleted_is_gone_from_every_table() {
    let app = TestApp::spawn(Script::text("Fine.")).await;
    app.simulator.enqueue(Script::silent());
    let id = talk(&app, "Tea", ["a", "b"], 1).await;
    within(
        "the silence",
        app.simulator.wait_for(|activity| activity.open == 1),
    )
    .await;
    app.patch(&format!("/api/run/{id}/bot/1"), &json!({"model": "c"}))
        .await;
    let delete = async |id: &str| {
        app.send(app.request("DELETE", &format!("/api/run/{id}")))
            .await
    };
    let answer = delete(&id).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (409, "run-not-ended")
    );
    app.stop(&id).await;
    assert!(
        rows(&app).await.iter().all(|(_, count)| *count > 0),
        "{:?}",
        rows(&app).await
    );
    let answer = delete(&id).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    assert!(
        rows(&app).await.iter().all(|(_, count)| *count == 0),
        "{:?}",
        rows(&app).await
    );
    assert_eq!(delete(&id).await.problem(), "run-not-found");
    for path in [
        format!("/api/run/{id}"),
        format!("/api/stream/{id}"),
        format!("/api/export/{id}.json"),
    ] {
        assert_eq!(app.get(&path).await.problem(), "run-not-found");
    }
    assert!(list(&app, "").await.is_empty() && list(&app, "q=tea").await.is_empty());
    assert_eq!(
        app.send(app.request("DELETE", "/api/run/x"))
            .await
            .problem(),
        "invalid-run-id"
    );
    app.close().await;
}

#[tokio::test]
async fn old_runs_are_pruned_and_the_newest_are_kept() {
    let app = TestApp::with(
        Script::text("Fine."),
        json!({"retention": {"ended_runs": 3}}),
    )
    .await;
    let mut all = Vec::new();
    for number in 0..8 {
        all.push(ended(&app, &format!("Topic {number}"), ["a", "b"]).await);
    }
    let store = Store::new(app.ctx.db.clone(), std::time::Duration::from_secs(5));
    let long_ago = Timestamp::from_millis(1_000);
    assert_eq!(store.prune(long_ago, 100).await.unwrap(), None);
    let aged = "UPDATE runs SET finished_at = 0 WHERE topic IN ('Topic 1', 'Topic 4')";
    app.ctx.db.execute_unprepared(aged).await.unwrap();
    assert_eq!(store.count_ended(long_ago).await.unwrap(), 2);
    assert_eq!(store.prune(long_ago, 1).await.unwrap(), Some(1));
    assert_eq!(store.prune(long_ago, 100).await.unwrap(), Some(1));
    let left: HashSet<String> = list(&app, "").await.into_iter().collect();
    assert!(!left.contains(&all[1]) && !left.contains(&all[4]) && left.len() == 6);
    // In memory nobody prunes by hand: the oldest go by themselves.
    app.parts().supervisor.keep_house().await.unwrap();
    let memory = app.ctx.config.database.uri.contains(":memory:");
    let newest: Vec<String> = all.iter().rev().take(3).cloned().collect();
    let left = list(&app, "").await;
    if memory {
        assert_eq!(left, newest);
        assert_eq!(rows(&app).await[0].1, 3);
    } else {
        assert_eq!(left.len(), 6);
    }
    app.close().await;
}
