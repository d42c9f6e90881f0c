//! The way out: idle models whose time has come, and the end of every departure.

use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::watch;

use crate::fleet::Inner;
use crate::load::spawn;
use crate::slots::Departure;

/// Unloads idle models when their time has come, and models that died. Sleeps until the next one's
/// moment or a beat of the pulse; with nothing loaded it never wakes.
pub(crate) async fn reap(fleet: Weak<Inner>, mut pulse: watch::Receiver<()>) {
    loop {
        pulse.mark_unchanged();
        let next = {
            let Some(inner) = fleet.upgrade() else {
                return; // the engine has ended
            };
            let keep_alive = inner.policy.keep_alive;
            let (departures, next) = inner.slots().expire(Instant::now(), keep_alive);
            for (departure, why) in departures {
                inner.see_off(departure, why);
            }
            next
        };
        let beat = match next {
            Some(next) => tokio::time::timeout_at(next.into(), pulse.changed()).await,
            None => Ok(pulse.changed().await),
        };
        if let Ok(Err(_)) = beat {
            return; // the pulse ends with the engine
        }
    }
}

impl Inner {
    /// Has a model dropped by its device, gives its memory back, and tells those who wait for it.
    /// Gives the number under which it is leaving.
    pub(crate) fn see_off(self: &Arc<Self>, departure: Departure, why: &'static str) -> u64 {
        let Departure { id, weights, ready } = departure;
        ready.front.bell.send_away();
        let inner = self.clone();
        spawn(async move {
            ready.gone.wait().await;
            let loader = inner.loader.clone();
            let front = ready.front;
            let freed = tokio::task::spawn_blocking(move || {
                drop(front); // the companion, with its tokeniser, goes with the last one
                loader.release_memory();
            });
            if let Err(error) = freed.await {
                tracing::error!("giving memory back: {error}");
            }
            tracing::info!("unloaded {weights} ({why})");
            inner.slots().has_left(id);
            inner.pulse.beat();
        });
        id
    }
}
