//! How many streams of an owner are open, at all processes on the database together. Each has a row for each of its owners and writes into
//! no other; those of a process that is not alive do not count.

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _,
    sea_query::{Expr, ExprTrait as _, OnConflict, Query, SelectStatement},
};

use super::{
    _entities::{
        nodes,
        open_streams::{Column, Entity},
    },
    Store, StoreError,
};

impl Store {
    /// So many streams of the owner are open at that node now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_streams(
        &self,
        node: &str,
        owner: &str,
        open: usize,
    ) -> Result<(), StoreError> {
        if open == 0 {
            let row = (owner.to_owned(), node.to_owned());
            Entity::delete_by_id(row).exec(&self.db).await?;
            return Ok(());
        }
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        let mut insert = Query::insert();
        insert
            .into_table(Entity)
            .columns([Column::Owner, Column::Node, Column::Open])
            .values_panic([Expr::value(owner), Expr::value(node), Expr::value(open)])
            .on_conflict(
                OnConflict::columns([Column::Owner, Column::Node])
                    .update_column(Column::Open)
                    .to_owned(),
            );
        self.db.execute(&insert).await?;
        Ok(())
    }

    /// How many streams of the owner are open at other nodes that are alive.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn streams_elsewhere(&self, node: &str, owner: &str) -> Result<u64, StoreError> {
        let open: Vec<i64> = Entity::find()
            .filter(Column::Owner.eq(owner))
            .filter(Column::Node.ne(node))
            .filter(Column::Node.in_subquery(self.alive()))
            .select_only()
            .column(Column::Open)
            .into_tuple()
            .all(&self.db)
            .await?;
        let counts = open
            .into_iter()
            .map(|open| u64::try_from(open).unwrap_or(0));
        Ok(counts.fold(0, u64::saturating_add))
    }

    /// Takes away the rows of nodes that are no more.
    pub(super) async fn forget_streams_of_the_dead(&self) -> Result<(), StoreError> {
        let known = Query::select()
            .column(nodes::Column::Id)
            .from(nodes::Entity)
            .to_owned();
        Entity::delete_many()
            .filter(Column::Node.not_in_subquery(known))
            .exec(&self.db)
            .await?;
        Ok(())
    }

    fn alive(&self) -> SelectStatement {
        Query::select()
            .column(nodes::Column::Id)
            .from(nodes::Entity)
            .and_where(Expr::col(nodes::Column::Expires).gt(self.now()))
            .to_owned()
    }
}
