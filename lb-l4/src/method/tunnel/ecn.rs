//! Congestion notification through tunnels (RFC 6040).

/// What of a traffic class is the ECN field.
pub const ECN: u8 = 0b11;

/// The ECN field of a packet, the two low bits of its traffic class (RFC 3168, 5).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "two bits have four values")]
#[repr(u8)]
pub enum Ecn {
    /// Not capable of it.
    NotEct = 0b00,
    /// Capable; ECT(1).
    Ect1 = 0b01,
    /// Capable; ECT(0).
    Ect0 = 0b10,
    /// Congestion was met.
    Ce = 0b11,
}

impl Ecn {
    /// All four, by their bits.
    pub const ALL: [Self; 4] = [Self::NotEct, Self::Ect1, Self::Ect0, Self::Ce];

    /// That of a traffic class.
    #[must_use]
    pub const fn of(traffic_class: u8) -> Self {
        match traffic_class & ECN {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The outer field of a packet whose own is this: the same, in the normal mode, which asks of
    /// the receiver that it follows [`decapsulated`](Self::decapsulated) (RFC 6040, 4.1).
    #[must_use]
    pub const fn encapsulated(self) -> Self {
        self
    }

    /// The field of a packet, this before, that comes out of an outer one with `outer`; `None` when
    /// the packet is to be dropped: it met congestion, and its sender could not be told otherwise.
    ///
    /// Source: RFC 6040, 4.2, figure 4.
    ///
    /// # Examples
    ///
    /// ```
    /// use lb_l4::method::tunnel::ecn::Ecn;
    ///
    /// assert_eq!(Ecn::Ect0.decapsulated(Ecn::Ce), Some(Ecn::Ce));
    /// assert_eq!(Ecn::NotEct.decapsulated(Ecn::Ce), None);
    /// ```
    #[must_use]
    pub const fn decapsulated(self, outer: Self) -> Option<Self> {
        match (self, outer) {
            (Self::NotEct, Self::Ce) => None,
            (Self::NotEct, _) => Some(Self::NotEct),
            (Self::Ce, _) | (_, Self::Ce) => Some(Self::Ce),
            // ECT(1) is the stronger mark of the two where pre-congestion is told (RFC 6660).
            (Self::Ect1, _) | (_, Self::Ect1) => Some(Self::Ect1),
            (Self::Ect0, _) => Some(Self::Ect0),
        }
    }

    /// `traffic_class` with this field.
    #[must_use]
    pub const fn within(self, traffic_class: u8) -> u8 {
        traffic_class & !ECN | self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_the_table_of_rfc_6040() {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        let outer = [NotEct, Ect0, Ect1, Ce];
        let table = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce); 4]),
        ];
        for (inner, row) in table {
            assert_eq!(
                outer.map(|outer| inner.decapsulated(outer)),
                row,
                "{inner:?}"
            );
        }
    }

    #[test]
    fn what_goes_in_comes_out_if_nobody_marks_it() {
        for ecn in Ecn::ALL {
            assert_eq!(ecn.decapsulated(ecn.encapsulated()), Some(ecn));
        }
    }

    #[test]
    fn the_field_is_the_two_low_bits_and_leaves_the_others() {
        for (bits, ecn) in (0..).zip(Ecn::ALL) {
            assert_eq!(Ecn::of(0xb8 | bits), ecn);
            assert_eq!(ecn.within(0xb9), 0xb8 | bits);
            assert_eq!(ecn.within(0), bits);
        }
    }
}
