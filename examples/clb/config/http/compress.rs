//! `compress = { … }`: which answers are compressed, and how.

use lb_l7::compress::{Codec, Compression};

use super::super::section::{Said, Section, one_of};
use super::super::suggest::did_you_mean;

/// What the table says; true is the default, and absence is none.
pub(super) fn read(section: &mut Section<'_>) -> Option<Compression> {
    let said = section.flag_or_table("compress", |section| {
        let mut compression = Compression::default();
        if let Some(codecs) = section.texts("codecs", "codings", codec) {
            compression = compression.codecs(codecs);
        }
        let types = section.texts("types", "types, such as \"text/*\"", |text| {
            let is_type = Compression::default().types([text]);
            is_type.map(|_| text).map_err(|error| error.to_string())
        });
        if let Some(types) = types {
            // Each was taken by itself.
            compression = compression.clone().types(types).unwrap_or(compression);
        }
        if let Some(bytes) = section.integer("min_length", 0..=u64::MAX >> 1) {
            compression = compression.min_length(bytes);
        }
        for (key, codec) in LEVELS {
            if let Some(level) = section.integer(key, 1..=9) {
                compression = compression.level(codec, level);
            }
        }
        if let Some(offload) = section.flag("offload") {
            compression = compression.offload(offload);
        }
        compression
    });
    match said? {
        Said::Flag(true) => Some(Compression::default()),
        Said::Flag(false) => Some(Compression::off()),
        Said::Table(compression) => Some(compression),
    }
}

fn codec(text: &str) -> Result<Codec, String> {
    let names = || Codec::ALL.map(Codec::as_str);
    let found = Codec::ALL.into_iter().find(|codec| codec.as_str() == text);
    found.ok_or_else(|| {
        let (known, meant) = (one_of(names()), did_you_mean(text, names()));
        format!("unknown coding {text:?}, expected {known}{meant}")
    })
}

const LEVELS: [(&str, Codec); 3] = [
    ("brotli_level", Codec::Brotli),
    ("gzip_level", Codec::Gzip),
    ("zstd_level", Codec::Zstd),
];
