//! Runs as a list, newest first.
//!
//! **Invariant:** what a page costs does not grow with the number of runs. Of each thing that is asked for, the database gives the
//! newest ids out of an index; those that reach back furthest are the rarest, and only they are looked at. (One statement with all of
//! it leaves the choice to estimates: then a page may read every run that has a common word.) Where things are each common, but never
//! together, all the rarest are looked at.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DbBackend, EntityName as _, EntityTrait as _,
    FromQueryResult, Iden as _, Order, QueryFilter as _, QueryOrder as _, QueryResult,
    QuerySelect as _, QueryTrait as _,
    sea_query::{Alias, Condition, Expr, ExprTrait as _, Query, SelectStatement},
};
use uuid::Uuid;

use super::{
    _entities::{bots, runs},
    Store, StoreError,
    rows::unreadable,
    runs::newest_versions,
    search,
};
use crate::conversation::{Bot, HistoryFilter, HistoryPage, Run, RunId, Timestamp};

/// How many runs are taken from the database at once.
const STEP: usize = 200;

/// The most candidates that are looked at in one step, where few of them pass.
const CANDIDATES: usize = 1600;

/// After how many bytes of topics and prompts a page ends before its limit.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A run's id holds the moment at which it was made, on whichever machine; its `created_at` is at most this far from it.
const CLOCKS: Duration = Duration::from_mins(5);

impl Store {
    /// The runs of that owner (`None`: of all) that pass the filter, newest first, from the one after `after`: at most `limit`, and fewer where they are very long.
    /// One that cannot be read is left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn history(
        &self,
        owner: Option<&str>,
        filter: &HistoryFilter,
        after: Option<RunId>,
        limit: u64,
    ) -> Result<HistoryPage, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let sought = self.sought(owner, filter);
        let mut page = HistoryPage {
            runs: Vec::new(),
            more_after: None,
        };
        let (mut last, mut bytes) = (after.map(RunId::as_uuid), 0);
        // Of one thing that is asked for, all candidates pass.
        let mut look = match sought.len() {
            1 => STEP.min(limit.saturating_add(1)),
            _ => STEP,
        };
        loop {
            // One more than is wanted tells whether there are more.
            let step = STEP.min((limit - page.runs.len()).saturating_add(1));
            let (candidates, end) = self.candidates(filter, &sought, last, look).await?;
            let rows = self.passing(filter, &sought, &candidates, step).await?;
            let all_seen = rows.len() < step;
            last = match rows.last() {
                Some((id, _)) if !all_seen => Some(*id),
                _ => end,
            };
            for run in self.read(rows).await? {
                if page.runs.len() == limit || bytes > PAGE_BYTES {
                    page.more_after = page.runs.last().map(|run| run.id);
                    return Ok(page);
                }
                bytes += run.topic.len() + prompts(&run.bots);
                page.runs.push(run);
            }
            if all_seen {
                if last.is_none() {
                    return Ok(page);
                }
                look = CANDIDATES.min(look * 2);
            }
        }
    }

    fn sought(&self, owner: Option<&str>, filter: &HistoryFilter) -> Vec<Sought> {
        let mut sought = Vec::new();
        let (provider, model) = (filter.provider.as_ref(), filter.model.as_ref());
        if provider.is_some() || model.is_some() {
            // Both of one version.
            let said = Condition::all()
                .add_option(provider.map(|name| bots::Column::Provider.eq(name)))
                .add_option(model.map(|name| bots::Column::Model.eq(name)));
            sought.push(Sought::new(bots::Entity.table_name(), "run_id", said));
        }
        for word in &filter.words {
            let occurs = search::occurs(self.db.get_database_backend(), word);
            let occurs = Condition::all().add(occurs);
            sought.push(Sought::new(search::TABLE, "run_id", occurs));
        }
        if let Some(owner) = owner {
            let belongs = Condition::all().add(runs::Column::Owner.eq(owner));
            sought.push(Sought::new(runs::Entity.table_name(), "id", belongs));
        }
        // With nothing else to go by, all runs are candidates.
        if filter.status.is_some() || sought.is_empty() {
            let status = filter.status.map(|status| status.as_str());
            let stands = Condition::all().add_option(status.map(|it| runs::Column::Status.eq(it)));
            sought.push(Sought::new(runs::Entity.table_name(), "id", stands));
        }
        sought
    }

    /// Ids, newest first, among which are all that pass, down to a place in the list; and that place, if it is not the end.
    async fn candidates(
        &self,
        filter: &HistoryFilter,
        sought: &[Sought],
        after: Option<Uuid>,
        look: usize,
    ) -> Result<(Vec<Uuid>, Option<Uuid>), StoreError> {
        let mut found = Vec::with_capacity(sought.len());
        for sought in sought {
            let rows = self
                .db
                .query_all(&sought.newest(filter, after, look))
                .await?;
            let ids = rows.iter().map(|row| row.try_get_by_index(0));
            let ids: Vec<Uuid> = ids.collect::<Result<_, _>>()?;
            if ids.is_empty() {
                return Ok((ids, None));
            }
            let reach = ids.last().copied().filter(|_| ids.len() == look);
            found.push((reach, ids));
        }
        found.sort_unstable_by_key(|(reach, ids)| (*reach, ids.len()));
        let mut found = found.into_iter();
        let (end, mut rarest) = found.next().unwrap_or_default();
        // As far as the others reach, they tell which of them cannot pass.
        for (reach, other) in found {
            let other: HashSet<Uuid> = other.into_iter().collect();
            rarest.retain(|id| other.contains(id) || reach.is_some_and(|reach| *id < reach));
        }
        Ok((rarest, end))
    }

    /// Those candidates that pass the whole filter, newest first: ids and rows.
    async fn passing(
        &self,
        filter: &HistoryFilter,
        sought: &[Sought],
        candidates: &[Uuid],
        limit: usize,
    ) -> Result<Vec<(Uuid, QueryResult)>, StoreError> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let created = |at: &Option<Timestamp>| at.map(Timestamp::as_millis);
        let mut wanted = Condition::all()
            .add(self.among(candidates))
            .add_option(created(&filter.created_after).map(|at| runs::Column::CreatedAt.gte(at)))
            .add_option(created(&filter.created_before).map(|at| runs::Column::CreatedAt.lt(at)));
        for sought in sought {
            wanted = wanted.add(sought.holds());
        }
        let list = runs::Entity::find()
            .filter(wanted)
            .order_by_desc(runs::Column::Id)
            .limit(limit as u64);
        let rows = self.db.query_all(list.as_query()).await?;
        let with_id = |row: QueryResult| Ok((row.try_get("", &runs::Column::Id.to_string())?, row));
        rows.into_iter().map(with_id).collect()
    }

    /// That a run is one of these: with one value, so that the statement is the same, and prepared once, for any number of them.
    fn among(&self, ids: &[Uuid]) -> Expr {
        let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
        match self.db.get_database_backend() {
            DbBackend::Postgres => Expr::cust_with_values(
                "runs.id = ANY(CAST($1 AS uuid[]))",
                [format!("{{{}}}", ids.join(","))],
            ),
            _ => Expr::cust_with_values(
                "runs.id IN (SELECT unhex(value) FROM json_each(?))",
                [format!("[\"{}\"]", ids.join("\",\""))],
            ),
        }
    }

    /// The runs of these rows. One that cannot be read must not hide the others: the log tells of it.
    async fn read(&self, rows: Vec<(Uuid, QueryResult)>) -> Result<Vec<Run>, StoreError> {
        let ids: Vec<Uuid> = rows.iter().map(|(id, _)| *id).collect();
        let mut bots = self.bots_of(&ids).await?;
        let mut runs = Vec::with_capacity(rows.len());
        for (id, row) in rows {
            let bots = bots.remove(&id).unwrap_or_else(|| Ok(Vec::new()));
            let run = bots.and_then(|bots| model::<runs::Model>(&row)?.into_run(bots));
            match run {
                Ok(run) => runs.push(run),
                Err(error) => {
                    tracing::warn!(run_id = %id, %error, "a run is left out of the list");
                }
            }
        }
        Ok(runs)
    }

    /// The bots of these runs, in their newest versions.
    async fn bots_of(
        &self,
        runs: &[Uuid],
    ) -> Result<HashMap<Uuid, Result<Vec<Bot>, StoreError>>, StoreError> {
        let mut bots: HashMap<Uuid, Result<Vec<Bot>, StoreError>> = HashMap::new();
        if runs.is_empty() {
            return Ok(bots);
        }
        let newest = newest_versions(runs);
        for row in self.db.query_all(newest.as_query()).await? {
            let of_run = bots
                .entry(row.try_get("", &bots::Column::RunId.to_string())?)
                .or_insert_with(|| Ok(Vec::new()));
            let version = model::<bots::Model>(&row).and_then(bots::Model::into_version);
            match (of_run.as_mut(), version) {
                (Ok(known), Ok(version)) => known.push(version.bot),
                (Ok(_), Err(error)) => *of_run = Err(error),
                (Err(_), _) => {}
            }
        }
        Ok(bots)
    }
}

/// One thing that is asked for, as the database knows it: rows, and in each the id of the run of which they say so.
struct Sought {
    table: Alias,
    run: Alias,
    rows: Condition,
}

impl Sought {
    fn new(table: &'static str, run: &'static str, rows: Condition) -> Self {
        let (table, run) = (Alias::new(table), Alias::new(run));
        Self { table, run, rows }
    }

    fn run(&self) -> Expr {
        Expr::col((self.table.clone(), self.run.clone()))
    }

    /// The ids of the newest runs of which it is true, in the order of an index.
    fn newest(&self, filter: &HistoryFilter, after: Option<Uuid>, look: usize) -> SelectStatement {
        let before = filter.created_before.map(|moment| first_id(moment, 1));
        let before = after.into_iter().chain(before).min();
        let from = filter.created_after.map(|moment| first_id(moment, -1));
        Query::select()
            .distinct()
            .expr(self.run())
            .from(self.table.clone())
            .cond_where(self.rows.clone())
            .and_where_option(before.map(|id| self.run().lt(id)))
            .and_where_option(from.map(|id| self.run().gte(id)))
            .order_by((self.table.clone(), self.run.clone()), Order::Desc)
            .limit(look as u64)
            .to_owned()
    }

    /// That it is true of a row of `runs`.
    fn holds(&self) -> Condition {
        if self.table == Alias::new(runs::Entity.table_name()) {
            return self.rows.clone();
        }
        let said = Query::select()
            .expr(Expr::value(1))
            .from(self.table.clone())
            .cond_where(self.rows.clone())
            .and_where(self.run().eq(Expr::col((runs::Entity, runs::Column::Id))))
            .to_owned();
        Condition::all().add(Expr::exists(said))
    }
}

fn model<M: FromQueryResult>(row: &QueryResult) -> Result<M, StoreError> {
    M::from_query_result(row, "").map_err(|error| unreadable(format!("another type ({error})")))
}

fn prompts(bots: &[Bot]) -> usize {
    let length = |bot: &Bot| bot.system_prompt.as_ref().map_or(0, String::len);
    bots.iter().map(length).sum()
}

/// The least id that was made around that moment, `sign` times the difference of clocks from it: so the index on ids bounds the look.
fn first_id(moment: Timestamp, sign: i64) -> Uuid {
    let clocks = i64::try_from(CLOCKS.as_millis()).unwrap_or(i64::MAX);
    let millis = moment.as_millis().saturating_add(sign * clocks);
    // RFC 9562: 48 bits of milliseconds come first.
    let millis = u128::from(u64::try_from(millis).unwrap_or(0)).min((1 << 48) - 1);
    Uuid::from_u128(millis << 80)
}
