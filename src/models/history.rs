//! Runs as a list, newest first.

use std::{collections::HashMap, time::Duration};

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Select,
    sea_query::{Condition, Query},
};
use uuid::Uuid;

use super::{
    _entities::{bots, runs},
    Store, StoreError,
    runs::newest,
    search,
};
use crate::conversation::{Bot, BotVersion, HistoryFilter, HistoryPage, RunId, Timestamp};

/// How many runs are taken from the database at once.
const STEP: u64 = 200;

/// After how many bytes of topics and prompts a page ends before its limit.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A run's id holds the moment at which it was made, on whichever machine; its `created_at` is at most this far from it.
const CLOCKS: Duration = Duration::from_mins(5);

impl Store {
    /// The runs that pass the filter, newest first, from the one after `after`: at most `limit`, and fewer where they are very long.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn history(
        &self,
        filter: &HistoryFilter,
        after: Option<RunId>,
        limit: u64,
    ) -> Result<HistoryPage, StoreError> {
        let mut page = HistoryPage {
            runs: Vec::new(),
            more_after: None,
        };
        let (mut last, mut bytes) = (after, 0);
        loop {
            let left = limit.saturating_sub(page.runs.len() as u64);
            // One more than is wanted tells whether there are more.
            let step = STEP.min(left + 1);
            let rows = self.list(filter, last).limit(step).all(&self.db).await?;
            let end = (rows.len() as u64) < step;
            let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
            let mut bots = self.bots_of(&ids).await?;
            for row in rows {
                if page.runs.len() as u64 == limit || bytes > PAGE_BYTES {
                    page.more_after = last;
                    return Ok(page);
                }
                let id = row.id;
                // Deleted between the two looks: it is not in the list any more.
                let Some(bots) = bots.remove(&id) else {
                    continue;
                };
                let run = row.into_run(bots)?;
                bytes += run.topic.len() + prompts(&run.bots);
                last = Some(run.id);
                page.runs.push(run);
            }
            if end {
                return Ok(page);
            }
        }
    }

    fn list(&self, filter: &HistoryFilter, after: Option<RunId>) -> Select<runs::Entity> {
        let HistoryFilter {
            status,
            provider,
            model,
            created_after,
            created_before,
            words,
        } = filter;
        let mut wanted = Condition::all()
            .add_option(after.map(|after| runs::Column::Id.lt(after.as_uuid())))
            .add_option(status.map(|status| runs::Column::Status.eq(status.as_str())));
        if provider.is_some() || model.is_some() {
            let mut speaking = Query::select();
            speaking.column(bots::Column::RunId).from(bots::Entity);
            speaking.cond_where(
                Condition::all()
                    .add_option(
                        provider
                            .as_ref()
                            .map(|name| bots::Column::Provider.eq(name)),
                    )
                    .add_option(model.as_ref().map(|name| bots::Column::Model.eq(name))),
            );
            wanted = wanted.add(runs::Column::Id.in_subquery(speaking));
        }
        if let Some(moment) = created_after {
            wanted = wanted
                .add(runs::Column::CreatedAt.gte(moment.as_millis()))
                .add(runs::Column::Id.gte(first_id(*moment, -1)));
        }
        if let Some(moment) = created_before {
            wanted = wanted
                .add(runs::Column::CreatedAt.lt(moment.as_millis()))
                .add(runs::Column::Id.lt(first_id(*moment, 1)));
        }
        for word in words {
            let found = search::runs_with(self.db.get_database_backend(), word);
            wanted = wanted.add(runs::Column::Id.in_subquery(found));
        }
        runs::Entity::find()
            .filter(wanted)
            .order_by_desc(runs::Column::Id)
    }

    /// The bots of these runs, in their newest versions.
    async fn bots_of(&self, runs: &[Uuid]) -> Result<HashMap<Uuid, Vec<Bot>>, StoreError> {
        let rows = bots::Entity::find()
            .filter(bots::Column::RunId.is_in(runs.iter().copied()))
            .order_by_asc(bots::Column::RunId)
            .order_by_asc(bots::Column::BotIndex)
            .order_by_asc(bots::Column::Version)
            .all(&self.db)
            .await?;
        let mut versions: HashMap<Uuid, Vec<BotVersion>> = HashMap::new();
        for row in rows {
            versions
                .entry(row.run_id)
                .or_default()
                .push(row.into_version()?);
        }
        let newest = versions.into_iter().map(|(run, all)| (run, newest(&all)));
        Ok(newest.collect())
    }
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
