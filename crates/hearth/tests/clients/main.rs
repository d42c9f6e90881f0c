//! Real clients against the real binary: workerd, Miniflare, wrangler, vitest, Vite and SDKs, at pinned
//! versions, installed from npm and for Python into the build folder.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests panic, and read the path of programs

mod dev;
mod kill;
mod matrix;
mod own_package;
mod project;
mod python;
mod restart;
#[cfg(feature = "namespaces")]
mod samples;
mod table;

/// How the server is started: no weights are needed to see that a client is answered.
const ENGINE: &[&str] = &["--engine", "stub"];
