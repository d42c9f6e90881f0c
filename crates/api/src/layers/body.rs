//! A request's body, read under a limit of size and of patience.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use tasks::Failure;

/// How long a client may send nothing in the middle of its body.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads the whole body. One that declares more than the limit is refused before a byte is read;
/// one that does not say is read up to the limit.
///
/// # Errors
/// [`Failure::TooLarge`]; [`Failure::Aborted`] when the client stops or breaks off.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit_bytes: usize,
) -> Result<Bytes, Failure> {
    let too_large = Failure::TooLarge { limit_bytes };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit_bytes as u64) {
        return Err(too_large);
    }
    let mut read = Vec::new();
    loop {
        let frame = match tokio::time::timeout(STALL_TIMEOUT, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(read.into()),
            Ok(Some(Err(_))) | Err(_) => return Err(Failure::Aborted),
        };
        if let Ok(data) = frame.into_data() {
            if data.len() > limit_bytes - read.len() {
                return Err(too_large);
            }
            read.extend_from_slice(&data);
        }
    }
}
