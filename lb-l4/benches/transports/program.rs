//! The programs of the floors, and whether they answer.

use crate::assembler::{Assembler, If, R0, R1, R2, R3, R6, R7, Size};
use crate::sys::bpf::Instruction;

/// Drops every packet.
pub(crate) fn drop() -> (bool, Vec<Instruction>) {
    let mut code = Assembler::default();
    code.set(R0, XDP_DROP);
    code.exit();
    (false, code.finish().unwrap())
}

/// Sends every packet back with its Ethernet addresses swapped.
pub(crate) fn reflect() -> (bool, Vec<Instruction>) {
    let mut code = Assembler::default();
    let short = code.label();
    code.load(Size::Four, R6, R1, 0);
    code.load(Size::Four, R7, R1, 4);
    code.set(R0, XDP_DROP);
    code.set(R2, R6);
    code.add(R2, 14);
    code.jump_if(R2, If::Greater, R7, short);
    for offset in [0, 2, 4] {
        code.load(Size::Two, R2, R6, offset);
        code.load(Size::Two, R3, R6, offset + 6);
        code.store(Size::Two, R6, offset, R3);
        code.store(Size::Two, R6, offset + 6, R2);
    }
    code.set(R0, XDP_TX);
    code.place(short);
    code.exit();
    (true, code.finish().unwrap())
}

const XDP_DROP: i32 = 1;
const XDP_TX: i32 = 3;
