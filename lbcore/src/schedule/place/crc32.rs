//! CRC-32 as Ethernet, zlib and nginx compute it.

/// A checksum under way.
///
/// Source: ISO/IEC 8802-3, 3.2.9: polynomial 0x04c11db7, bits reflected, all ones before and after.
#[derive(Clone, Copy)]
pub(in crate::schedule) struct Crc32(u32);

impl Crc32 {
    pub(in crate::schedule) const fn new() -> Self {
        Self(u32::MAX)
    }

    /// The checksum of what came before, and `bytes`.
    #[must_use]
    pub(in crate::schedule) fn update(self, bytes: &[u8]) -> Self {
        let state = bytes.iter().fold(self.0, |state, byte| {
            let [low, ..] = state.to_le_bytes();
            TABLE[usize::from(low ^ byte)] ^ (state >> 8)
        });
        Self(state)
    }

    pub(in crate::schedule) const fn finish(self) -> u32 {
        !self.0
    }
}

/// What each low byte of the state leaves behind after eight shifts.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut state = byte;
        let mut bit = 0;
        while bit < 8 {
            // The polynomial with its bits reflected.
            let odd = state & 1 == 1;
            state = if odd {
                (state >> 1) ^ 0xedb8_8320
            } else {
                state >> 1
            };
            bit += 1;
        }
        table[byte as usize] = state;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out_in_any_pieces() {
        // "check" of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(Crc32::new().update(b"123456789").finish(), 0xcbf4_3926);
        let pieces = Crc32::new().update(b"1234").update(b"").update(b"56789");
        assert_eq!(pieces.finish(), 0xcbf4_3926);
        assert_eq!(Crc32::new().finish(), 0);
    }
}
