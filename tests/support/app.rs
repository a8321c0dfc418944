//! The real application on a port of its own, with a simulator and a database of its own.

use std::{path::Path, time::Duration};

use loco_rs::{
    app::{AppContext, Hooks as _},
    boot::StartMode,
    config::Config,
    environment::Environment,
};
use parley::{
    app::{App, Parts, ServeOptions, serve, serve_options},
    simulator::{Script, Simulator},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Database, Event, Fold, SseClient, contract};

/// No single wait may take longer: what is waited for comes by an event, or the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client for addresses of this machine.
pub(crate) fn client() -> reqwest::Client {
    // As the application does it; whoever is first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_only([])
        .build()
        .unwrap()
}

/// How long or how often to try is for whoever runs the test to say.
pub(crate) fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Bounds a wait; an outage that is longer by hand is waited for.
pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let outage = Duration::from_secs(number("PARLEY_TEST_OUTAGE").unwrap_or(0));
    match tokio::time::timeout(PATIENCE + outage, wait).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long: {what}"),
    }
}

/// A port that is free now. Below those that the system gives to whoever asks for any: a server that starts later would find
/// such a one taken.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(15_000..30_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// An application under test. End it with [`TestApp::close`], which fails if anything was left alive.
pub(crate) struct TestApp {
    pub(crate) address: String,
    pub(crate) simulator: Simulator,
    pub(crate) ctx: AppContext,
    client: reqwest::Client,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
    database: Option<Database>,
    closed: bool,
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The slug of a problem's type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let body = self.json();
        assert_eq!(body["status"], self.status);
        assert_eq!(body["request_id"], self.header("x-request-id"));
        body["type"]
            .as_str()
            .unwrap()
            .strip_prefix("/problems/")
            .unwrap()
            .to_owned()
    }
}

impl TestApp {
    /// The application in `DEV_MODE` with quick retries; its provider follows the script.
    pub(crate) async fn spawn(script: Script) -> Self {
        Self::with(script, json!({})).await
    }

    /// The same, with settings over it.
    pub(crate) async fn with(script: Script, settings: Value) -> Self {
        Self::on(None, script, settings).await
    }

    /// The same on that database; without one, on a new one of this run's kind.
    pub(crate) async fn on(uri: Option<&str>, script: Script, settings: Value) -> Self {
        let simulator = Simulator::start(([127, 0, 0, 1], 0).into(), script)
            .await
            .unwrap();
        let mut all = json!({
            "dev_mode": true,
            "retry": {"base_ms": 1, "cap_ms": 5},
            "providers": {
                "openai": {"base_url": simulator.openai_base_url()},
                "anthropic": {"base_url": simulator.anthropic_base_url()},
                "gemini": {"base_url": format!("http://{}/v1beta", simulator.address())},
            },
        });
        merge(&mut all, &settings);
        let mut config = Config::from_folder(&Environment::Test, Path::new("config")).unwrap();
        // Not a setting of ours: where clients find us, as `HOST` says it.
        if let Some(host) = all.as_object_mut().and_then(|all| all.remove("HOST")) {
            config.server.host = host.as_str().unwrap().to_owned();
        }
        config.settings = Some(all);
        let (database, uri) = match uri {
            Some(uri) => (None, uri.to_owned()),
            None => {
                let database = Database::of_this_run().await;
                let uri = database.uri.clone();
                (Some(database), uri)
            }
        };
        config.database.uri = uri;
        let booted = App::boot(StartMode::ServerOnly, &Environment::Test, config)
            .await
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let options = ServeOptions {
            keep_alive: Duration::from_secs(60),
            grace: Duration::from_secs(5),
            ..serve_options(&booted.app_context).unwrap()
        };
        let told = shutdown.clone().cancelled_owned();
        let server = tokio::spawn(serve(listener, booted.router.unwrap(), options, told));
        let client = client();
        Self {
            address,
            simulator,
            ctx: booted.app_context,
            client,
            shutdown,
            server,
            database,
            closed: false,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn parts(&self) -> Parts {
        self.ctx
            .shared_store
            .get::<Parts>()
            .expect("the parts are installed")
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), self.url(path))
    }

    /// The answer, held against the document of the API.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.send_by(&self.client, request).await
    }

    /// The same by that client.
    pub(crate) async fn send_by(
        &self,
        client: &reqwest::Client,
        request: reqwest::RequestBuilder,
    ) -> Answer {
        let request = request.build().unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = within("an answer", client.execute(request)).await;
        let response = response.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let answer = Answer {
            status,
            headers,
            text: within("a body", response.text()).await.unwrap(),
        };
        contract().check(method.as_str(), &path, &answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self
            .request("POST", path)
            .header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        let request = self
            .request("PATCH", path)
            .header("content-type", "application/merge-patch+json");
        self.send(request.body(body.to_string())).await
    }

    /// Starts a run of two bots, the first on `openai` and the second on `anthropic`.
    pub(crate) async fn start_run(&self, max_turns: u32) -> String {
        self.start(&talk(max_turns)).await
    }

    /// Starts that run.
    pub(crate) async fn start(&self, order: &Value) -> String {
        let answer = self.post("/api/run", order).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["run_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn stop(&self, id: &str) -> Answer {
        self.send(self.request("POST", &format!("/api/run/{id}/stop")))
            .await
    }

    pub(crate) async fn run(&self, id: &str) -> Value {
        self.get(&format!("/api/run/{id}")).await.json()
    }

    pub(crate) async fn export(&self, id: &str) -> Value {
        self.get(&format!("/api/export/{id}.json")).await.json()
    }

    /// Opens the stream after a cursor; empty: from the beginning.
    pub(crate) async fn stream(&self, id: &str, cursor: &str) -> SseClient {
        let headers: &[(&str, &str)] = if cursor.is_empty() {
            &[]
        } else {
            &[("last-event-id", cursor)]
        };
        SseClient::open(&self.address, &format!("/api/stream/{id}"), headers).await
    }

    /// All events of the run, to its end.
    pub(crate) async fn events(&self, id: &str) -> Vec<Event> {
        let mut stream = self.stream(id, "").await;
        assert_eq!(stream.status, 200, "{}", stream.head);
        let events = stream.rest().await;
        assert!(
            Fold::of(&events).is_over(),
            "the stream ended before the run: {events:?}"
        );
        events
    }

    /// Ends the application. Fails if a run, a provider request or a live log was left behind.
    pub(crate) async fn close(mut self) {
        self.closed = true;
        let parts = self.parts();
        within("the runs' tasks to end", async {
            while parts.supervisor.live() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        within(
            "the provider requests to end",
            self.simulator.wait_for(|activity| activity.open == 0),
        )
        .await;
        parts.shutdown.cancel();
        self.shutdown.cancel();
        within("the server to end", &mut self.server).await.unwrap();
        within("the logs to be let go", async {
            while parts.log.live() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        parts.shut_down().await;
        if let Some(database) = self.database.take() {
            database.remove().await;
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        assert!(
            self.closed || std::thread::panicking(),
            "a test must end its application with close()"
        );
    }
}

/// The order for a talk of two.
pub(crate) fn talk(max_turns: u32) -> Value {
    json!({
        "topic": "Tea or coffee?",
        "max_turns": max_turns,
        "bots": [
            {"provider": "openai", "model": "model-a", "name": "Ada"},
            {"provider": "anthropic", "model": "model-b", "name": "Bob", "system_prompt": "Be brief."},
        ],
    })
}

pub(crate) fn merge(target: &mut Value, over: &Value) {
    match (target, over) {
        (Value::Object(target), Value::Object(over)) => {
            for (key, value) in over {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (target, over) => *target = over.clone(),
    }
}
