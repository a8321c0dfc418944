//! The command line: Loco's, with two tasks that need nothing of it.

use loco_rs::cli;
use migration::Migrator;
use parley::{
    app::{self, App},
    tasks::hash_password,
};
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "the command line's last word")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {}", app::reason(&error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> loco_rs::Result<()> {
    // Before any configuration is read: it is what makes one.
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [task, name, ..] = args.as_slice()
        && matches!(task.as_str(), "task" | "t")
        && name == "hash_password"
    {
        return hash_password::ask_and_print().map_err(|reason| loco_rs::Error::string(&reason));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(cli::main::<App, Migrator>())
}
