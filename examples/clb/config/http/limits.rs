//! How large requests may be, how HTTP/2 is spoken, and how paths are made alike.

use lb_l7::h1::{HeadLimits, MAX_FIELDS};
use lb_l7::h2_guard::H2Limits;
use lb_l7::router::{EncodedSlash, Normalise, PathPolicy, Slashes};

use super::super::section::{Said, Section};
use super::super::{DAY, MILLISECOND};

/// `header_limit = { … }`.
pub(super) fn head(section: &mut Section<'_>) -> HeadLimits {
    let mut head = HeadLimits::default();
    section.table("header_limit", |section| {
        if let Some(bytes) = section.integer("bytes", 256..=HEAD_MOST) {
            head.bytes = bytes;
        }
        if let Some(fields) = section.integer("fields", 1..=MAX_FIELDS) {
            head.fields = fields;
        }
        if let Some(target) = section.integer("target", 1..=TARGET_MOST) {
            head.target = target;
        }
    });
    head
}

/// `http2 = { … }`, or false: none if it is not spoken, and whether one may begin with it.
pub(super) fn http2(section: &mut Section<'_>) -> (Option<H2Limits>, bool) {
    let said = section.flag_or_table("http2", |section| {
        let plain = section.flag("prior_knowledge").unwrap_or(true);
        (Some(limits(section)), plain)
    });
    match said {
        Some(Said::Table(said)) => said,
        Some(Said::Flag(false)) => (None, false),
        None | Some(Said::Flag(true)) => (Some(H2Limits::default()), true),
    }
}

fn limits(section: &mut Section<'_>) -> H2Limits {
    let mut limits = H2Limits::default();
    for (key, least, most, field) in NUMBERS {
        if let Some(number) = section.integer(key, least..=most) {
            *field(&mut limits) = number;
        }
    }
    limits.streams_in_all = section.integer("streams_in_all", 1..=u32::MAX);
    if let Some(bytes) = section.integer("send_buffer", 1..=SEND_MOST) {
        limits.send_buffer = bytes;
    }
    if let Some(fields) = section.integer("header_fields", 1..=FIELDS_MOST) {
        limits.header_fields = fields;
    }
    if let Some(window) = section.span("window", MILLISECOND..=DAY) {
        limits.window = window;
    }
    if let Err(error) = limits.check() {
        section.wrong("", error.to_string());
    }
    limits
}

type Field = fn(&mut H2Limits) -> &mut u32;

/// Each with its range.
const NUMBERS: [(&str, u32, u32, Field); 18] = [
    ("streams", 1, MOST, |l| &mut l.streams),
    ("stream_window", 0, WINDOW_MOST, |l| &mut l.stream_window),
    // A smaller one cannot be told (RFC 9113, 6.9.2).
    ("connection_window", 65_535, WINDOW_MOST, |l| {
        &mut l.connection_window
    }),
    ("small_data", 1, 1 << 24, |l| &mut l.small_data),
    ("header_list", 1, MOST, |l| &mut l.header_list),
    ("header_block", 1, MOST, |l| &mut l.header_block),
    ("continuations", 0, MOST, |l| &mut l.continuations),
    ("resets", 0, MOST, |l| &mut l.resets),
    ("provoked_resets", 0, MOST, |l| &mut l.provoked_resets),
    ("refused", 0, MOST, |l| &mut l.refused),
    ("pings", 0, MOST, |l| &mut l.pings),
    ("settings", 0, MOST, |l| &mut l.settings),
    ("priorities", 0, MOST, |l| &mut l.priorities),
    ("window_updates", 0, MOST, |l| &mut l.window_updates),
    ("empty_data", 0, MOST, |l| &mut l.empty_data),
    ("empty_headers", 0, MOST, |l| &mut l.empty_headers),
    ("goaways", 0, MOST, |l| &mut l.goaways),
    ("unknown_frames", 0, MOST, |l| &mut l.unknown_frames),
];

const MOST: u32 = u32::MAX;
/// RFC 9113, 6.9.1.
const WINDOW_MOST: u32 = (1 << 31) - 1;
/// For each stream; a slip of the finger has more digits.
const SEND_MOST: usize = 1 << 30;
/// What `http::HeaderMap` holds.
const FIELDS_MOST: usize = 32_768;

/// `paths = { … }`.
pub(super) fn paths(section: &mut Section<'_>) -> PathPolicy {
    let mut policy = PathPolicy::default();
    section.table("paths", |section| {
        if let Some(normalise) = section.choice("normalise", "word", &NORMALISE) {
            policy.normalise = normalise;
        }
        if let Some(slashes) = section.choice("slashes", "word", &SLASHES) {
            policy.slashes = slashes;
        }
        if let Some(slash) = section.choice("encoded_slash", "word", &ENCODED) {
            policy.encoded_slash = slash;
        }
    });
    policy
}

const NORMALISE: [(&str, Normalise); 3] = [
    ("rewrite", Normalise::Rewrite),
    ("reject", Normalise::Reject),
    ("danger-off", Normalise::DangerOff),
];

const SLASHES: [(&str, Slashes); 2] = [("merge", Slashes::Merge), ("keep", Slashes::Keep)];

const ENCODED: [(&str, EncodedSlash); 3] = [
    ("reject", EncodedSlash::Reject),
    ("keep", EncodedSlash::Keep),
    ("decode", EncodedSlash::Decode),
];

/// Each connection may hold as much.
const HEAD_MOST: usize = 1024 * 1024;
/// What the type of a target holds.
const TARGET_MOST: usize = 65_534;
