//! Where a table's memory lies, for those who ask the kernel for larger pages.

/// A stretch of memory that was reserved, and is perhaps not used yet.
///
/// It is told so that the program can give the kernel advice about it, such as to use huge pages: a
/// table of millions of sessions visited at random misses the translation cache on nearly every
/// visit otherwise. Whether it is still reserved is not known later.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Region {
    /// Its first byte.
    pub start: usize,
    /// How many bytes it has.
    pub bytes: usize,
}

impl Region {
    /// What `items` has reserved.
    #[must_use]
    pub fn of<T>(items: &Vec<T>) -> Self {
        Self {
            start: items.as_ptr().addr(),
            bytes: items.capacity() * size_of::<T>(),
        }
    }
}
