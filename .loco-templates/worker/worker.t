{% set module = name | snake_case -%}
{% set type = module | pascal_case -%}
to: "target/generated/worker"
skip_glob: "src/workers/{{module}}.rs"
message: "The worker `{{type}}Worker` takes a run's id and hands it over; it is registered in src/app.rs."
injections:
- into: "src/workers/mod.rs"
  before: "^pub mod "
  content: "pub mod {{module}};"
- into: src/app.rs
  after: "fn connect_workers"
  content: "        queue.register(workers::{{module}}::{{type}}Worker::build(ctx)).await?;"
---
//=> src/workers/{{module}}.rs
//! The worker `{{module}}`.

use loco_rs::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{conversation::RunId, orchestrator::Supervisor};

/// Hands a run to this process's supervisor, which owns whatever takes time: a job's slot is held while `perform` runs.
pub struct {{type}}Worker {
    /// The application as the worker sees it.
    pub ctx: AppContext,
}

/// What the job says: ids only, since it may lie in a queue for long.
#[derive(Debug, Deserialize, Serialize)]
pub struct {{type}}WorkerArgs {
    /// The run that it is about.
    pub run_id: RunId,
}

#[async_trait]
impl BackgroundWorker<{{type}}WorkerArgs> for {{type}}Worker {
    fn build(ctx: &AppContext) -> Self {
        Self { ctx: ctx.clone() }
    }

    async fn perform(&self, args: {{type}}WorkerArgs) -> Result<()> {
        let supervisor = self.ctx.shared_store.get::<Supervisor>();
        let supervisor = supervisor
            .ok_or_else(|| Error::string("this process drives no runs: it has no supervisor"))?;
        supervisor.offer(args.run_id);
        Ok(())
    }
}
