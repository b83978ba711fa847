//! `hash = { … }`: what a listener's sessions are placed by.

use lbcore::hash::HashKey;
use lbcore::schedule::KeyParts;

use super::bytes;
use super::section::Section;

/// What sessions are placed by, where the scheduler places by key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hash {
    /// What counts of a session. Default its client's address.
    pub(crate) by: KeyParts,
    /// How much of an IPv4 client's address counts, 0..=32. Default 32.
    pub(crate) prefix_v4: u8,
    /// How much of an IPv6 client's address counts, 0..=128. Default 128.
    pub(crate) prefix_v6: u8,
    /// The secret that nodes which place alike share. Default one that everybody knows.
    pub(crate) seed: Option<HashKey>,
}

impl Default for Hash {
    fn default() -> Self {
        Self {
            by: KeyParts::Source,
            prefix_v4: 32,
            prefix_v6: 128,
            seed: None,
        }
    }
}

/// What the table says; what it does not say has its default.
pub(super) fn read(section: &mut Section<'_>) -> Hash {
    let words = PARTS.map(|parts| (parts.as_str(), parts));
    let by = section.choice("by", "kind of key", &words);
    let hash = Hash {
        by: by.unwrap_or(KeyParts::Source),
        prefix_v4: section.integer("prefix_v4", 0..=32).unwrap_or(32),
        prefix_v6: section.integer("prefix_v6", 0..=128).unwrap_or(128),
        seed: section.text_as("seed", SEED_FORM, seed).map(HashKey::new),
    };
    // Of an unknown word nobody can say what belongs to it.
    if by.is_some() || !section.has("by") {
        only_by(section, &["prefix_v4", "prefix_v6"], hash.by, &PREFIXED);
        only_by(section, &["seed"], hash.by, &SECRET);
    }
    hash
}

fn only_by(section: &Section<'_>, keys: &[&str], by: KeyParts, takers: &[KeyParts]) {
    for key in keys.iter().filter(|key| section.has(key)) {
        if !takers.contains(&by) {
            let takers: Vec<_> = takers.iter().map(|parts| parts.as_str()).collect();
            section.wrong(key, format!("only by {}", takers.join(" or ")));
        }
    }
}

/// A message does not show the secret.
pub(super) fn seed(text: &str) -> Result<[u8; 16], String> {
    let bytes = bytes::hex(text).ok_or("not hexadecimal, expected pairs of 0-9 and a-f")?;
    let length = bytes.len();
    <[u8; 16]>::try_from(bytes).map_err(|_| format!("expected 16 bytes, found {length}"))
}

/// What the file may name: a listener has one protocol, and no bytes of an application.
const PARTS: [KeyParts; 5] = [
    KeyParts::Source,
    KeyParts::SourceDestination,
    KeyParts::SourceText,
    KeyParts::Tuple,
    KeyParts::Nothing,
];

/// Those that take a part of the client's address.
const PREFIXED: [KeyParts; 3] = [
    KeyParts::Source,
    KeyParts::SourceDestination,
    KeyParts::SourceText,
];

/// Those that are hashed under the secret.
const SECRET: [KeyParts; 3] = [
    KeyParts::Source,
    KeyParts::SourceDestination,
    KeyParts::Tuple,
];

pub(super) const SEED_FORM: &str = "16 bytes in hexadecimal digits";
