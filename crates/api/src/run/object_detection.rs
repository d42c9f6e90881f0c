//! Object detection: a bare list of things with their boxes in pixels, best first.

use serde::Serialize;
use tasks::{Detect, Object, Objects};

use super::answer::{Answer, Content};
use super::image_classification::image;
use super::input::Input;
use super::{Call, job, neurons};
use crate::errors::Refusal;

/// A thing, as the wire has it.
#[derive(Debug, Serialize)]
struct Found {
    score: f32,
    label: String,
    #[serde(rename = "box")]
    bounds: Bounds,
}

/// Whole pixels of the picture as it came.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names)] // the wire's own names
struct Bounds {
    xmin: i64,
    ymin: i64,
    xmax: i64,
    ymax: i64,
}

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, mut input: Input) -> Result<Answer, Refusal> {
    let request = image(&mut input).await?;
    let (objects, served) = job::one::<Detect>(call, request).await?;
    Ok(Answer {
        content: Content::json(&found(objects))?,
        served,
        cost: neurons::of_image(call.card.neurons).into(),
        truncated: 0,
    })
}

fn found(objects: Objects) -> Vec<Found> {
    let Objects {
        mut objects,
        width,
        height,
    } = objects;
    objects.sort_by(|a, b| b.score.total_cmp(&a.score));
    let pixel = |share: f32, side: u32| (f64::from(share) * f64::from(side)).round() as i64;
    let found = |object: Object| {
        let [left, top, right, bottom] = object.bounds;
        Found {
            score: object.score,
            label: object.label,
            bounds: Bounds {
                xmin: pixel(left, width),
                ymin: pixel(top, height),
                xmax: pixel(right, width),
                ymax: pixel(bottom, height),
            },
        }
    };
    objects.into_iter().map(found).collect()
}
