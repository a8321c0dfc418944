//! A PostgreSQL server of a test's own, which can be stopped and started again.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::free_port;

/// The server and its files. Both are gone when it is dropped.
pub(crate) struct Cluster {
    /// The address of a database in it, empty at first.
    pub(crate) uri: String,
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
}

impl Cluster {
    /// A new one on a free port; `None`, and a word about it, where PostgreSQL is not installed.
    pub(crate) fn new() -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!("skipped: no initdb in PATH or /usr/lib/postgresql");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            // The server refuses root; its user must be able to enter the folder.
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let port = free_port();
        let cluster = Self {
            uri: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            folder,
            programs,
            port,
        };
        let options = [
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        ];
        run(cluster
            .command("initdb")
            .arg("-D")
            .arg(cluster.data())
            .args(options));
        cluster.start();
        Some(cluster)
    }

    /// Starts the server and waits until it answers.
    pub(crate) fn start(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={}",
            self.port,
            self.folder.path().display()
        );
        let log = self.folder.path().join("log");
        run(self
            .control()
            .args(["-o", &options, "-w", "-l"])
            .arg(log)
            .arg("start"));
    }

    /// Ends all connections and the server, and waits until it has ended.
    pub(crate) fn stop(&self) {
        run(self.control().args(["-m", "fast", "-w", "stop"]));
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn control(&self) -> Command {
        let mut command = self.command("pg_ctl");
        command.arg("-D").arg(self.data());
        command
    }

    /// One of PostgreSQL's programs, as a user that it accepts.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may be stopped already.
        let mut stop = self.control();
        stop.args(["-m", "immediate", "-w", "stop"]);
        let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Where `initdb` and `pg_ctl` are: in `PATH`, or where Debian puts them, the newest version first.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions
            .filter_map(|version| Some(version.ok()?.path().join("bin")))
            .collect();
        versions.sort();
        folders.extend(versions.into_iter().rev());
    }
    let has = |folder: &&PathBuf| {
        ["initdb", "pg_ctl"]
            .iter()
            .all(|name| folder.join(name).is_file())
    };
    folders.iter().find(has).cloned()
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // What a process makes in /proc belongs to its user.
    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|of| of.uid() == 0)
}

fn run(command: &mut Command) {
    // The server inherits what it is given and would hold a pipe open.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
