//! The splices of a worker, in a bounded slab.

use super::{Splice, Storm};

/// Which splice of a [`Splices`]: what a session keeps.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SpliceId(u32);

impl SpliceId {
    /// The number of its place, below [`u32::MAX`], for a side table.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The splice whose place has this number; `None` for [`u32::MAX`], which no splice has.
    #[must_use]
    pub const fn from_bits(place: u32) -> Option<Self> {
        match place {
            u32::MAX => None,
            place => Some(Self(place)),
        }
    }
}

/// What a spliced session keeps besides its entry in the session table: 64 bytes.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Spliced {
    /// The difference between its two sides.
    pub splice: Splice,
    /// Whether its two sides do nothing but acknowledge each other.
    pub storm: Storm,
}

/// The splices of one worker's sessions.
///
/// It holds no more than it was made for and allocates as it grows; a place that is given back is
/// the next to be taken. Everything is O(1).
///
/// # Examples
///
/// ```
/// use lb_l4::method::splice::{Splice, Splices};
///
/// let mut splices = Splices::new(1);
/// let id = splices.insert(Splice::default().client_sequence(28)).ok_or("full")?;
/// assert!(splices.insert(Splice::default()).is_none());
/// assert_eq!(splices.at(id).ok_or("gone")?.splice.client_sequence, 28);
/// splices.remove(id);
/// assert!(splices.at(id).is_none());
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug)]
pub struct Splices {
    places: Vec<Place>,
    /// The place that was given back last.
    free: u32,
    len: usize,
    most: usize,
}

#[derive(Debug)]
enum Place {
    /// And the place that was given back before this one.
    Free(u32),
    Taken(Spliced),
}

impl Splices {
    /// An empty slab for at most `most` splices, and no more than 2^32 - 1.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            places: Vec::new(),
            free: u32::MAX,
            len: 0,
            most,
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps one more; `None` if there are as many as may be.
    pub fn insert(&mut self, splice: Splice) -> Option<SpliceId> {
        if self.len >= self.most {
            return None;
        }
        let taken = Place::Taken(Spliced {
            splice,
            storm: Storm::default(),
        });
        let place = self.free;
        match self.places.get_mut(index(place)) {
            Some(it) => {
                if let Place::Free(next) = *it {
                    self.free = next;
                }
                *it = taken;
            }
            None => {
                let place = u32::try_from(self.places.len()).ok()?;
                let id = SpliceId::from_bits(place)?;
                self.places.push(taken);
                self.len += 1;
                return Some(id);
            }
        }
        self.len += 1;
        Some(SpliceId(place))
    }

    /// A splice, to be changed or to rewrite a packet; `None` if there is none at this place.
    pub fn at(&mut self, id: SpliceId) -> Option<&mut Spliced> {
        match self.places.get_mut(index(id.0))? {
            Place::Taken(spliced) => Some(spliced),
            Place::Free(_) => None,
        }
    }

    /// Gives a place back, as its session ends; one that is free stays free.
    pub fn remove(&mut self, id: SpliceId) {
        let next = self.free;
        if let Some(place @ Place::Taken(_)) = self.places.get_mut(index(id.0)) {
            *place = Place::Free(next);
            self.free = id.0;
            self.len -= 1;
        }
    }
}

/// No vector has a place `u32::MAX` here.
fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_given_back_are_taken_again_and_no_more_than_promised() {
        let mut splices = Splices::new(3);
        let ids: Vec<_> = (0..3)
            .map(|n| {
                splices
                    .insert(Splice::default().client_sequence(n))
                    .unwrap()
            })
            .collect();
        assert!(splices.insert(Splice::default()).is_none());
        splices.remove(ids[0]);
        splices.remove(ids[2]);
        splices.remove(ids[2]);
        assert_eq!(splices.len(), 1);
        assert!(splices.at(ids[0]).is_none());
        let again = [7, 8].map(|n| {
            splices
                .insert(Splice::default().client_sequence(n))
                .unwrap()
        });
        assert_eq!(again, [ids[2], ids[0]]);
        assert!(splices.insert(Splice::default()).is_none());
        let kept =
            [ids[2], ids[0], ids[1]].map(|id| splices.at(id).unwrap().splice.client_sequence);
        assert_eq!(kept, [7, 8, 1]);
    }

    #[test]
    fn a_place_outside_names_no_splice() {
        let mut splices = Splices::new(3);
        assert!(splices.is_empty());
        assert_eq!(SpliceId::from_bits(u32::MAX), None);
        let id = SpliceId::from_bits(0).unwrap();
        splices.remove(id);
        assert!(splices.at(id).is_none());
        assert_eq!(splices.insert(Splice::default()), Some(id));
        assert_eq!((id.to_bits(), splices.is_empty()), (0, false));
    }
}
