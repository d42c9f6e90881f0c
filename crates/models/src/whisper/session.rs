//! One transcript of any length: windows, languages, attempts and segments, without tensors.
//!
//! After openai/whisper's transcribe.py; what the network computes is asked for and handed in.

use std::sync::Arc;

use tasks::{Failure, TranscribeEvent};

use super::attempt::{Attempt, Thresholds, Tried};
use super::beams::{Beam, BeamSearch};
use super::rules::{TranscriptRules, log_sum_exp};
use super::seek::cut;
use super::segment::{Heard, Segment};
use super::vocabulary::Vocabulary;
use super::words::{TimedWord, assign};
use crate::audio::listen::{FRAMES_PER_SECOND, Listener, Next, Window};
use crate::audio::mel::FRAMES;

/// Above this temperature a transcript says little about what comes next.
const PROMPT_TEMPERATURE_MAX: f32 = 0.5;
/// A window that starts less than a second after the one before is a small step.
const SMALL_STEP_FRAMES: usize = FRAMES_PER_SECOND;
/// Small steps in a row before a whole window is passed: an hour of sound takes bounded work.
const SMALL_STEPS_MAX: usize = 4;

/// How to listen, checked against what the checkpoint can do.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Manner {
    /// Behind the language: the task; both are empty for a checkpoint that knows English only.
    pub(super) task: Option<u32>,
    pub(super) thresholds: Thresholds,
    pub(super) condition_on_previous: bool,
    pub(super) hallucination_silence: Option<f64>,
    /// What the first window's transcript begins with.
    pub(super) prefix: Vec<u32>,
    pub(super) words: bool,
    /// Transcripts that are followed at once at a temperature of zero, at least one.
    pub(super) beams: usize,
}

/// A language and how sure the model is of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Language {
    /// `None` for a checkpoint that knows English only.
    pub(super) token: Option<u32>,
    pub(super) probability: f32,
}

/// What a session begins with.
pub struct Hearing {
    pub(super) listener: Listener,
    pub(super) manner: Manner,
    /// `None`: it is detected.
    pub(super) language: Option<Language>,
    /// What the first window follows.
    pub(super) prompt: Vec<u32>,
    /// The first window, which showed that the sound can be heard; `None`: there is none yet.
    pub(super) first: Option<Window>,
}

impl Hearing {
    /// Length of the sound in seconds, as far as it was read; the first window is read.
    pub fn seconds(&self) -> f64 {
        self.listener.seconds()
    }

    /// Features of the first window, `[mel bins, 3000]`, row-major; `None` for a sound without a frame.
    pub fn mel(&self) -> Option<&[f32]> {
        self.first.as_ref().map(|window| window.features.as_slice())
    }
}

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) vocabulary: Arc<Vocabulary>,
    /// Tokens that the decoder can hold.
    pub(super) window: usize,
}

/// A transcript in the making.
pub(super) struct Session {
    pub(super) slot: usize,
    /// Caches beside that of the slot, of the beams of a search.
    pub(super) caches: Vec<usize>,
    listener: Listener,
    manner: Manner,
    language: Option<Language>,
    /// Text that the next window follows, timestamps included.
    previous: Vec<u32>,
    first: Option<Window>,
    /// Where the window starts, in frames, and how many of it are sound.
    seek: usize,
    frames: usize,
    small_steps: usize,
    last_speech: f64,
    phase: Phase,
    events: Vec<TranscribeEvent>,
}

enum Phase {
    /// A window is to be listened to.
    Listening,
    /// The language is to be detected.
    Detecting,
    /// A window is decoded.
    Trying(Box<Trial>),
    /// A window's words are to be timed.
    Timing(Box<Tried>),
    Over,
}

/// A window that is decoded.
struct Trial {
    /// What the decoder reads first.
    prompt: Vec<u32>,
    /// Row of the start token in the prompt.
    start: usize,
    /// The probability that nobody speaks, once it is known.
    no_speech: Option<f32>,
    search: Search,
    /// Positions in the cache, or in that of each beam.
    computed: usize,
    failed: Vec<Tried>,
}

/// How tokens are chosen.
enum Search {
    /// One after the other.
    One(Attempt),
    /// Those of the likeliest transcripts.
    Beams(BeamSearch),
}

/// What a session needs next.
pub(super) enum Wish {
    /// The network has to listen to these features.
    Listen(Vec<f32>),
    /// Nothing more of this turn's listening.
    Nothing,
    /// The transcript has ended.
    End,
}

/// Rows that a session wants computed, and of which it wants logits.
pub(super) struct Rows {
    /// Position of the first row of each part.
    pub(super) start: usize,
    /// Which of the session's caches each part is of, and its tokens.
    pub(super) parts: Vec<(usize, Vec<u32>)>,
    /// Indices into the tokens of all parts.
    pub(super) wanted: Vec<usize>,
    /// Caches that have to become copies of others before, `(from, to)`, up to `start`.
    pub(super) copies: Vec<(usize, usize)>,
}

impl Rows {
    /// Rows of the session's first cache.
    fn of(start: usize, tokens: Vec<u32>, wanted: Vec<usize>) -> Self {
        Self {
            start,
            parts: vec![(0, tokens)],
            wanted,
            copies: Vec::new(),
        }
    }
}

/// A window's text whose words are to be timed.
pub(super) struct Timing {
    pub(super) prompt: Vec<u32>,
    pub(super) text: Vec<u32>,
    /// Positions of the sound.
    pub(super) positions: usize,
    pub(super) language: String,
}

impl Session {
    pub(super) fn new(slot: usize, hearing: Hearing) -> Self {
        Self {
            slot,
            caches: Vec::new(),
            listener: hearing.listener,
            manner: hearing.manner,
            language: hearing.language,
            previous: hearing.prompt,
            phase: Phase::Listening,
            first: hearing.first,
            seek: 0,
            frames: 0,
            small_steps: 0,
            last_speech: 0.0,
            events: Vec::new(),
        }
    }

    pub(super) fn is_listening(&self) -> bool {
        matches!(self.phase, Phase::Listening)
    }

    /// Wants nothing more: its window could not be listened to.
    pub(super) fn abandon(&mut self) {
        self.phase = Phase::Over;
    }

    /// Events since the last call.
    pub(super) fn take_events(&mut self) -> Vec<TranscribeEvent> {
        std::mem::take(&mut self.events)
    }

    /// Goes on to the next window.
    pub(super) fn listen(&mut self, shared: &Shared) -> Result<Wish, Failure> {
        let heard = match self.first.take() {
            Some(window) => Next::Window(window),
            None => self.listener.window(self.seek)?,
        };
        let window = match heard {
            Next::Window(window) => window,
            Next::Later => return Ok(Wish::Nothing),
            Next::End => {
                self.end(shared);
                return Ok(Wish::End);
            }
        };
        self.frames = window.frames;
        if window.is_silent {
            self.seek += window.frames;
            return Ok(Wish::Nothing);
        }
        self.phase = match self.language {
            None => Phase::Detecting,
            Some(language) => self.trial(shared, language),
        };
        Ok(Wish::Listen(window.features))
    }

    fn end(&mut self, shared: &Shared) {
        self.phase = Phase::Over;
        let language = self.language.unwrap_or(Language {
            token: None,
            probability: 0.0, // nothing was heard that could tell
        });
        self.events.push(TranscribeEvent::Done {
            duration: self.listener.seconds() as f32,
            duration_after_vad: self.listener.seconds_heard() as f32,
            language: shared.code(language).to_owned(),
            language_probability: language.probability,
        });
    }

    /// The first attempt at the current window.
    fn trial(&self, shared: &Shared, language: Language) -> Phase {
        let half = shared.window / 2;
        let mut prompt = Vec::new();
        if !self.previous.is_empty() {
            let kept = self.previous.len().min(half.saturating_sub(1));
            prompt.push(shared.vocabulary.previous);
            prompt.extend_from_slice(&self.previous[self.previous.len() - kept..]);
        }
        let start = prompt.len();
        prompt.extend(self.sequence(shared, language));
        let mut given = Vec::new();
        if self.seek == 0 && !self.manner.prefix.is_empty() {
            let kept = self.manner.prefix.len().min(half / 2);
            given.push(shared.vocabulary.first_timestamp);
            given.extend_from_slice(&self.manner.prefix[..kept]);
        }
        prompt.extend_from_slice(&given);
        Phase::Trying(Box::new(Trial {
            search: match self.manner.beams {
                0 | 1 => Search::One(Attempt::first(&given, self.seek as u64)),
                beams => Search::Beams(BeamSearch::new(beams, &given)),
            },
            prompt,
            start,
            no_speech: None,
            computed: 0,
            failed: Vec::new(),
        }))
    }

    /// The tokens that start a transcript.
    fn sequence(&self, shared: &Shared, language: Language) -> impl Iterator<Item = u32> {
        let start = [Some(shared.vocabulary.start), language.token];
        let task = language.token.and(self.manner.task);
        start.into_iter().chain([task]).flatten()
    }

    /// Caches beside its own that the session needs for now.
    pub(super) fn caches_wanted(&self) -> usize {
        match &self.phase {
            Phase::Trying(trial) => match &trial.search {
                Search::Beams(search) => search.width() - 1,
                Search::One(_) => 0,
            },
            _ => 0,
        }
    }

    /// The rows that the session needs next, if it decodes.
    pub(super) fn rows(&self, shared: &Shared) -> Option<Rows> {
        match &self.phase {
            Phase::Detecting => Some(Rows::of(0, vec![shared.vocabulary.start], vec![0])),
            Phase::Trying(trial) => Some(trial.rows()),
            _ => None,
        }
    }

    /// Takes the logits of the wanted rows.
    pub(super) fn advance(
        &mut self,
        shared: &Shared,
        rules: &TranscriptRules,
        rows: &Rows,
        logits: &mut [f32],
    ) -> Result<(), Failure> {
        let vocabulary = &shared.vocabulary;
        match &mut self.phase {
            Phase::Detecting => {
                let language = shared.detect(logits)?;
                self.language = Some(language);
                self.phase = self.trial(shared, language);
            }
            Phase::Trying(trial) => {
                let width = logits.len() / rows.wanted.len().max(1);
                let at_start = if trial.no_speech.is_none() { width } else { 0 };
                let (at_start, next) = logits.split_at_mut(at_start);
                trial.computed = rows.start + rows.parts.first().map_or(0, |(_, t)| t.len());
                if trial.no_speech.is_none() {
                    let chance = at_start[vocabulary.no_speech as usize] - log_sum_exp(at_start);
                    trial.no_speech = Some(chance.exp());
                }
                let most = (shared.window / 2).min(shared.window - trial.prompt.len());
                let goes_on = match &mut trial.search {
                    Search::One(attempt) => {
                        rules.apply(&attempt.transcript, next);
                        let token = attempt.choose(next)?;
                        let is_end = token == vocabulary.end;
                        if !is_end {
                            attempt.transcript.push(token);
                        }
                        !is_end && attempt.chosen().len() < most
                    }
                    Search::Beams(search) => {
                        for (beam, next) in search.live().iter().zip(next.chunks_exact_mut(width)) {
                            rules.apply(&beam.transcript, next);
                        }
                        search.advance(next, vocabulary.end)? && search.chosen() < most
                    }
                };
                if !goes_on {
                    self.conclude(shared)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Judges an attempt that has come to its end.
    fn conclude(&mut self, shared: &Shared) -> Result<(), Failure> {
        let Phase::Trying(trial) = &mut self.phase else {
            return Ok(());
        };
        let attempt = match &trial.search {
            Search::One(attempt) => attempt.clone(),
            Search::Beams(search) => search.best(),
        };
        let text = shared.text(&attempt.transcript)?;
        let tried = attempt.tried(text.trim(), trial.no_speech.unwrap_or_default());
        let thresholds = self.manner.thresholds;
        let tried = if thresholds.wants_another(&tried.decoding) {
            trial.failed.push(tried);
            if let Some(attempt) = attempt.hotter(self.seek as u64) {
                trial.search = Search::One(attempt);
                // Only the last row of the prompt is wanted again.
                trial.computed = trial.prompt.len() - 1;
                return Ok(());
            }
            thresholds.best(std::mem::take(&mut trial.failed))
        } else {
            Some(tried)
        };
        let Some(tried) = tried.filter(|tried| !thresholds.is_silence(&tried.decoding)) else {
            self.nothing();
            self.next_window(self.frames);
            return Ok(());
        };
        if self.manner.words {
            self.phase = Phase::Timing(Box::new(tried));
        } else {
            self.write(shared, &tried, None)?;
        }
        Ok(())
    }

    /// What is to be timed, if anything is.
    pub(super) fn timing(&self, shared: &Shared) -> Option<Timing> {
        let Phase::Timing(tried) = &self.phase else {
            return None;
        };
        let language = self.language?;
        let cut = cut(
            &tried.transcript,
            self.frames,
            shared.vocabulary.first_timestamp,
        );
        let mut prompt: Vec<u32> = self.sequence(shared, language).collect();
        prompt.push(shared.vocabulary.no_timestamps);
        let most = shared.window - prompt.len() - 1;
        let text = cut.pieces.iter().flat_map(|piece| &piece.tokens);
        Some(Timing {
            text: text
                .copied()
                .filter(|&token| token < shared.vocabulary.end)
                .take(most)
                .collect(),
            prompt,
            positions: self.frames.div_ceil(2).max(1),
            language: shared.code(language).to_owned(),
        })
    }

    /// Takes the words of a window.
    pub(super) fn timed(&mut self, shared: &Shared, words: Vec<TimedWord>) -> Result<(), Failure> {
        match std::mem::replace(&mut self.phase, Phase::Listening) {
            Phase::Timing(tried) => self.write(shared, &tried, Some(words)),
            other => {
                self.phase = other;
                Ok(())
            }
        }
    }

    /// Writes a window's segments, and goes on.
    fn write(
        &mut self,
        shared: &Shared,
        tried: &Tried,
        words: Option<Vec<TimedWord>>,
    ) -> Result<(), Failure> {
        let offset = self.seek as f64 / FRAMES_PER_SECOND as f64;
        let cut = cut(
            &tried.transcript,
            self.frames,
            shared.vocabulary.first_timestamp,
        );
        let mut segments = cut
            .pieces
            .into_iter()
            .map(|piece| {
                Segment::of(
                    shared,
                    piece.tokens,
                    (offset + piece.start, offset + piece.end),
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut advance = cut.advance;
        if let Some(words) = words {
            let mut spoken: Vec<_> = segments.iter_mut().map(Segment::spoken).collect();
            let mut last_speech = self.last_speech;
            assign(words, &mut spoken, offset, &mut last_speech);
            let border = segments.iter().rev().find_map(Segment::last_word_end);
            let after = |end: f64| {
                (((end - offset) * FRAMES_PER_SECOND as f64).round() as usize).min(self.frames)
            };
            if let Some(end) = border.filter(|&end| !cut.is_whole && end > offset) {
                advance = after(end);
            }
            if let Some(threshold) = self.manner.hallucination_silence {
                let heard = Heard {
                    offset,
                    frames: self.frames,
                    last_speech: self.last_speech,
                };
                if let Some(end) = border.filter(|&end| !cut.is_whole && end > offset)
                    && heard.end() - end <= threshold
                {
                    advance = self.frames;
                }
                if let Some(skipped) = heard.leave_out(&mut segments, threshold) {
                    advance = skipped;
                }
            }
            if let Some(end) = segments.iter().rev().find_map(Segment::last_word_end) {
                self.last_speech = end;
            }
        }
        segments.retain(|segment| segment.start < segment.end && !segment.text.trim().is_empty());
        for segment in &segments {
            self.previous.extend_from_slice(&segment.tokens);
        }
        if !self.manner.condition_on_previous || tried.decoding.temperature > PROMPT_TEMPERATURE_MAX
        {
            self.previous.clear();
        }
        let extra = self.previous.len().saturating_sub(shared.window);
        self.previous.drain(..extra);
        if segments.is_empty() {
            self.nothing();
        }
        for segment in segments {
            let event = segment.event(&self.listener, self.frames < FRAMES, tried.decoding);
            self.events.extend(event);
        }
        self.next_window(advance);
        Ok(())
    }

    /// Tells that a window was listened to for nothing, so that who waits knows that the work goes on.
    fn nothing(&mut self) {
        let end = (self.seek + self.frames) as f32 / FRAMES_PER_SECOND as f32;
        self.events.push(TranscribeEvent::Nothing { end });
    }

    /// Goes on by some frames; never stands still, and not in small steps for ever.
    fn next_window(&mut self, advance: usize) {
        self.small_steps = if advance < SMALL_STEP_FRAMES.min(self.frames) {
            self.small_steps + 1
        } else {
            0
        };
        if advance == 0 || self.small_steps > SMALL_STEPS_MAX {
            self.seek += self.frames;
            self.small_steps = 0;
        } else {
            self.seek += advance;
        }
        self.phase = Phase::Listening;
    }
}

impl Trial {
    /// The prompt where it is not computed yet, and then the newest token of each transcript.
    fn rows(&self) -> Rows {
        if let Search::Beams(search) = &self.search
            && self.computed >= self.prompt.len()
        {
            let newest = |beam: &Beam| {
                (
                    beam.cache,
                    beam.transcript.last().copied().into_iter().collect(),
                )
            };
            return Rows {
                start: self.computed,
                parts: search.live().iter().map(newest).collect(),
                wanted: (0..search.live().len()).collect(),
                copies: search.copies().to_vec(),
            };
        }
        let chosen = match &self.search {
            Search::One(attempt) => attempt.chosen(),
            Search::Beams(_) => &[],
        };
        let all = self.prompt.iter().chain(chosen);
        let tokens: Vec<u32> = all.skip(self.computed).copied().collect();
        let last = tokens.len() - 1;
        let wanted = match self.no_speech {
            None => vec![self.start, last],
            Some(_) => vec![last],
        };
        Rows::of(self.computed, tokens, wanted)
    }
}

impl Shared {
    /// The language that is likeliest behind the start token.
    fn detect(&self, logits: &[f32]) -> Result<Language, Failure> {
        let languages = &self.vocabulary.languages;
        let of_languages: Vec<f32> = languages
            .iter()
            .filter_map(|(token, _)| logits.get(*token as usize).copied())
            .collect();
        let likeliest = languages
            .iter()
            .zip(&of_languages)
            .max_by(|(_, a), (_, b)| a.total_cmp(b));
        let ((token, _), logit) =
            likeliest.ok_or_else(|| Failure::Internal("a model without languages".into()))?;
        Ok(Language {
            token: Some(*token),
            probability: (logit - log_sum_exp(&of_languages)).exp(),
        })
    }

    /// The code of a language.
    fn code(&self, language: Language) -> &str {
        /// The language of a checkpoint that was trained on it alone.
        const ENGLISH: &str = "en";
        let token = language.token;
        token
            .and_then(|token| self.vocabulary.language(token))
            .unwrap_or(ENGLISH)
    }

    /// The text of the text tokens.
    pub(super) fn text(&self, tokens: &[u32]) -> Result<String, Failure> {
        let text: Vec<u32> = tokens
            .iter()
            .copied()
            .filter(|&token| token < self.vocabulary.end)
            .collect();
        self.vocabulary
            .text(&text)
            .map_err(|error| Failure::Internal(format!("tokens that are no text: {error}")))
    }
}
