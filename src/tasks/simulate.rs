//! `cargo loco task simulate port:5151`: the simulator by itself, for other servers and clients.

use std::{io::Write as _, net::SocketAddr};

use loco_rs::prelude::*;

use crate::simulator::{Script, Simulator};

/// The task.
pub struct Simulate;

/// Where it listens if the caller does not say.
const PORT: u16 = 5151;

#[async_trait]
impl Task for Simulate {
    fn task(&self) -> TaskInfo {
        TaskInfo {
            name: "simulate".to_string(),
            detail: "Stands in for the providers until Ctrl-C: [port:5151] [pace:1.0] (2.0 = half as fast)".to_string(),
        }
    }

    async fn run(&self, _ctx: &AppContext, vars: &task::Vars) -> Result<()> {
        let port = vars.cli_arg("port").map_or(Ok(PORT), |port| port.parse());
        let port = port.map_err(|_| Error::string("port: takes a port, such as port:5151"))?;
        let pace = vars
            .cli_arg("pace")
            .map_or(Ok(1.0), |pace| pace.parse::<f64>());
        let pace = pace.ok().filter(|pace| pace.is_finite() && *pace > 0.0);
        let pace =
            pace.ok_or_else(|| Error::string("pace: takes a number above 0, such as pace:2"))?;
        let simulator = Simulator::start(
            SocketAddr::from(([127, 0, 0, 1], port)),
            Script::dialogue(pace),
        )
        .await?;
        announce(&simulator)?;
        tokio::signal::ctrl_c().await?;
        simulator.stop().await;
        Ok(())
    }
}

fn announce(simulator: &Simulator) -> std::io::Result<()> {
    let (openai, anthropic) = (simulator.openai_base_url(), simulator.anthropic_base_url());
    let gemini = simulator.gemini_base_url();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "The simulator listens on {}; Ctrl-C ends it. Point a server at it with",
        simulator.address()
    )?;
    writeln!(
        out,
        "OPENAI_BASE_URL={openai} ANTHROPIC_BASE_URL={anthropic} GEMINI_BASE_URL={gemini} cargo loco start"
    )?;
    out.flush()
}
