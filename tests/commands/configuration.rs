//! What is configured wrong stops the boot, and what is secret is not printed.

use std::{fs, path::Path, process::Command};

use super::{program, sqlite, text};
use crate::support::Database;

/// The configuration of development with a change, in a folder of its own.
fn configured(folder: &Path, from: &str, to: &str) -> Command {
    let yaml = concat!(env!("CARGO_MANIFEST_DIR"), "/config/development.yaml");
    let yaml = fs::read_to_string(yaml).unwrap();
    assert!(yaml.contains(from), "{yaml}");
    fs::write(folder.join("development.yaml"), yaml.replace(from, to)).unwrap();
    let mut command = program(folder, &sqlite(&folder.join("parley.sqlite")));
    command
        .env("LOCO_CONFIG_FOLDER", folder)
        .env_remove("PORT")
        .arg("start");
    command
}

/// It does not start, and says each of these.
fn says(command: &mut Command, words: &[&str]) {
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    assert!(
        !said.contains("canary") && !said.contains("panicked"),
        "{said}"
    );
}

#[test]
fn a_port_that_is_none_stops_the_boot() {
    let folder = tempfile::tempdir().unwrap();
    let port = "must be a port, 0 to 65535";
    for wrong in ["70000", "-1"] {
        let mut command = program(folder.path(), "sqlite::memory:");
        command.args(["start", &format!("--port={wrong}")]);
        says(
            &mut command,
            &["the settings have 1 mistake", "--port", port],
        );
        let written = format!("port: {wrong}");
        let mut command = configured(folder.path(), "port: 5150", &written);
        says(
            &mut command,
            &["the settings have 1 mistake", "server.port", port],
        );
    }
}

/// There is one list of origins: Loco's own would say another.
#[test]
fn origins_in_the_wrong_place_stop_the_boot() {
    let folder = tempfile::tempdir().unwrap();
    let from = "  middlewares:\n";
    let cors =
        format!("{from}    cors: {{ enable: true, allow_origins: [\"https://a.example\"] }}\n");
    let mut command = configured(folder.path(), from, &cors);
    says(
        &mut command,
        &["server.middlewares.cors", "settings.http.allowed_origins"],
    );
}

#[test]
fn bounds_of_settings_are_told_with_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = "settings:\n  orchestrator: { node_lifetime_ms: 499 }\n  database: { lock_timeout_ms: 2147483648 }\n";
    let mut command = configured(folder.path(), "settings: {}", wrong);
    let words = [
        "settings.orchestrator.node_lifetime_ms: must be at least 500",
        "settings.database.lock_timeout_ms: must be at most 2147483647",
    ];
    says(&mut command, &words);
}

const REDIS: &str = "queue: { kind: Redis, uri: \"redis://ann:canary@127.0.0.1:1/0\" }\nworkers:";

#[test]
fn an_address_of_redis_that_is_none_stops_the_boot_and_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    for (wrong, word) in [
        ("canary", "expected: redis://"),
        ("redis://:canary@h:port", "port"),
        ("redis://:canary@h/jobs", "no number"),
        ("http://:canary@h", "http"),
    ] {
        let mut command = configured(folder.path(), "workers:", REDIS);
        says(command.env("REDIS_URL", wrong), &["REDIS_URL", word]);
        let written = REDIS.replace("redis://ann:canary@127.0.0.1:1/0", wrong);
        let mut command = configured(folder.path(), "workers:", &written);
        says(&mut command, &["queue.uri", word]);
    }
}

/// What `doctor --config` prints.
fn printed(command: &Command, redis: &str, flag: &str) -> String {
    let mut doctor = Command::new(command.get_program());
    doctor
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("REDIS_URL", redis)
        .current_dir(command.get_current_dir().unwrap())
        .args(["doctor", flag]);
    let output = doctor.output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("canary"), "{said}");
    said
}

#[test]
fn the_environment_names_redis_and_no_secret_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let command = configured(folder.path(), "workers:", REDIS);
    let said = printed(&command, "", "--config");
    assert!(said.contains("redis://***@127.0.0.1:1/0"), "{said}");
    for flag in ["--config", "-c"] {
        let said = printed(&command, "redis://:canary@127.0.0.1:2/5", flag);
        assert!(said.contains("redis://***@127.0.0.1:2/5"), "{said}");
    }
    let hash = "$2b$12$canaryghijklmnopqrstuuAbCdEfGhIjKlMnOpQrStUvWxYz01234";
    let auth =
        format!("settings:\n  auth: {{ basic: {{ user: a, password_hash: \"{hash}\" }} }}\n");
    let command = configured(folder.path(), "settings: {}", &auth);
    printed(&command, "", "--config");
}

#[tokio::test]
async fn the_databases_password_is_not_printed() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut address = url::Url::parse(&database.uri).unwrap();
    // A server that trusts this machine takes any.
    address.set_password(Some("canary")).unwrap();
    let shown = format!(
        "postgres://***@{}",
        &database.uri[database.uri.find('@').unwrap() + 1..]
    );
    let queue = format!("queue: {{ kind: Postgres, uri: \"{address}\" }}\nworkers:");
    let mut command = configured(folder.path(), "workers:", &queue);
    command.env("DATABASE_URL", address.as_str());
    let said = printed(&command, "", "--config");
    assert_eq!(said.matches(&shown).count(), 2, "{said}");
    database.remove().await;
}
