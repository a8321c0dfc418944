//! What handlers are given: the door, checked paths, checked bodies (`body`). Every rejection is a problem.

mod body;

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, Path},
    http::{StatusCode, request::Parts},
};
use loco_rs::{app::AppContext, controller::middleware::request_id::LocoRequestId};

pub use body::{BodyLimits, FormBody, JsonBody, KeyedJsonBody, MergePatch, OptionalJsonBody};

use crate::{
    conversation::{Asker, RunId, TraceContext, Violation},
    identity::{
        Caller, ClientAddress, ClientKey, Login, Places, Scope, Sessions, SharedPlaces, Tickets,
    },
    orchestrator::Runs,
    views::{problem::Problem, protected_resource::ProtectedResource, stream::StreamSettings},
};

/// What the handlers stand on. The composition root puts it into the application's store: this is the one place that looks.
#[derive(Clone)]
pub struct Door {
    /// The door to all runs.
    pub runs: Runs,
    /// What goes for open streams.
    pub stream: StreamSettings,
    /// Cancelled when the process is to end: open streams end then.
    pub shutdown: tokio_util::sync::CancellationToken,
    /// What bounds a body.
    pub bodies: BodyLimits,
    /// What clients are told that need a token; `None` where none are taken.
    pub protected_resource: Option<Arc<ProtectedResource>>,
    /// Makes tickets; `None` where no login is asked for.
    pub tickets: Option<Arc<Tickets>>,
    /// Who is logged in by a browser; `None` where nobody is.
    pub sessions: Option<Arc<Sessions>>,
    /// Who may open a stream.
    pub places: Places,
    /// The same for owners, where all processes count them together.
    pub shared_places: Option<SharedPlaces>,
    /// Writes the metrics as they are now.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Door {
    fn find(ctx: &AppContext) -> Result<Self, Problem> {
        ctx.shared_store
            .get::<Self>()
            .ok_or_else(|| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

impl FromRequestParts<AppContext> for Door {
    type Rejection = Problem;

    async fn from_request_parts(_parts: &mut Parts, ctx: &AppContext) -> Result<Self, Problem> {
        Self::find(ctx)
    }
}

/// Somebody who may look at runs, and the door to them.
pub struct Reader {
    /// The door.
    pub door: Door,
    /// Who is asking.
    pub caller: Caller,
    /// Where from, as limits count.
    pub client: ClientKey,
}

/// Somebody who may start and change runs, and the door to them.
pub struct Writer {
    /// The door.
    pub door: Door,
    /// Who is asking.
    pub caller: Caller,
    /// Who it is if something is done.
    pub asker: Asker,
}

/// Somebody who may do all, and the door to it.
pub struct Admin {
    /// The door.
    pub door: Door,
}

impl FromRequestParts<AppContext> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ctx: &AppContext) -> Result<Self, Problem> {
        let (caller, address) = allowed(parts, Scope::Read)?;
        let door = Door::find(ctx)?;
        Ok(Self {
            door,
            caller,
            client: address.into(),
        })
    }
}

impl FromRequestParts<AppContext> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ctx: &AppContext) -> Result<Self, Problem> {
        let (caller, address) = allowed(parts, Scope::Write)?;
        let door = Door::find(ctx)?;
        Ok(Self {
            door,
            asker: asker(parts, &caller, address),
            caller,
        })
    }
}

impl FromRequestParts<AppContext> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ctx: &AppContext) -> Result<Self, Problem> {
        allowed(parts, Scope::Admin)?;
        let door = Door::find(ctx)?;
        Ok(Self { door })
    }
}

/// A reader that takes something away with it: who it is.
pub struct By(pub Asker);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let (caller, address) = known(parts)?;
        Ok(Self(asker(parts, caller, address)))
    }
}

/// Who is asking, and where from. The login layer leaves nobody out: without a caller, nothing is allowed.
fn known(parts: &Parts) -> Result<(&Caller, IpAddr), Problem> {
    let caller = parts.extensions.get::<Caller>();
    let both = caller.zip(parts.extensions.get::<ClientAddress>());
    let (caller, ClientAddress(address)) =
        both.ok_or_else(|| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
    Ok((caller, *address))
}

/// The same, if it may do that.
fn allowed(parts: &Parts, scope: Scope) -> Result<(Caller, IpAddr), Problem> {
    let (caller, address) = known(parts)?;
    if caller.scopes.allow(scope) {
        Ok((caller.clone(), address))
    } else {
        Err(Problem::insufficient_scope(scope.as_str()))
    }
}

/// That caller as somebody who does something.
fn asker(parts: &Parts, caller: &Caller, address: IpAddr) -> Asker {
    let request_id = parts.extensions.get::<LocoRequestId>();
    Asker {
        owner: caller.owner.clone(),
        login: parts.extensions.get::<Login>().map(|login| login.as_str()),
        client: ClientKey::from(address).to_string(),
        address: Some(address),
        request_id: request_id.map_or_else(String::new, |id| id.get().to_owned()),
    }
}

/// From where the request goes on in a trace, where traces are kept.
pub struct Traced(pub Option<TraceContext>);

impl<S: Sync> FromRequestParts<S> for Traced {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<TraceContext>().cloned()))
    }
}

/// The run in the path.
pub struct RunPath(pub RunId);

impl<S: Send + Sync> FromRequestParts<S> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| undecodable())?;
        Ok(Self(run_id(&id)?))
    }
}

/// The run and the bot in the path.
pub struct BotPath(pub RunId, pub u32);

impl<S: Send + Sync> FromRequestParts<S> for BotPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((id, index)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| undecodable())?;
        let bad_index = || {
            let detail = "a bot is named by its place in the run's list: 0, 1, 2 …";
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-bot-index",
                "Invalid bot index",
                detail,
            )
        };
        let digits = !index.is_empty()
            && index.len() <= 9
            && index.bytes().all(|byte| byte.is_ascii_digit());
        let index = if digits {
            index.parse().map_err(|_| bad_index())?
        } else {
            return Err(bad_index());
        };
        Ok(Self(run_id(&id)?, index))
    }
}

/// Reads a run's id.
///
/// # Errors
/// A 400 that says how one looks.
pub fn run_id(text: &str) -> Result<RunId, Problem> {
    let invalid = |error: crate::conversation::InvalidRunId| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid-run-id",
            "Invalid run id",
            error.to_string(),
        )
    };
    let id = text.parse().map_err(invalid)?;
    // Whatever is said of this request is said of the run, too.
    tracing::Span::current().record("run_id", tracing::field::display(id));
    Ok(id)
}

/// The answer to a path that is no text.
#[must_use]
pub fn undecodable() -> Problem {
    let detail = "the path is not UTF-8 after percent-decoding";
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-path",
        "Invalid path",
        detail,
    )
}

/// The answer to a query that breaks rules.
#[must_use]
pub fn invalid_query(mistakes: Vec<Violation>) -> Problem {
    let detail = format!("the query has {} mistake(s)", mistakes.len());
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-query",
        "Invalid query",
        detail,
    )
    .with_errors(mistakes)
}
