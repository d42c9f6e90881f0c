//! Image to text of the class `moondream`: questions, captions, points and boxes, as a stream unless
//! the request says otherwise.

use std::time::Instant;

use catalog::ModelCard;
use serde_json::{Map, Value, json};
use tasks::{
    Describe, DescribeEvent, DescribeRequest, Failure, Finish, ImageFile, Question, Sampling, Usage,
};

use super::answer::{Answer, Content};
use super::events::{self, Lines, Scribe};
use super::fields::{count, flag, number, rounded};
use super::input::Input;
use super::job::{Job, ended_early};
use super::neurons::{self, Cost};
use super::{Call, picture, raw};
use crate::errors::Refusal;

/// Places behind the point of a time in milliseconds.
const MILLISECOND_PLACES: i32 = 2;

/// Whether a model of the catalogue's image to text is one of these.
pub(super) fn serves(card: &ModelCard) -> bool {
    card.schema_class == "moondream"
}

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, mut input: Input) -> Result<Answer, Refusal> {
    let Call { app, card, .. } = call;
    let request = read(&mut input).await?;
    let reply = Reply::to(&request);
    // Points and boxes come at once, and so as JSON in any case.
    let streams = flag(&input.fields, "stream") && matches!(reply.key, "answer" | "caption");
    let mut job = Job::submit::<Describe>(app, card, request).await?;
    let served = job.served().clone();
    let mut reply = reply;
    let first = job.next().await?.ok_or_else(|| ended_early(card))?;
    reply.begun();
    if streams {
        return Ok(Answer {
            content: Content::Events(events::body(vec![job], first, reply, call)),
            served,
            cost: Cost::default(),
            truncated: 0,
        });
    }
    let mut event = first;
    let (finish, usage) = loop {
        match event {
            DescribeEvent::Done { finish, usage } => break (finish, usage),
            event => drop(reply.take(event)),
        }
        event = job.next().await?.ok_or_else(|| ended_early(card))?;
    };
    let (read, written) = (usage.prompt_tokens, usage.completion_tokens);
    Ok(Answer {
        content: Content::json(&reply.whole(finish, usage))?,
        served,
        cost: neurons::of_tokens(card.neurons, read.into(), written.into()),
        truncated: 0,
    })
}

async fn read(input: &mut Input) -> Result<DescribeRequest, Refusal> {
    let given = input.fields["image"].as_str().unwrap_or_default();
    let has_scheme = |scheme: &str| {
        let head = given.get(..scheme.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    if has_scheme("http://") || has_scheme("https://") {
        let text = "image: hearth fetches nothing from the network for a request; send a data URI";
        return Err(Failure::Unsupported(text.into()).into());
    }
    let image = raw::take_required(input, "image", raw::Text::DataUri).await?;
    picture::head(&image.bytes, "image")?;
    let fields = &input.fields;
    let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
    let number = |name| number(fields, name).unwrap_or_default();
    Ok(DescribeRequest {
        image: Some(ImageFile {
            bytes: image.bytes.into(),
        }),
        question: match fields["task"].as_str() {
            Some("caption") => Question::Caption(text("caption_length")),
            Some("point") => Question::Point(text("target")),
            Some("detect") => Question::Detect(text("target")),
            _ => Question::Query(text("question")),
        },
        raw: false,
        reasoning: flag(fields, "reasoning"),
        max_tokens: count(fields, "max_tokens")?.unwrap_or(1),
        max_objects: count(fields, "max_objects")?.unwrap_or(1),
        sampling: Sampling {
            temperature: number("temperature") as f32,
            top_p: Some(number("top_p") as f32),
            ..Sampling::greedy()
        },
    })
}

/// An answer as it grows, and when its parts came.
#[derive(Debug)]
struct Reply {
    /// The name of what is answered.
    key: &'static str,
    text: String,
    /// `None` where thinking was not asked for.
    reasoning: Option<String>,
    things: Vec<Value>,
    asked: Instant,
    begun: Instant,
    /// What the last event said.
    done: Option<(Finish, Usage)>,
}

impl Reply {
    fn to(request: &DescribeRequest) -> Self {
        let now = Instant::now();
        Self {
            key: match request.question {
                Question::Query(_) => "answer",
                Question::Caption(_) => "caption",
                Question::Point(_) => "points",
                Question::Detect(_) => "objects",
            },
            text: String::new(),
            reasoning: request.reasoning.then(String::new),
            things: Vec::new(),
            asked: now,
            begun: now,
            done: None,
        }
    }

    /// The first event is there.
    fn begun(&mut self) {
        self.begun = Instant::now();
    }

    /// Takes an event in; the piece of text that it adds, if any.
    fn take(&mut self, event: DescribeEvent) -> Option<String> {
        match event {
            DescribeEvent::Text(piece) => {
                self.text.push_str(&piece);
                return Some(piece);
            }
            DescribeEvent::Reasoning(piece) => {
                if let Some(reasoning) = &mut self.reasoning {
                    reasoning.push_str(&piece);
                }
            }
            DescribeEvent::Points(points) => {
                let points = points.into_iter();
                self.things
                    .extend(points.map(|[x, y]| json!({"x": x, "y": y})));
            }
            DescribeEvent::Boxes(boxes) => {
                let boxes = boxes.into_iter();
                self.things.extend(boxes.map(|[left, top, right, bottom]| {
                    json!({"x_min": left, "y_min": top, "x_max": right, "y_max": bottom})
                }));
            }
            DescribeEvent::Done { .. } => {}
        }
        None
    }

    /// Why it ended, what was counted, and how long it took.
    fn tail(&self, finish: Finish, usage: Usage) -> Map<String, Value> {
        let milliseconds = |from: Instant, to: Instant| {
            rounded((to - from).as_secs_f64() * 1e3, MILLISECOND_PLACES)
        };
        let first = milliseconds(self.asked, self.begun);
        let mut tail = Map::new();
        let reason = match finish {
            Finish::Length => "length",
            Finish::Stop | Finish::ToolCalls => "stop",
        };
        tail.insert("finish_reason".into(), reason.into());
        tail.insert(
            "metrics".into(),
            json!({
                "input_tokens": usage.prompt_tokens,
                "output_tokens": usage.completion_tokens,
                "prefill_time_ms": first,
                "decode_time_ms": milliseconds(self.begun, Instant::now()),
                "ttft_ms": first,
            }),
        );
        tail
    }

    fn reasoning(&self) -> Option<Value> {
        let text = self
            .reasoning
            .as_ref()
            .filter(|_| matches!(self.key, "answer" | "caption"))?;
        Some(json!({"text": text, "grounding": []}))
    }

    /// The answer as JSON.
    fn whole(&self, finish: Finish, usage: Usage) -> Value {
        let mut whole = self.tail(finish, usage);
        let answer = match self.key {
            "answer" | "caption" => self.text.trim().into(),
            _ => Value::Array(self.things.clone()),
        };
        whole.insert(self.key.into(), answer);
        if let Some(reasoning) = self.reasoning() {
            whole.insert("reasoning".into(), reasoning);
        }
        Value::Object(whole)
    }

    /// The last frame of a stream before its end.
    fn last(&self, finish: Finish, usage: Usage) -> Value {
        let mut last = self.tail(finish, usage);
        if let Some(reasoning) = self.reasoning() {
            last.insert("reasoning".into(), reasoning);
        }
        Value::Object(last)
    }
}

impl Scribe for Reply {
    type Event = DescribeEvent;

    fn tell(&mut self, _: usize, event: DescribeEvent, out: &mut Lines) -> Result<bool, Failure> {
        if let DescribeEvent::Done { finish, usage } = event {
            self.done = Some((finish, usage));
            return Ok(true);
        }
        if let Some(piece) = self.take(event) {
            out.push(&json!({self.key: piece}))?;
        }
        Ok(false)
    }

    fn close(&mut self, out: &mut Lines) -> Result<(), Failure> {
        let (finish, usage) = self
            .done
            .ok_or_else(|| Failure::Internal("a stream ends before its last event".into()))?;
        out.push(&self.last(finish, usage))
    }
}
