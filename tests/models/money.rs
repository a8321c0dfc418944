//! What a run cost before anybody counted stays unknown.

use std::time::Duration;

use migration::{Migrator, MigratorTrait as _};
use parley::{
    conversation::{Cost, Spent},
    models::Store,
};
use sea_orm::ConnectionTrait as _;

use super::{new_run, open};

#[tokio::test]
async fn a_run_of_before_has_no_known_cost_and_one_that_asked_nothing_has_none_to_pay() {
    let db = open("sqlite::memory:").await;
    Migrator::up(&db, None).await.unwrap();
    let store = Store::new(db.clone(), Duration::from_secs(5));
    let (asked, fresh) = (new_run(&store).await, new_run(&store).await);
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
        async move { store.run(id).await.unwrap().unwrap() }
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
