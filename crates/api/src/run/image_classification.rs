//! Image classification: a bare list of the likeliest labels, best first.

use tasks::{ClassifyImage, ImageFile, Labels};

use super::answer::{Answer, Content};
use super::input::Input;
use super::text_classification::Label;
use super::{Call, job, neurons, picture, raw};
use crate::errors::Refusal;

/// Labels of an answer.
const ANSWER_MAX_LABELS: usize = 5;

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, mut input: Input) -> Result<Answer, Refusal> {
    let request = image(&mut input).await?;
    let (Labels(mut scores), served) = job::one::<ClassifyImage>(call, request).await?;
    scores.sort_by(|a, b| b.score.total_cmp(&a.score));
    scores.truncate(ANSWER_MAX_LABELS);
    let labels: Vec<_> = scores.into_iter().map(Label::from).collect();
    Ok(Answer {
        content: Content::json(&labels)?,
        served,
        cost: neurons::of_image(call.card.neurons).into(),
        truncated: 0,
    })
}

/// The picture of an input.
pub(super) async fn image(input: &mut Input) -> Result<ImageFile, Refusal> {
    let binary = raw::take_required(input, "image", raw::Text::Binary).await?;
    picture::head(&binary.bytes, "image")?;
    Ok(ImageFile {
        bytes: binary.bytes.into(),
    })
}
