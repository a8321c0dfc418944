//! `cargo loco task prune older_than:30d`: removes runs that ended long ago, and what was kept long enough of who did what.

use std::{
    io::Write as _,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressStyle};
use loco_rs::prelude::*;

use crate::{
    app::{audit_retention, stored},
    conversation::Timestamp,
    models::{Store, StoreError},
    workers::queue::open_and_tidy,
};

/// The task.
pub struct Prune;

/// The most runs, and acts, that are removed at once, and how long that may take: writers wait meanwhile.
const LARGEST: u64 = 50;
const LARGEST_OF_ACTS: u64 = 1_000;
const SLOW: Duration = Duration::from_millis(100);

/// The least pause between two batches: other processes write then.
const PAUSE: Duration = Duration::from_millis(20);

/// How often in a row a batch that failed is tried again. Each time the wait is twice as long, 20 s in the end.
const TRIES: u32 = 10;

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
        let kept = self::before(audit_retention(ctx)?);
        let mut out = std::io::stdout();
        if dry_run {
            writeln!(
                out,
                "would remove {count} run(s) that ended before {before}"
            )?;
            let acts = store.count_old_acts(kept).await.map_err(Error::wrap)?;
            writeln!(out, "would forget {acts} act(s) of before {kept}")?;
            return Ok(());
        }
        let bar = ProgressBar::new(count).with_style(
            ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {eta} left")
                .map_err(Error::wrap)?,
        );
        let (removed, ended) = Old::Runs(before).remove(&store, &bar).await;
        bar.finish_and_clear();
        if let Err(error) = ended {
            return Err(Error::string(&format!(
                "removed {removed} run(s) that ended before {before}, then {error}: {}",
                error.cause()
            )));
        }
        store.forget_expired_answers().await.map_err(Error::wrap)?;
        writeln!(out, "removed {removed} run(s) that ended before {before}")?;
        let (forgotten, ended) = Old::Acts(kept).remove(&store, &ProgressBar::hidden()).await;
        ended.map_err(Error::wrap)?;
        writeln!(out, "forgot {forgotten} act(s) of before {kept}")?;
        // Jobs that are done name runs, too.
        open_and_tidy(ctx).await
    }
}

/// What is removed: all of before that moment.
#[derive(Clone, Copy)]
enum Old {
    Runs(Timestamp),
    Acts(Timestamp),
}

impl Old {
    /// The most that are removed at once.
    const fn largest(self) -> u64 {
        match self {
            Self::Runs(_) => LARGEST,
            Self::Acts(_) => LARGEST_OF_ACTS,
        }
    }

    /// Removes some. How many; `None` once there are none left.
    async fn remove_some(
        self,
        store: &Store,
        size: u64,
    ) -> std::result::Result<Option<u64>, StoreError> {
        match self {
            Self::Runs(before) => store.prune(before, size).await,
            Self::Acts(before) => store.forget_old_acts(before, size).await,
        }
    }

    /// Removes all batch by batch, so many at once that nobody waits for long: how many, and whether those were all.
    async fn remove(
        self,
        store: &Store,
        bar: &ProgressBar,
    ) -> (u64, std::result::Result<(), StoreError>) {
        let (mut removed, mut size, mut failures) = (0, self.largest(), 0);
        loop {
            let started = Instant::now();
            let batch = self.remove_some(store, size).await;
            let took = started.elapsed();
            match batch {
                Ok(None) => return (removed, Ok(())),
                Ok(Some(count)) => {
                    removed += count;
                    bar.inc(count);
                    failures = 0;
                    size = next_size(size, self.largest(), took);
                }
                Err(error) if error.passes() && failures < TRIES => {
                    failures += 1;
                    size = (size / 2).max(1);
                    tracing::warn!(%error, cause = error.cause(), "a batch failed; trying again");
                }
                Err(error) => return (removed, Err(error)),
            }
            // As long as it was kept from others, the database is theirs.
            tokio::time::sleep(took.max(PAUSE * 2_u32.pow(failures))).await;
        }
    }
}

fn next_size(size: u64, largest: u64, took: Duration) -> u64 {
    if took > SLOW {
        (size / 2).max(1)
    } else if took < SLOW / 2 {
        (size * 2).min(largest)
    } else {
        size
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_halved_when_it_was_slow_and_doubled_when_it_was_quick() {
        let millis = Duration::from_millis;
        assert_eq!(next_size(50, 50, millis(101)), 25);
        assert_eq!(next_size(1, 50, millis(9_000)), 1);
        assert_eq!(next_size(25, 50, millis(70)), 25);
        assert_eq!(next_size(25, 50, millis(10)), 50);
        assert_eq!(next_size(50, 50, millis(10)), 50);
    }
}
