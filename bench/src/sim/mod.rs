//! A discrete-event simulation: the real scheduler, a clock that jumps, and a table of what a step costs.

pub mod arrivals;
pub mod chance;
pub mod device;
pub mod plot;
pub mod run;
pub mod scenario;
