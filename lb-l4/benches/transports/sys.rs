//! The crate's own loader: the programs of the floors are no part of the library.

#[path = "../../src/sys/bpf/mod.rs"]
pub(crate) mod bpf;
