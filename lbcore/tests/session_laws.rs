//! The laws of session tables, over ours under each of its policies.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lbcore::hash::HashKey;
use lbcore::session::{ChangeStream, Limits, SessionConfig, Table, WhenFull};
use lbcore::sim::laws::session_table_laws;

fn table(capacity: usize, seed: u64, when_full: WhenFull, changes: ChangeStream) -> Table {
    let mut config = SessionConfig::default();
    config.v4 = Limits::of(capacity);
    config.v6 = Limits::of(capacity);
    config.when_full = when_full;
    config.changes = changes;
    Table::new(config, HashKey::from_seed(seed)).unwrap()
}

#[test]
fn the_table_keeps_the_laws_when_embryonic_sessions_give_way() {
    session_table_laws(|capacity, seed| {
        table(
            capacity,
            seed,
            WhenFull::EvictOldestEmbryonic,
            ChangeStream::All,
        )
    });
}

#[test]
fn the_table_keeps_the_laws_when_closing_sessions_give_way() {
    session_table_laws(|capacity, seed| {
        table(
            capacity,
            seed,
            WhenFull::EvictOldestClosing,
            ChangeStream::All,
        )
    });
}

#[test]
fn the_table_keeps_the_laws_when_nobody_gives_way() {
    session_table_laws(|capacity, seed| table(capacity, seed, WhenFull::Refuse, ChangeStream::Off));
}
