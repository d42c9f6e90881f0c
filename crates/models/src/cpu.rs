//! What the processor can do for the arithmetic here, in words.

use kernels::Backend;

/// The widest integer dot products of this processor, such as `AVX-512 VNNI`.
pub fn cpu() -> &'static str {
    match Backend::best() {
        Backend::Portable if cfg!(target_arch = "aarch64") => {
            "NEON without dot products: plain code, which is slow on large models"
        }
        Backend::Portable => "no AVX2: plain code, which is slow on large models",
        Backend::Avx2 => "AVX2",
        Backend::AvxVnni => "AVX2 and AVX-VNNI",
        Backend::Avx512Vnni => "AVX2 and AVX-512 VNNI",
        Backend::Amx => "AVX2, AVX-512 VNNI and AMX",
        Backend::NeonDotprod => "NEON and DotProd",
        Backend::NeonI8mm => "NEON, DotProd and I8MM",
    }
}
