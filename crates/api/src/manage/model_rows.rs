//! A row of `models/search`: its fields, and the properties in the service's words.

use std::fmt::Write;

use catalog::{ModelCard, TaskKind};
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::prices;

/// A model as the list shows it.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    id: String,
    source: u8,
    name: &'a str,
    description: String,
    task: TaskRow,
    /// `null` where it is not known.
    created_at: Option<&'a str>,
    tags: [&'a str; 0],
    properties: Properties,
}

/// A task as rows and the list of tasks show it.
#[derive(Debug, Serialize)]
pub(super) struct TaskRow {
    id: &'static str,
    name: &'static str,
    description: &'static str,
}

impl From<TaskKind> for TaskRow {
    fn from(task: TaskKind) -> Self {
        Self {
            id: task.id(),
            name: task.name(),
            description: describe(task),
        }
    }
}

impl<'a> Row<'a> {
    pub(super) fn of(card: &'a ModelCard) -> Self {
        Self {
            id: id(card),
            source: card.source(),
            name: &card.name,
            description: description(card),
            task: card.task.into(),
            created_at: card.created_at.as_deref(),
            tags: [],
            properties: Properties::of(card),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.name
    }

    pub(super) fn description(&self) -> &str {
        &self.description
    }
}

/// The id of the service's row, or, where that is not known, one that is made of the name and stays the same.
fn id(card: &ModelCard) -> String {
    card.id.clone().unwrap_or_else(|| {
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, card.name.as_bytes());
        id.to_string()
    })
}

/// The service's own texts are not part of this catalogue: what the card knows, in a sentence.
pub(super) fn description(card: &ModelCard) -> String {
    let name = card.name.rsplit('/').next().unwrap_or_default();
    let mut text = format!("{name} by {}: {}", card.author(), card.task.name());
    let able = [
        (card.flags.vision, "reads images"),
        (card.flags.reasoning, "reasons"),
        (card.flags.function_calling, "calls functions"),
        (card.flags.json_mode, "writes JSON to a schema"),
        (card.flags.lora, "takes LoRA adapters"),
    ];
    for (_, what) in able.iter().filter(|(can, _)| *can) {
        let _ = write!(text, ", {what}"); // writing to a string cannot fail
    }
    text.push('.');
    text
}

/// What the service says of a task.
fn describe(task: TaskKind) -> &'static str {
    match task {
        TaskKind::TextGeneration => {
            "Family of generative text models, such as large language models (LLM), that can be adapted for a variety \
             of natural language tasks."
        }
        TaskKind::TextEmbeddings => {
            "Feature extraction models transform raw data into numerical features that can be processed while \
             preserving the information in the original dataset. These models are ideal as part of building vector \
             search applications or Retrieval Augmented Generation workflows with Large Language Models (LLM)."
        }
        TaskKind::TextClassification => {
            "Sentiment analysis or text classification is a common NLP task that classifies a text input into labels \
             or classes."
        }
        TaskKind::SpeechRecognition => {
            "Automatic speech recognition (ASR) models convert a speech signal, typically an audio input, to text."
        }
        TaskKind::TextToImage => {
            "Generates images from input text. These models can be used to generate and modify images based on text \
             prompts."
        }
        TaskKind::TextToSpeech => {
            "Text-to-Speech (TTS) models convert written text into spoken audio."
        }
        TaskKind::Translation => {
            "Translation models convert a sequence of text from one language to another."
        }
        TaskKind::Summarization => {
            "Summarization is the task of producing a shorter version of a document while preserving its important \
             information. Some models can extract text from the original input, while other models can generate \
             entirely new text."
        }
        TaskKind::ImageClassification => {
            "Image classification models take an image input and assigns it labels or classes."
        }
        TaskKind::ObjectDetection => {
            "Object detection models can detect instances of objects like persons, faces, license plates, or others \
             in an image. This task takes an image as input and returns a list of detected objects, each one \
             containing a label, a probability score, and its surrounding box coordinates."
        }
        TaskKind::ImageToText => {
            "Image to text models output a text from a given image. Image captioning or optical character recognition \
             can be considered as the most common applications of image to text."
        }
        TaskKind::VoiceActivityDetection => {
            "Voice activity detection models tell whether a speaker has finished."
        }
    }
}

/// What a model has beside the plain task: names and values, in the catalogue's order. Booleans and numbers are
/// strings; prices and the levels of reasoning are not.
#[derive(Debug)]
struct Properties(Vec<(&'static str, Value)>);

impl Properties {
    fn of(card: &ModelCard) -> Self {
        let flags = &card.flags;
        let is = |flag: bool| flag.then(|| Value::from("true"));
        let number = |number: Option<u64>| number.map(|number| Value::from(number.to_string()));
        let window = card.context_window.map(u64::from);
        let reads_at_most = matches!(
            card.task,
            TaskKind::TextEmbeddings | TaskKind::TextClassification
        );
        let (window, input) = if reads_at_most {
            (None, window)
        } else {
            (window, None)
        };
        let effort = card.reasoning_effort.as_ref().map(|effort| {
            json!({
                "supported_efforts": effort.supported,
                "default_effort": effort.default,
                "mandatory": effort.mandatory,
                "default_enabled": effort.default != "none",
            })
        });
        let all = [
            ("beta", is(flags.beta)),
            ("async_queue", is(flags.async_queue)),
            ("price", card.price.map(prices::listed)),
            ("context_window", number(window)),
            ("max_input_tokens", number(input)),
            (
                "output_dimensions",
                number(card.output_dimensions.map(|width| width as u64)),
            ),
            ("lora", is(flags.lora)),
            ("function_calling", is(flags.function_calling)),
            ("reasoning", is(flags.reasoning)),
            ("reasoning_effort", effort),
            ("vision", is(flags.vision)),
            ("partner", is(flags.partner)),
            ("realtime", is(flags.realtime)),
            (
                "planned_deprecation_date",
                card.deprecated_on.clone().map(Value::from),
            ),
            ("require_workers_paid", is(flags.require_workers_paid)),
        ];
        let all = all.into_iter();
        Self(
            all.filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        )
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Property<'a> {
            property_id: &'static str,
            value: &'a Value,
        }
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (property_id, value) in &self.0 {
            list.serialize_element(&Property { property_id, value })?;
        }
        list.end()
    }
}
