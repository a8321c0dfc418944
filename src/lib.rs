//! Parley lets AI bots talk to each other and lets anybody watch, live, over Server-Sent Events.
//!
//! # The rooms
//!
//! | room | what it is |
//! |---|---|
//! | [`conversation`] | the rules, pure: vocabulary, status, events, who speaks, what a bot is shown, when to retry |
//! | [`providers`] | the outside world of models: one trait, an adapter for each kind of API |
//! | [`models`] | the database: rows, finders, the transactions that keep log and projections together |
//! | [`event_log`] | the log of a run as one thing: append, read from a cursor, wait |
//! | [`orchestrator`] | drives runs: the [`orchestrator::Runs`] door, the supervisor, the one task of each run |
//! | [`workers`] | Loco's background workers: they ring the orchestrator |
//! | [`identity`] | who is asking, what they may do, and how much of it |
//! | [`middleware`], [`controllers`], [`views`] | HTTP: what every request passes, thin handlers, outgoing JSON and streams |
//! | [`telemetry`] | what operators see: metrics, traces, logs |
//! | [`simulator`] | a stand-in for the providers that knows nothing of our side |
//! | [`settings`] | the typed settings; [`tasks`]: what `cargo loco task` runs |
//! | [`app`] | the composition root: the only place where the rooms meet |
//!
//! # The arrows
//!
//! ```text
//! controllers ─┬─> orchestrator ─┬─> providers ──> conversation
//! middleware ──┤                 └─> event_log ──> models ──> conversation
//!              ├─> identity ───────────────────────> models
//!              └─> views ──────> conversation         workers ──> orchestrator
//! telemetry ─────────────────────> conversation
//! ```
//!
//! No other arrow is allowed; `tests/architecture` reads the sources and says so.
//!
//! # A run's life
//!
//! 1. `POST /api/run`: the controller checks the form and calls [`orchestrator::Runs::start`].
//! 2. The door checks the rules and writes run, bots, topic and event 1 in one transaction; the answer is 201.
//! 3. The worker gets the id and offers it to the supervisor, which claims the run: from now on one task drives it.
//! 4. The turn transaction writes `turn.started`; after its commit the prompt is laid out and the provider is asked.
//! 5. Deltas come, are encoded once, and are appended to the live log; no database, no lock across an await.
//! 6. The provider says that it is done; one transaction closes this turn, applies the commands that wait and opens the next.
//! 7. A failed attempt leaves `error` (and takes its text back, if it was shown), waits, and is made again.
//! 8. A stop closes the provider's stream, then commits, then is answered.
//! 9. `GET /api/stream/{run_id}`: a reader pulls from its cursor, from the database first and then live, and waits on the head.
//! 10. If the process dies, another one (or its next start) claims the run, restarts the open turn, and goes on; if it is told to
//!     end, the turn in progress gets its time, and the run is given up in the transaction that closes it.
//! 11. The final event ends the run and every stream; nothing of it is left in memory.

pub mod app;
pub mod controllers;
pub mod conversation;
pub mod event_log;
pub mod identity;
pub mod middleware;
pub mod models;
pub mod orchestrator;
pub mod providers;
pub mod settings;
pub mod simulator;
pub mod tasks;
pub mod telemetry;
pub mod views;
pub mod workers;
