//! `cargo loco task prune older_than:30d`: removes runs that ended long ago.

use std::{
    io::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressStyle};
use loco_rs::prelude::*;

use crate::{app::stored, conversation::Timestamp};

/// The task.
pub struct Prune;

/// How many runs are removed at once: a transaction that is short for those who write meanwhile.
const BATCH: u64 = 100;

#[async_trait]
impl Task for Prune {
    fn task(&self) -> TaskInfo {
        TaskInfo {
            name: "prune".to_string(),
            detail: "Removes runs that ended long ago: older_than:30d (or 12h, 90m, \"1day 6h\") [dry_run:true]".to_string(),
        }
    }

    async fn run(&self, ctx: &AppContext, vars: &task::Vars) -> Result<()> {
        let (age, dry_run) = arguments(vars)?;
        let store = stored(ctx).await?;
        let before = before(age);
        let count = store.count_ended(before).await.map_err(Error::wrap)?;
        let mut out = std::io::stdout();
        if dry_run {
            writeln!(
                out,
                "would remove {count} run(s) that ended before {before}"
            )?;
            return Ok(());
        }
        let bar = ProgressBar::new(count).with_style(
            ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {eta} left")
                .map_err(Error::wrap)?,
        );
        let mut removed = 0;
        loop {
            let batch = store.prune(before, BATCH).await.map_err(Error::wrap)?;
            if batch == 0 {
                break;
            }
            removed += batch;
            bar.inc(batch);
            // Whoever writes meanwhile has a turn, too.
            tokio::task::yield_now().await;
        }
        bar.finish_and_clear();
        store.forget_expired_answers().await.map_err(Error::wrap)?;
        writeln!(out, "removed {removed} run(s) that ended before {before}")?;
        Ok(())
    }
}

fn arguments(vars: &task::Vars) -> Result<(Duration, bool)> {
    if let Some(name) = vars
        .cli
        .keys()
        .find(|name| !matches!(name.as_str(), "older_than" | "dry_run"))
    {
        return Err(Error::string(&format!(
            "{name}: is no argument of prune; it takes older_than and dry_run"
        )));
    }
    let age = vars.cli_arg("older_than").map_err(|_| {
        Error::string("say how old a run must be: older_than:30d (or 12h, 90m, \"1day 6h\")")
    })?;
    let age = humantime::parse_duration(age).map_err(|error| {
        Error::string(&format!(
            "older_than: takes an age such as 30d, 12h or 90m, not {age:?}: {error}"
        ))
    })?;
    let dry_run = match vars.cli_arg("dry_run") {
        Err(_) | Ok("false") => false,
        Ok("true") => true,
        Ok(other) => {
            return Err(Error::string(&format!(
                "dry_run: takes true or false, not {other:?}"
            )));
        }
    };
    Ok((age, dry_run))
}

/// That long before now; the beginning of time for an age beyond it.
fn before(age: Duration) -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let then = now.unwrap_or_default().saturating_sub(age);
    Timestamp::from_millis(i64::try_from(then.as_millis()).unwrap_or(i64::MAX))
}
