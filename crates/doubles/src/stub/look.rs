//! What a picture shows: labels, boxes and words that follow from the file's bytes.

use engine::Answer;
use engine::model::DirectModel;
use tasks::{
    ClassifyImage, Describe, DescribeEvent, DescribeRequest, Detect, Failure, Finish, ImageFile,
    Labels, Object, Objects, Question, Scored, Usage,
};

use super::chance::Chance;
use super::chat::Pieces;
use super::picture::Size;
use super::tokens::{count, quote, split};
use super::{Stub, once, pieces};

/// Labels of an answer.
const LABELS: usize = 5;
/// The most objects that a stub sees.
const OBJECTS_MAX: usize = 4;
/// Tokens that stand for a picture.
const PICTURE_TOKENS: u32 = 256;
/// Characters of a question that are quoted.
const QUOTE_MAX_CHARS: usize = 80;

/// Names of ImageNet-1k (the ILSVRC 2012 classes), as the service writes them.
const IMAGENET: &[&str] = &[
    "TENCH",
    "GOLDFISH",
    "HAMMERHEAD",
    "OSTRICH",
    "BULLFROG",
    "TARANTULA",
    "FLAMINGO",
    "GOLDEN RETRIEVER",
    "TABBY",
    "ZEBRA",
    "BALLOON",
    "BICYCLE-BUILT-FOR-TWO",
    "CASTLE",
    "ESPRESSO",
    "FOUNTAIN",
    "LIGHTHOUSE",
    "MOUNTAIN TENT",
    "PIZZA",
    "TEAPOT",
    "VOLCANO",
];

/// Names of COCO's things (Lin et al. 2014).
const COCO: &[&str] = &[
    "person", "bicycle", "car", "bus", "boat", "bench", "bird", "cat", "dog", "horse", "umbrella",
    "bottle", "cup", "banana", "chair", "couch", "laptop", "book", "clock", "vase",
];

impl DirectModel<ClassifyImage> for Stub {
    fn answer(&self, image: ImageFile) -> Result<Answer<Labels>, Failure> {
        self.gate.decode(&image.bytes)?;
        let mut chance = Chance::of(&image.bytes);
        let mut names = IMAGENET.to_vec();
        // Each half of what is left: 1/2, 1/4, ..., as of a model that knows a thousand labels.
        let mut left = 1.0;
        let labels = (0..LABELS).map(|_| {
            let score = left * (0.5 + 0.3 * chance.share());
            left -= score;
            Scored {
                label: names.swap_remove(chance.below(names.len())).into(),
                score,
            }
        });
        let mut labels: Vec<Scored> = labels.collect();
        labels.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(once(Labels(labels)))
    }
}

impl DirectModel<Detect> for Stub {
    fn answer(&self, image: ImageFile) -> Result<Answer<Objects>, Failure> {
        let Size { width, height } = self.gate.decode(&image.bytes)?;
        let mut chance = Chance::of(&image.bytes);
        let mut objects: Vec<Object> = (0..=chance.below(OBJECTS_MAX))
            .map(|_| Object {
                label: COCO[chance.below(COCO.len())].into(),
                score: 0.5 + 0.5 * chance.share(),
                bounds: bounds(&mut chance),
            })
            .collect();
        objects.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(once(Objects {
            objects,
            width,
            height,
        }))
    }
}

impl DirectModel<Describe> for Stub {
    fn answer(&self, request: DescribeRequest) -> Result<Answer<DescribeEvent>, Failure> {
        let (shown, bytes) = match &request.image {
            Some(image) => {
                let Size { width, height } = self.gate.decode(&image.bytes)?;
                (
                    format!("a picture of {width} x {height} pixels"),
                    &image.bytes[..],
                )
            }
            None => ("no picture".to_owned(), &[][..]),
        };
        let (asked, mut left) = (words_of(&request.question), request.max_tokens);
        let reasoning = request.reasoning.then(|| format!("A stub sees {shown}."));
        let reasoning = reasoning.map(|text| kept(&text, &mut left));
        let mut chance = Chance::of(bytes).and(asked.as_bytes());
        let things = (1 + chance.below(OBJECTS_MAX)).min(request.max_objects as usize);
        let mut text = None;
        let found = match &request.question {
            Question::Query(_) | Question::Caption(_) => {
                let quoted = quote(asked, QUOTE_MAX_CHARS);
                let whole = match &request.question {
                    Question::Query(_) => {
                        format!(
                            "This is a stub, and saw {shown}. You asked: \u{201c}{quoted}\u{201d}."
                        )
                    }
                    _ => format!("A stub's caption ({quoted}) of {shown}."),
                };
                text = Some(kept(&whole, &mut left));
                None
            }
            Question::Point(_) => {
                let points = (0..things).map(|_| [chance.share(), chance.share()]);
                Some(DescribeEvent::Points(points.collect()))
            }
            Question::Detect(_) => {
                let boxes = (0..things).map(|_| bounds(&mut chance));
                Some(DescribeEvent::Boxes(boxes.collect()))
            }
        };
        let is_cut = |kept: &Option<(String, bool)>| kept.as_ref().is_some_and(|(_, cut)| *cut);
        let finish = if is_cut(&reasoning) || is_cut(&text) {
            Finish::Length
        } else {
            Finish::Stop
        };
        let pictures = if request.image.is_some() {
            PICTURE_TOKENS
        } else {
            0
        };
        let usage = Usage {
            prompt_tokens: count(asked).saturating_add(pictures),
            completion_tokens: request.max_tokens - left,
            cached_tokens: 0,
        };
        let told = |kept: Option<(String, bool)>| Pieces::of(kept.map(|(text, _)| text));
        let events = told(reasoning).map(DescribeEvent::Reasoning);
        let events = events
            .chain(told(text).map(DescribeEvent::Text))
            .chain(found);
        Ok(pieces(
            events.chain([DescribeEvent::Done { finish, usage }]),
        ))
    }
}

fn words_of(question: &Question) -> &str {
    match question {
        Question::Query(text)
        | Question::Caption(text)
        | Question::Point(text)
        | Question::Detect(text) => text,
    }
}

/// The text as far as `left` tokens go, which it takes; true if that is not all of it.
fn kept(text: &str, left: &mut u32) -> (String, bool) {
    let room = *left as usize;
    let bytes: usize = split(text).take(room).map(str::len).sum();
    *left -= count(&text[..bytes]).min(*left);
    (text[..bytes].to_owned(), bytes < text.len())
}

/// A box of at least a tenth of each side, inside of the picture.
fn bounds(chance: &mut Chance) -> [f32; 4] {
    let mut span = || {
        let length = 0.1 + 0.5 * chance.share();
        let start = (1.0 - length) * chance.share();
        (start, start + length)
    };
    let ((left, right), (top, bottom)) = (span(), span());
    [left, top, right.min(1.0), bottom.min(1.0)]
}
