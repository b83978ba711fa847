//! The wire module against an independent judge, over packets made at random.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]
#![expect(
    clippy::indexing_slicing,
    reason = "in a test, an index is an assertion"
)]

mod emit;
mod judge;
mod options;
mod parse;
mod rewrite;
mod sample;
