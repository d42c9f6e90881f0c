//! Models of a few lines for every task but text generation. Each writes down what it was asked.
// All models have one signature.
#![allow(
    clippy::needless_pass_by_value,
    clippy::type_complexity,
    clippy::unnecessary_wraps
)]

use std::sync::{Arc, Mutex};

use engine::model::DirectModel;
use engine::{Answer, DirectLane, Lane};
use tasks::{
    Classes, Classify, ClassifyImage, Decide, Decision, Describe, DescribeEvent, Detect, Failure,
    Finish, Labels, Object, Objects, Paint, PaintEvent, Picture, Question, Relevance, Rerank,
    Scored, Speak, SpeakEvent, Summarize, Summary, Task, Translate, Translation, Turn, TurnEnd,
    Usage,
};

/// What models were asked, in order.
pub(crate) type Notes = Arc<Mutex<Vec<String>>>;

/// A model that is a function: it says events, and what it writes down.
struct Fixed<T: Task>(
    Notes,
    fn(T::Request, &mut Vec<T::Event>) -> Result<String, Failure>,
);

impl<T: Task> DirectModel<T> for Fixed<T> {
    fn answer(&self, request: T::Request) -> Result<Answer<T::Event>, Failure> {
        let mut events = Vec::new();
        let note = (self.1)(request, &mut events);
        let ended = note.map(|note| self.0.lock().unwrap().push(note));
        Ok(told(events, ended))
    }
}

/// Events, and the failure behind them where there is one.
pub(crate) fn told<E: Send + 'static>(events: Vec<E>, ended: Result<(), Failure>) -> Answer<E> {
    Box::new(events.into_iter().map(Ok).chain(ended.err().map(Err)))
}

/// A lane of one model.
pub(crate) fn direct<T: Task>(model: impl DirectModel<T> + 'static) -> Lane {
    DirectLane::new().slow::<T>(Arc::new(model)).into()
}

/// The lane of some weights.
pub(crate) fn lane(weights: &str, notes: &Notes) -> Option<Lane> {
    let notes = notes.clone();
    Some(match weights {
        "judge" => direct(Fixed::<Rerank>(notes, |request, out| {
            // A context is its own score.
            out.push(Relevance {
                score: request.context.parse().unwrap_or(0.0),
                tokens: 7,
                truncated: u32::from(request.context.len() > 512),
            });
            Ok(format!("{request:?}"))
        })),
        "mood" => direct(Fixed::<Classify>(notes, |request, out| {
            let score = |label: &str, score| Scored {
                label: label.into(),
                score,
            };
            out.push(Classes {
                scores: vec![score("NEGATIVE", 0.0001), score("POSITIVE", 0.9999)],
                tokens: 7,
                truncated: 0,
            });
            Ok(format!("{request:?}"))
        })),
        "eye" => direct(Fixed::<ClassifyImage>(notes, |request, out| {
            let labels = ["A", "B", "C", "D", "E", "F"].iter().enumerate();
            let labels = labels.map(|(place, label)| Scored {
                label: (*label).into(),
                score: 0.5 - place as f32 / 16.0,
            });
            out.push(Labels(labels.rev().collect()));
            Ok(format!("{} bytes", request.bytes.len()))
        })),
        "finder" => direct(Fixed::<Detect>(notes, |request, out| {
            let object = |label: &str, score, bounds| Object {
                label: label.into(),
                score,
                bounds,
            };
            out.push(Objects {
                objects: vec![
                    object("dog", 0.25, [0.0, 0.0, 1.0, 1.0]),
                    object("cat", 0.75, [0.1, 0.25, 0.5, 0.999]),
                ],
                width: 640,
                height: 480,
            });
            Ok(format!("{} bytes", request.bytes.len()))
        })),
        "describer" => direct(Fixed::<Describe>(notes, describe)),
        "painter" => direct(Fixed::<Paint>(notes, paint)),
        "voice" => direct(Fixed::<Speak>(notes, speak)),
        "interpreter" => direct(Fixed::<Translate>(notes, |request, out| {
            out.push(Translation {
                text: format!("{}>{} {}", request.source, request.target, request.text),
                prompt_tokens: 5,
                completion_tokens: 4,
            });
            Ok(format!("{request:?}"))
        })),
        "editor" => direct(Fixed::<Summarize>(notes, |request, out| {
            out.push(Summary {
                text: format!("at most {} of {}", request.max_tokens, request.window),
                prompt_tokens: 5,
                completion_tokens: 4,
                truncated: 3,
            });
            Ok(format!("{request:?}"))
        })),
        "listener" => direct(Fixed::<Turn>(notes, |request, out| {
            if request.audio == b"noise" {
                return Err(Failure::BadInput("no audio".into()));
            }
            out.push(TurnEnd {
                probability: f32::from(request.audio[0]) / 256.0,
                seconds: 2.0,
            });
            Ok(format!("{request:?}"))
        })),
        "oracle" => direct(Fixed::<Decide>(notes, |request, out| {
            let probabilities = match request.options.len() {
                2 => vec![0.93, 0.07],
                3 => vec![0.1, 0.4, 0.5],
                count => vec![1.0 / count as f32; count],
            };
            out.push(Decision {
                probabilities,
                input_tokens: 40,
                output_tokens: 1,
            });
            let images = request.images.iter().map(Vec::len).collect::<Vec<_>>();
            Ok(format!(
                "{} {:?} {} {:?} images {images:?} window {}",
                request.state.0,
                request.kind,
                request.instructions,
                request.options,
                request.window
            ))
        })),
        _ => return None,
    })
}

/// Says what was asked; thinks aloud where it may.
fn describe(
    request: tasks::DescribeRequest,
    out: &mut Vec<DescribeEvent>,
) -> Result<String, Failure> {
    if request.reasoning {
        out.push(DescribeEvent::Reasoning("I see. ".into()));
        out.push(DescribeEvent::Reasoning("Well.".into()));
    }
    match &request.question {
        Question::Point(_) => {
            out.push(DescribeEvent::Points(vec![[0.25, 0.5], [0.5, 1.0]]));
        }
        Question::Detect(_) => {
            out.push(DescribeEvent::Boxes(vec![[0.0, 0.25, 0.5, 1.0]]));
        }
        question => {
            out.push(DescribeEvent::Text(" a picture:".into()));
            out.push(DescribeEvent::Text(format!(" {question:?}")));
        }
    }
    out.push(DescribeEvent::Done {
        finish: Finish::Length,
        usage: Usage {
            prompt_tokens: 730,
            completion_tokens: 12,
            cached_tokens: 0,
        },
    });
    Ok(format!(
        "{:?} raw {} max {} objects {} {:?}",
        request.question, request.raw, request.max_tokens, request.max_objects, request.sampling
    ))
}

/// Paints red, 16 pixels wide where nothing is asked for.
fn paint(request: tasks::PaintRequest, out: &mut Vec<PaintEvent>) -> Result<String, Failure> {
    out.push(PaintEvent::Step(1));
    let (width, height) = (request.width.unwrap_or(16), request.height.unwrap_or(8));
    let rgb = [200, 30, 30].repeat((width * height) as usize);
    out.push(PaintEvent::Done(Picture { width, height, rgb }));
    let images = request.images.iter().map(Vec::len).collect::<Vec<_>>();
    Ok(format!(
        "{} | not {:?} {:?}x{:?} steps {} guidance {:?} strength {} seed {:?} images {images:?} mask {:?}",
        request.prompt,
        request.negative_prompt,
        request.width,
        request.height,
        request.steps,
        request.guidance,
        request.strength,
        request.seed,
        request.mask.as_ref().map(Vec::len)
    ))
}

/// Hums half a second twice.
fn speak(request: tasks::SpeakRequest, out: &mut Vec<SpeakEvent>) -> Result<String, Failure> {
    let sample_rate = request.sample_rate.unwrap_or(44_100);
    for half in 0..2 {
        let samples = (0..sample_rate / 2).map(|sample| {
            let seconds = (half * (sample_rate / 2) + sample) as f32 / sample_rate as f32;
            0.5 * (seconds * 440.0 * std::f32::consts::TAU).sin()
        });
        out.push(SpeakEvent::Sound(samples.collect()));
        if request.text == "break off" {
            return Err(Failure::Internal("secret".into()));
        }
    }
    out.push(SpeakEvent::Done { sample_rate });
    Ok(format!("{request:?}"))
}
