//! The rules at a code address, in the form that most of them have.

use super::cfi::{self, Cfa, RA, RBP, RSP, Rule, Rules, SAVED};
use crate::tables::Tables;

/// [`Row::module`] of code of this library.
pub const OWN: u32 = u32::MAX;

/// The rules at an address, in the common form: CFA from rsp or rbp, the rest at fixed offsets from it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Row {
    /// The address.
    pub pc: u64,
    /// Of the object that it lies in, and the object's row; [`OWN`]: this library.
    pub bias: u64,
    pub module: u32,
    /// The canonical frame address, from rsp or rbp; the return address, from there.
    pub cfa_offset: i32,
    pub ra_offset: i16,
    pub cfa_is_rbp: bool,
    /// The object stays as long as the process.
    pub stays: bool,
    pub form: RowForm,
    /// Offsets from the CFA, in words; [`UNSAVED`] if the register is unchanged.
    pub saved: [i8; SAVED],
}

/// Stands for a register that is unchanged.
pub const UNSAVED: i8 = i8::MIN;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RowForm {
    /// The row is empty.
    Empty = 0,
    /// As the fields say.
    Simple,
    /// The fields do not fit: look at the tables again.
    Complex,
    /// The outermost frame.
    Outermost,
    /// No tables, or nonsense in them.
    Unknown,
}

impl Row {
    /// The row of a code address: what the tables say.
    pub fn look_up(tables: &Tables, pc: u64) -> Self {
        let mut row = Self {
            pc,
            bias: 0,
            module: 0,
            cfa_offset: 0,
            ra_offset: 0,
            cfa_is_rbp: false,
            stays: false,
            form: RowForm::Unknown,
            saved: [UNSAVED; SAVED],
        };
        let Some(module) = tables.modules.find(tables, pc) else { return row };
        (row.bias, row.stays) = (module.bias, module.stays);
        row.module = if module.own { OWN } else { module.index };
        // SAFETY: the module is loaded: the program runs in it.
        let rules = (module.tables != 0).then(|| unsafe { cfi::rules(module.tables, pc) }).flatten();
        if let Some(rules) = rules {
            row.form = row.fill(&rules);
        }
        row
    }

    fn fill(&mut self, rules: &Rules) -> RowForm {
        if rules.registers[RA] == Rule::Undefined {
            return RowForm::Outermost;
        }
        let (Cfa::Register(register, cfa_offset), Rule::Offset(ra_offset)) = (rules.cfa, rules.registers[RA]) else {
            return RowForm::Complex;
        };
        let (Ok(cfa_offset), Ok(ra_offset)) = (i32::try_from(cfa_offset), i16::try_from(ra_offset)) else {
            return RowForm::Complex;
        };
        if rules.signal || !(register == RSP || register == RBP) || rules.registers[RSP] != Rule::Same {
            return RowForm::Complex;
        }
        for (saved, rule) in self.saved.iter_mut().zip(&rules.registers) {
            *saved = match rule {
                Rule::Same => UNSAVED,
                Rule::Offset(offset) if offset % 8 == 0 && (-127..=127).contains(&(offset / 8)) => (offset / 8) as i8,
                _ => return RowForm::Complex,
            };
        }
        (self.cfa_offset, self.ra_offset, self.cfa_is_rbp) = (cfa_offset, ra_offset, register == RBP);
        RowForm::Simple
    }
}
