//! What neighbours have cost and given.

/// What has happened so far on one interface; all but the first two only grow.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NeighbourStats {
    /// Neighbours remembered now, in whatever state.
    pub neighbours: usize,
    /// Bytes held now.
    pub held_bytes: usize,
    /// Questions asked.
    pub questions: u64,
    /// Questions answered.
    pub answers: u64,
    /// Announcements made.
    pub announcements: u64,
    /// Answers that made a link address known, or known again.
    pub learned: u64,
    /// Link addresses that became others.
    pub changed: u64,
    /// Messages that nobody asked for and that contradict what is known.
    pub claims: u64,
    /// Messages of others that claim an address of our own.
    pub conflicts: u64,
    /// Neighbours that did not answer.
    pub failed: u64,
    /// Neighbours that gave way to others.
    pub evicted: u64,
    /// Neighbours not asked for, because no place was free or there is no address to ask from.
    pub refused: u64,
    /// Messages of neighbour discovery that break its rules.
    pub malformed: u64,
    /// Frames held.
    pub held: u64,
    /// Frames held and dropped, because nobody answered.
    pub held_dropped: u64,
    /// Questions and answers not sent, because too many waited.
    pub outbox_full: u64,
}
