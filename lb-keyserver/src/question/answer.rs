//! What comes back.

use crate::wire::{ErrorCode, Items, Opcode, emit};

/// What a key server answered.
#[derive(Clone, Copy, Eq, PartialEq)]
#[non_exhaustive]
pub enum Answer<'a> {
    /// What a ping carried.
    Pong(&'a [u8]),
    /// There is no signature.
    Refused(ErrorCode),
    /// A signature, not yet checked.
    Signature(&'a [u8]),
    /// Nothing that answers a question: a request, an unknown opcode, an error without its one
    /// byte.
    Unknown,
}

impl<'a> Answer<'a> {
    /// Takes the answer out of a frame.
    #[must_use]
    pub fn read(items: &Items<'a>) -> Self {
        match (items.opcode, items.payload) {
            (Opcode::RESPONSE, signature) => Self::Signature(signature),
            (Opcode::PONG, echo) => Self::Pong(echo),
            (Opcode::ERROR, [code]) => Self::Refused(ErrorCode::from_byte(*code)),
            _ => Self::Unknown,
        }
    }
}

/// Shows no bytes.
impl std::fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pong(echo) => write!(f, "Pong({} bytes)", echo.len()),
            Self::Refused(code) => write!(f, "Refused({code})"),
            Self::Signature(signature) => write!(f, "Signature({} bytes)", signature.len()),
            Self::Unknown => f.write_str("Unknown"),
        }
    }
}

/// Appends the answer to question `id`: its signature.
///
/// One that is longer than a frame holds, which no key makes, becomes
/// [`ErrorCode::Internal`].
pub fn emit_signature(id: u32, signature: &[u8], into: &mut Vec<u8>) {
    emit_answer(id, Opcode::RESPONSE, signature, into);
}

/// Appends the answer to question `id`: there is no signature.
pub fn emit_error(id: u32, code: ErrorCode, into: &mut Vec<u8>) {
    emit_answer(id, Opcode::ERROR, &[code.to_byte()], into);
}

/// Appends the answer to ping `id`, which carries what the ping did.
///
/// What came in one frame goes in one; anything longer becomes [`ErrorCode::Internal`].
pub fn emit_pong(id: u32, echo: &[u8], into: &mut Vec<u8>) {
    emit_answer(id, Opcode::PONG, echo, into);
}

fn emit_answer(id: u32, opcode: Opcode, payload: &[u8], into: &mut Vec<u8>) {
    let answer = Items {
        opcode,
        payload,
        ..Items::default()
    };
    if emit(id, &answer, into).is_err() {
        emit_error(id, ErrorCode::Internal, into);
    }
}
