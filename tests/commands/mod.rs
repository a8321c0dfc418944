//! The program on the command line: what it says of a database that it cannot use, and the tasks that work on one.

mod configuration;
mod converse;
mod doctor;
mod prune;
mod schema;

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Output},
};

use sea_orm::ConnectionTrait as _;

use crate::support::Database;

/// The program in that folder, with nothing of our environment but the database.
fn program(folder: &Path, database: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parley-cli"));
    command
        .env_clear()
        .env(
            "LOCO_CONFIG_FOLDER",
            concat!(env!("CARGO_MANIFEST_DIR"), "/config"),
        )
        .env("DATABASE_URL", database)
        .env("DEV_MODE", "true")
        .env("PORT", "0")
        .current_dir(folder);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// It must not start, must say why, and must not repeat a password.
fn refused(output: &Output, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("Error: "), "{said}");
    for word in words {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    assert!(
        !said.contains("panicked") && !said.contains("s3cret"),
        "{said}"
    );
}

fn sqlite(file: &Path) -> String {
    format!("sqlite://{}?mode=rwc", file.display())
}

#[test]
fn a_database_that_cannot_be_used_stops_the_boot_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("directory")).unwrap();
    fs::write(
        path("letter"),
        "Dear Parley, this is no database at all. ".repeat(99),
    )
    .unwrap();
    let cases: &[(String, &[&str])] = &[
        ("not an address".into(), &["DATABASE_URL", "sqlite://"]),
        ("mysql://a:s3cret@b/c".into(), &["DATABASE_URL", "mysql"]),
        ("postgres://a:s3cret@b:port/c".into(), &["DATABASE_URL"]),
        ("sqlite:".into(), &["DATABASE_URL", "names no file"]),
        (sqlite(&path("directory")), &["DATABASE_URL", "directory"]),
        (sqlite(&path("nowhere/file")), &["DATABASE_URL"]),
        (
            format!("sqlite://{}", path("absent").display()),
            &["?mode=rwc"],
        ),
        (sqlite(&path("letter")), &["not a database"]),
        (
            "postgres://a:s3cret@127.0.0.1:1/c".into(),
            &["does not answer", "DATABASE_URL"],
        ),
    ];
    for (address, words) in cases {
        refused(
            &program(folder.path(), address)
                .arg("start")
                .output()
                .unwrap(),
            words,
        );
    }
}

/// As a user who is not the file's owner, since root may do anything.
#[test]
fn a_file_without_rights_stops_the_boot_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("locked.sqlite");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let copy = |from: &str, to: &str| {
        let to = folder.path().join(to);
        fs::copy(from, &to).unwrap();
        to
    };
    let yaml = concat!(env!("CARGO_MANIFEST_DIR"), "/config/development.yaml");
    copy(yaml, "development.yaml");
    let mut command = Command::new(copy(env!("CARGO_BIN_EXE_parley-cli"), "program"));
    command
        .env_clear()
        .env("LOCO_CONFIG_FOLDER", folder.path())
        .env("DATABASE_URL", sqlite(&file))
        .current_dir(folder.path())
        .arg("start");
    if fs::metadata(&file).unwrap().uid() == 0 {
        command.uid(65534);
    }
    refused(
        &command.output().unwrap(),
        &["unable to open", "read and write"],
    );
}

#[test]
fn prune_says_what_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let address = sqlite(&folder.path().join("parley.sqlite"));
    let prune = |arguments: &[&str]| {
        let mut command = program(folder.path(), &address);
        command
            .args(["task", "prune"])
            .args(arguments)
            .output()
            .unwrap()
    };
    for (arguments, words) in [
        (&[][..], &["older_than:30d"][..]),
        (&["older_than:soon"], &["older_than", "soon", "30d"]),
        (&["older_than:-1d"], &["older_than"]),
        (&["older_than:30"], &["older_than"]),
        (
            &["older_than:30d", "dry_run:perhaps"],
            &["dry_run", "perhaps"],
        ),
        (&["older_than:30d", "dryrun:true"], &["dryrun"]),
    ] {
        refused(&prune(arguments), words);
    }
    for (arguments, word) in [
        (
            &["older_than:30d", "dry_run:true"][..],
            "would remove 0 run(s)",
        ),
        (&["older_than:30d"], "removed 0 run(s)"),
        (&["older_than:900years"], "removed 0 run(s)"),
    ] {
        let output = prune(arguments);
        let said = text(&output.stdout);
        assert!(
            output.status.success() && said.contains(word),
            "{said}{}",
            text(&output.stderr)
        );
    }
    let mut memory = program(folder.path(), "sqlite::memory:");
    memory.args(["task", "prune", "older_than:30d"]);
    refused(&memory.output().unwrap(), &["in memory", "DATABASE_URL"]);
}

/// The settings for the database reach every connection.
#[tokio::test]
async fn postgres_is_told_the_timeouts() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let db = parley::models::connect(&crate::support::pool(&database.uri))
        .await
        .unwrap();
    for (setting, value) in [
        ("statement_timeout", "10s"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("synchronous_commit", "on"),
    ] {
        let statement = sea_orm::Statement::from_string(
            sea_orm::DbBackend::Postgres,
            format!("SHOW {setting}"),
        );
        let row = db.query_one_raw(statement).await.unwrap().unwrap();
        assert_eq!(
            row.try_get_by_index::<String>(0).unwrap(),
            value,
            "{setting}"
        );
    }
    db.close().await.unwrap();
    let mut careless = crate::support::pool(&database.uri);
    careless.postgres.synchronous_commit = "off".to_owned();
    let db = parley::models::connect(&careless).await.unwrap();
    let unsynced = parley::models::unsynced(&db).await.unwrap();
    assert_eq!(unsynced, [("synchronous_commit", "off".to_owned())]);
    db.close().await.unwrap();
    database.remove().await;
}
