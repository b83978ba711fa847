//! `clb keyserver`: a key server, and help for whoever runs one.

mod figures;
mod keys;
mod serving;
#[cfg(test)]
mod tests;
mod tools;

use std::path::{Path, PathBuf};

use lb_keyserver::store::{KeyStore, protect_process};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::config::{self, KeyServer, Parsed};
use crate::process;
use crate::run::{Failure, lines, load_as};
use crate::signal::{Signals, Wish};
use keys::Keys;
use serving::Serving;
pub(crate) use tools::{ski, verify_audit};

/// Reads and checks a file.
///
/// # Errors
///
/// Every mistake of it, a line each.
pub(crate) fn load(file: &Path) -> Result<Parsed<KeyServer>, Failure> {
    load_as(file, config::parse_key_server_in)
}

/// What a good file comes to, its keys having been read.
///
/// # Errors
///
/// Says why keys cannot be used.
pub(crate) fn summary(file: &Path, config: &KeyServer) -> Result<String, Failure> {
    let told = |reason| Failure::Cannot(format!("{}: {reason}", file.display()));
    let keys = Keys::open(&config.keys).map_err(told)?;
    let (keys, rules) = (keys.names().len(), config.rules.len());
    Ok(format!("keys: {keys}, rules: {rules}"))
}

/// Serves `file` until a signal ends it.
///
/// # Errors
///
/// Says why nothing could be served.
pub(crate) async fn serve(file: &Path) -> Result<(), Failure> {
    // Before all else: a signal that comes early must not end the process.
    let mut signals = Signals::new()?;
    protect();
    let descriptors = process::raise_descriptors();
    let (config, keys) = read(file.to_owned(), None).await?;
    let mut serving = Serving::start(config, keys).await?;
    info!(pid = std::process::id(), descriptors, "serving");
    until_stopped(&mut serving, &mut signals, file).await;
    drain(&mut serving, &mut signals).await;
    serving.close().await;
    Ok(())
}

/// Keeps keys out of core dumps and, where it may, of swap.
fn protect() {
    match protect_process() {
        Ok(protection) if protection.locked => info!("memory is kept out of swap and core dumps"),
        Ok(_) => info!("memory is kept out of core dumps; encrypt the swap, or have none"),
        Err(error) => {
            let error = error.to_string();
            warn!(error, "memory is not kept out of swap and core dumps");
        }
    }
}

/// Reads the file and all that it names, on a thread of its own: the one that serves does not wait.
///
/// `known` are read again if they are the keys that the file means, or else followed by others.
async fn read(file: PathBuf, known: Option<Keys>) -> Result<(KeyServer, Keys), Failure> {
    let reading = spawn_blocking(move || {
        let parsed = load(&file)?;
        for line in lines(&file, &parsed.warnings).lines() {
            warn!("{line}");
        }
        let keys = match known {
            None => Keys::open(&parsed.config.keys),
            Some(keys) => keys.reload(&parsed.config.keys).map(|()| keys),
        };
        Ok((parsed.config, keys.map_err(Failure::Cannot)?))
    });
    let gone = |_| Failure::Cannot("the thread that reads files is gone".into());
    reading.await.map_err(gone)?
}

async fn until_stopped(serving: &mut Serving, signals: &mut Signals, file: &Path) {
    let mut every = serving.looks_every();
    let mut look = interval(every);
    loop {
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Stop => return,
                Wish::Reload => reload(serving, file).await,
            },
            _ = look.tick() => {
                let keys = serving.keys().clone();
                // A panic has been told by its hook.
                let _ = spawn_blocking(move || keys.look()).await;
            }
            () = serving.answer() => {}
        }
        if serving.looks_every() != every {
            every = serving.looks_every();
            look = interval(every);
        }
    }
}

/// Reads the file again; with a mistake in it, nothing changes.
async fn reload(serving: &mut Serving, file: &Path) {
    match read(file.to_owned(), Some(serving.keys().clone())).await {
        Ok((config, _)) => match serving.change(config) {
            Ok(()) => info!(file = %file.display(), "read again"),
            Err(reason) => {
                error!(file = %file.display(), reason, "not put to use: nothing has changed");
            }
        },
        Err(failure) => {
            serving.refuse_reload();
            for line in failure.to_string().lines() {
                error!("{line}");
            }
            error!(file = %file.display(), "not read: nothing has changed");
        }
    }
}

/// Answers what is under way, until nothing is, its time is over, or a second signal comes.
async fn drain(serving: &mut Serving, signals: &mut Signals) {
    let most = serving.drain();
    info!(most = %config::print(most), "draining");
    loop {
        tokio::select! {
            () = serving.drained() => return info!("drained"),
            wish = signals.next() => match wish {
                Wish::Stop => return warn!("told to stop again: ending"),
                Wish::Reload => info!("draining: the file is not read again"),
            },
        }
    }
}
