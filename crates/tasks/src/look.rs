//! Image classification, object detection, and image to text: what a picture shows.

use crate::{Sampling, Scored, Task, Usage};

/// Image classification: a picture in, its likeliest labels out.
pub struct ClassifyImage;

impl Task for ClassifyImage {
    type Request = ImageFile;
    type Event = Labels;
    const NAME: &'static str = "Image Classification";
}

/// Object detection: a picture in, boxes out.
pub struct Detect;

impl Task for Detect {
    type Request = ImageFile;
    type Event = Objects;
    const NAME: &'static str = "Object Detection";
}

/// Image to text: a picture and a prompt in, words out.
pub struct Describe;

impl Task for Describe {
    type Request = DescribeRequest;
    type Event = DescribeEvent;
    const NAME: &'static str = "Image-to-Text";
}

/// An encoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// A whole file as it came (PNG, JPEG, ...).
    pub bytes: Vec<u8>,
}

/// The likeliest labels, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels(pub Vec<Scored>);

/// A thing in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What it is.
    pub label: String,
    /// How sure the model is, 0 to 1.
    pub score: f32,
    /// Left, top, right, bottom, each a share (0 to 1) of the picture's width or height.
    pub bounds: [f32; 4],
}

/// The things found, best first, and the picture's size in pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// The things.
    pub objects: Vec<Object>,
    /// Width of the picture.
    pub width: u32,
    /// Height of the picture.
    pub height: u32,
}

/// What is asked of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Answer these words.
    Query(String),
    /// Describe it; `short`, `normal` or `long`.
    Caption(String),
    /// Where the middles of these things are.
    Point(String),
    /// Where these things are.
    Detect(String),
}

/// A question about a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribeRequest {
    /// The picture; `None` where none was given and the model speaks without.
    pub image: Option<ImageFile>,
    /// The question.
    pub question: Question,
    /// The prompt goes as it is, without the model's template.
    pub raw: bool,
    /// Think before the answer.
    pub reasoning: bool,
    /// The most tokens to generate.
    pub max_tokens: u32,
    /// The most things to find.
    pub max_objects: u32,
    /// How to choose tokens.
    pub sampling: Sampling,
}

/// A piece of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum DescribeEvent {
    /// Thinking.
    Reasoning(String),
    /// Text.
    Text(String),
    /// The middles of things: x and y, shares of width and height.
    Points(Vec<[f32; 2]>),
    /// Bounds of things, as [`Object::bounds`].
    Boxes(Vec<[f32; 4]>),
    /// The last event.
    Done {
        /// Why it ended.
        finish: crate::Finish,
        /// What was counted.
        usage: Usage,
    },
}
