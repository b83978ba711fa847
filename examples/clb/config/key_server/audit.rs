//! `[audit]`: what is written of each signature.

use std::path::PathBuf;

use lb_keyserver::audit::{CheckpointKey, OnAuditFailure};

use super::super::section::Section;

/// What is written of each signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Audit {
    /// Where.
    pub(crate) file: PathBuf,
    /// What becomes of signatures that cannot be written down. Default: they are refused.
    pub(crate) on_failure: OnAuditFailure,
    /// The file of the key of checkpoints. Default none: none are written.
    pub(crate) key: Option<PathBuf>,
    /// Bytes of a file before the next is begun; 0 is no limit. Default: the library's.
    pub(crate) most: Option<u64>,
}

pub(super) fn read(section: &mut Section<'_>) -> Option<Audit> {
    let notes = section.notes();
    section.require("file", "a path");
    let file = section.text("file", "a path");
    let file = file.map(|path| notes.beside(path));
    let on_failure = section.choice("on_failure", "word", &ON_FAILURE);
    let key = section.text_as("checkpoint_key", "a path", |text| {
        let path = notes.beside(text);
        match CheckpointKey::read(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    });
    let most = section.integer("max_bytes", 0..=u64::MAX >> 1);
    Some(Audit {
        file: file?,
        on_failure: on_failure.unwrap_or_default(),
        key,
        most,
    })
}

const ON_FAILURE: [(&str, OnAuditFailure); 2] = [
    ("refuse", OnAuditFailure::Refuse),
    ("sign", OnAuditFailure::Continue),
];
