//! Positions in a tier, in as few bytes as they need.

/// Many positions of a small tier: one byte each up to 256 backends, two up to 65,536, else four.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Positions {
    Byte(Box<[u8]>),
    Half(Box<[u16]>),
    Word(Box<[u32]>),
}

impl Positions {
    /// These positions in a tier of `len` backends.
    pub(super) fn new(len: usize, positions: &[u32]) -> Self {
        if len <= 1 << 8 {
            Self::Byte(narrow(positions))
        } else if len <= 1 << 16 {
            Self::Half(narrow(positions))
        } else {
            Self::Word(positions.into())
        }
    }

    /// The position at `index`.
    #[inline]
    pub(super) fn at(&self, index: usize) -> Option<usize> {
        match self {
            Self::Byte(all) => all.get(index).map(|&position| usize::from(position)),
            Self::Half(all) => all.get(index).map(|&position| usize::from(position)),
            Self::Word(all) => all.get(index).map(|&position| position as usize),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Byte(all) => all.len(),
            Self::Half(all) => all.len(),
            Self::Word(all) => all.len(),
        }
    }

    /// How many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Byte(all) => size_of_val(&**all),
            Self::Half(all) => size_of_val(&**all),
            Self::Word(all) => size_of_val(&**all),
        }
    }
}

/// The same numbers in a type that holds them all.
fn narrow<T: TryFrom<u32> + Default>(positions: &[u32]) -> Box<[T]> {
    let narrow = |&position| T::try_from(position).unwrap_or_default();
    positions.iter().map(narrow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_takes_one_two_or_four_bytes_by_the_size_of_its_tier() {
        for (len, bytes) in [(1, 1), (256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let last = u32::try_from(len - 1).unwrap();
            let positions = Positions::new(len, &[0, last, last / 2]);
            assert_eq!(positions.bytes(), 3 * bytes, "{len}");
            assert_eq!(positions.len(), 3);
            assert_eq!(positions.at(0), Some(0));
            assert_eq!(positions.at(1), Some(len - 1), "{len}");
            assert_eq!(positions.at(2), Some((len - 1) / 2));
            assert_eq!(positions.at(3), None);
        }
    }
}
