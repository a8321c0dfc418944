//! The command line: Loco's, with a few commands that must not wait for what Loco does first, and with what our templates want beside
//! its generator.

#[cfg(debug_assertions)]
mod generate;

use std::process::ExitCode;

use loco_rs::{Error, Result, app::Hooks as _, cli, doctor::Check, environment::Environment};
use migration::Migrator;
use parley::{
    app::{self, App, Own},
    tasks::{hash_password, healthcheck},
};

#[expect(clippy::print_stderr, reason = "the command line's last word")]
fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("Error: {}", app::reason(&error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let own = Own::asked(&args);
    if own == Some(Own::HashPassword) {
        return told(hash_password::ask_and_print());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let loco = || runtime.block_on(cli::main::<App, Migrator>());
    match own {
        Some(Own::Healthcheck(environment)) => {
            let config = runtime.block_on(App::load_config(&environment))?;
            told(healthcheck::ask(&config.server))
        }
        Some(Own::Doctor(environment)) => Ok(runtime.block_on(doctor(&environment))),
        // Loco's generator is in debug builds only, and so is what ours are beside it.
        #[cfg(debug_assertions)]
        _ if generate::asked(&args) => {
            told(generate::refuse(&args).and_then(|()| generate::clear()))?;
            loco()?;
            told(generate::unfold())
        }
        _ => loco().map(|()| ExitCode::SUCCESS),
    }
}

fn told(result: std::result::Result<(), String>) -> Result<ExitCode> {
    let result = result.map_err(|reason| Error::string(&reason));
    result.map(|()| ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "what was found")]
async fn doctor(environment: &Environment) -> ExitCode {
    let checks = app::examine(environment).await;
    for check in &checks {
        println!("{check}");
    }
    if checks.iter().all(Check::valid) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
