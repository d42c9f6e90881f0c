//! What a Worker's `env.AI` asks, at the origin `https://workers-binding.ai`, and the ways its
//! requests come here: as they are, or packed into another request ([`wire`]).

pub(crate) mod inference;
pub(crate) mod realtime;
pub(crate) mod session;
pub(crate) mod wire;

/// The first segments of the paths that the binding asks.
const ROOTS: [&str; 5] = ["run", "ai-gateway", "ai-api", "to-everything", "autorag"];

/// Whether this path is one that the binding asks.
pub(crate) fn is_path(path: &str) -> bool {
    let root = path.strip_prefix('/').map(|path| {
        let end = path.find('/').unwrap_or(path.len());
        &path[..end]
    });
    root.is_some_and(|root| ROOTS.contains(&root))
}

/// Whether a request to this path carries no auth header by its nature: the binding's own, a packed
/// one (at `/`), and the steps of a session that are outside the service's API.
pub(crate) fn is_without_auth(path: &str) -> bool {
    path == "/" || path == session::EXCHANGE || path == session::PREWARM || is_path(path)
}
