//! AArch64: NEON with dot products of bytes, and with products of matrices of bytes.
//!
//! `unsafe` here has the reasons of the back ends for x86-64: instructions that the processor must have (each back end
//! is reached through [`super::Backend`], which asks the processor first), loads from the fields of tiles (fixed-size
//! arrays, the offsets bounded by their lengths), and loads of eight codes of a row (bounded by the slices' lengths,
//! which are taken once a call).
#![allow(unsafe_code)]
// Small loads have to become part of the function that enables their instructions.
#![allow(clippy::inline_always)]

mod dotprod;
mod i8mm;
mod loops;
mod superblocks;

pub(crate) use dotprod::Dotprod;
pub(crate) use i8mm::I8mm;
pub(crate) use loops::{Load128, Neon};

#[cfg(target_arch = "aarch64")]
pub(super) fn has_dotprod() -> bool {
    use std::arch::is_aarch64_feature_detected;
    is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod")
}

#[cfg(target_arch = "aarch64")]
pub(super) fn has_i8mm() -> bool {
    has_dotprod() && std::arch::is_aarch64_feature_detected!("i8mm")
}

/// Emulated.
#[cfg(not(target_arch = "aarch64"))]
pub(super) fn has_dotprod() -> bool {
    true
}

/// Emulated.
#[cfg(not(target_arch = "aarch64"))]
pub(super) fn has_i8mm() -> bool {
    true
}
