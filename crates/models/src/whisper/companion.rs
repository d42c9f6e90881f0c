//! The shared half: opens a sound, hears its first window, and checks what is asked of the checkpoint.

use std::sync::{Arc, Mutex, PoisonError};

use engine::model::SessionCompanion;
use tasks::{Failure, Transcribe, TranscribeOptions, TranscribeRequest};

use super::attempt::Thresholds;
use super::config::{Config, Generation};
use super::model::{Features, places};
use super::session::{Hearing, Language, Manner};
use super::vocabulary::Vocabulary;
use crate::audio::decode::Sound;
use crate::audio::listen::Listener;
use crate::audio::mel::LogMel;
use crate::audio::silero::Silero;
use crate::load::Files;

/// The longest sound, in seconds: a file can unpack to far more than it weighs.
const SOUND_MAX_SECONDS: u32 = 12 * 60 * 60;
/// The set of weights that `vad_filter` needs.
pub(crate) const VOICE_WEIGHTS: &str = "silero-vad";
/// The language of a checkpoint that knows no other.
const ENGLISH: &str = "en";

/// Prepares audio for [`super::WhisperModel`].
pub struct WhisperCompanion {
    vocabulary: Arc<Vocabulary>,
    generation: Arc<Generation>,
    mel: Arc<LogMel>,
    detector: Detector,
    /// The most beams of a search.
    beams: usize,
}

/// The detector of voice, a set of weights of its own, loaded when somebody asks for it first.
struct Detector {
    files: Files,
    loaded: Mutex<Option<Arc<Silero>>>,
}

impl Detector {
    fn get(&self) -> Result<Arc<Silero>, Failure> {
        // Held across the load: who comes second waits for it. Who panicked here left nothing half done.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(silero) = &*loaded {
            return Ok(silero.clone());
        }
        let files = self.files.of(VOICE_WEIGHTS)?;
        let silero =
            Silero::load(&files).map_err(|e| Failure::Unavailable(format!("vad_filter: {e}")))?;
        Ok(loaded.insert(Arc::new(silero)).clone())
    }
}

impl WhisperCompanion {
    pub(super) fn new(
        files: &Files,
        config: &Config,
        vocabulary: Arc<Vocabulary>,
        generation: Arc<Generation>,
    ) -> Self {
        Self {
            vocabulary,
            generation,
            mel: Arc::new(LogMel::new(config.num_mel_bins)),
            beams: places(config).more + 1,
            detector: Detector {
                files: files.clone(),
                loaded: Mutex::default(),
            },
        }
    }

    /// Features of mono samples at 16 kHz, padded with silence to 30 s.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the transform breaks a promise.
    pub fn features(&self, samples: &[f32]) -> Result<Features, Failure> {
        self.mel
            .features(samples)
            .map(Features::new)
            .map_err(Failure::Internal)
    }

    /// The language that is asked for; `None`: it is to be detected.
    fn language(&self, asked: Option<&str>) -> Result<Option<Language>, Failure> {
        let asked = asked.map(str::to_lowercase);
        if !self.generation.multilingual {
            return match asked.as_deref() {
                None | Some(ENGLISH) => Ok(Some(Language {
                    token: None,
                    probability: 1.0,
                })),
                Some(other) => Err(Failure::Unsupported(format!(
                    "language: these weights know English only, not {other}"
                ))),
            };
        }
        let Some(code) = asked else {
            return Ok(None);
        };
        match self.vocabulary.language_token(&code) {
            Some(token) => Ok(Some(Language {
                token: Some(token),
                probability: 1.0,
            })),
            None => Err(Failure::BadInput(format!(
                "language: {code} is no code of a language that these weights know"
            ))),
        }
    }

    fn manner(&self, options: &TranscribeOptions) -> Result<Manner, Failure> {
        let beams = options.beam_size.map_or(1, |beams| beams as usize);
        if beams == 0 {
            return Err(Failure::BadInput(
                "beam_size is 0; a search has 1 or more".into(),
            ));
        }
        if beams > self.beams {
            let most = self.beams;
            return Err(Failure::Unsupported(format!(
                "beam_size: {beams} beams are more than there is memory for with these weights; ask for at most {most}"
            )));
        }
        if options.translate && !self.generation.multilingual {
            return Err(Failure::Unsupported(
                "task: these weights know English only and do not translate".into(),
            ));
        }
        let vocabulary = &self.vocabulary;
        let task = if options.translate {
            vocabulary.translate
        } else {
            vocabulary.transcribe
        };
        Ok(Manner {
            task: self.generation.multilingual.then_some(task),
            thresholds: Thresholds {
                compression_ratio: options.compression_ratio_threshold,
                log_prob: options.log_prob_threshold,
                no_speech: options.no_speech_threshold,
            },
            condition_on_previous: options.condition_on_previous_text,
            hallucination_silence: options.hallucination_silence_threshold.map(f64::from),
            prefix: self.tokens(options.prefix.as_deref())?,
            // Silence around words cannot be told without their times.
            beams,
            words: options.words || options.hallucination_silence_threshold.is_some(),
        })
    }

    fn tokens(&self, text: Option<&str>) -> Result<Vec<u32>, Failure> {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
            return Ok(Vec::new());
        };
        self.vocabulary
            .encode(text)
            .map_err(|error| Failure::Internal(format!("a prompt that has no tokens: {error}")))
    }
}

impl SessionCompanion<Transcribe> for WhisperCompanion {
    type Work = Hearing;

    fn prepare(&self, request: TranscribeRequest) -> Result<Hearing, Failure> {
        let options = &request.options;
        let manner = self.manner(options)?;
        let language = self.language(options.language.as_deref())?;
        let prompt = self.tokens(options.initial_prompt.as_deref())?;
        let sound = Sound::open(request.audio, SOUND_MAX_SECONDS)?;
        let detector = options
            .vad_filter
            .then(|| self.detector.get())
            .transpose()?;
        let mut listener = Listener::new(sound, self.mel.clone(), detector);
        // A long silence in front is left to the session.
        let first = listener.window(0)?.window();
        Ok(Hearing {
            listener,
            manner,
            language,
            prompt,
            first,
        })
    }
}
