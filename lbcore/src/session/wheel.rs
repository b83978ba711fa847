//! A hierarchical timer wheel over slots: arm, disarm and the next deadline in O(1).

use super::lists::Lists;

/// Deadlines of slots, in ticks.
///
/// Six levels of 64 lists each: a list of level n holds the slots due within one span of 64^n
/// ticks. A slot is armed in the level of the highest digit, in base 64, by which its deadline
/// differs from the present, and is looked at again when that span begins: then it is either due
/// or armed anew, one level or more further down. No call looks at more slots than it is told to,
/// whatever time has passed, because a bitmap for each level leads past what is empty.
///
/// Source: Varghese and Lauck, "Hashed and hierarchical timing wheels" (SOSP 1987), scheme 7.
#[derive(Debug)]
pub(super) struct Wheel {
    lists: Lists,
    occupied: [u64; LEVELS as usize],
    /// No slot is due before this tick; it only moves on.
    position: u64,
}

impl Wheel {
    /// An empty wheel with room for `slots` slots, of which [`grow`](Self::grow) adds each.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            lists: Lists::new(LEVELS << DIGIT, slots),
            occupied: [0; LEVELS as usize],
            position: 0,
        }
    }

    /// Adds the next slot, not armed.
    pub(super) fn grow(&mut self) {
        self.lists.grow();
    }

    /// Arms `slot` for the tick `due`, at the tick `now`; one that was armed is armed anew.
    ///
    /// A deadline that has passed is due at once.
    pub(super) fn arm(&mut self, now: u64, slot: u32, due: u64) {
        self.disarm(slot);
        if self.is_empty() {
            self.position = self.position.max(now);
        }
        let due = due.max(self.position);
        let level = level(self.position ^ due);
        let digit = digit(due, level);
        self.occupied[level as usize] |= 1 << digit;
        self.lists.push_back((level << DIGIT) + digit, slot);
    }

    /// Disarms `slot`, if it is armed.
    pub(super) fn disarm(&mut self, slot: u32) {
        if let Some(list) = self.lists.remove(slot) {
            self.occupied[(list >> DIGIT) as usize] &= !(1 << (list & DIGIT_MASK));
        }
    }

    /// Disarms one slot whose span has begun at or before `now`.
    ///
    /// Its deadline may be later: then the caller arms it again.
    pub(super) fn pop(&mut self, now: u64) -> Option<u32> {
        let next = self.next_span();
        let reached = next.map_or(now, |(start, _)| start.min(now));
        self.position = self.position.max(reached);
        let (_, list) = next.filter(|(start, _)| *start <= now)?;
        let slot = self.lists.front(list)?;
        self.disarm(slot);
        Some(slot)
    }

    /// The tick at which [`pop`](Self::pop) next gives something; not after any deadline.
    pub(super) fn next(&self) -> Option<u64> {
        self.next_span().map(|(start, _)| start)
    }

    /// The tick up to which [`pop`](Self::pop) has been asked; `None` if nothing is armed.
    pub(super) fn position(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.position)
    }

    /// Bytes reserved.
    pub(super) fn bytes(&self) -> usize {
        self.lists.bytes()
    }

    fn is_empty(&self) -> bool {
        self.occupied == [0; LEVELS as usize]
    }

    /// The first span that holds a slot: its first tick, and its list.
    fn next_span(&self) -> Option<(u64, u32)> {
        let spans = (0..LEVELS).filter_map(|level| {
            let occupied = self.occupied[level as usize];
            let current = digit(self.position, level);
            let ahead = occupied.rotate_right(current).trailing_zeros();
            let start = (self.position >> (level * DIGIT)) + u64::from(ahead);
            let list = (level << DIGIT) + ((current + ahead) & DIGIT_MASK);
            (occupied != 0).then_some((start << (level * DIGIT), list))
        });
        spans.min()
    }
}

/// The highest base-64 digit that is set in `difference`; far deadlines share the top level.
fn level(difference: u64) -> u32 {
    (difference.checked_ilog2().unwrap_or(0) / DIGIT).min(LEVELS - 1)
}

fn digit(tick: u64, level: u32) -> u32 {
    let digit = (tick >> (level * DIGIT)) & u64::from(DIGIT_MASK);
    u32::try_from(digit).unwrap_or(0)
}

/// Bits of a digit: as many lists a level as a word has bits.
const DIGIT: u32 = 6;

const DIGIT_MASK: u32 = (1 << DIGIT) - 1;

/// 64^6 ticks are 146 years; deadlines lie at most [`HORIZON`](super::ticks::HORIZON) and a
/// longest timeout ahead, 4.6 years.
const LEVELS: u32 = 6;

#[cfg(test)]
#[path = "wheel/tests.rs"]
mod tests;
