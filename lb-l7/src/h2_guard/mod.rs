//! What an HTTP/2 client may make a server do: counts, rules, and where they end.
//!
//! ```text
//!   socket ─ bytes ─▶ Guarded ─ bytes ─▶ h2 ─ requests ─▶ engine
//!                        │                ▲
//!                     FrameWatch ─ Stop ──┘ GOAWAY
//! ```
//!
//! The `h2` crate decodes and keeps the state of streams. It has no limit on the rate of PING,
//! SETTINGS, PRIORITY, WINDOW_UPDATE, unknown frames or resets, and it answers several illegal
//! frames with the wrong error code. [`FrameWatch`] sees the frames before it does, reads the nine
//! bytes of each header and at most six more, and says at which frame to stop and why;
//! [`Guarded`] is the transport that asks it, and [`poll_accept`] sends the GOAWAY.
//!
//! Counters halve with each [`H2Limits::window`], so that a limit is a burst, and half of it a
//! lasting rate. What a client does in answer to what it was sent is paid for by what it was sent:
//! WINDOW_UPDATE and PING by DATA, resets by the streams it let live. So a client that reads fast,
//! measures the path or cancels some of its many calls is never taken for an attacker.
//!
//! | attack | held by |
//! |---|---|
//! | rapid reset, CVE-2023-44487 | [`H2Limits::resets`] |
//! | MadeYouReset, CVE-2025-8671 | [`H2Limits::provoked_resets`] |
//! | streams above the limit, to be refused | [`H2Limits::refused`] |
//! | CONTINUATION flood, CVE-2024-27316 | [`H2Limits::continuations`], [`H2Limits::header_block`] |
//! | HPACK bombs, with cookie crumbs CVE-2026-49975 | [`H2Limits::header_list`], [`H2Limits::header_fields`] |
//! | PING and SETTINGS floods, CVE-2019-9512, 9515 | [`H2Limits::pings`], [`H2Limits::settings`] |
//! | resource loop by PRIORITY, CVE-2019-9513 | [`H2Limits::priorities`] |
//! | empty frames, CVE-2019-9518 | [`H2Limits::empty_data`], [`H2Limits::empty_headers`] |
//! | data dribble, CVE-2019-9511 | [`H2Limits::window_updates`], and the timeouts of an exchange |
//! | answers never read, CVE-2019-9517 | [`H2Limits::send_buffer`]: a write that blocks stops reading |

mod flood;
mod frames;
mod guarded;
mod illegal;
mod limits;
mod watch;

pub use flood::Flood;
pub use guarded::{Alarm, Guarded, poll_accept};
pub use illegal::Illegal;
pub use limits::{H2Limits, H2LimitsError};
pub use watch::{FrameWatch, Stop, Stopped};
