//! Files that the configuration names, read with it.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;

use super::section::Section;
use crate::process;

/// A file as it was when the configuration was read, or its text within the configuration.
///
/// Equal if what it says is: so that a reload notices a file that was replaced.
#[derive(Clone)]
pub(crate) struct Pem {
    path: Option<PathBuf>,
    bytes: Arc<[u8]>,
}

impl Pem {
    /// What it says.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The mode of the file, if others than its owner may have access.
    pub(super) fn exposed(&self) -> Option<u32> {
        let mode = fs::metadata(self.path.as_ref()?).ok()?.mode() & 0o7777;
        (mode & 0o077 != 0).then_some(mode)
    }

    /// A fault of it, with its path.
    pub(super) fn told(&self, fault: &dyn fmt::Display) -> String {
        match &self.path {
            Some(path) => format!("{}: {fault}", path.display()),
            None => fault.to_string(),
        }
    }
}

impl PartialEq for Pem {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Pem {
    /// It may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pem").field(&self.path).finish()
    }
}

/// The file that `key` names, or the text itself where that is PEM.
pub(super) fn read(section: &mut Section<'_>, key: &'static str) -> Option<Pem> {
    let text = section.text(key, FORM)?;
    if text.trim_start().starts_with("-----BEGIN ") {
        return Some(Pem {
            path: None,
            bytes: text.as_bytes().into(),
        });
    }
    let path = section.notes().beside(text);
    match fs::read(&path) {
        Ok(bytes) => Some(Pem {
            path: Some(path),
            bytes: bytes.into(),
        }),
        Err(error) => {
            section.wrong(key, format!("{}: cannot be read: {error}", path.display()));
            None
        }
    }
}

/// The date, by which certificates are judged.
pub(super) fn now() -> UnixTime {
    let seconds = process::date().max(0.0);
    UnixTime::since_unix_epoch(Duration::from_secs_f64(seconds))
}

pub(super) const FORM: &str = "a path, or PEM";
