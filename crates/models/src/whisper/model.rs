//! The half that the device thread owns: the network, and the sessions that listen and decode in it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use candle_core::Device;
use engine::model::{Said, SequenceId, SessionModel};
use tasks::{Failure, Transcribe, TranscribeEvent};

use super::align::begins;
use super::config::{Config, Generation};
use super::network::{Network, Part, Places};
use super::rules::{TranscriptRules, log_sum_exp};
use super::session::{Hearing, Rows, Session, Shared, Timing, Wish};
use super::vocabulary::{TIMESTAMPS_PER_SECOND, Vocabulary};
use super::words::{TimedWord, split};
use crate::checkpoint::Checkpoint;
use crate::load::LoadError;
use crate::quality::Quality;

/// Memory that the caches of live transcripts may take, in bytes.
const CACHE_MAX_BYTES: usize = 1 << 30;
/// Transcripts that may be live at once, within [`CACHE_MAX_BYTES`] or alone.
const SESSIONS: RangeInclusive<usize> = 1..=16;
/// Memory that the caches of beams beside the first may take, in bytes.
const BEAM_CACHES_MAX_BYTES: usize = 1 << 30;
/// The most beams that all searches may have together, within [`BEAM_CACHES_MAX_BYTES`]: at least those of
/// one of faster-whisper's searches.
const BEAMS: RangeInclusive<usize> = 5..=64;
/// Rows whose logits lie in memory at once while words are timed.
pub(super) const LOGITS_TOGETHER: usize = 16;

/// The log-mel features of up to 30 s: `[mel bins, 3000]`, row-major.
#[derive(Debug, Clone)]
pub struct Features(Vec<f32>);

impl Features {
    pub(super) fn new(mel: Vec<f32>) -> Self {
        Self(mel)
    }

    /// `[mel bins, 3000]`, row-major.
    pub fn mel(&self) -> &[f32] {
        &self.0
    }
}

/// Whisper on one device.
pub struct WhisperModel {
    network: Network,
    config: Config,
    shared: Shared,
    rules: TranscriptRules,
    live: BTreeMap<SequenceId, Session>,
    /// Slots that no session has.
    free: Vec<usize>,
    /// Caches that no beam has.
    free_caches: Vec<usize>,
    /// Sessions that wait for caches of beams, in order.
    waiting: VecDeque<SequenceId>,
    /// The session that had a window last.
    listened: Option<SequenceId>,
}

/// Rows of one slot, for a pass by hand: `(slot, position of the first, tokens)`.
pub type SlotRows<'a> = (usize, usize, &'a [u32]);

impl WhisperModel {
    pub(super) fn load(
        config: &Config,
        (vocabulary, generation): (Arc<Vocabulary>, Arc<Generation>),
        checkpoint: &Checkpoint,
        device: &Device,
        quality: Quality,
    ) -> Result<Self, LoadError> {
        let heads = &generation.alignment;
        let places = places(config);
        let network = Network::load(checkpoint, config, heads, places, (device, quality))?;
        Ok(Self::of(network, config, vocabulary, generation))
    }

    /// The same in tensors of float32 on any device, as on those that have no flat rows.
    pub(super) fn load_tensors(
        config: &Config,
        (vocabulary, generation): (Arc<Vocabulary>, Arc<Generation>),
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let heads = &generation.alignment;
        let network = Network::load_tensors(checkpoint, config, heads, places(config), device)?;
        Ok(Self::of(network, config, vocabulary, generation))
    }

    fn of(
        network: Network,
        config: &Config,
        vocabulary: Arc<Vocabulary>,
        generation: Arc<Generation>,
    ) -> Self {
        Self {
            network,
            config: config.clone(),
            rules: TranscriptRules {
                vocabulary: vocabulary.clone(),
                generation,
            },
            shared: Shared {
                vocabulary,
                window: config.max_target_positions,
            },
            live: BTreeMap::new(),
            free: (0..places(config).slots).rev().collect(),
            free_caches: (places(config).slots..places(config).caches())
                .rev()
                .collect(),
            waiting: VecDeque::new(),
            listened: None,
        }
    }

    /// Encoder states `[1500, d_model]`, row-major, of features.
    ///
    /// # Errors
    /// [`Failure::Internal`] for a device that failed.
    pub fn encode(&mut self, features: &Features) -> Result<Vec<f32>, Failure> {
        self.network.encode(features.mel())
    }

    /// Has slots listen to features, each to its own, in one pass.
    ///
    /// # Errors
    /// As [`WhisperModel::encode`].
    pub fn listen_together(&mut self, heard: &[(usize, &Features)]) -> Result<(), Failure> {
        let heard: Vec<_> = heard
            .iter()
            .map(|(slot, heard)| (*slot, heard.mel()))
            .collect();
        self.network.listen(&heard)
    }

    /// Has a slot listen to features, as a session does.
    ///
    /// # Errors
    /// As [`WhisperModel::encode`].
    pub fn listen(&mut self, slot: usize, features: &Features) -> Result<(), Failure> {
        self.network.listen(&[(slot, features.mel())])
    }

    /// One pass over rows of slots that have listened; the logits after the last row of each.
    ///
    /// # Errors
    /// [`Failure::Internal`] for tokens outside of the vocabulary, rows outside of the window, slots that
    /// have heard nothing, and a device that failed.
    pub fn logits(&mut self, slots: &[SlotRows<'_>]) -> Result<Vec<Vec<f32>>, Failure> {
        let mut wanted = Vec::new();
        let mut rows = 0;
        let mut parts = Vec::new();
        for &(slot, start, tokens) in slots {
            rows += tokens.len();
            wanted.push(rows.saturating_sub(1));
            parts.push(Part {
                slot,
                cache: slot,
                start,
                tokens,
            });
        }
        let logits = self.pass(&parts, &wanted)?;
        let width = self.config.vocab_size;
        Ok(logits.chunks(width).map(<[f32]>::to_vec).collect())
    }

    /// A pass over checked rows.
    fn pass(&mut self, parts: &[Part<'_>], wanted: &[usize]) -> Result<Vec<f32>, Failure> {
        let window = self.config.max_target_positions;
        for part in parts {
            let mut tokens = part.tokens.iter();
            if let Some(token) = tokens.find(|&&token| token as usize >= self.config.vocab_size) {
                let text = format!("token {token} is outside of the vocabulary");
                return Err(Failure::Internal(text));
            }
            if part.tokens.is_empty() || part.start + part.tokens.len() > window {
                let text = format!("a transcript of no or more than {window} tokens");
                return Err(Failure::Internal(text));
            }
        }
        self.network.forward(parts, wanted)
    }

    /// The next sessions in turn that have to listen.
    fn next_listeners(&self) -> Vec<SequenceId> {
        let waiting =
            |(id, session): (&SequenceId, &Session)| session.is_listening().then_some(*id);
        let mut ids: Vec<_> = self.live.iter().filter_map(waiting).collect();
        let after = ids.partition_point(|id| self.listened.is_some_and(|last| *id <= last));
        ids.rotate_left(after);
        ids.truncate(self.network.windows_together());
        ids
    }

    /// A window of each of some sessions, in one pass.
    fn listen_on(&mut self, said: &mut Vec<(SequenceId, Said<TranscribeEvent>)>) {
        let mut heard = Vec::new();
        for id in self.next_listeners() {
            self.listened = Some(id);
            let Some(session) = self.live.get_mut(&id) else {
                continue;
            };
            let wish = session.listen(&self.shared);
            let events = session.take_events().into_iter();
            said.extend(events.map(|event| (id, Said::Event(event))));
            match wish {
                Ok(Wish::Listen(features)) => heard.push((id, session.slot, features)),
                Ok(Wish::Nothing) => {}
                Ok(Wish::End) => said.push((id, Said::End)),
                Err(failure) => said.push((id, Said::Failed(failure))),
            }
        }
        if heard.is_empty() {
            return;
        }
        let windows: Vec<_> = heard
            .iter()
            .map(|(_, slot, features)| (*slot, features.as_slice()))
            .collect();
        if let Err(failure) = self.network.listen(&windows) {
            for (id, ..) in heard {
                if let Some(session) = self.live.get_mut(&id) {
                    session.abandon();
                }
                said.push((id, Said::Failed(failure.clone())));
            }
        }
    }

    /// One token of each session that decodes, in one pass.
    fn step(&mut self, said: &mut Vec<(SequenceId, Said<TranscribeEvent>)>) {
        self.share_caches();
        let mut asked: Vec<(SequenceId, Rows)> = Vec::new();
        for (id, session) in &self.live {
            if session.caches.len() == session.caches_wanted()
                && let Some(rows) = session.rows(&self.shared)
            {
                asked.push((*id, rows));
            }
        }
        if asked.is_empty() {
            return;
        }
        let mut logits = match self.compute(&asked) {
            Ok(logits) => logits,
            Err(failure) => {
                let failed = asked
                    .iter()
                    .map(|(id, ..)| (*id, Said::Failed(failure.clone())));
                said.extend(failed);
                return;
            }
        };
        let mut left = logits.as_mut_slice();
        for (id, rows) in &asked {
            let (own, rest) = left.split_at_mut(rows.wanted.len() * self.config.vocab_size);
            left = rest;
            let Some(session) = self.live.get_mut(id) else {
                continue;
            };
            if let Err(failure) = session.advance(&self.shared, &self.rules, rows, own) {
                said.push((*id, Said::Failed(failure)));
            }
        }
    }

    /// Gives sessions the caches that their beams need for a window, who waits longest first, and takes them
    /// back behind it.
    fn share_caches(&mut self) {
        for (id, session) in &mut self.live {
            let wanted = session.caches_wanted();
            if wanted == 0 {
                for cache in session.caches.drain(..) {
                    self.network.release_cache(cache);
                    self.free_caches.push(cache);
                }
            } else if session.caches.is_empty() && !self.waiting.contains(id) {
                self.waiting.push_back(*id);
            }
        }
        while let Some(session) = self.waiting.front().map(|id| self.live.get_mut(id)) {
            if let Some(session) = session {
                let wanted = session.caches_wanted();
                let Some(left) = self.free_caches.len().checked_sub(wanted) else {
                    break;
                };
                session.caches = self.free_caches.split_off(left);
            }
            self.waiting.pop_front();
        }
    }

    /// The logits of the rows that sessions ask for, in one pass.
    fn compute(&mut self, asked: &[(SequenceId, Rows)]) -> Result<Vec<f32>, Failure> {
        let (mut parts, mut wanted, mut first) = (Vec::new(), Vec::new(), 0);
        for (id, rows) in asked {
            let Some(session) = self.live.get(id) else {
                continue;
            };
            // The first cache is that of the slot.
            let cache =
                |at: usize| match at.checked_sub(1) {
                    None => Ok(session.slot),
                    Some(at) => session.caches.get(at).copied().ok_or_else(|| {
                        Failure::Internal("a beam without a cache of its own".into())
                    }),
                };
            for &(from, to) in &rows.copies {
                self.network.copy(cache(from)?, cache(to)?, rows.start)?;
            }
            wanted.extend(rows.wanted.iter().map(|row| first + row));
            for (at, tokens) in &rows.parts {
                first += tokens.len();
                parts.push(Part {
                    slot: session.slot,
                    cache: cache(*at)?,
                    start: rows.start,
                    tokens,
                });
            }
        }
        self.pass(&parts, &wanted)
    }

    /// The words of the windows that were decoded in this turn.
    fn time(&mut self, said: &mut Vec<(SequenceId, Said<TranscribeEvent>)>) {
        let ids: Vec<_> = self.live.keys().copied().collect();
        for id in ids {
            let Some(session) = self.live.get(&id) else {
                continue;
            };
            let slot = session.slot;
            let outcome = session
                .timing(&self.shared)
                .map(|timing| self.words(slot, timing))
                .transpose();
            let Some(session) = self.live.get_mut(&id) else {
                continue;
            };
            let told = outcome.and_then(|words| match words {
                Some(words) => session.timed(&self.shared, words),
                None => Ok(()),
            });
            said.extend(
                session
                    .take_events()
                    .into_iter()
                    .map(|event| (id, Said::Event(event))),
            );
            if let Err(failure) = told {
                said.push((id, Said::Failed(failure)));
            }
        }
    }

    /// The words of a text and when they were said, in seconds from the start of the window.
    fn words(&mut self, slot: usize, timing: Timing) -> Result<Vec<TimedWord>, Failure> {
        let Timing {
            prompt,
            text,
            positions,
            language,
        } = timing;
        let vocabulary = &self.shared.vocabulary;
        let parts = split(vocabulary, &text, &language)
            .map_err(|error| Failure::Internal(format!("tokens that are no text: {error}")))?;
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let end = vocabulary.end;
        let tokens: Vec<u32> = prompt.iter().chain(&text).copied().chain([end]).collect();
        let whole = Part {
            slot,
            cache: slot,
            start: 0,
            tokens: &tokens,
        };
        let scores = self.network.scores(whole, positions)?;
        // The row before a token is the one that chose it.
        let first = prompt.len() - 1;
        let mut chances = Vec::with_capacity(text.len());
        let rows: Vec<usize> = (first..first + text.len()).collect();
        for (rows, tokens) in rows
            .chunks(LOGITS_TOGETHER)
            .zip(text.chunks(LOGITS_TOGETHER))
        {
            let logits = self.network.logits(rows)?;
            for (row, &token) in logits.chunks_exact(self.config.vocab_size).zip(tokens) {
                let of_text = &row[..end as usize];
                chances.push(f64::from(
                    (of_text[token as usize] - log_sum_exp(of_text)).exp(),
                ));
            }
        }
        let begins = begins(scores, first..first + text.len() + 1);
        let seconds = |row: usize| begins[row] as f64 / TIMESTAMPS_PER_SECOND as f64;
        let mut at = 0;
        let words = parts.into_iter().map(|(text, count)| {
            let word = TimedWord {
                text,
                tokens: count,
                start: seconds(at),
                end: seconds(at + count),
                probability: chances[at..at + count].iter().sum::<f64>() / count as f64,
            };
            at += count;
            word
        });
        Ok(words.collect())
    }
}

/// Transcripts that may be live at once.
pub(super) fn sessions(config: &Config) -> usize {
    let fit = CACHE_MAX_BYTES / super::memory::cache_bytes(config).max(1);
    fit.clamp(*SESSIONS.start(), *SESSIONS.end())
}

/// The places of transcripts, and those of beams beside them.
pub(super) fn places(config: &Config) -> Places {
    let fit = BEAM_CACHES_MAX_BYTES / super::memory::own_cache_bytes(config).max(1);
    Places {
        slots: sessions(config),
        more: fit.clamp(*BEAMS.start() - 1, *BEAMS.end() - 1),
    }
}

impl SessionModel<Transcribe> for WhisperModel {
    type Work = Hearing;

    fn sessions(&self) -> usize {
        sessions(&self.config)
    }

    fn begin(&mut self, id: SequenceId, hearing: Hearing) -> Result<(), Failure> {
        let slot = self
            .free
            .pop()
            .ok_or_else(|| Failure::Internal("more transcripts than there are slots".into()))?;
        self.live.insert(id, Session::new(slot, hearing));
        Ok(())
    }

    /// A window of each of so many sessions as the device listens to in one pass, and one token of each that
    /// decodes.
    fn turn(&mut self) -> Vec<(SequenceId, Said<TranscribeEvent>)> {
        let mut said = Vec::new();
        self.listen_on(&mut said);
        self.step(&mut said);
        self.time(&mut said);
        // Before the next windows are listened to: who waits has its turn.
        self.share_caches();
        said
    }

    fn end(&mut self, id: SequenceId) {
        if let Some(session) = self.live.remove(&id) {
            self.network.release(session.slot);
            self.free.push(session.slot);
            for cache in session.caches {
                self.network.release_cache(cache);
                self.free_caches.push(cache);
            }
        }
    }
}
