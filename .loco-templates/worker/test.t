{% set module = name | snake_case -%}
{% set type = module | pascal_case -%}
to: "tests/workers/{{module}}.rs"
skip_exists: true
message: "Its test is in tests/workers/{{module}}.rs: `cargo test {{module}}`."
injections:
- into: tests/workers/mod.rs
  before: "^mod "
  content: "mod {{module}};"
---
//! The worker `{{module}}`: a job that comes twice, late or for nobody is harmless.

use loco_rs::prelude::BackgroundWorker as _;
use parley::{
    simulator::Script,
    workers::{{module}}::{ {{- type}}Worker, {{type}}WorkerArgs},
};

use crate::support::{TestApp, within};

#[tokio::test]
async fn a_job_that_comes_twice_late_or_for_nobody_is_harmless() {
    let app = TestApp::spawn(Script::text("Once.")).await;
    let worker = {{type}}Worker::build(&app.ctx);
    let job = |id: &str| {{type}}WorkerArgs {
        run_id: id.parse().unwrap(),
    };
    let id = app.start_run(2).await;
    for _ in 0..3 {
        worker.perform(job(&id)).await.unwrap();
    }
    app.events(&id).await;
    worker.perform(job(&id)).await.unwrap();
    let nobody = "00000000-0000-7000-8000-000000000000";
    worker.perform(job(nobody)).await.unwrap();
    within("the claims to be over", async {
        while app.parts().supervisor.live() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(app.simulator.requests().len(), 2);
    app.close().await;
}
