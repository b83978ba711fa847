//! `hash = { … }` of http: what a request is placed by.

use lb_l7::headers::persist_key::{KeySource, PersistKey};
use lbcore::hash::HashKey;
use lbcore::schedule::PrefixError;

use super::super::hash;
use super::super::section::Section;
use super::fields;

/// What requests are placed by, where the scheduler places by key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RequestKey {
    source: KeySource,
    prefix_v4: u8,
    prefix_v6: u8,
    seed: Option<HashKey>,
}

impl Default for RequestKey {
    fn default() -> Self {
        Self {
            source: KeySource::Client,
            prefix_v4: 32,
            prefix_v6: 128,
            seed: None,
        }
    }
}

impl RequestKey {
    /// What the library is told.
    ///
    /// # Errors
    ///
    /// A prefix longer than an address; the parser lets none through.
    pub(crate) fn made(&self) -> Result<PersistKey, PrefixError> {
        // As at layer 4: known to everybody, so that nodes place alike.
        let secret = self.seed.unwrap_or_else(|| HashKey::from_seed(0));
        let key = PersistKey::new(self.source.clone(), secret);
        key.prefixes(self.prefix_v4, self.prefix_v6)
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum By {
    Source,
    Cookie,
    Header,
    Path,
    Query,
    Target,
}

/// What the table says; what it does not say has its default.
pub(super) fn read(section: &mut Section<'_>) -> RequestKey {
    let by = section.choice("by", "kind of key", &WORDS);
    let name = section.text("name", "the name of a cookie, field or parameter");
    let prefix_v4 = section.integer("prefix_v4", 0..=32);
    let prefix_v6 = section.integer("prefix_v6", 0..=128);
    let seed = section.text_as("seed", hash::SEED_FORM, hash::seed);
    let key = RequestKey {
        source: KeySource::Client,
        prefix_v4: prefix_v4.unwrap_or(32),
        prefix_v6: prefix_v6.unwrap_or(128),
        seed: seed.map(HashKey::new),
    };
    // Of an unknown word nobody can say what belongs to it.
    let by = match by {
        Some(by) => by,
        None if section.has("by") => return key,
        None => By::Source,
    };
    let named = matches!(by, By::Cookie | By::Header | By::Query);
    if named {
        section.require("name", "the name of what is hashed");
    } else if section.has("name") {
        section.wrong("name", "only by cookie, header or query");
    }
    for prefix in ["prefix_v4", "prefix_v6"] {
        if by != By::Source && section.has(prefix) {
            section.wrong(prefix, "only by source");
        }
    }
    let source = source(section, by, name.unwrap_or_default());
    RequestKey { source, ..key }
}

fn source(section: &Section<'_>, by: By, name: &str) -> KeySource {
    match by {
        By::Source => KeySource::Client,
        By::Cookie => KeySource::Cookie(name.into()),
        By::Path => KeySource::Path,
        By::Query => KeySource::Query(name.into()),
        By::Target => KeySource::Target,
        By::Header => match fields::name(name) {
            Ok(name) => KeySource::Header(name),
            Err(reason) => {
                if section.peek("name").is_some() {
                    section.wrong("name", reason);
                }
                KeySource::Client
            }
        },
    }
}

const WORDS: [(&str, By); 6] = [
    ("source", By::Source),
    ("cookie", By::Cookie),
    ("header", By::Header),
    ("path", By::Path),
    ("query", By::Query),
    ("target", By::Target),
];
