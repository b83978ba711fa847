//! Takes bytes apart as TLS puts them together (RFC 8446, 3).

/// What is left to read. Every method takes from the front, or nothing and returns `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| *byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// As many bytes as the one byte before them says.
    pub(super) fn vector8(&mut self) -> Option<&'a [u8]> {
        self.vector(|reader| reader.u8().map(usize::from))
    }

    /// As many bytes as the two bytes before them say.
    pub(super) fn vector16(&mut self) -> Option<&'a [u8]> {
        self.vector(|reader| reader.u16().map(usize::from))
    }

    /// As many bytes as the three bytes before them say.
    pub(super) fn vector24(&mut self) -> Option<&'a [u8]> {
        self.vector(|reader| {
            let [high, middle, low] = *reader.array()?;
            let length = u32::from_be_bytes([0, high, middle, low]);
            usize::try_from(length).ok()
        })
    }

    fn vector(&mut self, length: impl FnOnce(&mut Self) -> Option<usize>) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let length = length(&mut ahead)?;
        let taken = ahead.take(length)?;
        *self = ahead;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_as_long_as_their_length_says() {
        let mut reader = Reader::new(&[1, 9, 0, 2, 8, 8, 0, 0, 1, 7, 5]);
        assert_eq!(reader.vector8(), Some(&[9][..]));
        assert_eq!(reader.vector16(), Some(&[8, 8][..]));
        assert_eq!(reader.vector24(), Some(&[7][..]));
        assert_eq!(reader.u8(), Some(5));
        assert!(reader.is_empty());
    }

    #[test]
    fn all_three_bytes_of_a_length_count() {
        let long = [&[1, 2, 3][..], &vec![0; 0x1_0203]].concat();
        let mut reader = Reader::new(&long);
        assert_eq!(reader.vector24().map(<[u8]>::len), Some(0x1_0203));
        let mut short = Reader::new(&long[..long.len() - 1]);
        assert_eq!(short.vector24(), None);
    }

    #[test]
    fn a_vector_that_is_cut_off_is_not_taken() {
        for bytes in [&[][..], &[2, 0], &[0], &[0, 1], &[0, 0, 1]] {
            let mut reader = Reader::new(bytes);
            let vector = match bytes.len() {
                2 if bytes[0] == 0 => reader.vector16(),
                3 => reader.vector24(),
                1 => reader.vector16(),
                _ => reader.vector8(),
            };
            assert_eq!(vector, None, "{bytes:?}");
            assert_eq!(reader.rest(), bytes);
        }
    }
}
