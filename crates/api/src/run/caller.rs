//! What the engine's scheduler is told of who asks: tenants share it evenly and never find each other's prompts.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;

use axum::http::request::Parts;
use engine::{Caller, Class};

use super::{Call, Options};
use crate::gateway;
use crate::layers::auth;

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

    /// The same call, by a tenant of this name.
    pub(crate) fn of_tenant(self, name: impl Hash) -> Self {
        let caller = Caller {
            tenant: number_of(name),
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

/// Numbers that nobody outside can foresee.
fn number_of(tenant: impl Hash) -> u64 {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    KEYS.get_or_init(RandomState::new).hash_one(tenant)
}

/// Stands for the account and the token, where the request names them.
fn tenant(parts: &Parts) -> u64 {
    let path = parts.uri.path();
    let mut segments = path.split('/');
    let account = if gateway::is_path(path) {
        segments.nth(2) // of /v1/{account}
    } else {
        segments
            .find(|segment| *segment == ACCOUNTS)
            .and_then(|_| segments.next())
    };
    number_of((account, auth::given(path, &parts.headers).ok()))
}
