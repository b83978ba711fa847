//! clb: balances TCP, UDP, TLS, HTTP and HTTPS from one TOML file, and holds keys from another.
//!
//! ```text
//! cli ── config ── reload ──▶ engine ──▶ admin
//!  what is asked   what changes  what is served   what is shown
//!          └────────────────▶ key_server ──┘
//!                              who may sign what
//! ```
#![forbid(unsafe_code)]

mod admin;
mod cli;
mod config;
mod demo;
mod engine;
mod key_server;
mod process;
mod reload;
mod run;
mod signal;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use cli::Command;
use run::Failure;
use tokio::runtime::Builder;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let command = match Command::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(reason) => return told(&Failure::Mistakes(format!("clb: {reason}; see clb --help"))),
    };
    let result = match command {
        Command::Check(file) => check(&file),
        Command::Help => said(cli::HELP),
        Command::KeyServer(command) => key_server(command),
        Command::Serve { file, log } => serve(file, log),
        Command::Version => said(concat!("clb ", env!("CARGO_PKG_VERSION"), "\n")),
    };
    result.map_or_else(|failure| told(&failure), |()| ExitCode::SUCCESS)
}

fn check(file: &Path) -> Result<(), Failure> {
    let parsed = run::load(file)?;
    warn_of(file, &parsed.warnings)?;
    let (pools, listeners) = (parsed.config.pools.len(), parsed.config.listeners.len());
    let name = file.display();
    said(&format!(
        "{name}: good; pools: {pools}, listeners: {listeners}\n"
    ))
}

fn warn_of(file: &Path, warnings: &[config::Note]) -> Result<(), Failure> {
    for line in run::lines(file, warnings).lines() {
        writeln!(io::stderr(), "warning: {line}")?;
    }
    Ok(())
}

fn key_server(command: cli::KeyServer) -> Result<(), Failure> {
    match command {
        cli::KeyServer::Check(file) => {
            let parsed = key_server::load(&file)?;
            warn_of(&file, &parsed.warnings)?;
            let name = file.display();
            said(&format!(
                "{name}: good; {}\n",
                key_server::summary(&file, &parsed.config)?
            ))
        }
        cli::KeyServer::Help => said(cli::KEY_SERVER_HELP),
        cli::KeyServer::Serve { file, log } => {
            log_by(log);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(key_server::serve(&file))
        }
        cli::KeyServer::Ski(file) => said(&key_server::ski(&file)?),
        cli::KeyServer::VerifyAudit { file, known } => {
            said(&key_server::verify_audit(&file, &known)?)
        }
    }
}

fn serve(file: Option<std::path::PathBuf>, log: LevelFilter) -> Result<(), Failure> {
    log_by(log);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run::serve(file))
}

fn log_by(log: LevelFilter) {
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    tracing_subscriber::registry()
        .with(lines)
        .with(told_of(log))
        .init();
}

/// Who may say how much. A codec warns of every odd frame of a client, who could fill a disk with
/// these lines: what clients do is counted, and told only to who asks for more than usual.
fn told_of(log: LevelFilter) -> Targets {
    let codec = if log > LevelFilter::INFO {
        log
    } else {
        log.min(LevelFilter::ERROR)
    };
    Targets::new().with_default(log).with_target("h2", codec)
}

fn said(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Says what is wrong; 2 is a mistake of the writer, 1 a lack of the host.
fn told(failure: &Failure) -> ExitCode {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "{failure}");
    match failure {
        Failure::Cannot(_) => ExitCode::from(1),
        Failure::Mistakes(_) => ExitCode::from(2),
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_clients_do_to_a_codec_is_told_only_to_who_asks_for_more_than_usual() {
        for (log, codec) in [
            (LevelFilter::OFF, LevelFilter::OFF),
            (LevelFilter::INFO, LevelFilter::ERROR),
            (LevelFilter::DEBUG, LevelFilter::DEBUG),
        ] {
            let told = told_of(log);
            for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG] {
                assert_eq!(told.would_enable("clb::run", &level), level <= log);
                let frames = "h2::proto::ping_pong";
                assert_eq!(
                    told.would_enable(frames, &level),
                    level <= codec,
                    "{log} {level}"
                );
            }
        }
    }
}
