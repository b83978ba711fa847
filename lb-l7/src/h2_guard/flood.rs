//! The names of what was too much.

/// What a client sent too much of; each is a counter.
///
/// All but two end the connection with ENHANCE_YOUR_CALM (RFC 9113, 10.5).
/// [`HeaderFields`](Self::HeaderFields) ends one request with 431, and
/// [`Streams`](Self::Streams) lets the connection finish what it has.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Flood {
    /// CONTINUATION frames in one header block.
    Continuation,
    /// DATA frames without data that end nothing.
    EmptyData,
    /// HEADERS and CONTINUATION frames without a fragment that end nothing.
    EmptyHeaders,
    /// GOAWAY frames.
    GoAway,
    /// Bytes of one compressed header block.
    HeaderBlock,
    /// Fields of one request, each crumb of a cookie counted.
    HeaderFields,
    /// PING frames.
    Ping,
    /// PRIORITY and PRIORITY_UPDATE frames.
    Priority,
    /// Streams that this side had to reset for the client's errors.
    ProvokedReset,
    /// Streams that this side had to refuse.
    Refused,
    /// Streams that the client reset.
    Reset,
    /// SETTINGS frames.
    Settings,
    /// Streams in all on one connection.
    Streams,
    /// Frames of types that nobody knows.
    UnknownFrame,
    /// WINDOW_UPDATE frames.
    WindowUpdate,
}

impl Flood {
    /// Every one, in the order of the names.
    pub const ALL: [Self; 15] = [
        Self::Continuation,
        Self::EmptyData,
        Self::EmptyHeaders,
        Self::GoAway,
        Self::HeaderBlock,
        Self::HeaderFields,
        Self::Ping,
        Self::Priority,
        Self::ProvokedReset,
        Self::Refused,
        Self::Reset,
        Self::Settings,
        Self::Streams,
        Self::UnknownFrame,
        Self::WindowUpdate,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Continuation => "continuation",
            Self::EmptyData => "empty-data",
            Self::EmptyHeaders => "empty-headers",
            Self::GoAway => "goaway",
            Self::HeaderBlock => "header-block",
            Self::HeaderFields => "header-fields",
            Self::Ping => "ping",
            Self::Priority => "priority",
            Self::ProvokedReset => "provoked-reset",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Settings => "settings",
            Self::Streams => "streams",
            Self::UnknownFrame => "unknown-frame",
            Self::WindowUpdate => "window-update",
        }
    }
}
