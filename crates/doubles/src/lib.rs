//! Engines without weights. Each is a lane like that of a real model, so that every surface, limit
//! and meter works with it.
#![warn(missing_docs)]

pub mod stub;
