//! A small assembler for the kernel's virtual machine.
//!
//! The machine has eleven registers of 64 bits. `R1` holds the program's argument at the start;
//! calls take theirs in `R1` to `R5`, answer in `R0` and leave `R6` to `R9` as they are; `R10` points
//! behind a stack of 512 bytes. Only what the programs here need can be said: loads and stores,
//! moves, additions, comparisons, jumps to a [`Label`], calls and the end.
//!
//! Source: RFC 9669 (BPF Instruction Set Architecture).

use crate::sys::bpf::Instruction;

/// A register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Register(u8);

pub(super) const R0: Register = Register(0);
pub(super) const R1: Register = Register(1);
pub(super) const R2: Register = Register(2);
pub(super) const R3: Register = Register(3);
pub(super) const R6: Register = Register(6);
pub(super) const R7: Register = Register(7);
pub(super) const R8: Register = Register(8);
pub(super) const R9: Register = Register(9);
pub(super) const R10: Register = Register(10);

/// How many bytes a load or store moves (RFC 9669, 5: the size bits of the code).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Size {
    Four = 0x00,
    Two = 0x08,
    One = 0x10,
    Eight = 0x18,
}

/// When a jump is taken; numbers are compared without sign (RFC 9669, 4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum If {
    Equal = 0x10,
    Greater = 0x20,
    AtLeast = 0x30,
    NotEqual = 0x50,
}

/// A register's content or a number, which is sign-extended to 64 bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operand {
    Number(i32),
    Register(Register),
}

impl From<i32> for Operand {
    fn from(number: i32) -> Self {
        Self::Number(number)
    }
}

impl From<Register> for Operand {
    fn from(register: Register) -> Self {
        Self::Register(register)
    }
}

/// A place in the program that jumps go to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Label(usize);

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    /// By label: the instruction that it stands before.
    places: Vec<Option<usize>>,
    /// Jumps, and the labels that they go to.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label that stands nowhere yet.
    pub(super) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Puts a label before the next instruction.
    pub(super) fn place(&mut self, label: Label) {
        if let Some(place) = self.places.get_mut(label.0) {
            *place = Some(self.instructions.len());
        }
    }

    /// `to = value`
    pub(super) fn set(&mut self, to: Register, value: impl Into<Operand>) {
        self.operate(ALU64 | MOVE, to, value.into());
    }

    /// `to += value`
    pub(super) fn add(&mut self, to: Register, value: impl Into<Operand>) {
        self.operate(ALU64 | ADD, to, value.into());
    }

    /// `to = *(from + offset)`, the rest of the register zero.
    pub(super) fn load(&mut self, size: Size, to: Register, from: Register, offset: i16) {
        self.emit(LOAD | size as u8, to, from, offset, 0);
    }

    /// `*(to + offset) = from`
    pub(super) fn store(&mut self, size: Size, to: Register, offset: i16, from: Register) {
        self.emit(STORE | size as u8, to, from, offset, 0);
    }

    /// `*(to + offset) = number`
    pub(super) fn store_number(&mut self, size: Size, to: Register, offset: i16, number: i32) {
        self.emit(STORE_NUMBER | size as u8, to, R0, offset, number);
    }

    /// `to = ` the map behind a descriptor. Takes two instructions.
    pub(super) fn set_map(&mut self, to: Register, map: i32) {
        self.emit(LOAD_WIDE, to, PSEUDO_MAP, 0, map);
        self.emit(0, R0, R0, 0, 0);
    }

    /// Goes to `label`.
    pub(super) fn jump(&mut self, label: Label) {
        self.jump_to(JUMP, R0, Operand::Number(0), label);
    }

    /// Goes to `label` if `left` compares so with `right`.
    pub(super) fn jump_if(
        &mut self,
        left: Register,
        condition: If,
        right: impl Into<Operand>,
        label: Label,
    ) {
        self.jump_to(JUMP | condition as u8, left, right.into(), label);
    }

    /// `R0 = ` what the kernel's function of this number answers.
    pub(super) fn call(&mut self, function: i32) {
        self.emit(JUMP | CALL, R0, R0, 0, function);
    }

    /// Ends, answering what is in `R0`.
    pub(super) fn exit(&mut self) {
        self.emit(JUMP | EXIT, R0, R0, 0, 0);
    }

    /// The program; `None` if it jumps to a label that stands nowhere, or further than jumps go.
    pub(super) fn finish(mut self) -> Option<Vec<Instruction>> {
        for (from, label) in self.jumps {
            let to = (*self.places.get(label.0)?)?;
            // Counted from the instruction behind the jump (RFC 9669, 4.3).
            let distance = to.checked_signed_diff(from + 1)?;
            self.instructions.get_mut(from)?.offset = i16::try_from(distance).ok()?;
        }
        Some(self.instructions)
    }

    fn jump_to(&mut self, code: u8, left: Register, right: Operand, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.operate(code, left, right);
    }

    fn operate(&mut self, code: u8, to: Register, value: Operand) {
        match value {
            Operand::Number(number) => self.emit(code, to, R0, 0, number),
            Operand::Register(from) => self.emit(code | FROM_REGISTER, to, from, 0, 0),
        }
    }

    fn emit(&mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) {
        self.instructions.push(Instruction {
            code,
            registers: if cfg!(target_endian = "little") {
                from.0 << 4 | to.0
            } else {
                to.0 << 4 | from.0
            },
            offset,
            immediate,
        });
    }
}

// RFC 9669, 3 to 5: classes, with the mode of plain memory where there is one.
const LOAD_WIDE: u8 = 0x18;
const LOAD: u8 = 0x61;
const STORE_NUMBER: u8 = 0x62;
const STORE: u8 = 0x63;
const JUMP: u8 = 0x05;
const ALU64: u8 = 0x07;
// Operations and the source bit.
const ADD: u8 = 0x00;
const MOVE: u8 = 0xb0;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
const FROM_REGISTER: u8 = 0x08;
/// The wide load's number is the descriptor of a map (RFC 9669, 5.4).
const PSEUDO_MAP: Register = Register(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// The 64 bits of an instruction as they are written in RFC 9669, low byte first.
    fn bits(it: Instruction) -> u64 {
        u64::from(it.code)
            | u64::from(it.registers) << 8
            | u64::from(it.offset.cast_unsigned()) << 16
            | u64::from(it.immediate.cast_unsigned()) << 32
    }

    fn assembled(write: impl FnOnce(&mut Assembler)) -> Vec<u64> {
        let mut assembler = Assembler::default();
        write(&mut assembler);
        let program = assembler.finish().unwrap();
        program.into_iter().map(bits).collect()
    }

    #[test]
    fn instructions_are_encoded_as_the_standard_says() {
        // RFC 9669, 3 (the eight bytes) with the tables of 4 and 5.
        assert_eq!(assembled(|it| it.set(R6, R1)), [0x16bf]);
        assert_eq!(assembled(|it| it.set(R0, 2)), [0x0000_0002_0000_00b7]);
        assert_eq!(assembled(|it| it.set(R0, -1)), [0xffff_ffff_0000_00b7]);
        assert_eq!(assembled(|it| it.add(R2, -24)), [0xffff_ffe8_0000_0207]);
        assert_eq!(assembled(|it| it.add(R2, R3)), [0x320f]);
        assert_eq!(
            assembled(|it| it.load(Size::Four, R7, R6, 4)),
            [0x0004_6761]
        );
        assert_eq!(
            assembled(|it| it.load(Size::Two, R3, R7, 12)),
            [0x000c_7369]
        );
        assert_eq!(assembled(|it| it.load(Size::One, R3, R9, 6)), [0x0006_9371]);
        assert_eq!(
            assembled(|it| it.load(Size::Eight, R3, R9, 6)),
            [0x0006_9379]
        );
        assert_eq!(
            assembled(|it| it.store(Size::Four, R10, -16, R1)),
            [0xfff0_1a63]
        );
        assert_eq!(
            assembled(|it| it.store_number(Size::Eight, R10, -8, 7)),
            [0x0000_0007_fff8_0a7a]
        );
        assert_eq!(
            assembled(|it| it.set_map(R1, 5)),
            [0x0000_0005_0000_1118, 0]
        );
        assert_eq!(assembled(|it| it.call(51)), [0x0000_0033_0000_0085]);
        assert_eq!(assembled(Assembler::exit), [0x95]);
    }

    #[test]
    fn jumps_count_from_the_instruction_behind_them() {
        let program = assembled(|it| {
            let (back, end) = (it.label(), it.label());
            it.place(back);
            it.jump_if(R2, If::Greater, R8, end);
            it.jump_if(R3, If::NotEqual, 8, end);
            it.jump(back);
            it.place(end);
            it.exit();
        });
        let expected = [0x0002_822d, 0x0000_0008_0001_0355, 0xfffd_0005, 0x95];
        assert_eq!(program, expected);
    }

    #[test]
    fn a_jump_to_nowhere_or_too_far_makes_no_program() {
        let mut nowhere = Assembler::default();
        let label = nowhere.label();
        nowhere.jump(label);
        assert!(nowhere.finish().is_none());

        for (between, reaches) in [(32_767, true), (32_768, false)] {
            let mut far = Assembler::default();
            let label = far.label();
            far.jump(label);
            for _ in 0..between {
                far.set(R0, 0);
            }
            far.place(label);
            assert_eq!(far.finish().is_some(), reaches);
        }
    }
}
