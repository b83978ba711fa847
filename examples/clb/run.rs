//! The program from its start to its end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{interval, sleep};
use tracing::{error, info, warn};

use crate::admin::{Asker, Questions};
use crate::config::{self, Config, Note, Parsed};
use crate::demo;
use crate::engine::{Engine, Workers};
use crate::process;
use crate::signal::{Signals, Wish};

/// Why the program cannot go on.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// What is to be served cannot be: an address is taken, or the host lacks something.
    #[error("{0}")]
    Cannot(String),
    /// The file cannot be read, or is wrong; each line says one thing.
    #[error("{0}")]
    Mistakes(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Cannot(error.to_string())
    }
}

/// Reads and checks a file.
///
/// # Errors
///
/// Every mistake of it, a line each.
pub(crate) fn load(file: &Path) -> Result<Parsed, Failure> {
    load_as(file, config::parse_in)
}

/// Reads a file, and checks it as `parse` does.
///
/// # Errors
///
/// Every mistake of it, a line each.
pub(crate) fn load_as<C>(
    file: &Path,
    parse: impl FnOnce(&str, &Path) -> Result<Parsed<C>, Vec<Note>>,
) -> Result<Parsed<C>, Failure> {
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::Mistakes(format!("{name}: cannot be read: {error}")))?;
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    parse(&text, folder).map_err(|mistakes| Failure::Mistakes(lines(file, &mistakes)))
}

/// The notes, a line each, as `file:line: key: text`.
pub(crate) fn lines(file: &Path, notes: &[Note]) -> String {
    let name = file.display();
    let lines: Vec<String> = notes.iter().map(|note| format!("{name}:{note}")).collect();
    lines.join("\n")
}

/// Serves `file`, or a demonstration without one, until a signal ends it.
///
/// # Errors
///
/// Says why nothing could be served.
pub(crate) async fn serve(file: Option<PathBuf>) -> Result<(), Failure> {
    // Before all else: a signal that comes early must not end the process.
    let mut signals = Signals::new()?;
    let descriptors = process::raise_descriptors();
    let (asker, mut questions) = Asker::new();
    let mut engine = match &file {
        Some(file) => {
            let parsed = load(file)?;
            warn_of(file, &parsed.warnings);
            start(parsed.config, asker).await?
        }
        None => {
            let demo = demo::Demo::start().await?;
            let engine = start(demo.config()?, asker).await?;
            demo.welcome(&engine)?;
            engine
        }
    };
    info!(pid = std::process::id(), descriptors, "serving");
    until_stopped(&mut engine, &mut signals, &mut questions, file.as_deref()).await;
    drain(&mut engine, &mut signals, &mut questions).await;
    engine.flush_logs();
    Ok(())
}

async fn start(config: Config, asker: Asker) -> Result<Engine, Failure> {
    let cores = || available_parallelism().map_or(1, usize::from);
    let count = config.workers.map_or_else(cores, usize::from);
    let workers = Workers::start(count)?;
    Engine::start(config, workers, asker)
        .await
        .map_err(Failure::Cannot)
}

async fn until_stopped(
    engine: &mut Engine,
    signals: &mut Signals,
    questions: &mut Questions,
    file: Option<&Path>,
) {
    let mut tick = interval(TICK);
    loop {
        tokio::select! {
            _ = tick.tick() => engine.handle_timeout(),
            () = engine.due() => engine.handle_timeout(),
            wish = signals.next() => match (wish, file) {
                (Wish::Stop, _) => return,
                (Wish::Reload, Some(file)) => reload(engine, file).await,
                (Wish::Reload, None) => info!("there is no file to read again"),
            },
            // Whoever asked may have gone.
            Some(question) = questions.recv() => drop(question.send(engine.snapshot().await)),
        }
    }
}

/// Reads the file again; with a mistake in it, nothing changes.
async fn reload(engine: &mut Engine, file: &Path) {
    let parsed = match load(file) {
        Ok(parsed) => parsed,
        Err(failure) => {
            engine.refuse_reload();
            for line in failure.to_string().lines() {
                error!("{line}");
            }
            error!(file = %file.display(), "not read: nothing has changed");
            return;
        }
    };
    warn_of(file, &parsed.warnings);
    match engine.reload(parsed.config).await {
        Ok(()) => info!(file = %file.display(), "read again"),
        Err(reason) => {
            error!(file = %file.display(), reason, "not put to use: nothing has changed")
        }
    }
}

/// Lets sessions end, until none is left, their time is over, or a second signal comes.
async fn drain(engine: &mut Engine, signals: &mut Signals, questions: &mut Questions) {
    engine.drain();
    let most = engine.drain_most();
    let told = engine.drain_timeout();
    info!(most = %config::print(told), "draining");
    let deadline = sleep(most);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            () = engine.drained() => return info!("drained"),
            () = &mut deadline => return warn!("the drain has lasted too long: ending"),
            wish = signals.next() => match wish {
                Wish::Stop => return warn!("told to stop again: ending"),
                Wish::Reload => info!("draining: the file is not read again"),
            },
            Some(question) = questions.recv() => drop(question.send(engine.snapshot().await)),
        }
    }
}

/// Nothing that waits for it is in a hurry: the keys of tickets turn by the hour.
const TICK: Duration = Duration::from_secs(60);

fn warn_of(file: &Path, warnings: &[Note]) {
    for line in lines(file, warnings).lines() {
        warn!("{line}");
    }
}
