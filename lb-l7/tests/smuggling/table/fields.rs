//! What a field line is, and the fields beside those of framing.

use lb_l7::h1::Rejection as R;

use super::{GET, Row, accept, refuse, refuse_bytes};

#[rustfmt::skip] // A row is a line.
pub(super) const ROWS: &[Row] = &[
    accept("no white space behind the colon", "GET / HTTP/1.1\r\nHost:a\r\n\r\n", &[GET]),
    accept("white space around a value", "GET / HTTP/1.1\r\nHost: \t a \t \r\n\r\n", &[GET]),
    accept("an empty value", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", &[GET]),
    accept("a tab within a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\tz\r\n\r\n", &[GET]),
    accept("a colon within a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y: z\r\n\r\n", &[GET]),
    accept("a value beyond ASCII", "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n", &[GET]),
    accept("names in any case", "GET / HTTP/1.1\r\nhOST: a\r\n\r\n", &[GET]),
    // Folding.
    refuse("a folded field, by a space", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", R::FoldedField),
    refuse("a folded field, by a tab", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n", R::FoldedField),
    refuse("a folded coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", R::FoldedField),
    refuse("a folded length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n 0\r\n\r\n0123456789", R::FoldedField),
    refuse("the first field is folded", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", R::FoldedField),
    refuse("a line of a space", "GET / HTTP/1.1\r\nHost: a\r\n \r\nX: y\r\n\r\n", R::FoldedField),
    refuse("a line of a space ends the head", "GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", R::FoldedField),
    refuse("a field hides in a fold", "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", R::FoldedField),
    // Names.
    refuse("a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", R::SpaceBeforeColon),
    refuse("a tab before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n", R::SpaceBeforeColon),
    refuse("a length with a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello", R::SpaceBeforeColon),
    refuse("a coding with a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", R::SpaceBeforeColon),
    refuse("a coding with a vertical tab before the colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n", R::FieldNameSyntax),
    refuse("a coding with a NUL before the colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\0: chunked\r\n\r\n0\r\n\r\n", R::Nul),
    refuse("a coding with a CR before the colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\r: chunked\r\n\r\n0\r\n\r\n", R::BareCarriageReturn),
    refuse("an empty name", "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", R::FieldNameEmpty),
    refuse("an empty name and an empty value", "GET / HTTP/1.1\r\nHost: a\r\n:\r\n\r\n", R::FieldNameEmpty),
    refuse("a space in a name", "GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n", R::FieldNameSyntax),
    refuse("a quoted name", "GET / HTTP/1.1\r\nHost: a\r\n\"X\": z\r\n\r\n", R::FieldNameSyntax),
    refuse("a name in brackets", "GET / HTTP/1.1\r\nHost: a\r\n(X): z\r\n\r\n", R::FieldNameSyntax),
    refuse("a name with a backspace", "GET / HTTP/1.1\r\nHost: a\r\nX\x08: z\r\n\r\n", R::FieldNameSyntax),
    refuse("a name with a DEL", "GET / HTTP/1.1\r\nHost: a\r\nX\x7f: z\r\n\r\n", R::FieldNameSyntax),
    refuse_bytes("a name beyond ASCII", b"POST / HTTP/1.1\r\nHost: a\r\n\xffTransfer-Encoding: chunked\r\n\r\n", R::FieldNameSyntax),
    refuse_bytes("a coding whose name has a soft hyphen", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer\xadEncoding: chunked\r\n\r\n", R::FieldNameSyntax),
    refuse("a line without a colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", R::FieldWithoutColon),
    refuse("the first line without a colon", "GET / HTTP/1.1\r\nX y\r\nHost: a\r\n\r\n", R::FieldWithoutColon),
    refuse("a request line among the fields", "GET / HTTP/1.1\r\nHost: a\r\nGET /evil HTTP/1.1\r\n\r\n", R::FieldWithoutColon),
    refuse("a request line with a colon among the fields", "GET / HTTP/1.1\r\nHost: a\r\nGET http://b/ HTTP/1.1\r\n\r\n", R::FieldNameSyntax),
    // Values.
    refuse("a NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n", R::Nul),
    refuse("a NUL at a value's end", "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", R::Nul),
    refuse("a vertical tab in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x0by\r\n\r\n", R::ControlCharacter),
    refuse("an escape in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\n\r\n", R::ControlCharacter),
    refuse("a DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", R::ControlCharacter),
    refuse("a form feed at a value's end", "GET / HTTP/1.1\r\nHost: a\r\nX: y\x0c\r\n\r\n", R::ControlCharacter),
    // Names that some servers take for others.
    refuse("Content_Length", "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\nhello", R::FramingLookAlike),
    refuse("Transfer_Encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n", R::FramingLookAlike),
    refuse("transfer_encoding beside a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\ntransfer_encoding: chunked\r\n\r\n", R::FramingLookAlike),
    accept("a name that only begins alike", "GET / HTTP/1.1\r\nHost: a\r\nContent-Lengthy: 5\r\n\r\n", &[GET]),
    accept("a name of the same length", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encodinh: chunked\r\n\r\n", &[GET]),
    accept("another name with an underscore", "GET / HTTP/1.1\r\nHost: a\r\nX_Y: z\r\n\r\n", &[GET]),
    // Expect.
    accept("Expect without content", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", &[GET]),
    refuse("Expect of something else", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", R::Expectation),
    refuse("Expect with a word before", "POST / HTTP/1.1\r\nHost: a\r\nExpect: y 100-continue\r\nContent-Length: 0\r\n\r\n", R::Expectation),
    refuse("Expect twice", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", R::Expectation),
    refuse("Expect as a list", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\nContent-Length: 0\r\n\r\n", R::Expectation),
    refuse("an empty Expect", "GET / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n", R::Expectation),
    // Connection names what must stay.
    accept("Connection names Host", "GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", &[GET]),
];
