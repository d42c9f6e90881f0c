//! x86-64: AVX2, AVX-VNNI, AVX-512 with VNNI, and AMX.
//!
//! `unsafe` here has three reasons: instructions that the processor must have (each back end is
//! reached through [`super::Backend`], which asks the processor first), loads from the fields of
//! tiles (fixed-size arrays, the offsets bounded by their lengths), and loads of four codes of a row
//! (bounded by the lengths of the slices, which are taken once a call). AMX's instructions are written in assembly, for the
//! language has no functions for them yet.
#![allow(unsafe_code)]
// Small loads have to become part of the function that enables their instructions.
#![allow(clippy::inline_always)]
#![allow(clippy::cast_ptr_alignment)] // all such loads are unaligned ones

pub(crate) mod amx;
mod avx2;
pub(crate) mod avx512;
mod avx_vnni;
pub(crate) mod bfloats;
pub(crate) mod wide;

use std::arch::x86_64::__cpuid;
use std::sync::LazyLock;

pub(crate) use amx::has_amx;
pub(crate) use avx_vnni::AvxVnni;
pub(crate) use avx2::{Avx2, Load256};
pub(crate) use avx512::{Avx512Vnni, Load512};

pub(crate) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

pub(crate) fn has_avx_vnni() -> bool {
    has_avx2() && is_x86_feature_detected!("avxvnni")
}

pub(crate) fn has_avx512_vnni() -> bool {
    /// Asked for each computation.
    static HAS: LazyLock<bool> = LazyLock::new(|| {
        has_avx2()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
    });
    *HAS
}

/// Rows for which reading the weights takes longer than the products.
const ONE_STREAM_ROWS: usize = 4;

/// See [`super::Arithmetic::panels_together`]. AMD's cores read one stream of weights as fast as they can at all, and two
/// panels in turn, each of which ends soon, at two thirds of that (Zen 5: 43 and 30 GB/s); Intel's follow several streams
/// faster than one.
fn panels_together(rows: usize) -> usize {
    static IS_AMD: LazyLock<bool> = LazyLock::new(|| {
        let id = __cpuid(0);
        [id.ebx, id.edx, id.ecx]
            .map(u32::to_le_bytes)
            .as_flattened()
            == b"AuthenticAMD"
    });
    if rows <= ONE_STREAM_ROWS && *IS_AMD {
        1
    } else {
        2
    }
}
