//! The form that the class `t2i-flux-2` takes.

use std::sync::LazyLock;

use catalog::ModelCard;
use serde_json::{Map, Value, json};
use tasks::{Failure, PaintRequest};

use super::fields::{count, number, seed, text};
use super::form::{self, Part};
use super::input::Input;
use super::picture::head;
use super::raw;
use super::text_to_image::Asked;
use crate::errors::Refusal;
use crate::validate::{Schema, validate};

/// Steps of the full model where the request names none.
const DEV_STEPS: u32 = 25;
/// Steps of the distilled models, whatever the request names.
const KLEIN_STEPS: u32 = 4;
/// Sides of a picture where the request names none, in pixels.
const DEFAULT_WIDTH: u32 = 1024;
const DEFAULT_HEIGHT: u32 = 768;
/// The longest side of a picture that is given, in pixels.
const GIVEN_MAX_PIXELS: u32 = 512;

/// The names of pictures that are given.
const PICTURES: [&str; 4] = [
    "input_image_0",
    "input_image_1",
    "input_image_2",
    "input_image_3",
];
/// The parts that hold a number.
const NUMBERS: [&str; 5] = ["steps", "guidance", "width", "height", "seed"];

/// The parts that are text, as the validator of JSON inputs would have them.
static FIELDS: LazyLock<Schema> = LazyLock::new(|| {
    let schema = Schema::read(&json!({
        "type": "object",
        "properties": {
            "prompt": {"type": "string", "minLength": 1},
            "steps": {"type": "integer", "minimum": 1},
            "guidance": {"type": "number"},
            "width": {"type": "integer", "minimum": 256, "maximum": 1920},
            "height": {"type": "integer", "minimum": 256, "maximum": 1920},
            "seed": {"type": "integer"}
        },
        "required": ["prompt"]
    }));
    schema.unwrap_or_else(|error| panic!("the schema of the fields: {error}"))
});

/// Reads the form. Parts of other names are passed over, as unknown inputs of other classes are.
///
/// # Errors
/// [`Failure::BadInput`] for what is no form or no picture, [`Failure::Schema`],
/// [`Refusal::Upstream`] for a picture that is too large.
pub(super) async fn read(card: &ModelCard, input: &mut Input) -> Result<Asked, Refusal> {
    let body = raw::take_required(input, "multipart", raw::Text::Base64).await?;
    let mut pictures = [const { None }; PICTURES.len()];
    let mut fields = Map::new();
    for Part { name, content } in form::parts(body).await? {
        if let Some(place) = PICTURES.iter().position(|picture| *picture == name) {
            pictures[place] = Some(content);
        } else if name == "prompt" || NUMBERS.contains(&name.as_str()) {
            let text = String::from_utf8_lossy(&content).into_owned();
            let value = if name == "prompt" {
                Value::String(text)
            } else {
                serde_json::from_str(text.trim()).unwrap_or(Value::String(text))
            };
            fields.insert(name, value);
        }
    }
    let mut fields = Value::Object(fields);
    validate(&FIELDS, &mut fields).map_err(Failure::Schema)?;
    let mut given = Vec::new();
    let mut images = Vec::new();
    for (content, name) in pictures.into_iter().zip(PICTURES) {
        let Some(content) = content else {
            continue;
        };
        let head = head(&content, name)?;
        let (width, height) = (head.width, head.height);
        if width.max(height) > GIVEN_MAX_PIXELS {
            return Err(Refusal::Upstream(format!(
                "{name} is {width}x{height}: at most {GIVEN_MAX_PIXELS}x{GIVEN_MAX_PIXELS} is taken"
            )));
        }
        given.push((width, height));
        images.push(content.into());
    }
    let steps = if card.name.contains("klein") {
        KLEIN_STEPS
    } else {
        count(&fields, "steps")?.unwrap_or(DEV_STEPS)
    };
    let side = |name, default| number(&fields, name).map_or(default, |pixels| pixels as u32);
    let request = PaintRequest {
        prompt: text(&fields["prompt"], "prompt")?,
        negative_prompt: None,
        width: Some(side("width", DEFAULT_WIDTH)),
        height: Some(side("height", DEFAULT_HEIGHT)),
        steps,
        guidance: number(&fields, "guidance").map(|guidance| guidance as f32),
        strength: 1.0,
        seed: seed(&fields),
        images,
        mask: None,
    };
    Ok(Asked { request, given })
}
