//! The names of what no client may send, and the error that RFC 9113 answers with.

use h2::Reason;

/// A frame that breaks a rule of RFC 9113, and which the `h2` crate would not answer as the rule
/// says; each is a counter.
///
/// Rules that need the state of a stream or the decoded fields are left to the `h2` crate.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Illegal {
    /// A CONTINUATION outside a header block, or anything else inside one (6.2, 6.10).
    BlockOrder,
    /// The first frame is no SETTINGS (3.4).
    FirstFrame,
    /// A length that this type, or SETTINGS_MAX_FRAME_SIZE, does not permit (4.2, 6).
    FrameLength,
    /// DATA, RST_STREAM or WINDOW_UPDATE for a stream that was never opened (5.1).
    IdleStream,
    /// As much padding as payload, or more (6.1, 6.2).
    Padding,
    /// A PUSH_PROMISE from a client (8.4).
    Push,
    /// A setting outside its range (6.5.2).
    SettingValue,
    /// SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1 (6.5.2).
    SettingWindow,
    /// DATA or HEADERS on a stream that the client has just ended or reset (5.1).
    StreamEnded,
    /// Stream 0 where a stream is needed, a stream where 0 is needed, or an even one (5.1.1).
    StreamId,
    /// An increment of zero for the connection (6.9).
    WindowIncrement,
}

impl Illegal {
    /// Every one, in the order of the names.
    pub const ALL: [Self; 11] = [
        Self::BlockOrder,
        Self::FirstFrame,
        Self::FrameLength,
        Self::IdleStream,
        Self::Padding,
        Self::Push,
        Self::SettingValue,
        Self::SettingWindow,
        Self::StreamEnded,
        Self::StreamId,
        Self::WindowIncrement,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlockOrder => "block-order",
            Self::FirstFrame => "first-frame",
            Self::FrameLength => "frame-length",
            Self::IdleStream => "idle-stream",
            Self::Padding => "padding",
            Self::Push => "push",
            Self::SettingValue => "setting-value",
            Self::SettingWindow => "setting-window",
            Self::StreamEnded => "stream-ended",
            Self::StreamId => "stream-id",
            Self::WindowIncrement => "window-increment",
        }
    }

    /// The error code that the rule names.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::FrameLength => Reason::FRAME_SIZE_ERROR,
            Self::SettingWindow => Reason::FLOW_CONTROL_ERROR,
            Self::StreamEnded => Reason::STREAM_CLOSED,
            Self::BlockOrder
            | Self::FirstFrame
            | Self::IdleStream
            | Self::Padding
            | Self::Push
            | Self::SettingValue
            | Self::StreamId
            | Self::WindowIncrement => Reason::PROTOCOL_ERROR,
        }
    }
}
