//! Header blocks as bytes: every representation of RFC 7541, legal or not.

use crate::client::Peer;

/// How a literal says whether it is to be remembered (RFC 7541, 6.2).
#[derive(Clone, Copy)]
pub(crate) enum Indexing {
    Incremental,
    Never,
    Without,
}

/// Whether strings are written as they are or in Huffman's code (RFC 7541, 5.2).
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Coding {
    Huffman,
    Plain,
}

/// Literals that nobody remembers.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.extend(new_name(Indexing::Without, Coding::Plain, name, value));
    }
    bytes
}

/// The four pseudo-header fields of a request for `/`.
pub(crate) fn request<'a>(peer: &'a Peer, method: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", peer.authority()),
    ]
}

/// A request for `/` with this besides.
pub(crate) fn request_with(peer: &Peer, method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = request(peer, method);
    fields.extend(more);
    block(&fields)
}

pub(crate) fn get(peer: &Peer) -> Vec<u8> {
    request_with(peer, "GET", &[])
}

pub(crate) fn post(peer: &Peer) -> Vec<u8> {
    request_with(peer, "POST", &[])
}

/// An index into the static table and then the dynamic one (RFC 7541, 6.1).
pub(crate) fn indexed(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

/// A literal whose name is an entry of the tables (RFC 7541, 6.2).
pub(crate) fn known_name(how: Indexing, coding: Coding, index: usize, value: &str) -> Vec<u8> {
    let mut bytes = match how {
        Indexing::Incremental => integer(0x40, 6, index),
        Indexing::Never => integer(0x10, 4, index),
        Indexing::Without => integer(0, 4, index),
    };
    bytes.extend(string(coding, value));
    bytes
}

/// A literal with its name (RFC 7541, 6.2).
pub(crate) fn new_name(how: Indexing, coding: Coding, name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![match how {
        Indexing::Incremental => 0x40,
        Indexing::Never => 0x10,
        Indexing::Without => 0,
    }];
    bytes.extend(string(coding, name));
    bytes.extend(string(coding, value));
    bytes
}

/// An update of the size of the dynamic table (RFC 7541, 6.3).
pub(crate) fn table_size(size: usize) -> Vec<u8> {
    integer(0x20, 5, size)
}

/// A string that claims to be in Huffman's code.
pub(crate) fn raw_huffman(bytes: &[u8]) -> Vec<u8> {
    let mut string = integer(0x80, 7, bytes.len());
    string.extend(bytes);
    string
}

/// RFC 7541, 5.1.
fn integer(first: u8, bits: u32, value: usize) -> Vec<u8> {
    let most = (1 << bits) - 1;
    let byte = |value: usize| u8::try_from(value).expect("fewer bits than a byte has");
    if value < most {
        return vec![first | byte(value)];
    }
    let mut bytes = vec![first | byte(most)];
    let mut left = value - most;
    while left >= 128 {
        bytes.push(byte(left % 128) | 0x80);
        left /= 128;
    }
    bytes.push(byte(left));
    bytes
}

fn string(coding: Coding, text: &str) -> Vec<u8> {
    if coding == Coding::Huffman {
        return raw_huffman(&huffman(text));
    }
    let mut bytes = integer(0, 7, text.len());
    bytes.extend(text.bytes());
    bytes
}

/// Text of small letters, digits and `-` in the code of RFC 7541, appendix B, padded by ones.
fn huffman(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut word, mut have) = (0_u64, 0);
    for letter in text.bytes() {
        let (code, bits) = code(letter);
        word = word << bits | code;
        have += bits;
        while have >= 8 {
            have -= 8;
            bytes.push(u8::try_from(word >> have & 0xff).expect("eight bits"));
        }
    }
    if have > 0 {
        let padded = word << (8 - have) | ((1 << (8 - have)) - 1);
        bytes.push(u8::try_from(padded & 0xff).expect("eight bits"));
    }
    bytes
}

fn code(letter: u8) -> (u64, u32) {
    // The codes of one length follow each other in this order.
    for (first, bits, letters) in [
        (0x0, 5, "012aceiost"),
        (0x16, 6, "-./3456789=A_bdfghlmnpru"),
        (0x74, 7, "jkqvwxyz"),
    ] {
        if let Some(at) = letters.bytes().position(|known| known == letter) {
            return (first + at as u64, bits);
        }
    }
    panic!("no code for {letter}");
}
