//! The command line: Loco's, with a few commands that must not wait for what Loco does first.

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
    let told = |result: std::result::Result<(), String>| {
        let result = result.map_err(|reason| Error::string(&reason));
        result.map(|()| ExitCode::SUCCESS)
    };
    let own = Own::asked(&args);
    if own == Some(Own::HashPassword) {
        return told(hash_password::ask_and_print());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match own {
        Some(Own::Healthcheck(environment)) => {
            let config = runtime.block_on(App::load_config(&environment))?;
            told(healthcheck::ask(&config.server))
        }
        Some(Own::Doctor(environment)) => Ok(runtime.block_on(doctor(&environment))),
        _ => runtime
            .block_on(cli::main::<App, Migrator>())
            .map(|()| ExitCode::SUCCESS),
    }
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
