//! Loco's background workers: they take a run's id and hand it to the orchestrator.
//!
//! **Invariant:** a worker only rings. Loco's queues run one job a slot and hold the slot while `perform` runs; its in-process
//! mode is a bare spawn without a handle, which nothing could stop or wait for. So `perform` offers the run to the supervisor,
//! which owns the task that drives it, and returns at once: the queue's concurrency never limits live runs, and a job that comes
//! twice, late or never is harmless, because the claim decides and the supervisor looks for forgotten runs itself.
//!
//! **May import:** orchestrator (and the vocabulary of its ids).

pub mod queue;
pub mod run;
