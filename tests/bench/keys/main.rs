//! What it costs that keys are elsewhere.
//!
//! ```sh
//! cargo bench -p tests --bench keys -- handshakes
//! cargo bench -p tests --bench keys -- signing
//! ```
//!
//! Exits with 1 where a limit is missed.
#![expect(clippy::print_stdout, reason = "a bench is read on a terminal")]

mod handshakes;
mod key_server;
mod loopback;
mod signing;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo says `--bench` to every bench.
    let words: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if let [word, folder, log] = &words[..]
        && word == key_server::WORD
    {
        key_server::serve(folder, log);
        return ExitCode::SUCCESS;
    }
    let is_asked = |scene: &str| words.is_empty() || words.iter().any(|word| word == scene);
    let mut within = true;
    if is_asked("handshakes") {
        within &= handshakes::run();
    }
    if is_asked("signing") {
        within &= signing::run();
    }
    if within {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The node's core, and the one of everything else.
const NODE_CORE: usize = 0;
const LOAD_CORE: usize = 1;
