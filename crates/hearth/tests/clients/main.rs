//! Real clients against the real binary: workerd, Miniflare, wrangler, vitest, Vite and SDKs, at pinned
//! versions, installed from npm into the build folder.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests panic, and read the path of programs

mod dev;
mod install;
mod matrix;
mod project;
mod python;
mod restart;

/// How the server is started: no weights are needed to see that a client is answered.
const ENGINE: &[&str] = &["--engine", "stub"];
