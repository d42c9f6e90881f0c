//! Work that takes long, or waits for the disk, on a thread that may block.

use tasks::Failure;

/// Runs `work`; `doing` names it where it panics.
///
/// # Errors
/// Those of the work; [`Failure::Internal`] where it panicked, or the runtime is ending.
pub(crate) async fn blocking<R, E>(
    doing: &'static str,
    work: impl FnOnce() -> Result<R, E> + Send + 'static,
) -> Result<R, E>
where
    R: Send + 'static,
    E: From<Failure> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Failure::Internal(format!("{doing}: {error}")).into()),
    }
}
