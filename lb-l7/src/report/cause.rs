//! Who ended an exchange, in which phase, and why: the three words of a termination code.

/// Defines an enum with `ALL`, `as_str` and `index`, so that the four never disagree.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every one, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its kebab-case name, as metrics and logs show it.
            #[inline]
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Its place in [`ALL`](Self::ALL).
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Who ended an exchange.
    #[expect(clippy::exhaustive_enums, reason = "these are all who take part")]
    Party {
        /// The backend, or the way to it.
        Backend = "backend",
        /// The client, or the way to it.
        Client = "client",
        /// Nobody: all was said, and all of it arrived.
        Nobody = "nobody",
        /// This proxy.
        Proxy = "proxy",
    }
}

words! {
    /// How far an exchange had come when it ended, in the order of time.
    #[expect(
        clippy::exhaustive_enums,
        reason = "a code is counted by its place, and these are all the phases there are"
    )]
    Phase {
        /// Before the first request: the PROXY protocol header, the TLS handshake, the HTTP/2
        /// preface.
        Handshake = "handshake",
        /// Reading the request's head, and deciding where it goes.
        RequestHead = "request-head",
        /// Waiting for a backend that may take it, or for a connection to it.
        Queue = "queue",
        /// Connecting to the backend, its TLS handshake included.
        Connect = "connect",
        /// Sending the request; the response's head has not come.
        RequestBody = "request-body",
        /// The request is sent, and the response's head has not come.
        ResponseHead = "response-head",
        /// The response's head has come, and its body is on the way.
        ResponseBody = "response-body",
        /// Bytes both ways after an upgrade or `CONNECT`.
        Tunnel = "tunnel",
        /// Between two exchanges of one connection.
        KeepAlive = "keep-alive",
    }
}

words! {
    /// Why an exchange ended.
    #[non_exhaustive]
    Why {
        /// A full answer was given before the request had ended, or by the proxy itself: a
        /// redirect, a fixed answer.
        Answered = "answered",
        /// It closed its side of the connection before the end.
        Closed = "closed",
        /// No connection came about.
        ConnectFailed = "connect-failed",
        /// An address list or a filter turns the client or the request away.
        Denied = "denied",
        /// All was said, and all of it arrived.
        Done = "done",
        /// The drain's deadline passed.
        Drained = "drained",
        /// More control frames, resets or empty frames than an honest client sends.
        FloodDetected = "flood-detected",
        /// A fault of this program.
        Internal = "internal",
        /// What it sent breaks the protocol.
        Malformed = "malformed",
        /// The request is for an authority that this connection does not speak for.
        Misdirected = "misdirected",
        /// The pool has no backend that is up.
        NoBackend = "no-backend",
        /// No route takes the request.
        NoRoute = "no-route",
        /// As much is under way as may be: connections, requests, memory, the length of a queue.
        Overloaded = "overloaded",
        /// More requests or bytes in a time than are allowed.
        RateLimited = "rate-limited",
        /// It refused the stream before any work on it (`REFUSED_STREAM`, or above the last stream
        /// of a `GOAWAY`).
        Refused = "refused",
        /// It reset the connection or the stream.
        Reset = "reset",
        /// This host lacks a descriptor, a local port or memory.
        Resources = "resources",
        /// It did not do in time what it had to do next.
        Timeout = "timeout",
        /// The TLS handshake failed.
        TlsFailed = "tls-failed",
        /// A head, a body or a field is longer than the limit.
        TooLarge = "too-large",
        /// It asks for what this proxy does not do: a transfer coding, an expectation, a method.
        Unsupported = "unsupported",
    }
}
