//! The tile registers: how they are configured, and the instructions that use them.

use std::arch::asm;

use crate::backend::x86::avx512::LINE_BYTES;

/// Rows of a register.
pub(in crate::backend::x86) const ROWS: usize = 16;

/// Memory operand of LDTILECFG, palette 1.
#[repr(C, align(64))]
pub(super) struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    column_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Registers of so many rows each, of 64 bytes.
    pub(super) fn new(registers: [usize; 8]) -> Self {
        debug_assert!(registers.iter().all(|rows| (1..=ROWS).contains(rows)));
        let mut rows = [0; 16];
        for (rows, wanted) in rows.iter_mut().zip(registers) {
            *rows = wanted as u8;
        }
        let mut column_bytes = [0; 16];
        column_bytes[..8].fill(LINE_BYTES as u16);
        Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            column_bytes,
            rows,
        }
    }

    /// Makes it the thread's.
    ///
    /// # Safety
    /// The processor has AMX, and nothing that is in the registers is needed any more.
    pub(super) unsafe fn set(&self) {
        // SAFETY: 64 bytes are read, a configuration as palette 1 has them.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const *self, options(nostack, readonly, preserves_flags));
        }
    }
}

/// Gives the registers up.
///
/// # Safety
/// The processor has AMX, and nothing that is in them is needed any more.
pub(super) unsafe fn release() {
    // SAFETY: as the caller promises.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
}

// The compiler uses none of these registers: they keep their values from one statement to the next.
macro_rules! zero {
    ($register:literal) => {
        asm!(
            concat!("tilezero tmm", $register),
            options(nostack, nomem, preserves_flags)
        )
    };
}
/// Lines that lie one behind the other.
macro_rules! load {
    ($register:literal, $from:expr) => {
        asm!(concat!("tileloadd tmm", $register, ", [{from} + {stride}*1]"), from = in(reg) $from,
            stride = in(reg) LINE_BYTES, options(nostack, readonly, preserves_flags))
    };
}
macro_rules! store {
    ($register:literal, $to:expr) => {
        asm!(concat!("tilestored [{to} + {stride}*1], tmm", $register), to = in(reg) $to,
            stride = in(reg) LINE_BYTES, options(nostack, preserves_flags))
    };
}
macro_rules! multiply {
    ($instruction:literal, $sums:literal, $inputs:literal, $weights:literal) => {
        asm!(
            concat!(
                $instruction,
                " tmm",
                $sums,
                ", tmm",
                $inputs,
                ", tmm",
                $weights
            ),
            options(nostack, nomem, preserves_flags)
        )
    };
}

pub(super) use {load, multiply, store, zero};
