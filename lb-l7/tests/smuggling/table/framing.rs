//! How long a body is said to be.

use lb_l7::h1::Rejection as R;

use super::{End, GET, Row, Seen, accept, ends, post, refuse, refuse_bytes};

/// A POST with these fields, and what is behind them.
macro_rules! post {
    ($fields:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: a\r\n", $fields)
    };
}

#[rustfmt::skip] // A row is a line.
pub(super) const ROWS: &[Row] = &[
    accept("a length", post!("Content-Length: 5\r\n\r\nhello"), &[post("hello")]),
    accept("a length of nothing", post!("Content-Length: 0\r\n\r\n"), &[post("")]),
    accept("no length and no body", post!("\r\n"), &[post("")]),
    accept("a coding", post!("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), &[post("hello")]),
    accept("a coding in any case", post!("TRANSFER-ENCODING: cHuNkEd\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), &[post("hello")]),
    accept("a GET with a body", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", &[Seen { body: "hello", ..GET }]),
    accept("a length with zeros before", post!("Content-Length: 0005\r\n\r\nhello"), &[post("hello")]),
    ends("a body that is not whole", post!("Content-Length: 6\r\n\r\nhello"), &[], End::BodyUnfinished),
    // A length of either kind.
    refuse("CL.TE", post!("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"), R::LengthAndCoding),
    refuse("TE.CL", post!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n"), R::LengthAndCoding),
    refuse("CL.TE with a length of nothing", post!("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), R::LengthAndCoding),
    refuse("CL.TE with an unknown coding", post!("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\nhello"), R::LengthAndCoding),
    refuse("CL.TE with an empty coding", post!("Content-Length: 5\r\nTransfer-Encoding:\r\n\r\nhello"), R::LengthAndCoding),
    refuse("CL.TE with a bad length", post!("Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), R::LengthAndCoding),
    refuse("CL.TE in a GET", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", R::LengthAndCoding),
    // Lengths.
    refuse("two equal lengths", post!("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), R::LengthRepeated),
    refuse("two lengths", post!("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), R::LengthRepeated),
    refuse("two lengths with a field between", post!("Content-Length: 5\r\nX: y\r\ncontent-length: 0\r\n\r\nhello"), R::LengthRepeated),
    refuse("a list of lengths", post!("Content-Length: 5, 6\r\n\r\nhello"), R::LengthSyntax),
    refuse("a list of equal lengths", post!("Content-Length: 5,5\r\n\r\nhello"), R::LengthSyntax),
    refuse("a length with a comma behind", post!("Content-Length: 5,\r\n\r\nhello"), R::LengthSyntax),
    refuse("a length with a plus sign", post!("Content-Length: +5\r\n\r\nhello"), R::LengthSyntax),
    refuse("a length with a minus sign", post!("Content-Length: -5\r\n\r\nhello"), R::LengthSyntax),
    refuse("a length of minus nothing", post!("Content-Length: -0\r\n\r\n"), R::LengthSyntax),
    refuse("an empty length", post!("Content-Length:\r\n\r\n"), R::LengthSyntax),
    refuse("a length of blanks", post!("Content-Length: \t \r\n\r\n"), R::LengthSyntax),
    refuse("a hexadecimal length", post!("Content-Length: 0x5\r\n\r\nhello"), R::LengthSyntax),
    refuse("a length in words", post!("Content-Length: five\r\n\r\nhello"), R::LengthSyntax),
    refuse("a length with a fraction", post!("Content-Length: 5.0\r\n\r\nhello"), R::LengthSyntax),
    refuse("a length with an exponent", post!("Content-Length: 1e1\r\n\r\n0123456789"), R::LengthSyntax),
    refuse("a length with a separator", post!("Content-Length: 1_0\r\n\r\n0123456789"), R::LengthSyntax),
    refuse("a length with a space within", post!("Content-Length: 1 0\r\n\r\n0123456789"), R::LengthSyntax),
    refuse("a length in quotes", post!("Content-Length: \"5\"\r\n\r\nhello"), R::LengthSyntax),
    refuse("a length with a parameter", post!("Content-Length: 5;x\r\n\r\nhello"), R::LengthSyntax),
    refuse("a length with a NUL", post!("Content-Length: 5\0\r\n\r\nhello"), R::Nul),
    refuse("a length with a vertical tab", post!("Content-Length: \x0b5\r\n\r\nhello"), R::ControlCharacter),
    refuse("a length with a digit beyond ASCII", post!("Content-Length: \u{0665}\r\n\r\nhello"), R::LengthSyntax),
    refuse_bytes("a length with a no-break space", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xa05\r\n\r\nhello", R::LengthSyntax),
    ends("a length of 2^63 - 1", post!("Content-Length: 9223372036854775807\r\n\r\nhello"), &[], End::BodyUnfinished),
    refuse("a length of 2^63", post!("Content-Length: 9223372036854775808\r\n\r\nhello"), R::LengthOverflow),
    refuse("a length of 2^64 + 5", post!("Content-Length: 18446744073709551621\r\n\r\nhello"), R::LengthOverflow),
    refuse("a length of 40 digits", post!("Content-Length: 1000000000000000000000000000000000000005\r\n\r\nhello"), R::LengthOverflow),
    // Codings.
    refuse("chunked twice", post!("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), R::CodingRepeated),
    refuse("chunked on two lines", post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), R::CodingRepeated),
    refuse("chunked is not last", post!("Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), R::CodingNotFinal),
    refuse("chunked is not on the last line", post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"), R::CodingNotFinal),
    refuse("chunked, then identity", post!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), R::CodingNotFinal),
    refuse("identity", post!("Transfer-Encoding: identity\r\n\r\n"), R::CodingNotFinal),
    refuse("identity, then chunked", post!("Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"), R::CodingUnsupported),
    refuse("gzip, then chunked", post!("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), R::CodingUnsupported),
    refuse("gzip on the line before chunked", post!("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), R::CodingUnsupported),
    refuse("gzip alone", post!("Transfer-Encoding: gzip\r\n\r\n"), R::CodingNotFinal),
    refuse("xchunked", post!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), R::CodingNotFinal),
    refuse("chunkedx", post!("Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n"), R::CodingNotFinal),
    refuse("chunk", post!("Transfer-Encoding: chunk\r\n\r\n0\r\n\r\n"), R::CodingNotFinal),
    refuse("chunked with a comma before", post!("Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"), R::CodingSyntax),
    refuse("chunked with a comma behind", post!("Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"), R::CodingSyntax),
    refuse("chunked with a parameter", post!("Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"), R::CodingSyntax),
    refuse("chunked in quotes", post!("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"), R::CodingSyntax),
    refuse("chunked with a word before", post!("Transfer-Encoding: x chunked\r\n\r\n0\r\n\r\n"), R::CodingSyntax),
    refuse("chunked with a colon before", post!("Transfer-Encoding: : chunked\r\n\r\n0\r\n\r\n"), R::CodingSyntax),
    refuse("an empty coding", post!("Transfer-Encoding:\r\n\r\n0\r\n\r\n"), R::CodingSyntax),
    refuse("an empty coding, then chunked", post!("Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), R::CodingSyntax),
    refuse("chunked with a vertical tab before", post!("Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"), R::ControlCharacter),
    refuse("chunked with a form feed behind", post!("Transfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n"), R::ControlCharacter),
    refuse("chunked with a NUL behind", post!("Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"), R::Nul),
    refuse_bytes("chunked with a no-break space", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n", R::CodingSyntax),
    refuse("chunked with a Kelvin sign", post!("Transfer-Encoding: chun\u{212a}ed\r\n\r\n0\r\n\r\n"), R::CodingSyntax),
    accept("chunked with a tab before", post!("Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n"), &[post("")]),
    accept("chunked with blanks behind", post!("Transfer-Encoding: chunked \t\r\n\r\n0\r\n\r\n"), &[post("")]),
    accept("a GET with chunks", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[GET]),
    accept("chunked, and Connection names it", post!("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"), &[post("x")]),
    accept("a length, and Connection names it", post!("Connection: content-length\r\nContent-Length: 1\r\n\r\nx"), &[post("x")]),
    refuse("chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", R::CodingVersion),
    refuse("CL.TE in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", R::CodingVersion),
    accept("a length in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", &[post("hello")]),
    // Methods without content.
    refuse("TRACE with content", "TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", R::ContentForbidden),
    refuse("TRACE with chunks", "TRACE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", R::ContentForbidden),
    accept("TRACE that says it has none", "TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &[Seen { method: "TRACE", ..GET }]),
    accept("HEAD with a body", "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", &[Seen { method: "HEAD", body: "hello", ..GET }]),
];
