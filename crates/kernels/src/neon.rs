//! NEON's instructions by the names and with the signatures of `core::arch::aarch64`. Where there is none, tests get
//! an emulation of them, so that what is written with them is tested on any processor.
#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod products;
#[cfg(target_arch = "aarch64")]
pub(crate) use core::arch::aarch64::*;
#[cfg(target_arch = "aarch64")]
pub(crate) use products::{vdotq_lane_s32, vusdotq_lane_s32, vusmmlaq_s32};

#[cfg(not(target_arch = "aarch64"))]
mod emulation;
#[cfg(not(target_arch = "aarch64"))]
pub(crate) use emulation::*;
#[cfg(all(test, not(target_arch = "aarch64")))]
mod reference;
