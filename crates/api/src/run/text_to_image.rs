//! Text to image: the classes `t2i-*`. Some answer with the file itself, others with base64 in JSON.

use axum::body::Body;
use serde::Serialize;
use serde_json::Value;
use tasks::{Failure, Paint, PaintEvent, PaintRequest, Picture};

use super::answer::{Answer, Content};
use super::fields::{count, number, seed, text};
use super::input::{Binary, Input};
use super::job::{Job, ended_early};
use super::neurons::Painted;
use super::picture::{Format, encode, head};
use super::{Call, flux_2, neurons, raw};
use crate::errors::Refusal;

/// Steps of `t2i-flux-1` where the request names none; its schema fills nothing in.
const FLUX_1_STEPS: u32 = 4;
/// The sides of its pictures in pixels.
const FLUX_1_SIDE: u32 = 1024;
/// Steps of `t2i-lucid` where the request names none (inferred: no page gives the number).
const LUCID_STEPS: u32 = 20;

/// A request, and the sizes of the pictures that were given with it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: PaintRequest,
    pub(super) given: Vec<(u32, u32)>,
}

/// How an answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dress {
    PngFile,
    JpegFile,
    /// JPEG as base64 in JSON.
    Json,
}

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, mut input: Input) -> Result<Answer, Refusal> {
    let card = call.card;
    let (asked, dress) = match card.schema_class.as_str() {
        "t2i-sd" => (stable_diffusion(&mut input).await?, Dress::PngFile),
        "t2i-flux-1" => (flux_1(&input.fields)?, Dress::Json),
        "t2i-flux-2" => (flux_2::read(card, &mut input).await?, Dress::Json),
        "t2i-lucid" => (lucid(&input.fields)?, Dress::Json),
        _ => (phoenix(&input.fields)?, Dress::JpegFile),
    };
    let Asked { request, given } = asked;
    let steps = request.steps;
    let mut job = Job::submit::<Paint>(call, request).await?;
    let picture = loop {
        match job.next().await?.ok_or_else(|| ended_early(card))? {
            PaintEvent::Step(_) => {}
            PaintEvent::Done(picture) => break picture,
        }
    };
    let painted = Painted {
        size: (picture.width, picture.height),
        steps,
        inputs: &given,
    };
    Ok(Answer {
        cost: neurons::of_picture(card.neurons, &painted).into(),
        content: write(picture, dress).await?,
        served: job.served().clone(),
        truncated: 0,
    })
}

/// A request for a prompt; what else it says is the class's own.
fn plain(input: &Value, steps: u32) -> Result<PaintRequest, Failure> {
    let side = |name| match number(input, name) {
        Some(pixels) if pixels < 1.0 => Err(Failure::BadInput(format!("{name} is {pixels}"))),
        pixels => Ok(pixels.map(|pixels| pixels as u32)),
    };
    Ok(PaintRequest {
        prompt: text(&input["prompt"], "prompt")?,
        negative_prompt: input["negative_prompt"].as_str().map(str::to_owned),
        width: side("width")?,
        height: side("height")?,
        steps,
        guidance: number(input, "guidance").map(|guidance| guidance as f32),
        strength: 1.0,
        seed: seed(input),
        images: Vec::new(),
        mask: None,
    })
}

/// The number of steps that a field names.
fn steps(input: &Value, name: &str, default: u32) -> Result<u32, Failure> {
    Ok(count(input, name)?.unwrap_or(default))
}

async fn stable_diffusion(input: &mut Input) -> Result<Asked, Refusal> {
    const DEFAULT_STEPS: u32 = 20;
    let mut request = plain(
        &input.fields,
        steps(&input.fields, "num_steps", DEFAULT_STEPS)?,
    )?;
    let strength = number(&input.fields, "strength").unwrap_or(1.0);
    if !(0.0..=1.0).contains(&strength) {
        return Err(Failure::BadInput(format!("strength is {strength}")).into());
    }
    request.strength = strength as f32;
    let mut given = Vec::new();
    let mut checked = |binary: Option<Binary>| -> Result<Option<Vec<u8>>, Failure> {
        let Some(binary) = binary else {
            return Ok(None);
        };
        let head = head(&binary.bytes, binary.name)?;
        given.push((head.width, head.height));
        Ok(Some(binary.bytes.into()))
    };
    let listed = checked(raw::take(input, "image", raw::Text::Binary).await?)?;
    let encoded = checked(raw::take(input, "image_b64", raw::Text::Base64).await?)?;
    request.mask = checked(raw::take(input, "mask", raw::Text::Binary).await?)?;
    if listed.is_some() && encoded.is_some() {
        return Err(Failure::BadInput("there are image and image_b64".into()).into());
    }
    request.images = listed.or(encoded).into_iter().collect();
    Ok(Asked { request, given })
}

fn flux_1(input: &Value) -> Result<Asked, Failure> {
    let mut request = plain(input, steps(input, "steps", FLUX_1_STEPS)?)?;
    request.width = Some(FLUX_1_SIDE);
    request.height = Some(FLUX_1_SIDE);
    Ok(Asked {
        request,
        given: Vec::new(),
    })
}

fn lucid(input: &Value) -> Result<Asked, Failure> {
    let named = count(input, "num_steps")?.or(count(input, "steps")?);
    Ok(Asked {
        request: plain(input, named.unwrap_or(LUCID_STEPS))?,
        given: Vec::new(),
    })
}

fn phoenix(input: &Value) -> Result<Asked, Failure> {
    const DEFAULT_STEPS: u32 = 25;
    Ok(Asked {
        request: plain(input, steps(input, "num_steps", DEFAULT_STEPS)?)?,
        given: Vec::new(),
    })
}

async fn write(picture: Picture, dress: Dress) -> Result<Content, Failure> {
    #[derive(Serialize)]
    struct Output {
        image: String,
    }
    let format = match dress {
        Dress::PngFile => Format::Png,
        Dress::JpegFile | Dress::Json => Format::Jpeg,
    };
    let file = encode(picture, format).await?;
    let content_type = match dress {
        Dress::PngFile => "image/png",
        Dress::JpegFile => "image/jpeg",
        Dress::Json => {
            return Content::json(&Output {
                image: raw::to_base64(&file),
            });
        }
    };
    Ok(Content::File {
        content_type,
        body: Body::from(file),
    })
}
