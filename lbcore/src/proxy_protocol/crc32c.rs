//! CRC32C: the Castagnoli checksum (RFC 4960, appendix B; RFC 3720, B.4).

/// A checksum under way.
#[derive(Clone, Copy)]
pub(super) struct Crc32c(u32);

impl Crc32c {
    pub(super) const fn new() -> Self {
        Self(u32::MAX)
    }

    /// The checksum with `bytes` behind what it has seen; a table look-up a byte.
    pub(super) fn update(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |crc, byte| {
            let [low, ..] = (crc ^ u32::from(*byte)).to_le_bytes();
            // A byte has its place in a table of 256.
            let step = TABLE.get(usize::from(low)).copied().unwrap_or_default();
            step ^ (crc >> 8)
        }))
    }

    pub(super) const fn finish(self) -> u32 {
        !self.0
    }
}

static TABLE: [u32; 256] = table();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

/// The Castagnoli polynomial 0x1EDC6F41, lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

#[cfg(test)]
mod tests {
    use super::*;

    fn crc(bytes: &[u8]) -> u32 {
        Crc32c::new().update(bytes).finish()
    }

    #[test]
    fn crc32c_gives_the_vectors_of_rfc_3720() {
        // RFC 3720, B.4; the RFC lists the bytes as sent, least significant first.
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc(&up), 0x46dd_794e);
        assert_eq!(crc(&down), 0x113f_db5c);
        assert_eq!(crc(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn crc32c_may_be_taken_in_parts() {
        let parts = Crc32c::new().update(b"1234").update(b"").update(b"56789");
        assert_eq!(parts.finish(), crc(b"123456789"));
    }
}
