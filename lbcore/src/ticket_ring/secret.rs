//! One key of a ring.

use std::fmt;

use zeroize::Zeroize;

/// A name that tickets begin with, and the secret behind it: 80 bytes that must be random.
///
/// Overwritten when dropped; `Debug` shows the name alone, which is no secret.
#[derive(Clone, Eq, PartialEq)]
pub struct TicketSecret([u8; Self::LEN]);

impl TicketSecret {
    /// Bytes of one.
    pub const LEN: usize = 80;
    /// Bytes of its name, the first of all (RFC 5077, 4).
    pub const NAME: usize = 16;

    /// Takes 80 bytes, of which the first 16 are the name.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &[u8; Self::NAME] {
        match self.0.first_chunk() {
            Some(name) => name,
            // 80 bytes have 16 first ones.
            None => &[0; Self::NAME],
        }
    }

    /// All of it: the secret, too.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl Drop for TicketSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketSecret(")?;
        let mut name = self.name().iter();
        name.try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ")")
    }
}
