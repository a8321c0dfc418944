//! The real program as a process of its own, which can be killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::{client, within};

/// A place for a server: its port, its configuration, and the process while there is one.
pub(super) struct Node {
    pub(super) base: String,
    port: u16,
    folder: PathBuf,
    process: Option<Child>,
}

impl Node {
    /// A node on that database whose providers are at `simulator`. Not started yet.
    pub(super) fn new(folder: &Path, database: &str, simulator: &str, settings: &str) -> Self {
        // Free now; whoever else wants a port of this range gets another.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = folder.join(format!("node-{port}"));
        fs::create_dir_all(&folder).unwrap();
        let yaml = format!(
            r#"
logger: {{ enable: true, level: warn, format: compact }}
server: {{ port: {port}, binding: "127.0.0.1", host: "http://127.0.0.1", ident: "" }}
database:
  uri: "{database}"
  enable_logging: false
  connect_timeout: 5000
  idle_timeout: 500
  min_connections: 1
  max_connections: 5
  auto_migrate: true
workers: {{ mode: BackgroundAsync }}
settings:
  dev_mode: true
  retry: {{ base_ms: 1, cap_ms: 5 }}
  providers:
    openai: {{ base_url: "{simulator}/v1" }}
    anthropic: {{ base_url: "{simulator}" }}
  orchestrator: {settings}
"#
        );
        fs::write(folder.join("test.yaml"), yaml).unwrap();
        Self {
            base: format!("http://127.0.0.1:{port}"),
            port,
            folder,
            process: None,
        }
    }

    /// Changes a word of its configuration for the next start.
    pub(super) fn reconfigure(&self, from: &str, to: &str) {
        let path = self.folder.join("test.yaml");
        let yaml = fs::read_to_string(&path).unwrap();
        assert!(yaml.contains(from), "{yaml}");
        fs::write(path, yaml.replace(from, to)).unwrap();
    }

    /// Starts the program and waits until it answers.
    pub(super) async fn start(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_parley-cli"))
            .arg("start")
            .env_clear()
            .env("LOCO_ENV", "test")
            .env("LOCO_CONFIG_FOLDER", &self.folder)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(child);
        let client = client();
        let answers = async {
            while client
                .get(format!("{}/_ping", self.base))
                .send()
                .await
                .is_err()
            {
                let process = self.process.as_mut().unwrap();
                if let Some(status) = process.try_wait().unwrap() {
                    panic!(
                        "the node on {} ended at once: {status}\n{}",
                        self.port,
                        self.log()
                    );
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within("the node to answer", answers).await;
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Sends a signal by name.
    pub(super) fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits until the process has ended by itself, and says how.
    pub(super) async fn ended(&mut self) -> std::process::ExitStatus {
        let mut process = self.process.take().unwrap();
        let wait = tokio::task::spawn_blocking(move || process.wait().unwrap());
        within("the node to end", wait).await.unwrap()
    }

    /// What it has logged so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
