//! A `price` or `neurons`: the keys of a table tell the shape, and the task tells which shapes it can have.

use serde::Deserialize;
use toml::Spanned;

use crate::place::{CatalogError, Place};
use crate::rate::Rate;
use crate::task::TaskKind;

/// Every key that a rate can have; a shape is some of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenRate {
    input: Option<Spanned<f64>>,
    cached_input: Option<Spanned<f64>>,
    output: Option<Spanned<f64>>,
    minute: Option<Spanned<f64>>,
    websocket_minute: Option<Spanned<f64>>,
    thousand_characters: Option<Spanned<f64>>,
    tile: Option<Spanned<f64>>,
    step: Option<Spanned<f64>>,
    input_tile: Option<Spanned<f64>>,
    output_tile: Option<Spanned<f64>>,
    input_tile_step: Option<Spanned<f64>>,
    output_tile_step: Option<Spanned<f64>>,
    first_megapixel: Option<Spanned<f64>>,
    next_megapixel: Option<Spanned<f64>>,
    input_megapixel: Option<Spanned<f64>>,
    million_images: Option<Spanned<f64>>,
}

/// The shapes that a task's rate can have, each as its keys in the order of [`WrittenRate`].
fn shapes(task: TaskKind) -> &'static [&'static [&'static str]] {
    match task {
        // Decision models have no price of the output.
        TaskKind::TextGeneration => &[
            &["input", "output"],
            &["input", "cached_input", "output"],
            &["input"],
        ],
        TaskKind::ImageToText | TaskKind::Translation | TaskKind::Summarization => {
            &[&["input", "output"]]
        }
        TaskKind::TextEmbeddings | TaskKind::TextClassification => &[&["input"]],
        TaskKind::SpeechRecognition => &[&["minute"], &["minute", "websocket_minute"]],
        TaskKind::VoiceActivityDetection => &[&["minute"]],
        TaskKind::TextToSpeech => &[&["minute"], &["thousand_characters"]],
        TaskKind::TextToImage => &[
            &["tile", "step"],
            &["input_tile", "output_tile"],
            &["input_tile_step", "output_tile_step"],
            &["first_megapixel", "next_megapixel", "input_megapixel"],
        ],
        TaskKind::ImageClassification | TaskKind::ObjectDetection => &[&["million_images"]],
    }
}

impl WrittenRate {
    fn keys(&self) -> Vec<(&'static str, &Spanned<f64>)> {
        let keys = [
            ("input", &self.input),
            ("cached_input", &self.cached_input),
            ("output", &self.output),
            ("minute", &self.minute),
            ("websocket_minute", &self.websocket_minute),
            ("thousand_characters", &self.thousand_characters),
            ("tile", &self.tile),
            ("step", &self.step),
            ("input_tile", &self.input_tile),
            ("output_tile", &self.output_tile),
            ("input_tile_step", &self.input_tile_step),
            ("output_tile_step", &self.output_tile_step),
            ("first_megapixel", &self.first_megapixel),
            ("next_megapixel", &self.next_megapixel),
            ("input_megapixel", &self.input_megapixel),
            ("million_images", &self.million_images),
        ];
        keys.into_iter()
            .filter_map(|(key, number)| Some((key, number.as_ref()?)))
            .collect()
    }

    /// The rate, in a shape of its task.
    pub(super) fn judge(
        rate: &Spanned<Self>,
        place: Place<'_>,
        task: TaskKind,
    ) -> Result<Rate, CatalogError> {
        let keys = rate.get_ref().keys();
        for (_, number) in &keys {
            if !(number.get_ref().is_finite() && *number.get_ref() >= 0.0) {
                return Err(place.wrong(number.span(), "must be 0 or more"));
            }
        }
        let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
        let numbers: Vec<f64> = keys.iter().map(|(_, number)| *number.get_ref()).collect();
        shapes(task)
            .contains(&names.as_slice())
            .then(|| shaped(&names, &numbers))
            .flatten()
            .ok_or_else(|| place.wrong(rate.span(), counted(task)))
    }
}

fn shaped(names: &[&str], numbers: &[f64]) -> Option<Rate> {
    Some(match (names, numbers) {
        (["input"], &[input]) => Rate::Tokens {
            input,
            cached_input: None,
            output: None,
        },
        (["input", "output"], &[input, output]) => Rate::Tokens {
            input,
            cached_input: None,
            output: Some(output),
        },
        (["input", "cached_input", "output"], &[input, cached, output]) => Rate::Tokens {
            input,
            cached_input: Some(cached),
            output: Some(output),
        },
        (["minute"], &[minute]) => Rate::AudioMinute {
            minute,
            websocket: None,
        },
        (["minute", "websocket_minute"], &[minute, websocket]) => Rate::AudioMinute {
            minute,
            websocket: Some(websocket),
        },
        (["thousand_characters"], &[characters]) => Rate::ThousandCharacters(characters),
        (["tile", "step"], &[tile, step]) => Rate::TileAndStep { tile, step },
        (["input_tile", "output_tile"], &[input, output]) => Rate::Tiles { input, output },
        (["input_tile_step", "output_tile_step"], &[input, output]) => {
            Rate::TileSteps { input, output }
        }
        (["first_megapixel", ..], &[first, next, input]) => Rate::Megapixels { first, next, input },
        (["million_images"], &[images]) => Rate::MillionImages(images),
        _ => return None,
    })
}

fn counted(task: TaskKind) -> String {
    let shapes: Vec<String> = shapes(task)
        .iter()
        .map(|keys| format!("{{ {} }}", keys.join(", ")))
        .collect();
    format!("{} is counted as {}", task.name(), shapes.join(" or "))
}
