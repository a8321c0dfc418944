//! What a run cost before anybody counted stays unknown.

use std::time::Duration;

use migration::{Migrator, MigratorTrait as _};
use parley::{
    conversation::{Cost, RunId, Spent, StartRun, Timestamp},
    models::Store,
};
use sea_orm::ConnectionTrait as _;
use serde_json::json;

use super::open;

#[tokio::test]
async fn a_run_of_before_has_no_known_cost_and_one_that_asked_nothing_has_none_to_pay() {
    let db = open("sqlite::memory:").await;
    Migrator::up(&db, None).await.unwrap();
    let store = Store::new(db.clone(), Duration::from_secs(5));
    let order: StartRun = serde_json::from_value(json!({
        "topic": "Tea?", "bots": [{"provider": "p", "model": "m"}, {"provider": "p", "model": "m"}],
    }))
    .unwrap();
    let plan = order.plan(9).unwrap();
    let (asked, fresh) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    for id in [asked, fresh] {
        let id = RunId::from_uuid(id);
        let at = Timestamp::from_millis(1);
        store.insert_run(id, "", &plan, at, None).await.unwrap();
    }
    // As the version before left them.
    let names: Vec<String> = Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect();
    let ours = names.iter().position(|name| name.ends_with("_cost"));
    let steps = u32::try_from(names.len() - ours.unwrap()).unwrap();
    Migrator::down(&db, Some(steps)).await.unwrap();
    let query = "UPDATE runs SET cost_complete = 0 WHERE id = (SELECT min(id) FROM runs)";
    db.execute_unprepared(query).await.unwrap();
    Migrator::up(&db, None).await.unwrap();

    let run = |id| {
        let store = &store;
        async move { store.run(RunId::from_uuid(id)).await.unwrap().unwrap() }
    };
    let asked = run(asked).await;
    assert_eq!(
        (asked.totals.cost_usd, asked.totals.cost_complete),
        (None, false)
    );
    assert!(asked.spent.iter().all(|part| part.cost_usd().is_none()));
    let fresh = run(fresh).await;
    assert_eq!(fresh.totals.cost_usd, Some(Cost::ZERO));
    assert_eq!(fresh.spent, [Spent::NOTHING; 2]);
}
