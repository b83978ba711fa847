//! clb: balances TCP, UDP and TLS from one TOML file.
//!
//! ```text
//! cli ── config ── reload ──▶ engine ──▶ admin
//!  what is asked   what changes  what is served   what is shown
//! ```
#![forbid(unsafe_code)]

mod admin;
mod cli;
mod config;
mod demo;
mod engine;
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

fn main() -> ExitCode {
    let command = match Command::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(reason) => return told(&Failure::Mistakes(format!("clb: {reason}; see clb --help"))),
    };
    let result = match command {
        Command::Check(file) => check(&file),
        Command::Help => said(cli::HELP),
        Command::Serve { file, log } => serve(file, log),
        Command::Version => said(concat!("clb ", env!("CARGO_PKG_VERSION"), "\n")),
    };
    result.map_or_else(|failure| told(&failure), |()| ExitCode::SUCCESS)
}

fn check(file: &Path) -> Result<(), Failure> {
    let parsed = run::load(file)?;
    for line in run::lines(file, &parsed.warnings).lines() {
        writeln!(io::stderr(), "warning: {line}")?;
    }
    let (pools, listeners) = (parsed.config.pools.len(), parsed.config.listeners.len());
    let name = file.display();
    said(&format!(
        "{name}: good; pools: {pools}, listeners: {listeners}\n"
    ))
}

fn serve(file: Option<std::path::PathBuf>, log: LevelFilter) -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_max_level(log)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run::serve(file))
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
