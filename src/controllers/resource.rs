//! What the handlers of generated resources are given beside their bodies: the id in the path, the page of a list. Every rejection is
//! a problem.

use axum::{
    extract::{FromRequestParts, Path},
    http::{StatusCode, request::Parts},
};
use utoipa::IntoParams;
use uuid::Uuid;

use super::{
    extract::{invalid_query, undecodable},
    history::pairs,
};
use crate::{conversation::Violation, views::problem::Problem};

/// How many items are listed where the request does not say, and at most.
const LIMIT: u64 = 20;
const MAX_LIMIT: u64 = 100;

/// The one id in the path.
pub struct IdPath(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for IdPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| undecodable())?;
        let id = read_id(&text).ok_or_else(|| {
            let detail = "an id is a lower-case UUID with hyphens, such as 019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071";
            Problem::new(StatusCode::BAD_REQUEST, "invalid-id", "Invalid id", detail)
        })?;
        Ok(Self(id))
    }
}

/// Reads the one spelling that we write, so that a thing has one address.
fn read_id(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    (id.hyphenated().to_string() == text).then_some(id)
}

/// The query of a list, as the document of the API has it; it is read by hand, so that every mistake is told.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the schema of the query alone")]
pub(super) struct PageParams {
    /// How many; 20 where it is absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u64>,
    /// Where the page begins: `next_cursor` of the page before.
    cursor: Option<Uuid>,
}

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The item after which the page begins.
    pub after: Option<Uuid>,
    /// How many items at most.
    pub limit: u64,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        read(&pairs(parts, state).await?).map_err(invalid_query)
    }
}

fn read(pairs: &[(String, String)]) -> Result<Page, Vec<Violation>> {
    let (mut after, mut limit) = (None, None);
    let mut mistakes = Vec::new();
    for (name, value) in pairs {
        let mistake = match name.as_str() {
            "limit" if limit.is_none() => {
                limit = value.parse().ok();
                let right = limit.is_some_and(|limit| (1..=MAX_LIMIT).contains(&limit));
                (!right).then(|| format!("must be a whole number from 1 to {MAX_LIMIT}"))
            }
            "cursor" if after.is_none() => {
                after = read_id(value);
                (after.is_none()).then(|| "is no cursor of this list".to_owned())
            }
            "limit" | "cursor" => Some("is there twice".to_owned()),
            _ => Some("is no parameter of this list".to_owned()),
        };
        mistakes.extend(mistake.map(|reason| Violation::new(format!("/{name}"), reason)));
    }
    if mistakes.is_empty() {
        let limit = limit.unwrap_or(LIMIT);
        Ok(Page { after, limit })
    } else {
        Err(mistakes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071";

    fn page(query: &[(&str, &str)]) -> Result<Page, Vec<String>> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let pairs: Vec<_> = query.iter().map(owned).collect();
        read(&pairs).map_err(|mistakes| mistakes.into_iter().map(|one| one.pointer).collect())
    }

    #[test]
    fn a_page_is_read_and_every_mistake_in_it_told() {
        let after = Uuid::try_parse(ID).ok();
        assert_eq!(
            page(&[]),
            Ok(Page {
                after: None,
                limit: 20
            })
        );
        assert_eq!(
            page(&[("limit", "7"), ("cursor", ID)]),
            Ok(Page { after, limit: 7 })
        );
        for wrong in ["0", "101", "-1", "x", ""] {
            assert_eq!(page(&[("limit", wrong)]), Err(vec!["/limit".to_owned()]));
        }
        let told = page(&[
            ("limit", "7"),
            ("limit", "7"),
            ("cursor", "x"),
            ("page", "2"),
        ]);
        assert_eq!(told.unwrap_err(), ["/limit", "/cursor", "/page"]);
    }

    #[test]
    fn an_id_has_one_spelling() {
        assert!(read_id(ID).is_some());
        for other in [ID.to_uppercase(), ID.replace('-', ""), String::new()] {
            assert_eq!(read_id(&other), None, "{other}");
        }
    }
}
