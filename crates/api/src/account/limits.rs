//! Requests a minute, as the service documents them (September 2026).

use catalog::{ModelCard, TaskKind};

/// Requests a minute of a model that only paying accounts may ask.
const PAID_ONLY_PER_MINUTE: u32 = 20;

/// A limit, and what shares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit<'a> {
    /// A task's name, or a model's that has a limit of its own.
    pub(super) key: &'a str,
    pub(super) per_minute: u32,
}

/// The limit of a model; `None` where none is documented.
pub(super) fn of(card: &ModelCard) -> Option<Limit<'_>> {
    if card.flags.require_workers_paid {
        return Some(Limit {
            key: &card.name,
            per_minute: PAID_ONLY_PER_MINUTE,
        });
    }
    let own = match card.name.as_str() {
        "@cf/baai/bge-large-en-v1.5" | "@cf/runwayml/stable-diffusion-v1-5-img2img" => Some(1500),
        _ => None,
    };
    if let Some(per_minute) = own {
        return Some(Limit {
            key: &card.name,
            per_minute,
        });
    }
    let per_minute = match card.task {
        TaskKind::TextGeneration => 300,
        TaskKind::SpeechRecognition
        | TaskKind::ImageToText
        | TaskKind::TextToImage
        | TaskKind::Translation => 720,
        TaskKind::Summarization => 1500,
        TaskKind::TextClassification => 2000,
        TaskKind::ImageClassification | TaskKind::ObjectDetection | TaskKind::TextEmbeddings => {
            3000
        }
        TaskKind::TextToSpeech | TaskKind::VoiceActivityDetection => return None,
    };
    Some(Limit {
        key: card.task.name(),
        per_minute,
    })
}
