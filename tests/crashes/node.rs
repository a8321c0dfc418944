//! The real program as a process of its own, which can be killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::{client, free_port, within};

/// A place for a server: its port, its configuration, and the process while there is one.
pub(crate) struct Node {
    pub(crate) base: String,
    port: u16,
    folder: PathBuf,
    process: Option<Child>,
    /// What follows `start` on its command line.
    arguments: &'static [&'static str],
}

impl Node {
    /// A node on that database whose providers are at `simulator`. Not started yet.
    pub(crate) fn new(folder: &Path, database: &str, simulator: &str, settings: &str) -> Self {
        let port = free_port();
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
            arguments: &[],
        }
    }

    /// The same, started with these arguments.
    pub(crate) fn with(mut self, arguments: &'static [&'static str]) -> Self {
        self.arguments = arguments;
        self
    }

    /// Changes a word of its configuration for the next start.
    pub(crate) fn reconfigure(&self, from: &str, to: &str) {
        let path = self.folder.join("test.yaml");
        let yaml = fs::read_to_string(&path).unwrap();
        assert!(yaml.contains(from), "{yaml}");
        fs::write(path, yaml.replace(from, to)).unwrap();
    }

    /// Starts the program and waits until it answers.
    pub(crate) async fn start(&mut self) {
        self.start_without_server();
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

    /// Starts the program where it answers nothing.
    pub(crate) fn start_without_server(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        let mut command = self.command(&["start"]);
        command
            .args(self.arguments)
            .stdout(Stdio::null())
            .stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// The program with its configuration, for another command.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parley-cli"));
        command
            .args(arguments)
            .env_clear()
            .env("LOCO_ENV", "test")
            .env("LOCO_CONFIG_FOLDER", &self.folder)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits until the process has ended by itself, and says how. One that does not is killed with the node.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        let process = self.process.as_mut().unwrap();
        let status = within("the node to end", async {
            loop {
                if let Some(status) = process.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        self.process = None;
        status
    }

    /// Waits until it has logged that.
    pub(crate) async fn says(&self, words: &str) {
        within(words, async {
            while !self.log().contains(words) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// Whether the process has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        let process = self.process.as_mut().unwrap();
        process.try_wait().unwrap().is_none()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
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
