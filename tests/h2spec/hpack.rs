//! RFC 7541: what cannot be decoded.

use crate::cases;
use crate::client::{Peer, Verdict};
use crate::fields::{Coding, Indexing, get, indexed, known_name, raw_huffman, table_size};
use crate::frames::{code, flag, headers};

cases! {
    "hpack/2.3.3/1" => an_index_beyond_the_tables_is_an_error,
    "hpack/2.3.3/2" => a_literal_with_a_name_beyond_the_tables_is_an_error,
    "hpack/4.2/1" => a_table_size_after_a_field_is_an_error,
    "hpack/5.2/1" => padding_of_more_than_seven_bits_is_an_error,
    "hpack/5.2/2" => padding_by_zeros_is_an_error,
    "hpack/5.2/3" => the_end_of_string_within_a_string_is_an_error,
    "hpack/6.1/1" => index_zero_is_an_error,
    "hpack/6.3/1" => a_table_size_above_the_limit_is_an_error,
}

/// A request with these bytes in its block cannot be decoded.
fn undecodable(peer: &mut Peer, block: &[u8]) -> Verdict {
    peer.send(&headers(flag::WHOLE, 1, block));
    peer.connection_error(&[code::COMPRESSION])
}

fn ending_by(peer: &mut Peer, end: &[u8]) -> Verdict {
    let request = [&get(peer), end].concat();
    undecodable(peer, &request)
}

fn an_index_beyond_the_tables_is_an_error(peer: &mut Peer) -> Verdict {
    // The static table ends at 61, and the dynamic one is empty.
    ending_by(peer, &indexed(70))
}

fn a_literal_with_a_name_beyond_the_tables_is_an_error(peer: &mut Peer) -> Verdict {
    let literal = known_name(Indexing::Incremental, Coding::Plain, 70, "empty");
    ending_by(peer, &literal)
}

fn a_table_size_after_a_field_is_an_error(peer: &mut Peer) -> Verdict {
    ending_by(peer, &table_size(1))
}

/// A literal without indexing, `x: ` and a value in these bytes of Huffman's code.
fn with_value(peer: &mut Peer, value: &[u8]) -> Verdict {
    let literal = [&[0, 1, b'x'][..], &raw_huffman(value)].concat();
    ending_by(peer, &literal)
}

fn padding_of_more_than_seven_bits_is_an_error(peer: &mut Peer) -> Verdict {
    // `t` is 01001; three ones would do.
    with_value(peer, &[0b0100_1111, 0xff])
}

fn padding_by_zeros_is_an_error(peer: &mut Peer) -> Verdict {
    with_value(peer, &[0b0100_1000])
}

fn the_end_of_string_within_a_string_is_an_error(peer: &mut Peer) -> Verdict {
    // Thirty ones, and `t` after them.
    with_value(peer, &[0xff, 0xff, 0xff, 0b1111_1101, 0b0011_1111])
}

fn index_zero_is_an_error(peer: &mut Peer) -> Verdict {
    ending_by(peer, &indexed(0))
}

fn a_table_size_above_the_limit_is_an_error(peer: &mut Peer) -> Verdict {
    let request = [table_size(4097), get(peer)].concat();
    undecodable(peer, &request)
}
