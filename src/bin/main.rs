//! The command line: Loco's, with a task that needs nothing of it, and with what our templates want beside its generator.

#[cfg(debug_assertions)]
mod generate;

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
    #[cfg(debug_assertions)]
    if generate::asked(&args) {
        return generated(&args);
    }
    command()
}

/// Loco's generator; like it, in debug builds only.
#[cfg(debug_assertions)]
fn generated(args: &[String]) -> loco_rs::Result<()> {
    let told = |reason: String| loco_rs::Error::string(&reason);
    generate::refuse(args).map_err(told)?;
    generate::clear().map_err(told)?;
    command()?;
    generate::unfold().map_err(told)
}

fn command() -> loco_rs::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(cli::main::<App, Migrator>())
}
