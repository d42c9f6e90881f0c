//! Tests over the whole workspace: numbers, wire, clients, the binary.

use models::device::{Device, DeviceChoice, open};

/// The GPU in a build for one, else the CPU.
pub fn device() -> Device {
    let (device, fallback) = open(DeviceChoice::Auto).expect("a device");
    assert_eq!(fallback, None, "this build's device cannot be opened");
    device
}
