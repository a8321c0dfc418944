//! What `doctor` says is wrong, that it says all of it, and that it changes nothing; and the check of a supervisor.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

use super::{program, refused, sqlite, text};
use crate::support::Database;

const HASH: &str = "$2b$12$canaryghijklmnopqrstuuAbCdEfGhIjKlMnOpQrStUvWxYz01234";

/// `doctor` for production, with a login, a provider, and this database.
fn doctor(folder: &Path, database: &str) -> Command {
    let mut command = program(folder, database);
    command
        .env_remove("DEV_MODE")
        .env("BASIC_AUTH_USER", "ada")
        .env("BASIC_AUTH_PW_HASH", HASH)
        .env("OPENAI_API_KEY", "canary")
        .args(["doctor", "--environment", "production"]);
    command
}

/// What it prints; `healthy`: whether it ends well. No secret, ever.
fn says(command: &mut Command, healthy: bool, words: &[&str]) -> String {
    let output = command.output().unwrap();
    let said = text(&output.stdout);
    let all = format!("{said}{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(i32::from(!healthy)), "{all}");
    for word in words {
        assert!(said.contains(word), "{word} is not in: {all}");
    }
    for secret in ["canary", "s3cret", "panicked"] {
        assert!(!all.contains(secret), "{all}");
    }
    said
}

/// The configuration of production with these settings, in a folder of its own.
fn configured(folder: &Path, from: &str, to: &str) {
    let yaml = concat!(env!("CARGO_MANIFEST_DIR"), "/config/production.yaml");
    let yaml = fs::read_to_string(yaml).unwrap();
    assert!(yaml.contains(from), "{yaml}");
    fs::write(folder.join("production.yaml"), yaml.replace(from, to)).unwrap();
}

fn migrate(folder: &Path, database: &str) {
    let migrated = program(folder, database).args(["db", "migrate"]).output();
    assert!(migrated.unwrap().status.success());
}

#[test]
fn a_configuration_that_is_right_has_no_cross() {
    let folder = tempfile::tempdir().unwrap();
    let address = sqlite(&folder.path().join("parley.sqlite"));
    migrate(folder.path(), &address);
    configured(
        folder.path(),
        "settings: {}",
        "settings: { http: { trusted_proxies: [\"127.0.0.1/32\"] } }",
    );
    let mut command = doctor(folder.path(), &address);
    let words = [
        "login: Basic auth",
        "providers: openai",
        "trusted proxies: 127.0.0.1/32",
        "PARLEY_SECRET: none",
        "names of this server: none",
        "parley.sqlite?mode=rwc: can be used",
    ];
    let said = says(
        command.env("LOCO_CONFIG_FOLDER", folder.path()),
        true,
        &words,
    );
    assert!(!said.contains('❌'), "{said}");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = "settings:\n  stream: { heartbeat_ms: 0 }\n  orchestrator: { node_lifetime_ms: 1, surprise: 2 }\n";
    configured(folder.path(), "settings: {}", wrong);
    let mut command = doctor(folder.path(), "mysql://a:s3cret@b/c");
    command.env("LOCO_CONFIG_FOLDER", folder.path());
    let words = [
        "settings.stream.heartbeat_ms: must be at least 1",
        "settings.orchestrator.node_lifetime_ms: must be at least 500",
        "settings.orchestrator.surprise",
        "DATABASE_URL is of a kind",
    ];
    says(&mut command, false, &words);
    // With an address that is one, the database is looked at beside the mistakes.
    let mut command = doctor(folder.path(), "postgres://a:s3cret@127.0.0.1:1/c");
    command.env("LOCO_CONFIG_FOLDER", folder.path());
    let words = [
        "heartbeat_ms",
        "postgres://***@127.0.0.1:1/c",
        "does not answer",
    ];
    says(&mut command, false, &words);
}

#[test]
fn production_wants_a_login_and_a_provider_and_no_dev_mode() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = doctor(folder.path(), "sqlite::memory:");
    command
        .env("DEV_MODE", "true")
        .env_remove("BASIC_AUTH_USER")
        .env_remove("BASIC_AUTH_PW_HASH")
        .env_remove("OPENAI_API_KEY");
    let words = [
        "DEV_MODE: turns off login",
        "production needs a login",
        "providers: none",
        "database: in memory",
    ];
    says(&mut command, false, &words);
}

/// What logins by a browser need of the public address, and the names of this server.
#[test]
fn a_public_address_that_does_not_suit_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let with = |host: &str| {
        let mut command = doctor(folder.path(), "sqlite::memory:");
        command
            .env("AUTH_MODE", "oidc")
            .env("OIDC_ISSUER", "https://login.example")
            .env("OIDC_AUDIENCE", "parley")
            .env("OIDC_CLIENT_ID", "parley")
            .env("HOST", host);
        command
    };
    for wrong in [
        "http://parley.example",
        "http://localhost",
        "https://parley.example/p",
    ] {
        says(
            &mut with(wrong),
            false,
            &["so HOST must be the public", wrong],
        );
    }
    let said = says(
        &mut with("https://parley.example"),
        true,
        &["login: tokens"],
    );
    assert!(!said.contains("HOST"), "{said}");
}

/// Of an address that is none no name can be taken, and then any would go: in production neither `doctor` nor a start lets that pass,
/// however one logs in.
#[test]
fn a_public_address_that_is_none_stops_production_and_doctor_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let with = |host: &str| {
        let mut command = doctor(folder.path(), "sqlite::memory:");
        command.env("HOST", host);
        command
    };
    for wrong in ["parley.example", "ftp://parley.example", "https://a b"] {
        let words = [
            "HOST must be the public address, such as https://parley.example",
            wrong,
        ];
        says(&mut with(wrong), false, &words);
        let mut start = program(folder.path(), "sqlite::memory:");
        start
            .env_remove("DEV_MODE")
            .env("LOCO_ENV", "production")
            .env("BASIC_AUTH_USER", "ada")
            .env("BASIC_AUTH_PW_HASH", HASH)
            .env("HOST", wrong)
            .arg("start");
        refused(&start.output().unwrap(), &words);
    }
    let unsaid = "names of this server: none";
    // On purpose, and so without a word.
    for fine in [
        "http://localhost",
        "https://parley.example",
        "https://parley.example/p",
    ] {
        let said = says(&mut with(fine), true, &["login: Basic auth"]);
        assert!(!said.contains(unsaid) && !said.contains("HOST"), "{said}");
    }
    says(
        &mut doctor(folder.path(), "sqlite::memory:"),
        true,
        &[unsaid],
    );
}

#[test]
fn files_for_what_is_no_secret_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = doctor(folder.path(), "sqlite::memory:");
    command
        .env("PORT_FILE", "/canary")
        .env("HOST_FILE", "/canary");
    says(&mut command, true, &["PORT_FILE, HOST_FILE: not read"]);
}

#[test]
fn development_without_anything_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path(), "sqlite::memory:");
    command.arg("doctor");
    says(
        &mut command,
        true,
        &["DEV_MODE is on", "providers: the simulator", "in memory"],
    );
}

#[test]
fn a_file_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let address = sqlite(&data.join("parley.sqlite"));
    says(
        &mut doctor(folder.path(), &address),
        false,
        &["still to be made", "db migrate"],
    );
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    let absent = address.replace("?mode=rwc", "");
    says(&mut doctor(folder.path(), &absent), false, &["?mode=rwc"]);
    let nowhere = sqlite(&data.join("nowhere/parley.sqlite"));
    says(
        &mut doctor(folder.path(), &nowhere),
        false,
        &["no file can be made"],
    );
}

/// As a user who may read the file and not write it.
#[test]
fn a_file_that_cannot_be_written_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let address = sqlite(&folder.path().join("parley.sqlite"));
    migrate(folder.path(), &address);
    let copied = folder.path().join("program");
    fs::copy(env!("CARGO_BIN_EXE_parley-cli"), &copied).unwrap();
    configured(folder.path(), "settings: {}", "settings: {}");
    let file = folder.path().join("parley.sqlite");
    let before = doctor(folder.path(), &address);
    let mut command = Command::new(&copied);
    command.env_clear().current_dir(folder.path());
    command.envs(
        before
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command
        .args(before.get_args())
        .env("LOCO_CONFIG_FOLDER", folder.path());
    let root = fs::File::open("/proc/self").is_ok() && {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(&file).unwrap().uid() == 0
    };
    if root {
        command.uid(65534);
    } else {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    }
    says(&mut command, false, &["❌ database"]);
}

#[tokio::test]
async fn postgres_without_migrations_is_said_and_then_is_well() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    says(
        &mut doctor(folder.path(), &database.uri),
        false,
        &["lacks migrations", "db migrate"],
    );
    migrate(folder.path(), &database.uri);
    says(
        &mut doctor(folder.path(), &database.uri),
        true,
        &["postgres://"],
    );
    database.remove().await;
}

#[test]
fn a_queue_that_is_away_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let address = sqlite(&folder.path().join("parley.sqlite"));
    migrate(folder.path(), &address);
    let queue = "workers: { mode: BackgroundQueue }\nqueue: { kind: Redis, uri: \"redis://:canary@127.0.0.1:1/0\" }\nx-was:";
    let yaml = concat!(env!("CARGO_MANIFEST_DIR"), "/config/production.yaml");
    let yaml = fs::read_to_string(yaml).unwrap();
    let kept: Vec<&str> = yaml.split("workers:").next().unwrap().lines().collect();
    let queue = queue.trim_end_matches("x-was:");
    fs::write(
        folder.path().join("production.yaml"),
        format!("{}\n{queue}", kept.join("\n")),
    )
    .unwrap();
    let mut command = doctor(folder.path(), &address);
    command.env("LOCO_CONFIG_FOLDER", folder.path());
    says(
        &mut command,
        false,
        &["❌ job queue: redis://***@127.0.0.1:1/0"],
    );
}

/// `healthcheck` against whoever answers with that status line.
fn healthcheck(answer: Option<&'static str>) -> (bool, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = answer.map(|answer| {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            text(&asked[..length])
        })
    });
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path(), "postgres://a@127.0.0.1:1/never-opened");
    command
        .env("PORT", port.to_string())
        .env("BINDING", "0.0.0.0");
    let output = command.args(["task", "healthcheck"]).output().unwrap();
    if let Some(server) = server {
        assert!(server.join().unwrap().starts_with("GET /_readiness "));
    }
    (output.status.success(), text(&output.stderr))
}

#[test]
fn healthcheck_says_whether_the_server_is_ready() {
    let (well, said) = healthcheck(Some("HTTP/1.1 200 OK\r\n\r\n"));
    assert!(well && said.is_empty(), "{said}");
    for (answer, word) in [
        (
            Some("HTTP/1.1 503 Service Unavailable\r\n\r\n"),
            "not ready",
        ),
        (Some("220 mail.example ESMTP\r\n"), "something else"),
        (None, "nothing answers"),
    ] {
        let (well, said) = healthcheck(answer);
        assert!(!well && said.contains(word), "{said}");
    }
}

#[test]
fn secrets_from_files_are_known_and_what_is_wrong_with_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let address = sqlite(&folder.path().join("parley.sqlite"));
    migrate(folder.path(), &address);
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let (hash, key) = (file("hash", &format!("{HASH}\n")), file("key", "canary\n"));
    let database = file("database", &format!("{address}\n"));
    let from_files = || {
        let mut command = doctor(folder.path(), &address);
        for (name, path) in [
            ("BASIC_AUTH_PW_HASH", &hash),
            ("OPENAI_API_KEY", &key),
            ("DATABASE_URL", &database),
        ] {
            command.env_remove(name).env(format!("{name}_FILE"), path);
        }
        command
    };
    let words = [
        "secrets from files: ",
        "OPENAI_API_KEY_FILE",
        "login: Basic auth",
        "providers: openai",
        "parley.sqlite?mode=rwc: can be used",
    ];
    says(&mut from_files(), true, &words);
    says(
        from_files().env("OPENAI_API_KEY", "canary"),
        false,
        &["OPENAI_API_KEY_FILE: OPENAI_API_KEY is set, too: unset one"],
    );
    // The database is looked at all the same.
    says(
        from_files().env("BASIC_AUTH_PW_HASH_FILE", "/nowhere/hash"),
        false,
        &[
            "BASIC_AUTH_PW_HASH_FILE: the file that it names cannot be read",
            "parley.sqlite?mode=rwc: can be used",
        ],
    );
    fs::write(&database, "mysql://u:s3cret@h/b").unwrap();
    says(
        &mut from_files(),
        false,
        &["DATABASE_URL_FILE is of a kind that Parley does not know (mysql)"],
    );
}
