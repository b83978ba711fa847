//! Who is asked for on a link, who is believed, and what is answered.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod answering;
mod asking;
mod believing;
mod bounds;
mod holding;
mod setup;
