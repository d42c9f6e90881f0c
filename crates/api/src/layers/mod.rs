//! What stands between the network and the handlers; one layer a file.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod drain;
pub(crate) mod host;
