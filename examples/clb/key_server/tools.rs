//! Help for whoever runs a key server.

use std::fs;
use std::io::BufReader;
use std::path::Path;

use lb_keyserver::audit::{CheckpointKey, Expected, Summary, verify};

use crate::cli::Known;
use crate::config;
use crate::run::Failure;

/// The name of the key that a file shows, as rules take it, and what kind of key that is.
///
/// # Errors
///
/// When it cannot be read, or shows none.
pub(crate) fn ski(file: &Path) -> Result<String, Failure> {
    let name = file.display();
    let told = |reason: String| Failure::Mistakes(format!("{name}: {reason}"));
    let bytes = fs::read(file).map_err(|error| told(format!("cannot be read: {error}")))?;
    let (ski, kind) = config::name_of(&bytes).map_err(told)?;
    Ok(format!("{ski}  # {}, {name}\n", kind.as_str()))
}

/// Follows the chain of one file of an audit log, and says what it holds.
///
/// # Errors
///
/// Names the first line that is not as it was written.
pub(crate) fn verify_audit(file: &Path, known: &Known) -> Result<String, Failure> {
    let name = file.display();
    let unread = |error| Failure::Mistakes(format!("{name}: cannot be read: {error}"));
    let log = fs::File::open(file).map_err(unread)?;
    let mut expected = Expected::default();
    expected.head = known.head;
    expected.after = known.after;
    let expected = match &known.key {
        None => expected,
        Some(key) => {
            let read = CheckpointKey::read(key);
            let told = |error| Failure::Mistakes(format!("{}: {error}", key.display()));
            expected.key(read.map_err(told)?)
        }
    };
    let checked = verify(BufReader::new(log), &expected);
    let summary = checked.map_err(|broken| Failure::Cannot(format!("{name}: {broken}")))?;
    Ok(format!(
        "{name}: whole; {}\n",
        told(&summary, known.key.is_some())
    ))
}

fn told(summary: &Summary, has_key: bool) -> String {
    let Summary {
        previous,
        head,
        records,
        checkpoints,
        lost,
        torn,
        unsealed,
        torn_tail,
        ..
    } = summary;
    let mut parts = vec![format!("records: {records}")];
    if has_key {
        parts.push(format!(
            "seals: {checkpoints}, lines after the last: {unsealed}"
        ));
    }
    for (what, count) in [
        ("not recorded", lost),
        ("stops within a line", torn),
        ("bytes of a last line without an end", torn_tail),
    ] {
        if *count > 0 {
            parts.push(format!("{what}: {count}"));
        }
    }
    parts.push(format!("from {previous} to {head}"));
    parts.join("; ")
}
