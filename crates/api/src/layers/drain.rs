//! Reads what an early answer left of its request's body, so that the connection can carry the next request. Without
//! this the server closes it, and a client that was about to use it again (workerd, for one) sees it lost.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// Bytes of a body that are read for nothing; after a longer one the connection is closed.
const DRAIN_MAX_BYTES: usize = 1024 * 1024;
/// Time that an answer waits for the rest of its request.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a body is put that its handler is through with.
type Left = Arc<Mutex<Option<BodyDataStream>>>;

/// A body that is put back when it is dropped before its end.
struct Lent {
    body: Option<BodyDataStream>,
    left: Left,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, axum::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = body.poll_next_unpin(context);
        if !matches!(polled, Poll::Pending | Poll::Ready(Some(Ok(_)))) {
            self.body = None;
        }
        polled
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}

/// The layer.
pub(crate) async fn drain(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() || is_long(&parts.headers) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let left = Left::default();
    let lent = Lent {
        body: Some(body.into_data_stream()),
        left: left.clone(),
    };
    let request = Request::from_parts(parts, Body::from_stream(lent));
    let response = next.run(request).await;
    let rest = left.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(rest) = rest {
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, read(rest)).await; // else the connection is closed
    }
    response
}

/// Whether more is announced than is read for nothing.
fn is_long(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    length.is_some_and(|length| length > DRAIN_MAX_BYTES)
}

async fn read(mut body: BodyDataStream) {
    let mut bytes = 0;
    while let Some(Ok(data)) = body.next().await {
        bytes += data.len();
        if bytes > DRAIN_MAX_BYTES {
            return;
        }
    }
}
