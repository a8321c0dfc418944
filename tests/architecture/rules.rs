//! The table: rooms, arrows and fences.

/// What a room may name of ours, itself aside.
pub(super) enum Arrows {
    /// Only these rooms.
    To(&'static [&'static str]),
    /// Everything: the rooms in which parts meet.
    All,
}

use Arrows::{All, To};

/// Every room, and the arrows that leave it. `lib` and `bin` are the crate's two doors.
pub(super) const ROOMS: &[(&str, Arrows)] = &[
    ("conversation", To(&[])),
    ("providers", To(&["conversation"])),
    ("models", To(&["conversation"])),
    ("event_log", To(&["conversation", "models"])),
    ("views", To(&["conversation"])),
    ("identity", To(&["conversation", "models"])),
    (
        "orchestrator",
        To(&["conversation", "providers", "event_log", "models"]),
    ),
    // The run ids of the jobs are words of the conversation.
    ("workers", To(&["orchestrator", "conversation"])),
    (
        "controllers",
        To(&["orchestrator", "identity", "views", "conversation"]),
    ),
    (
        "middleware",
        To(&["orchestrator", "identity", "views", "conversation"]),
    ),
    // The others tell it what happens through words of the conversation, and do not know it.
    ("telemetry", To(&["conversation"])),
    // Nothing of ours: only the composition root reads it, so it stands in no list but those of `All`.
    ("settings", To(&[])),
    // Nothing of ours: if both sides shared a struct, a misspelt field would agree with itself.
    ("simulator", To(&[])),
    // All but controllers and settings.
    (
        "tasks",
        To(&[
            "app",
            "conversation",
            "event_log",
            "identity",
            "middleware",
            "models",
            "orchestrator",
            "providers",
            "simulator",
            "views",
            "workers",
        ]),
    ),
    ("app", All),
    ("lib", All),
    ("bin", All),
];

/// Rooms that need no introduction of their own: the composition root and the crate's doors, whose arrows are `All`.
pub(super) const WITHOUT_INTRODUCTION: &[&str] = &["app", "lib", "bin"];

/// Where an outside crate may be named.
pub(super) enum Fence {
    /// Only in these rooms.
    Only(&'static [&'static str]),
    /// Everywhere but in these rooms.
    NotIn(&'static [&'static str]),
}

use Fence::{NotIn, Only};

/// Outside crates that belong to rooms. A crate that is not listed may be used anywhere.
pub(super) const FENCES: &[(&str, Fence)] = &[
    (
        "axum",
        Only(&["views", "controllers", "middleware", "simulator", "app"]),
    ),
    ("bcrypt", Only(&["identity"])),
    ("blowfish", Only(&["identity"])),
    ("governor", Only(&["identity"])),
    ("jsonwebtoken", Only(&["identity"])),
    ("dotenvy", Only(&["settings"])),
    (
        "loco_rs",
        Only(&[
            "workers",
            "controllers",
            "middleware",
            "tasks",
            "app",
            "bin",
        ]),
    ),
    ("migration", Only(&["app", "bin"])),
    ("opentelemetry", Only(&["telemetry"])),
    ("opentelemetry_otlp", Only(&["telemetry"])),
    ("opentelemetry_sdk", Only(&["telemetry"])),
    ("procfs", Only(&["telemetry"])),
    ("prometheus_client", Only(&["telemetry"])),
    ("redis", Only(&["event_log"])),
    // Who is asked for words, who is told of spans, and who has the keys of tokens.
    ("reqwest", Only(&["providers", "telemetry", "identity"])),
    ("ring", Only(&["identity"])),
    ("rustls", Only(&["providers", "telemetry", "identity"])),
    ("sea_orm", Only(&["models", "app"])),
    ("serde_yaml_ng", Only(&["app"])),
    // Where JSON is made that the API shows, and where its document is put together.
    ("utoipa", Only(&["conversation", "views", "controllers"])),
    ("utoipa_swagger_ui", Only(&["controllers"])),
    // The rules are pure: no clock, no I/O, no async.
    ("tokio", NotIn(&["conversation"])),
    ("tokio_util", NotIn(&["conversation"])),
    ("futures_util", NotIn(&["conversation"])),
];

/// Every file is read by people.
pub(super) const MAX_LINES: usize = 500;
