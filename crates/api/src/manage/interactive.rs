//! How many requests are being answered that somebody waits for: batches give way to them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use tokio::sync::watch;

use crate::App;

/// The count.
#[derive(Debug, Default)]
pub(crate) struct Interactive {
    in_flight: watch::Sender<usize>,
}

/// One request in flight; dropping it ends it.
struct InFlight(Arc<App>);

impl InFlight {
    fn begin(app: Arc<App>) -> Self {
        app.interactive.in_flight.send_modify(|count| *count += 1);
        Self(app)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let in_flight = &self.0.interactive.in_flight;
        in_flight.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Interactive {
    /// Waits until nobody waits, but no longer than `patience`.
    pub(crate) async fn give_way(&self, patience: Duration) {
        let mut in_flight = self.in_flight.subscribe();
        let quiet = in_flight.wait_for(|count| *count == 0);
        // Either nobody waits, or it took long enough: both end the wait.
        let _ = tokio::time::timeout(patience, quiet).await;
    }
}

/// The layer that counts: what is posted, until its answer is read or left.
pub(crate) async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || request.uri().path().starts_with("/hearth/") {
        return next.run(request).await;
    }
    let in_flight = InFlight::begin(app);
    let response = next.run(request).await;
    response.map(|body| {
        axum::body::Body::new(body.map_frame(move |frame| {
            let _ = &in_flight; // kept until the body is dropped
            frame
        }))
    })
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_gives_way_waits_for_quiet_and_no_longer_than_its_patience() {
        let interactive = Arc::new(Interactive::default());
        let patience = Duration::from_secs(30);
        let began = Instant::now();
        interactive.give_way(patience).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits");
        interactive.in_flight.send_modify(|count| *count += 2);
        interactive.give_way(patience).await;
        assert_eq!(began.elapsed(), patience, "somebody always waits");
        let quiet = async {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_secs(5)).await;
                interactive.in_flight.send_modify(|count| *count -= 1);
            }
        };
        tokio::join!(interactive.give_way(patience), quiet);
        assert_eq!(began.elapsed(), patience + Duration::from_secs(10));
    }
}
