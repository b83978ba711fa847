//! A body is the same however its bytes arrive, ends where it ends, and its content survives being
//! written and read again.
#![no_main]

use std::num::NonZeroUsize;

use bytes::BytesMut;
use http::HeaderMap;
use lb_l7::BodyLength;
use lb_l7::h1::{BodyDecoder, Piece, Rejection, emit_chunk_end, emit_chunk_head, emit_last_chunk};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = decode(bytes, bytes.len().max(1));
    assert_eq!(whole, decode(bytes, 1));
    assert_eq!(whole, decode(bytes, 3));
    if let Ok(Decoded {
        content,
        trailers,
        used: Some(_),
    }) = &whole
    {
        let again = encode(content, trailers.as_ref());
        let used = Some(again.len());
        let (content, trailers) = (content.clone(), trailers.clone());
        let expected = Decoded {
            content,
            trailers,
            used,
        };
        assert_eq!(decode(&again, again.len()), Ok(expected));
    }
});

#[derive(Debug, PartialEq)]
struct Decoded {
    content: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// How many bytes the body took, if it ended.
    used: Option<usize>,
}

/// What is in these bytes when they come `size` at a time.
fn decode(bytes: &[u8], size: usize) -> Result<Decoded, Rejection> {
    let (mut decoder, mut buffer) = (BodyDecoder::new(BodyLength::Streamed), BytesMut::new());
    let (mut content, mut trailers, mut fed) = (Vec::new(), None, 0);
    for piece in bytes.chunks(size) {
        buffer.extend_from_slice(piece);
        fed += piece.len();
        while let Some(piece) = decoder.decode(&mut buffer)? {
            match piece {
                Piece::Data(data) => {
                    assert!(!data.is_empty() && !decoder.is_done());
                    content.extend_from_slice(&data);
                }
                Piece::Trailers(fields) => {
                    assert!(!fields.is_empty() && trailers.is_none());
                    trailers = Some(fields);
                }
                Piece::End => {
                    assert!(decoder.is_done());
                    let used = Some(fed - buffer.len());
                    return Ok(Decoded {
                        content,
                        trailers,
                        used,
                    });
                }
            }
        }
    }
    assert_eq!(decoder.handle_close(), Err(Rejection::Truncated));
    Ok(Decoded {
        content,
        trailers,
        used: None,
    })
}

fn encode(content: &[u8], trailers: Option<&HeaderMap>) -> BytesMut {
    let mut out = BytesMut::new();
    if let Some(length) = NonZeroUsize::new(content.len()) {
        emit_chunk_head(&mut out, length);
        out.extend_from_slice(content);
        emit_chunk_end(&mut out);
    }
    emit_last_chunk(&mut out, trailers);
    out
}
