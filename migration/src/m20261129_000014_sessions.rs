//! Who is logged in by a browser.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        crate::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("sessions")
                    // SHA-256 of what the browser has, in base64url: who reads this table can be nobody.
                    .col(string("id").primary_key())
                    // To whom belongs what is made.
                    .col(string("owner"))
                    .col(string("issuer"))
                    .col(string("subject"))
                    // The issuer's own session (`sid`), if it has said one.
                    .col(string_null("issuer_session"))
                    // With spaces between.
                    .col(string("scopes"))
                    .col(big_integer("seen"))
                    // Whatever happens, it ends then.
                    .col(big_integer("expires"))
                    .to_owned(),
            )
            .await?;
        for (name, columns) in [
            ("sessions_by_subject", &["issuer", "subject"][..]),
            ("sessions_by_issuer_session", &["issuer", "issuer_session"]),
            ("sessions_by_expiry", &["expires"]),
        ] {
            let mut index = Index::create();
            index.name(name).table("sessions");
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("sessions").to_owned())
            .await
    }
}
