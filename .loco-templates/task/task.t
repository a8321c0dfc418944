{% set module = name | snake_case -%}
{% set type = module | pascal_case -%}
to: "target/generated/task"
skip_glob: "src/tasks/{{module}}.rs"
message: "The task `{{module}}` is run by `cargo loco task {{module}}`."
injections:
- into: "src/tasks/mod.rs"
  before: "^pub mod "
  content: "pub mod {{module}};"
- into: src/app.rs
  before: "// tasks-inject"
  content: "        tasks.register(tasks::{{module}}::{{type}});"
---
//=> src/tasks/{{module}}.rs
//! `cargo loco task {{module}}`: says how many runs have ended.

use std::{
    io::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use loco_rs::prelude::*;

use crate::{app::stored, conversation::Timestamp};

/// The task.
pub struct {{type}};

#[async_trait]
impl Task for {{type}} {
    fn task(&self) -> TaskInfo {
        TaskInfo {
            name: "{{module}}".to_string(),
            detail: "Says how many runs have ended".to_string(),
        }
    }

    async fn run(&self, ctx: &AppContext, vars: &task::Vars) -> Result<()> {
        if let Some(name) = vars.cli.keys().next() {
            return Err(Error::string(&format!(
                "{name}: is no argument of {{module}}; it takes none"
            )));
        }
        let store = stored(ctx).await?;
        let ended = store.count_ended(now()).await.map_err(Error::wrap)?;
        writeln!(std::io::stdout(), "{ended} run(s) have ended")?;
        Ok(())
    }
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = now.unwrap_or_default().as_millis();
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
