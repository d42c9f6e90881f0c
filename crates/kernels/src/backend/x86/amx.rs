//! AMX: one instruction multiplies 16 rows by 16 outputs, 64 bytes of each, and adds to sums.
//!
//! Instructions and their arithmetic: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18,
//! and volume 2, TDPBF16PS, TDPBSUD and TDPBSSD. Permission: Linux, Documentation/arch/x86/xstate.rst.

pub(crate) mod floats;
mod registers;
pub(crate) mod whole;

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

pub(super) use registers::ROWS;

use crate::TILE_OUTPUTS;

/// Whether the processor has AMX with bfloat16 and bytes, and the system lets this process use it.
pub(crate) fn has_amx() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        super::has_avx512_vnni()
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512fp16")
            && names_amx()
            && is_permitted()
    })
}

fn names_amx() -> bool {
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    const ALL: u32 = BF16 | TILES | INT8;
    __cpuid_count(7, 0).edx & ALL == ALL
}

/// Linux gives a process the registers when it asks for them, once for all of its threads.
fn is_permitted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XTILEDATA: libc::c_long = 18;
        // SAFETY: it changes only which registers this process may use.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// What a register of weights holds: 16 rows of 4 bytes of each of 16 outputs.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Weights([[u16; 2 * TILE_OUTPUTS]; ROWS]);

impl Weights {
    const EMPTY: Self = Self([[0; 2 * TILE_OUTPUTS]; ROWS]);
}
