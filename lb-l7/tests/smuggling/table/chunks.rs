//! How a chunked body is written.

use lb_l7::h1::Rejection as R;

use super::{End, Row, accept, ends, post, refuse_body};

/// A POST with this body, in chunks.
macro_rules! chunked {
    ($body:literal) => {
        concat!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            $body
        )
    };
}

#[rustfmt::skip] // A row is a line.
pub(super) const ROWS: &[Row] = &[
    accept("two chunks", chunked!("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), &[post("hello world")]),
    accept("sizes in both cases", chunked!("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"), &[post("01234567890123456789")]),
    accept("a size with zeros before", chunked!("0005\r\nhello\r\n000\r\n\r\n"), &[post("hello")]),
    accept("a size of 16 digits", chunked!("0000000000000005\r\nhello\r\n0\r\n\r\n"), &[post("hello")]),
    accept("line ends within a chunk", chunked!("4\r\n\r\n\r\n\r\n0\r\n\r\n"), &[post("\r\n\r\n")]),
    accept("a last chunk within a chunk", chunked!("5\r\n0\r\n\r\n\r\n0\r\n\r\n"), &[post("0\r\n\r\n")]),
    ends("the last chunk is missing", chunked!("5\r\nhello\r\n"), &[], End::BodyUnfinished),
    ends("the last line is missing", chunked!("5\r\nhello\r\n0\r\n"), &[], End::BodyUnfinished),
    ends("the last byte is missing", chunked!("5\r\nhello\r\n0\r\n\r"), &[], End::BodyUnfinished),
    // Sizes.
    refuse_body("a size of 17 digits", chunked!("00000000000000005\r\nhello\r\n0\r\n\r\n"), R::ChunkSizeOverflow),
    refuse_body("a size of 2^64 + 5", chunked!("10000000000000005\r\nhello\r\n0\r\n\r\n"), R::ChunkSizeOverflow),
    refuse_body("a size of 2^64 - 1", chunked!("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), R::ChunkSizeOverflow),
    refuse_body("a size of 2^63", chunked!("8000000000000000\r\nhello\r\n0\r\n\r\n"), R::ChunkSizeOverflow),
    ends("a size of 2^63 - 1", chunked!("7fffffffffffffff\r\nhello\r\n0\r\n\r\n"), &[], End::BodyUnfinished),
    ends("a size of 2^32 + 5", chunked!("100000005\r\nhello\r\n0\r\n\r\n"), &[], End::BodyUnfinished),
    refuse_body("a size with 0x", chunked!("0x5\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size with a plus sign", chunked!("+5\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size with a minus sign", chunked!("-5\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size of minus nothing", chunked!("-0\r\n\r\n"), R::ChunkSize),
    refuse_body("an empty size", chunked!("\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("an extension without a size", chunked!(";x\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size that is no number", chunked!("g\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size with a letter behind", chunked!("5g\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size with a separator", chunked!("1_0\r\n0123456789abcdef\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size with a fraction", chunked!("5.0\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size in quotes", chunked!("\"5\"\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size with a comma", chunked!("5,5\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size with a space before", chunked!(" 5\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size with a tab before", chunked!("\t5\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size with a space behind", chunked!("5 \r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("a size with a tab behind", chunked!("5\t\r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("a size with a space within", chunked!("1 0\r\n0123456789abcdef\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("a size with a NUL behind", chunked!("5\0\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size with a vertical tab behind", chunked!("5\x0b\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    refuse_body("a size with a digit beyond ASCII", chunked!("\u{ff15}\r\nhello\r\n0\r\n\r\n"), R::ChunkSize),
    // Line ends.
    refuse_body("LF ends a size", chunked!("5\nhello\r\n0\r\n\r\n"), R::BareLineFeed),
    refuse_body("LF ends the last size", chunked!("5\r\nhello\r\n0\n\r\n"), R::BareLineFeed),
    refuse_body("LF ends the body", chunked!("5\r\nhello\r\n0\r\n\n"), R::BareLineFeed),
    refuse_body("LF ends a chunk", chunked!("5\r\nhello\n0\r\n\r\n"), R::ChunkEnd),
    refuse_body("CR ends a chunk", chunked!("5\r\nhello\r0\r\n\r\n"), R::ChunkEnd),
    refuse_body("CR ends a size", chunked!("5\rhello\r\n0\r\n\r\n"), R::BareCarriageReturn),
    refuse_body("CR behind a size", chunked!("5\r\r\nhello\r\n0\r\n\r\n"), R::BareCarriageReturn),
    refuse_body("nothing ends a chunk", chunked!("5\r\nhello0\r\n\r\n"), R::ChunkEnd),
    refuse_body("any two bytes end a chunk", chunked!("5\r\nhelloXX0\r\n\r\n"), R::ChunkEnd),
    refuse_body("a chunk is longer than its size", chunked!("4\r\nhello\r\n0\r\n\r\n"), R::ChunkEnd),
    refuse_body("a chunk is shorter than its size", chunked!("6\r\nhello\r\n0\r\n\r\n"), R::ChunkEnd),
    refuse_body("an empty line between chunks", chunked!("5\r\nhello\r\n\r\n0\r\n\r\n"), R::ChunkSize),
    // Extensions.
    accept("an extension", chunked!("5;x\r\nhello\r\n0\r\n\r\n"), &[post("hello")]),
    accept("extensions with values", chunked!("5;x=y;z=\"a b\";w\r\nhello\r\n0;last\r\n\r\n"), &[post("hello")]),
    accept("an escaped quote in an extension", chunked!("5;x=\"\\\"\"\r\nhello\r\n0\r\n\r\n"), &[post("hello")]),
    refuse_body("LF within an extension", chunked!("5;x\nhello\r\n0\r\n\r\n"), R::BareLineFeed),
    refuse_body("a chunk hides in an extension behind LF", chunked!("2;\nxx\r\n4c\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"), R::BareLineFeed),
    refuse_body("CR within an extension", chunked!("5;x\ry\r\nhello\r\n0\r\n\r\n"), R::BareCarriageReturn),
    refuse_body("LF within a quoted extension", chunked!("5;x=\"\n\"\r\nhello\r\n0\r\n\r\n"), R::BareLineFeed),
    refuse_body("CRLF within a quoted extension", chunked!("5;x=\"\r\n\"\r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("an empty extension", chunked!("5;\r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("an extension with an empty value", chunked!("5;x=\r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("an extension with an empty name", chunked!("5;=y\r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("an extension with a space before", chunked!("5 ;x\r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("an extension with a space within", chunked!("5; x\r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("an extension that is quoted on one side", chunked!("5;x=\"y\r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("an extension with bytes behind its quotes", chunked!("5;x=\"y\"z\r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("an extension with a NUL", chunked!("5;x\0\r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    refuse_body("an extension with a comma", chunked!("5;x,y\r\nhello\r\n0\r\n\r\n"), R::ChunkExtension),
    // Trailers.
    accept("a trailer", chunked!("5\r\nhello\r\n0\r\nX: y\r\n\r\n"), &[post("hello")]),
    accept("a trailer that frames is dropped", chunked!("5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"), &[post("hello")]),
    accept("a trailer that names a host is dropped", chunked!("5\r\nhello\r\n0\r\nHost: b\r\n\r\n"), &[post("hello")]),
    refuse_body("a trailer without a colon", chunked!("0\r\nGET /evil HTTP/1.1\r\n\r\n"), R::FieldWithoutColon),
    refuse_body("a folded trailer", chunked!("0\r\nX: y\r\n z\r\n\r\n"), R::FoldedField),
    refuse_body("a trailer with a space before its colon", chunked!("0\r\nX : y\r\n\r\n"), R::SpaceBeforeColon),
    refuse_body("LF ends a trailer", chunked!("0\r\nX: y\n\r\n"), R::BareLineFeed),
    refuse_body("a trailer with a NUL", chunked!("0\r\nX: y\0\r\n\r\n"), R::Nul),
    refuse_body("CR stands before the last line", chunked!("0\r\n\r\r\n\r\n"), R::BareCarriageReturn),
];
