//! The device that a model computes on. The only file that asks what was built in.

use std::fmt;
use std::str::FromStr;

use candle_core::DType;
pub use candle_core::Device;

use crate::load::LoadError;

/// The largest model that is kept in float32 on an accelerator, in numbers (4 GiB of them);
/// a larger one is kept in float16 there. The CPU always computes in float32.
const FLOAT32_MAX_ELEMENTS: u64 = 1 << 30;

/// Which device to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The accelerator that was built in, if the machine has it; else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

/// A word that names no device.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} names no device; auto, cpu, cuda, cuda:N and metal do")]
pub struct UnknownDevice(String);

impl FromStr for DeviceChoice {
    type Err = UnknownDevice;

    fn from_str(word: &str) -> Result<Self, UnknownDevice> {
        match word {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => word
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| UnknownDevice(word.to_owned())),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
            Self::Metal => formatter.write_str("metal"),
        }
    }
}

/// Opens a device. With [`DeviceChoice::Auto`] a device that was built in but cannot be opened is
/// replaced by the CPU, and the second value says so, for the log; one that was asked for by name
/// and cannot be opened is [`LoadError::Device`].
pub fn open(choice: DeviceChoice) -> Result<(Device, Option<String>), LoadError> {
    match choice {
        DeviceChoice::Cpu => Ok((Device::Cpu, None)),
        DeviceChoice::Cuda(number) => cuda(number).map(|device| (device, None)),
        DeviceChoice::Metal => metal().map(|device| (device, None)),
        DeviceChoice::Auto => {
            let opened = if cfg!(feature = "cuda") {
                cuda(0)
            } else if cfg!(feature = "metal") {
                metal()
            } else {
                Ok(Device::Cpu)
            };
            Ok(match opened {
                Ok(device) => (device, None),
                Err(error) => (Device::Cpu, Some(format!("{error}; using the CPU"))),
            })
        }
    }
}

fn cuda(number: usize) -> Result<Device, LoadError> {
    if !cfg!(feature = "cuda") {
        return Err(not_built("CUDA", "cuda"));
    }
    Device::new_cuda(number).map_err(|error| LoadError::Device {
        detail: format!("CUDA device {number}: {error}"),
    })
}

fn metal() -> Result<Device, LoadError> {
    if !cfg!(feature = "metal") {
        return Err(not_built("Metal", "metal"));
    }
    Device::new_metal(0).map_err(|error| LoadError::Device {
        detail: format!("Metal: {error}"),
    })
}

fn not_built(name: &str, feature: &str) -> LoadError {
    LoadError::Device {
        detail: format!(
            "this program was built without {name}; build it with --features {feature}"
        ),
    }
}

/// The type that a model of so many numbers is kept and computed in.
pub(crate) fn float_type(device: &Device, elements: u64) -> DType {
    if device.is_cpu() || elements <= FLOAT32_MAX_ELEMENTS {
        DType::F32
    } else {
        DType::F16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_devices() {
        for (word, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
            ("metal", DeviceChoice::Metal),
        ] {
            assert_eq!(word.parse::<DeviceChoice>().expect("a device"), choice);
        }
        for word in ["", "gpu", "cuda:", "cuda:x", "CPU"] {
            assert!(word.parse::<DeviceChoice>().is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_device_asked_for_by_name_and_absent_is_an_error_but_auto_is_the_cpu() {
        if !cfg!(any(feature = "cuda", feature = "metal")) {
            assert!(open(DeviceChoice::Cuda(0)).is_err());
            assert!(open(DeviceChoice::Metal).is_err());
        }
        assert!(open(DeviceChoice::Cpu).expect("the CPU").0.is_cpu());
        assert!(open(DeviceChoice::Auto).is_ok());
    }
}
