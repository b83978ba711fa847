//! UDP sessions seen from the middle.

use super::state::{Side, State};

impl State {
    /// The state after a datagram from `side`, for a session that its first datagram has opened.
    ///
    /// Only the client's second datagram makes a session more than embryonic. An answer does not:
    /// backends answer forged questions too. So a flood of forged questions, answered or not, never
    /// holds more than the embryonic share of the table, while a session of one question and one
    /// answer, as in DNS, lives as long as it needs.
    ///
    /// A TCP state is left as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use lbcore::session::{Side, State};
    ///
    /// assert_eq!(State::UdpNew.on_datagram(Side::Backend), State::UdpNew);
    /// assert_eq!(State::UdpNew.on_datagram(Side::Client), State::UdpActive);
    /// ```
    #[inline]
    #[must_use]
    pub const fn on_datagram(self, side: Side) -> Self {
        match (self, side) {
            (Self::UdpNew, Side::Client) => Self::UdpActive,
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_active_session_stays_active_whoever_sends() {
        for side in [Side::Client, Side::Backend] {
            assert_eq!(State::UdpActive.on_datagram(side), State::UdpActive);
        }
    }

    #[test]
    fn a_tcp_state_is_left_alone() {
        for state in State::ALL.into_iter().take(9) {
            assert_eq!(state.on_datagram(Side::Client), state);
        }
    }
}
