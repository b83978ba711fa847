//! As much of DER (X.690) as public keys and the names in certificates take.
#![warn(clippy::indexing_slicing)]

/// What is left to read of a run of DER values. Every method takes one value, or nothing on an error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values within a SEQUENCE.
    pub(crate) fn sequence(&mut self) -> Option<Self> {
        self.value(SEQUENCE).map(Self)
    }

    /// The content of an OBJECT IDENTIFIER.
    pub(crate) fn object_identifier(&mut self) -> Option<&'a [u8]> {
        self.value(OBJECT_IDENTIFIER)
    }

    /// The bits of a BIT STRING, which must be whole bytes.
    pub(crate) fn bit_string(&mut self) -> Option<&'a [u8]> {
        let (unused, bits) = self.value(BIT_STRING)?.split_first()?;
        (*unused == 0).then_some(bits)
    }

    /// The content of the next value, which must have that tag and its length in the one form that
    /// DER allows.
    fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81 => {
                let (length, rest) = rest.split_first()?;
                (usize::from(*length), rest)
            }
            0x82 => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            _ => return None,
        };
        let shortest = match first {
            0x81 => length > 0x7f,
            0x82 => length > 0xff,
            _ => true,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        if *found != tag || !shortest {
            return None;
        }
        self.0 = rest;
        Some(content)
    }
}

/// What the names in certificates take.
#[cfg(feature = "server")]
impl<'a> Der<'a> {
    /// The values within the next one, if it has that tag; otherwise nothing is taken.
    pub(crate) fn within(&mut self, tag: u8) -> Option<Self> {
        self.value(tag).map(Self)
    }

    /// The content of an OCTET STRING.
    pub(crate) fn octet_string(&mut self) -> Option<&'a [u8]> {
        self.value(OCTET_STRING)
    }

    /// The next value, whatever its tag, which must be of one byte: the tag, and the content.
    pub(crate) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let tag = *self.0.first()?;
        let content = (tag & 0x1f != 0x1f).then(|| self.value(tag))??;
        Some((tag, content))
    }
}

const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
#[cfg(feature = "server")]
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::*;

    fn long(length: &[u8], content: usize) -> Vec<u8> {
        [&[SEQUENCE], length, &vec![0; content]].concat()
    }

    #[test]
    fn lengths_are_read_in_their_shortest_form_only() {
        for (length, content, good) in [
            (&[0][..], 0, true),
            (&[0x7f], 0x7f, true),
            (&[0x81, 0x7f], 0x7f, false),
            (&[0x81, 0x80], 0x80, true),
            (&[0x82, 0, 0xff], 0xff, false),
            (&[0x82, 1, 0], 0x100, true),
            (&[0x83, 0, 1, 0], 0x100, false),
            (&[0x80], 0, false),
            (&[2], 1, false),
        ] {
            let bytes = long(length, content);
            let mut der = Der::new(&bytes);
            assert_eq!(der.sequence().is_some(), good, "{length:x?}");
            assert_eq!(der.is_empty(), good, "{length:x?}");
        }
    }

    #[cfg(feature = "server")]
    #[test]
    fn any_value_of_a_tag_of_one_byte_is_taken() {
        let bytes = [
            0x86,
            1,
            9,
            OCTET_STRING,
            1,
            7,
            0xa3,
            3,
            0xa4,
            1,
            5,
            0x1f,
            0,
            0,
        ];
        let mut der = Der::new(&bytes);
        assert_eq!(der.any(), Some((0x86, &[9][..])));
        assert_eq!(der.octet_string(), Some(&[7][..]));
        assert!(der.within(0xa4).is_none());
        let mut within = der.within(0xa3).expect("there");
        assert_eq!(within.any(), Some((0xa4, &[5][..])));
        assert!(within.is_empty() && within.any().is_none());
        assert_eq!(der.any(), None, "its tag goes on in the next byte");
    }

    #[test]
    fn a_value_of_another_tag_is_not_taken() {
        let bytes = [OBJECT_IDENTIFIER, 1, 9, BIT_STRING, 2, 0, 7];
        let mut der = Der::new(&bytes);
        assert!(der.bit_string().is_none());
        assert_eq!(der.object_identifier(), Some(&[9][..]));
        assert_eq!(der.bit_string(), Some(&[7][..]));
        assert!(der.is_empty());
        assert!(Der::new(&[BIT_STRING, 2, 1, 7]).bit_string().is_none());
        assert!(Der::new(&[BIT_STRING, 0]).bit_string().is_none());
    }
}
