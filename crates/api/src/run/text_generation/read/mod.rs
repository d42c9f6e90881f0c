//! From a validated input to a request.

mod chat;
mod effort;
mod format;
mod guard;
mod images;
mod legacy;
mod messages;
mod numbers;
mod responses;
mod tools;
mod unserved;

pub(super) use chat::chat;
pub(super) use guard::guard;
pub(super) use legacy::legacy;
pub(super) use responses::{ResponseWords, responses};
