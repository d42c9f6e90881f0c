//! What the engine's scheduler is told of who asks: tenants share it evenly and never find each other's prompts.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use engine::{Caller, Class};

use super::{Call, Options};

/// The segment of a path before the account.
const ACCOUNTS: &str = "accounts";

impl Call<'_> {
    /// The same call, by whoever sent a request with these options.
    pub(crate) fn by(self, parts: &Parts, options: &Options) -> Self {
        let caller = Caller {
            tenant: tenant(parts),
            refuses_to_wait: options.refuses_to_wait,
            ..self.caller
        };
        Self { caller, ..self }
    }

    /// The same call, as urgent as this.
    pub(crate) fn of_class(self, class: Class) -> Self {
        let caller = Caller {
            class,
            ..self.caller
        };
        Self { caller, ..self }
    }
}

/// Stands for the account and the token, where the request names them.
fn tenant(parts: &Parts) -> u64 {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    let mut segments = parts.uri.path().split('/');
    let account = segments
        .find(|segment| *segment == ACCOUNTS)
        .and_then(|_| segments.next());
    let token = parts.headers.get(header::AUTHORIZATION);
    let keys = KEYS.get_or_init(RandomState::new);
    keys.hash_one((account, token.map(HeaderValue::as_bytes)))
}
