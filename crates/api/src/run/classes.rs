//! The schema classes: what the inputs and outputs of a model look like, a file each, parsed once,
//! when it is first asked for. To add one, add its file and its line.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::validate::Schema;

/// What a body that is no JSON is to a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raw {
    /// Nothing: the inputs are JSON.
    Json,
    /// The named input, on every surface.
    Bytes(&'static str),
    /// The named input where the caller says that the body is a stream (the binding); a plain body
    /// is JSON.
    Stream(&'static str),
    /// A form with the inputs as fields, which stands for the named input.
    Form(&'static str),
}
use Raw::{Bytes, Form, Json, Stream};

macro_rules! file {
    ($name:literal, $raw:expr) => {
        (
            $name,
            include_str!(concat!("schemas/", $name, ".json")),
            $raw,
        )
    };
}

/// The files: property order in them is the order of checks, messages and defaults.
const FILES: &[(&str, &str, Raw)] = &[
    file!("asr-deepgram-flux", Json),
    file!("asr-nemotron-speech", Bytes("audio")),
    file!("asr-nova-3", Bytes("audio")),
    file!("asr-whisper", Bytes("audio")),
    file!("asr-whisper-turbo", Stream("audio")),
    file!("chat-anyof", Json),
    file!("chat-oneof", Json),
    file!("decision-clef", Json),
    file!("emb-bge", Json),
    file!("emb-bge-m3", Json),
    file!("emb-plamo", Json),
    file!("emb-qwen3", Json),
    file!("emb-text", Json),
    file!("gpt-oss", Json),
    file!("image-classification", Bytes("image")),
    file!("image-to-text", Bytes("image")),
    file!("llama-guard", Json),
    file!("moondream", Json),
    file!("object-detection", Bytes("image")),
    file!("reranker", Json),
    file!("summarization", Json),
    file!("t2i-flux-1", Json),
    file!("t2i-flux-2", Form("multipart")),
    file!("t2i-lucid", Json),
    file!("t2i-phoenix", Json),
    file!("t2i-sd", Json),
    file!("text-classification", Json),
    file!("tg-g1", Json),
    file!("tg-g2", Json),
    file!("tg-g2-async", Json),
    file!("tg-g2-textparts", Json),
    file!("tg-g2-textparts-2000", Json),
    file!("tg-mistral3", Json),
    file!("tg-mistral3-norf", Json),
    file!("tg-vision-g1", Json),
    file!("translation-indictrans2", Json),
    file!("translation-m2m100", Json),
    file!("tts-aura-1", Json),
    file!("tts-aura-2-en", Json),
    file!("tts-aura-2-es", Json),
    file!("tts-melotts", Json),
    file!("vad-smart-turn", Bytes("audio")),
];

/// What the inputs and outputs of a class look like.
#[derive(Debug)]
pub(crate) struct Class {
    /// The schema class as the catalogue names it.
    pub(crate) name: &'static str,
    /// What a JSON input is held against.
    pub(crate) input: Schema,
    /// What the fields beside a binary input are held against; `None`: there is no binary input.
    pub(crate) beside: Option<Schema>,
    /// The input schema as published.
    pub(crate) input_json: Value,
    /// The output schema as published; nothing is held against it.
    pub(crate) output_json: Value,
    /// The input that raw bytes or a form stand for.
    pub(crate) binary: Option<&'static str>,
    /// A REST body of raw bytes can be the binary input.
    pub(crate) takes_bytes: bool,
    /// The inputs come as a `multipart/form-data` body.
    pub(crate) takes_multipart: bool,
    raw: Raw,
}

impl Class {
    /// Makes a class of its documents.
    ///
    /// # Errors
    /// What in a schema cannot be read.
    pub(super) fn of_documents(
        name: &'static str,
        input_json: Value,
        output_json: Value,
        raw: Raw,
    ) -> Result<Self, String> {
        let binary = match raw {
            Json => None,
            Bytes(name) | Stream(name) | Form(name) => Some(name),
        };
        let beside = binary.map(|binary| Schema::read(&without(&input_json, binary)));
        Ok(Self {
            name,
            input: Schema::read(&input_json)?,
            beside: beside.transpose()?,
            input_json,
            output_json,
            binary,
            takes_bytes: matches!(raw, Bytes(_)),
            takes_multipart: matches!(raw, Form(_)),
            raw,
        })
    }

    /// The same class with another input schema.
    ///
    /// # Errors
    /// What in the schema cannot be read.
    pub(super) fn with_input(&self, input_json: Value) -> Result<Self, String> {
        let output_json = self.output_json.clone();
        Self::of_documents(self.name, input_json, output_json, self.raw)
    }
}

/// The first form of an input that has the field `binary`, without it.
fn without(input: &Value, binary: &str) -> Value {
    let branches = input["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
    let mut forms = std::iter::once(input).chain(branches);
    let form = forms.find(|form| !form["properties"][binary].is_null());
    let mut form = form.cloned().unwrap_or_else(|| Map::new().into());
    if let Some(Value::Object(properties)) = form.get_mut("properties") {
        properties.shift_remove(binary);
    }
    if let Some(Value::Array(required)) = form.get_mut("required") {
        required.retain(|name| name != binary);
    }
    form
}

/// Each is read when it is first asked for.
static CLASSES: [OnceLock<Class>; FILES.len()] = [const { OnceLock::new() }; FILES.len()];

fn class(place: usize) -> &'static Class {
    CLASSES[place].get_or_init(|| {
        let (name, text, raw) = FILES[place];
        let file: Result<Map<String, Value>, _> = serde_json::from_str(text);
        let class = file
            .map_err(|error| error.to_string())
            .and_then(|mut file| {
                let mut part = |part: &str| file.shift_remove(part).unwrap_or_default();
                Class::of_documents(name, part("input"), part("output"), raw)
            });
        class.unwrap_or_else(|error| panic!("the built-in schema file of {name}: {error}"))
    })
}

/// All classes.
pub(crate) fn all() -> impl Iterator<Item = &'static Class> {
    (0..FILES.len()).map(class)
}

/// The class of a name.
pub(crate) fn of(name: &str) -> Option<&'static Class> {
    let place = FILES.iter().position(|(known, ..)| *known == name);
    place.map(class)
}

/// The names and input schemas of all classes.
pub fn published_inputs() -> impl Iterator<Item = (&'static str, &'static Value)> {
    all().map(|class| (class.name, &class.input_json))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::dialects;
    use crate::validate::validate;

    #[test]
    fn every_card_of_the_catalogue_has_its_class_input_and_output() {
        let catalog = catalog::Catalog::builtin().unwrap();
        let cards: Vec<_> = catalog.cards().collect();
        assert_eq!(cards.len(), 114);
        for card in cards {
            let class = of(&card.schema_class)
                .unwrap_or_else(|| panic!("{}: no class {}", card.name, card.schema_class));
            for document in [&class.input_json, &class.output_json] {
                let document = document.as_object().unwrap();
                let says = ["type", "oneOf", "anyOf"]
                    .iter()
                    .any(|keyword| document.contains_key(*keyword));
                assert!(says, "{}: an empty schema", class.name);
            }
            assert_eq!(dialects::of(card).map(|class| class.name), Some(class.name));
        }
    }

    #[test]
    fn classes_say_what_a_body_that_is_no_json_is() {
        let names = |holds: fn(&Class) -> bool| -> Vec<_> {
            let found = all().filter(|class| holds(class));
            found.map(|class| class.name).collect()
        };
        assert_eq!(
            names(|class| class.takes_bytes),
            [
                "asr-nemotron-speech",
                "asr-nova-3",
                "asr-whisper",
                "image-classification",
                "image-to-text",
                "object-detection",
                "vad-smart-turn"
            ]
        );
        assert_eq!(names(|class| class.takes_multipart), ["t2i-flux-2"]);
        assert_eq!(of("asr-whisper-turbo").unwrap().binary, Some("audio"));
        assert_eq!(of("tg-g2").unwrap().binary, None);
    }

    #[test]
    fn fields_beside_a_binary_input_are_checked_and_get_their_defaults() {
        let check = |class: &str, mut fields: Value| {
            let beside = of(class).unwrap().beside.as_ref().unwrap();
            validate(beside, &mut fields).map(|()| fields)
        };
        assert_eq!(
            check("image-to-text", json!({"prompt": "x"})),
            Ok(json!({"prompt": "x", "raw": false, "max_tokens": 512}))
        );
        assert_eq!(
            check("asr-nova-3", json!({"mode": "loud"})),
            Err("enum loud not in general,medical,finance at '/mode'".into())
        );
        assert_eq!(
            check("vad-smart-turn", json!({"dtype": "int4"})),
            Err("enum int4 not in uint8,float32,float64 at '/dtype'".into())
        );
        for class in all().filter(|class| class.beside.is_some()) {
            assert!(check(class.name, json!({})).is_ok(), "{}", class.name);
        }
    }
}
