//! Why a message is refused.

use http::StatusCode;

/// One line a reason: the variant, its name in counters, the status of a request refused for it.
macro_rules! rejections {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $status:ident, $error:literal;)+) => {
        /// Why bytes are refused that were to be a message of HTTP/1.
        ///
        /// The fault is the sender's. Where the message ends can no longer be told, or could be
        /// told otherwise by the next parser: the connection carries no other message.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
        #[non_exhaustive]
        pub enum Rejection {
            $($(#[doc = $doc])+ #[error($error)] $variant,)+
        }

        impl Rejection {
            /// Every reason, in the order of their discriminants: one counter each.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The reason's name in counters and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }

            /// What the sender of a refused request is answered. A refused *response* is a 502 to
            /// the client, whatever this says.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$variant => StatusCode::$status),+
                }
            }
        }
    };
}

rejections! {
    /// A CR that no LF follows (RFC 9112, 2.2).
    BareCarriageReturn = "bare-carriage-return", BAD_REQUEST, "a CR without LF";
    /// An LF that follows no CR; lenient parsers end a line there and strict ones do not.
    BareLineFeed = "bare-line-feed", BAD_REQUEST, "an LF without CR";
    /// The octets of a chunk are not followed by CRLF (RFC 9112, 7.1).
    ChunkEnd = "chunk-end", BAD_REQUEST, "a chunk that no CRLF ends";
    /// A chunk extension that is not `;token[=token|"quoted"]` (RFC 9112, 7.1.1).
    ChunkExtension = "chunk-extension", BAD_REQUEST, "a malformed chunk extension";
    /// Chunk extensions of more than 16 KiB in one body, which carry nothing anybody reads.
    ChunkExtensionsTooLarge = "chunk-extensions-too-large", BAD_REQUEST, "too many bytes of chunk extensions";
    /// A chunk size that is not 1 to 16 hexadecimal digits.
    ChunkSize = "chunk-size", BAD_REQUEST, "a malformed chunk size";
    /// A chunk of 2^63 octets or more, which some parsers take for a negative or a small one.
    ChunkSizeOverflow = "chunk-size-overflow", BAD_REQUEST, "a chunk size out of range";
    /// Not exactly one final `chunked` (RFC 9112, 6.1), so the body's end is unknown.
    CodingNotFinal = "coding-not-final", BAD_REQUEST, "chunked is not the final transfer coding";
    /// `chunked` applied twice (RFC 9112, 7.1).
    CodingRepeated = "coding-repeated", BAD_REQUEST, "chunked is applied more than once";
    /// A Transfer-Encoding that is no list of names: empty, with an empty element or a parameter.
    CodingSyntax = "coding-syntax", BAD_REQUEST, "a malformed Transfer-Encoding";
    /// A coding before `chunked` that a proxy would have to undo (RFC 9112, 6.1).
    CodingUnsupported = "coding-unsupported", NOT_IMPLEMENTED, "a transfer coding besides chunked";
    /// Transfer-Encoding in HTTP/1.0, which does not know it (RFC 9112, 6.1).
    CodingVersion = "coding-version", BAD_REQUEST, "Transfer-Encoding in HTTP/1.0";
    /// Content in a request that has none by definition: CONNECT, TRACE (RFC 9110, 9.3.6, 9.3.8).
    ContentForbidden = "content-forbidden", BAD_REQUEST, "content in a CONNECT or TRACE request";
    /// A control character in a field's value or a reason phrase.
    ControlCharacter = "control-character", BAD_REQUEST, "a control character";
    /// More than one empty line before the request line (RFC 9112, 2.2 asks to bear one).
    EmptyLines = "empty-lines", BAD_REQUEST, "empty lines before the request line";
    /// An Expect that is not one `100-continue` (RFC 9110, 10.1.1).
    Expectation = "expectation", EXPECTATION_FAILED, "an unknown expectation";
    /// A field's name that is empty.
    FieldNameEmpty = "field-name-empty", BAD_REQUEST, "an empty field name";
    /// A field's name that is no token (RFC 9110, 5.1).
    FieldNameSyntax = "field-name-syntax", BAD_REQUEST, "a malformed field name";
    /// A line of the field section without a colon.
    FieldWithoutColon = "field-without-colon", BAD_REQUEST, "a field line without a colon";
    /// A line that starts with white space: a folded field to some, a new one to others (RFC 9112,
    /// 5.2).
    FoldedField = "folded-field", BAD_REQUEST, "a folded field line";
    /// A field that a CGI-like server takes for a framing field, such as `Content_Length`.
    FramingLookAlike = "framing-look-alike", BAD_REQUEST, "a field that looks like a framing field";
    /// A head that exceeds [`HeadLimits::bytes`](super::HeadLimits::bytes), or trailers of too many
    /// bytes.
    HeadTooLarge = "head-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "a head of too many bytes";
    /// Host and the authority of the target differ (RFC 9112, 3.2.2).
    HostMismatch = "host-mismatch", BAD_REQUEST, "Host and the target differ";
    /// No Host in HTTP/1.1 (RFC 9112, 3.2).
    HostMissing = "host-missing", BAD_REQUEST, "no Host";
    /// More than one Host.
    HostRepeated = "host-repeated", BAD_REQUEST, "more than one Host";
    /// An authority whose host is empty, a list, or neither a name nor an IP literal.
    HostSyntax = "host-syntax", BAD_REQUEST, "a malformed host";
    /// White space before the request line.
    LeadingSpace = "leading-space", BAD_REQUEST, "white space before the first line";
    /// Content-Length and Transfer-Encoding in one message: CL.TE and TE.CL.
    LengthAndCoding = "length-and-coding", BAD_REQUEST, "Content-Length with Transfer-Encoding";
    /// A length of 2^63 or more, which some parsers take for a negative or a small one.
    LengthOverflow = "length-overflow", BAD_REQUEST, "a Content-Length out of range";
    /// More than one Content-Length. Equal ones are refused as well: no sender has a use for two,
    /// and the next parser may take the first, the last, or `5, 5`.
    LengthRepeated = "length-repeated", BAD_REQUEST, "more than one Content-Length";
    /// A Content-Length that is not digits alone: empty, signed, a list.
    LengthSyntax = "length-syntax", BAD_REQUEST, "a malformed Content-Length";
    /// A method that is no token (RFC 9110, 9.1); also what other protocols start with.
    Method = "method", BAD_REQUEST, "a malformed method";
    /// A method of more than 32 bytes; no registered one has more than 17.
    MethodTooLong = "method-too-long", NOT_IMPLEMENTED, "a method of too many bytes";
    /// A NUL, at which C code may end a string.
    Nul = "nul", BAD_REQUEST, "a NUL byte";
    /// A port that is not a number from 1 to 65535, or none where CONNECT needs one.
    Port = "port", BAD_REQUEST, "a malformed port";
    /// A request line that is not three words, one space apart.
    RequestLine = "request-line", BAD_REQUEST, "a malformed request line";
    /// White space between a field's name and the colon (RFC 9112, 5.1).
    SpaceBeforeColon = "space-before-colon", BAD_REQUEST, "white space before a colon";
    /// A status line that is malformed, or a status code that is out of range.
    StatusLine = "status-line", BAD_REQUEST, "a malformed status line";
    /// A target with bytes that no URI has, or with a fragment.
    TargetSyntax = "target-syntax", BAD_REQUEST, "a malformed request target";
    /// A form of target that the method does not take (RFC 9112, 3.2), or a scheme besides HTTP's.
    TargetForm = "target-form", BAD_REQUEST, "a request target of the wrong form";
    /// A target that exceeds [`HeadLimits::target`](super::HeadLimits::target).
    TargetTooLong = "target-too-long", URI_TOO_LONG, "a request target of too many bytes";
    /// More fields than [`HeadLimits::fields`](super::HeadLimits::fields), or too many trailers.
    TooManyFields = "too-many-fields", REQUEST_HEADER_FIELDS_TOO_LARGE, "too many fields";
    /// The connection ended before the message did.
    Truncated = "truncated", BAD_REQUEST, "the connection ended within a message";
    /// User information in an authority, which disguises the host (RFC 9110, 4.2.4).
    Userinfo = "userinfo", BAD_REQUEST, "user information in an authority";
    /// A version of HTTP other than 1.0 and 1.1.
    VersionUnsupported = "version-unsupported", HTTP_VERSION_NOT_SUPPORTED, "an unsupported version of HTTP";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_in_kebab_case() {
        let names: HashSet<_> = Rejection::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect();
        assert_eq!(names.len(), Rejection::ALL.len());
        for (at, reason) in Rejection::ALL.iter().enumerate() {
            let kebab = |byte| matches!(byte, b'a'..=b'z' | b'-');
            assert!(reason.as_str().bytes().all(kebab), "{reason:?}");
            assert_eq!(*reason as usize, at);
            assert!(reason.status().is_client_error() || reason.status().is_server_error());
        }
    }

    #[test]
    fn a_reason_is_answered_by_its_own_status() {
        let status = |reason: Rejection| reason.status().as_u16();
        assert_eq!(status(Rejection::BareLineFeed), 400);
        assert_eq!(status(Rejection::TargetTooLong), 414);
        assert_eq!(status(Rejection::Expectation), 417);
        assert_eq!(status(Rejection::HeadTooLarge), 431);
        assert_eq!(status(Rejection::TooManyFields), 431);
        assert_eq!(status(Rejection::CodingUnsupported), 501);
        assert_eq!(status(Rejection::VersionUnsupported), 505);
        assert_eq!(Rejection::BareLineFeed.as_str(), "bare-line-feed");
        assert_eq!(Rejection::BareLineFeed.to_string(), "an LF without CR");
    }
}
