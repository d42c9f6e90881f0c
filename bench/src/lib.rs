//! Benchmarks, and a simulator of the scheduler on devices that are not here.

pub mod answers;
pub mod load;
pub mod sim;
