//! A load: what it needs, who makes room for it, and the weights' way onto the device.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tasks::{Failure, Served};
use tokio::sync::watch;

use crate::fleet::{Inner, Loader};
use crate::memory::{For, Need, Needed, Resident, Room, There, make_room};
use crate::slots::{LoadResult, Ready, Slots};
use crate::thread::Gone;

/// What a look at the slots came to.
enum Turn {
    /// The memory is set aside; these departures have to come to their end before it is used.
    Reserved(BTreeSet<u64>),
    /// Only busy models are in the way.
    Later,
}

impl Inner {
    /// Loads weights into their slot, which is there already; tells the result to all who wait.
    pub(crate) async fn load(self: Arc<Self>, served: Served, result: watch::Sender<LoadResult>) {
        let outcome = self.bring_in(&served).await;
        let told = {
            let mut slots = self.slots();
            match outcome {
                Ok(ready) => {
                    let front = ready.front.clone();
                    if let Some(slot) = slots.get_mut(&served.weights) {
                        slot.users.touch();
                        slot.ready = Some(ready);
                    }
                    Ok(front)
                }
                Err(failure) => {
                    slots.take_out(&served.weights);
                    Err(failure)
                }
            }
        };
        result.send_replace(Some(told));
        self.pulse.beat();
    }

    async fn bring_in(self: &Arc<Self>, served: &Served) -> Result<Ready, Failure> {
        // What can never fit is refused before it is fetched.
        let need = self.need(served).await?;
        self.refuse_if_hopeless(served, &need)?;
        let (loader, fetched) = (self.loader.clone(), served.clone());
        blocking(move || loader.fetch(&fetched)).await?;
        let need = self.need(served).await?;
        let departures = self.reserve(served, &need).await?;
        self.see_gone(&departures).await;

        let _one = self.loading.lock().await;
        let (loader, device, loaded) = (self.loader.clone(), self.device.clone(), served.clone());
        blocking(move || {
            let before = loader.memory_in_use();
            let lane = loader.load(&loaded);
            loader.release_memory(); // what a load takes on its way can be as large as the weights
            let lane = lane?;
            let after = loader.memory_in_use();
            let gone = match lane.half {
                Some(half) => device.attach(half, &lane.front.bell)?,
                None => Gone::at_once(),
            };
            Ok(Ready {
                front: lane.front,
                gone,
                since: SystemTime::now(),
                measured_bytes: before.zip(after).map(|(a, b)| b.saturating_sub(a)),
            })
        })
        .await
    }

    async fn need(&self, served: &Served) -> Result<Need, Failure> {
        let (loader, served): (Arc<dyn Loader>, _) = (self.loader.clone(), served.clone());
        blocking(move || loader.need(&served)).await
    }

    fn refuse_if_hopeless(&self, served: &Served, need: &Need) -> Result<(), Failure> {
        match self.policy.budget_bytes {
            Some(budget) if need.total_bytes() > budget => {
                Err(refusal(&served.weights, need, budget, &[], ""))
            }
            _ => Ok(()),
        }
    }

    /// Sets memory aside; evicts idle models for it, and waits for busy ones where it must.
    async fn reserve(
        self: &Arc<Self>,
        served: &Served,
        need: &Need,
    ) -> Result<BTreeSet<u64>, Failure> {
        let deadline = tokio::time::Instant::now() + self.policy.memory_wait;
        let mut pulse = self.pulse.subscribe();
        let mut waiting = false;
        loop {
            pulse.mark_unchanged();
            if let Turn::Reserved(departures) = self.try_reserve(&served.weights, need)? {
                return Ok(departures);
            }
            if !waiting {
                waiting = true;
                tracing::info!("loading {} waits for busy models to end", served.weights);
            }
            let beat = tokio::time::timeout_at(deadline, pulse.changed()).await;
            if beat.is_err() {
                let budget = self.policy.budget_bytes.unwrap_or(u64::MAX);
                let slots = self.slots();
                let (names, residents) = slots.residents(&served.weights);
                let holders: Vec<_> = names.into_iter().zip(residents).collect();
                let waited = format!(" were still busy after {:?};", self.policy.memory_wait);
                return Err(refusal(&served.weights, need, budget, &holders, &waited));
            }
        }
    }

    fn try_reserve(self: &Arc<Self>, weights: &str, need: &Need) -> Result<Turn, Failure> {
        let mut slots = self.slots();
        let evicted: Vec<String> = match self.policy.budget_bytes {
            None => Vec::new(),
            Some(budget) => {
                let (names, residents) = slots.residents(weights);
                match make_room(budget, need.total_bytes(), &residents) {
                    Room::Evict(evicted) => evicted.iter().map(|&i| names[i].clone()).collect(),
                    Room::Later => return Ok(Turn::Later),
                    Room::Never => {
                        let holders = names.into_iter().zip(residents);
                        let pinned: Vec<_> = holders.filter(|(_, r)| r.pinned).collect();
                        return Err(refusal(weights, need, budget, &pinned, " are pinned;"));
                    }
                }
            }
        };
        self.tell_plan(&mut slots, weights, need, &evicted);
        for name in &evicted {
            if let Some(departure) = slots.take_out(name) {
                self.see_off(departure, "evicted");
            }
        }
        if let Some(slot) = slots.get_mut(weights) {
            slot.need = Some(*need);
        }
        // Also those that leave for other reasons: they still hold what they need until they have gone.
        Ok(Turn::Reserved(slots.leaving()))
    }

    fn tell_plan(&self, slots: &mut Slots, weights: &str, need: &Need, evicted: &[String]) {
        let mut plan = format!("loading {weights}: {need}; {}", Needed(need.total_bytes()));
        if let Some(budget) = self.policy.budget_bytes {
            let _ = write!(plan, " of {}", There(budget)); // a String takes everything
        }
        for (index, name) in evicted.iter().enumerate() {
            let idle = slots.get_mut(name).and_then(|slot| slot.idle_since());
            let idle = For(idle.map_or_else(Default::default, |since| since.elapsed()));
            let word = if index == 0 { ", evicts" } else { "," };
            let _ = write!(plan, "{word} {name} (idle {idle})");
        }
        tracing::info!("{plan}");
    }

    /// Waits until the departures have come to their end.
    pub(crate) async fn see_gone(&self, departures: &BTreeSet<u64>) {
        let mut pulse = self.pulse.subscribe();
        while !self.slots().leaving().is_disjoint(departures) {
            let Ok(()) = pulse.changed().await else {
                return; // the sender lives as long as `self`
            };
        }
    }
}

/// Starts a task that outlives whoever asked for it.
#[allow(clippy::disallowed_methods)] // the engine is one of the two that may
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::task::spawn(task);
}

/// Runs what blocks; a panic in it is a failure.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, Failure> + Send + 'static,
) -> Result<R, Failure> {
    let started = Instant::now();
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            let seconds = started.elapsed().as_secs_f32();
            Err(Failure::Internal(format!(
                "a load broke after {seconds:.1} s: {error}"
            )))
        })
}

fn refusal(
    weights: &str,
    need: &Need,
    budget_bytes: u64,
    holders: &[(&String, Resident)],
    why: &str,
) -> Failure {
    let mut text = format!(
        "{weights} does not fit: it needs {} of memory ({need}), and models may take {}",
        Needed(need.total_bytes()),
        There(budget_bytes)
    );
    for (index, (name, resident)) in holders.iter().enumerate() {
        let word = if index == 0 { ", of which" } else { "," };
        let _ = write!(text, "{word} {name} ({})", Needed(resident.bytes)); // a String takes everything
    }
    if !holders.is_empty() {
        text.push_str(why.trim_end_matches(';'));
    }
    text.push_str("; allow more with --memory");
    if !holders.is_empty() {
        text.push_str(", or stop a model with `hearth stop`");
    }
    Failure::Unavailable(text)
}
