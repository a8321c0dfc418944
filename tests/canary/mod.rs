//! Keys never appear: the real program with keys in its environment, every log at its most talkative, and providers that repeat what
//! they were sent wherever an answer has room for it. Afterwards everything that came out of it is searched.

mod provider;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use provider::{FAULTS, Parrot};
use serde_json::{Value, json};

use crate::support::{SseClient, client, free_port, within};

/// The secrets, by their names in the environment.
const SECRETS: [(&str, &str); 5] = [
    ("OPENAI_API_KEY", "canary-amber-walrus-one-hums-loudly"),
    ("ANTHROPIC_API_KEY", "canary-birch-otter-two-naps-softly"),
    ("BY_RESPONSES_API_KEY", "canary-cedar-lemur-three-digs-deep"),
    ("AZURE_API_KEY", "canary-delta-gecko-four-runs-fast"),
    ("PARLEY_SECRET", "canary-ember-heron-five-flies-high"),
];
/// Those of them that stand in files, where the program does not write.
const IN_FILES: [&str; 2] = ["ANTHROPIC_API_KEY", "PARLEY_SECRET"];
const PASSWORD: &str = "canary-fjord-mouse-six";
/// The providers, each of which has a key of the above and an API of its own.
const PROVIDERS: [&str; 4] = ["openai", "anthropic", "by-responses", "azure"];
/// So much of a secret, wherever it stands in it, is a leak.
const PART: usize = 12;

/// The program, started with all that is secret.
struct Program {
    folder: PathBuf,
    /// Where the secrets in files are.
    files: tempfile::TempDir,
    hash: String,
    address: String,
    process: Child,
}

impl Program {
    fn command(folder: &Path, files: &Path, hash: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parley-cli"));
        command
            .args(arguments)
            .env_clear()
            .env("LOCO_ENV", "test")
            .env("LOCO_CONFIG_FOLDER", folder)
            .env("BASIC_AUTH_USER", "ann")
            .env("BASIC_AUTH_PW_HASH", hash)
            .current_dir(folder)
            .stdin(Stdio::null());
        for (name, secret) in SECRETS {
            if IN_FILES.contains(&name) {
                command.env(format!("{name}_FILE"), files.join(name));
            } else {
                command.env(name, secret);
            }
        }
        command
    }

    /// Starts it and waits until it answers.
    async fn start(folder: &Path, parrot: &Parrot) -> Self {
        let port = free_port();
        fs::write(folder.join("test.yaml"), configuration(port, &parrot.base)).unwrap();
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let files = tempfile::tempdir().unwrap();
        for (name, secret) in SECRETS.iter().filter(|(name, _)| IN_FILES.contains(name)) {
            fs::write(files.path().join(name), format!("{secret}\n")).unwrap();
        }
        let mut program = Self {
            process: Self::command(folder, files.path(), &hash, &["start"])
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap(),
            folder: folder.to_owned(),
            files,
            hash,
            address: format!("127.0.0.1:{port}"),
        };
        let ping = format!("http://{}/_ping", program.address);
        within("the program to answer", async {
            while client().get(&ping).send().await.is_err() {
                let ended = program.process.try_wait().unwrap();
                assert!(
                    ended.is_none(),
                    "{}",
                    fs::read_to_string(folder.join("log")).unwrap()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        program
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let mut request = client()
            .request(method.parse().unwrap(), url)
            .basic_auth("ann", Some(PASSWORD));
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = within("an answer", request.send()).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
        (status, headers + &answer.text().await.unwrap())
    }

    /// A run on that provider in which that happens; what can be seen of it.
    async fn run(&self, provider: &str, fault: &str) -> String {
        let bot = json!({"provider": provider, "model": fault, "params": {}});
        let order =
            json!({"topic": "Tea?", "max_turns": 1, "bots": [bot, bot], "show_reasoning": true});
        let (status, answer) = self.ask("POST", "/api/run", Some(&order)).await;
        assert_eq!(status, 201, "{answer}");
        let body: Value = serde_json::from_str(&answer[answer.rfind("}{").unwrap() + 1..]).unwrap();
        let id = body["run_id"].as_str().unwrap();
        let login = format!("Basic {}", base64(&format!("ann:{PASSWORD}")));
        let path = format!("/api/stream/{id}");
        let mut stream = SseClient::open(&self.address, &path, &[("authorization", &login)]).await;
        let events = stream.rest().await;
        assert!(events.len() > 2, "{provider} {fault}: {events:?}");
        let mut seen = format!("{}\n{events:?}\n", stream.head);
        for path in [
            format!("/api/run/{id}"),
            format!("/api/export/{id}.json"),
            format!("/api/export/{id}.md"),
            format!("/api/export/{id}.html"),
            format!("/api/export/{id}.txt"),
        ] {
            seen += &self.ask("GET", &path, None).await.1;
        }
        seen
    }

    /// A run that is watched by its ticket: the ticket.
    async fn watched(&self) -> String {
        let bot = json!({"provider": PROVIDERS[0], "model": FAULTS[0]});
        let order = json!({"topic": "Tea?", "max_turns": 1, "bots": [bot, bot]});
        let (_, answer) = self.ask("POST", "/api/run", Some(&order)).await;
        let body: Value = serde_json::from_str(&answer[answer.rfind("}{").unwrap() + 1..]).unwrap();
        let (id, ticket) = (
            body["run_id"].as_str().unwrap(),
            body["ticket"].as_str().unwrap(),
        );
        let path = format!("/api/stream/{id}?last_event_id=&ticket={ticket}");
        let headers = [("referer", "http://localhost/a-page")];
        let mut stream = SseClient::open(&self.address, &path, &headers).await;
        assert!(stream.rest().await.len() > 2, "{}", stream.head);
        // Where it opens nothing, it is told nowhere either.
        let path = format!("/api/run/{id}?ticket={ticket}");
        let refused = client().get(format!("http://{}{path}", self.address));
        let refused = within("an answer", refused.send()).await.unwrap();
        assert_eq!(refused.status(), 401);
        let said = format!(
            "{:?} {}",
            refused.headers().clone(),
            refused.text().await.unwrap()
        );
        assert!(!said.contains(ticket), "{said}");
        ticket.to_owned()
    }

    /// Ends it as a service is ended.
    async fn end(mut self) -> Self {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
        within("the program to end", async {
            while self.process.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        self
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(port: u16, base: &str) -> String {
    format!(
        r#"
logger: {{ enable: true, level: trace, format: compact, override_filter: trace }}
server: {{ port: {port}, binding: "127.0.0.1", host: "http://127.0.0.1", ident: "" }}
database:
  uri: "sqlite://parley.sqlite?mode=rwc"
  enable_logging: true
  connect_timeout: 5000
  idle_timeout: 500
  min_connections: 1
  max_connections: 5
  auto_migrate: true
workers: {{ mode: BackgroundAsync }}
settings:
  retry: {{ max_attempts: 2, base_ms: 1, cap_ms: 5 }}
  breaker: {{ failures: 100000 }}
  rate_limit: {{ run_creations_per_minute: 100000 }}
  providers:
    openai: {{ base_url: "{base}/v1" }}
    anthropic: {{ base_url: "{base}" }}
    by-responses: {{ kind: openai, api: responses, base_url: "{base}/v1" }}
    azure: {{ kind: openai, api: chat_completions, base_url: "{base}/v1", key_header: "api-key" }}
"#
    )
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Fails where a part of a secret is found.
fn search(place: &str, bytes: &[u8], secrets: &[(&str, &str)]) {
    let text = String::from_utf8_lossy(bytes);
    for (name, secret) in secrets {
        for start in 0..=secret.len() - PART {
            let part = &secret[start..start + PART];
            if let Some(found) = text.find(part) {
                let (from, to) = (found.saturating_sub(300), found + 300);
                let around = String::from_utf8_lossy(&text.as_bytes()[from..to.min(text.len())]);
                panic!("{place} has {part:?} of {name}: …{around}…");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_found_in_anything_that_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let parrot = Parrot::start().await;
    let program = Program::start(folder.path(), &parrot).await;
    let login = base64(&format!("ann:{PASSWORD}"));
    let hash = program.hash.clone();
    let secrets = [
        &SECRETS[..],
        &[
            ("the password", PASSWORD),
            ("the hash", &hash[7..]),
            ("the login", &login),
        ],
    ]
    .concat();
    for provider in PROVIDERS {
        for fault in FAULTS {
            let seen = program.run(provider, fault).await;
            search(
                &format!("a run, {provider} {fault}"),
                seen.as_bytes(),
                &secrets,
            );
        }
    }
    for (method, path, body) in [
        ("GET", "/api/providers", None),
        ("GET", "/api/run/nobody", None),
        ("GET", "/nowhere", None),
        ("POST", "/api/run", Some(json!({"topic": 5}))),
        (
            "POST",
            "/api/run",
            Some(json!({"topic": "x", "bots": [{"provider": "openai"}]})),
        ),
    ] {
        let (_, seen) = program.ask(method, path, body.as_ref()).await;
        search(path, seen.as_bytes(), &secrets);
    }
    let ticket = program.watched().await;
    // What it begins with is the run's id and a moment.
    let signature = &ticket[33..];
    let secrets = [&secrets[..], &[("a ticket", signature)]].concat();
    assert!(
        parrot.repeated() >= PROVIDERS.len() * FAULTS.len(),
        "the keys were sent"
    );
    let program = program.end().await;
    let doctor = |arguments: &[&str]| {
        let (folder, files) = (&program.folder, program.files.path());
        let output = Program::command(folder, files, &program.hash, arguments).output();
        let output = output.unwrap();
        [output.stdout, output.stderr].concat()
    };
    for arguments in [&["doctor"][..], &["doctor", "--config"]] {
        search("doctor", &doctor(arguments), &secrets);
    }
    // With more behind it, the secret is one that is too long.
    let too_long = program.files.path().join(IN_FILES[0]);
    let longer = SECRETS[1].1.repeat(2_000);
    fs::write(&too_long, longer).unwrap();
    let said = doctor(&["doctor"]);
    search("doctor", &said, &secrets);
    // Its variable is named; the path is not, which might be the secret itself.
    assert!(String::from_utf8_lossy(&said).contains(IN_FILES[0]));
    let log = fs::read(program.folder.join("log")).unwrap();
    let spoke = |target: &str| log.windows(target.len()).any(|at| at == target.as_bytes());
    assert!(spoke("TRACE") && spoke("hyper") && spoke("sqlx") && spoke("reqwest"));
    for file in fs::read_dir(&program.folder).unwrap() {
        let path = file.unwrap().path();
        search(
            &path.display().to_string(),
            &fs::read(&path).unwrap(),
            &secrets,
        );
    }
}

/// What `Debug` shows of everything that holds a secret.
#[test]
fn debug_shows_no_secret() {
    use parley::{
        identity::{Answer, Redirect},
        providers::{Config, ProviderConfig},
        settings::{ApiKind, Environment, Settings},
    };
    let hash = "$2b$12$abcdefghijklmnopqrstuuAbCdEfGhIjKlMnOpQrStUvWxYz01234";
    let (name, key) = SECRETS[0];
    let (signs, signing) = SECRETS[4];
    let (filed, in_a_file) = SECRETS[1];
    let folder = tempfile::tempdir().unwrap();
    let (in_file, file) = (format!("{filed}_FILE"), folder.path().join("key"));
    fs::write(&file, in_a_file).unwrap();
    let env = Environment::from_pairs([
        (name, key),
        (signs, signing),
        ("BASIC_AUTH_USER", "ann"),
        ("BASIC_AUTH_PW_HASH", hash),
        (
            "DATABASE_URL",
            "postgres://u:canary-gorge-ibis-seven-sits@h/b",
        ),
        ("REDIS_URL", "redis://:canary-haven-koala-eight-eats@h"),
        (&in_file, file.to_str().unwrap()),
    ]);
    let kind = ApiKind {
        name: "openai",
        vendor_url: "https://x/v1",
        models: &[],
    };
    let another = ApiKind {
        name: "anthropic",
        ..kind
    };
    let settings = Settings::load(None, &env, &[kind, another], false).unwrap();
    assert!(settings.providers.iter().all(|it| it.api_key.is_some()));
    let pool = crate::support::pool("postgres://u:canary-gorge-ibis-seven-sits@h/b");
    let provider = ProviderConfig {
        api_key: Some(key.to_owned().into()),
        ..crate::providers::provider("openai", "http://x")
    };
    let config = Config {
        providers: vec![provider],
        timeouts: crate::providers::PATIENT,
        max_event_bytes: 1,
        breaker: crate::providers::BREAKER,
        meter: parley::conversation::Meter::default(),
    };
    let (code, cookie) = ("canary-jetty-llama-two-hums", "canary-knoll-moose-six-nods");
    let answer: Answer = serde_json::from_value(json!({"state": code, "code": code})).unwrap();
    let redirect = Redirect {
        to: format!("https://i.example/authorize?state={code}"),
        cookies: vec![format!("parley={cookie}")],
    };
    let shown = format!(
        "{env:?} {settings:?} {pool:?} {config:?} {config:#?} {answer:?} {redirect:?} {:?}",
        settings.clone()
    );
    search(
        "Debug",
        shown.as_bytes(),
        &[
            (name, key),
            (signs, signing),
            (filed, in_a_file),
            ("the hash", &hash[7..]),
            ("the database", "canary-gorge-ibis-seven-sits"),
            ("the queue", "canary-haven-koala-eight-eats"),
            ("the code", code),
            ("the cookie", cookie),
        ],
    );
}
