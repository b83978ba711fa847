//! `[limits]`: how much nodes may ask at once.

use super::super::section::Section;

/// How much nodes may ask at once; none is as the library says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Limits {
    /// Connections of all nodes.
    pub(crate) connections: Option<u32>,
    /// Connections of each node.
    pub(crate) connections_per_node: Option<u32>,
    /// Signatures under way of each connection.
    pub(crate) in_flight: Option<u32>,
    /// Signatures that wait for a thread, of all nodes.
    pub(crate) queued: Option<u32>,
}

pub(super) fn read(section: &mut Section<'_>) -> Limits {
    let mut most = |key| section.integer(key, 1..=MOST);
    Limits {
        connections: most("connections"),
        connections_per_node: most("connections_per_node"),
        in_flight: most("in_flight"),
        queued: most("queued"),
    }
}

/// More than any machine signs within the time that a handshake waits.
const MOST: u32 = 1_000_000;
