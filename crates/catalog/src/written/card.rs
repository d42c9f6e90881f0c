//! A `[model."..."]` with what its group adds, judged into a [`ModelCard`].

use serde::Deserialize;
use toml::Spanned;

use super::words::{Flag, Task, WeightGrade, class, day, flags};
use crate::card::{ModelCard, Rate, TaskKind, Variant};
use crate::place::{CatalogError, Place};
use crate::weights::WeightSet;

/// The keys of a `[model."..."]`, and of a `[group."..."]`, which has no `group` of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) group: Option<Spanned<String>>,
    task: Option<Spanned<Task>>,
    schema: Option<Spanned<String>>,
    output: Option<Spanned<String>>,
    context_window: Option<Spanned<u32>>,
    max_tokens: Option<Spanned<u32>>,
    output_dimensions: Option<Spanned<u32>>,
    flags: Option<Vec<Spanned<Flag>>>,
    price: Option<Spanned<WrittenRate>>,
    neurons: Option<Spanned<WrittenRate>>,
    deprecated_on: Option<Spanned<String>>,
    variants: Option<Vec<Spanned<WrittenVariant>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRate {
    input: Option<Spanned<f64>>,
    output: Option<Spanned<f64>>,
    minute: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenVariant {
    weights: Spanned<String>,
    grade: Spanned<WeightGrade>,
}

/// A model's name with its own keys and those of its group.
pub(super) struct Written<'a> {
    pub(super) place: Place<'a>,
    pub(super) name: &'a Spanned<String>,
    pub(super) own: &'a Entry,
    pub(super) group: Option<&'a Entry>,
}

impl<'a> Written<'a> {
    /// The card, if every value is possible; `sets` are those that variants may name.
    pub(super) fn judge(&self, sets: &[WeightSet]) -> Result<ModelCard, CatalogError> {
        let place = self.place;
        if !is_model_name(self.name.get_ref()) {
            return Err(place.wrong(
                self.name.span(),
                "a model's name must be @cf/author/name or @hf/author/name",
            ));
        }
        let task = TaskKind::from(*self.needed("task", |entry| entry.task.as_ref())?.get_ref());
        let context_window = self.value(|entry| entry.context_window.as_ref());
        let context_window = context_window
            .map(|window| positive(place, window))
            .transpose()?;
        let rate = |rate: Option<&Spanned<WrittenRate>>| {
            rate.map(|rate| judge_rate(place, rate, task)).transpose()
        };
        let day = |text: Option<&Spanned<String>>| text.map(|text| day(place, text)).transpose();
        Ok(ModelCard {
            name: self.name.get_ref().clone(),
            task,
            schema_class: class(place, self.needed("schema", |entry| entry.schema.as_ref())?)?,
            output_class: class(place, self.needed("output", |entry| entry.output.as_ref())?)?,
            context_window,
            default_max_tokens: self.max_tokens(task, context_window)?,
            output_dimensions: self.output_dimensions(task)?,
            flags: flags(
                place,
                self.value(|entry| entry.flags.as_ref())
                    .map_or(&[], Vec::as_slice),
            )?,
            price: rate(self.value(|entry| entry.price.as_ref()))?,
            neurons: rate(self.value(|entry| entry.neurons.as_ref()))?,
            deprecated_on: day(self.value(|entry| entry.deprecated_on.as_ref()))?,
            variants: judge_variants(
                place,
                self.needed("variants", |entry| entry.variants.as_ref())?,
                sets,
            )?,
        })
    }

    /// A value of the model's own, or else of its group.
    fn value<T>(&self, of: impl Fn(&'a Entry) -> Option<&'a T>) -> Option<&'a T> {
        of(self.own).or_else(|| of(self.group?))
    }

    fn needed<T>(
        &self,
        key: &str,
        of: impl Fn(&'a Entry) -> Option<&'a T>,
    ) -> Result<&'a T, CatalogError> {
        self.value(of)
            .ok_or_else(|| self.place.missing(self.name.span(), key))
    }

    fn max_tokens(&self, task: TaskKind, window: Option<u32>) -> Result<Option<u32>, CatalogError> {
        let Some(written) = self.value(|entry| entry.max_tokens.as_ref()) else {
            return Ok(None);
        };
        if task != TaskKind::TextGeneration {
            return Err(self.place.wrong(written.span(), not_for(task)));
        }
        let tokens = positive(self.place, written)?;
        match window {
            Some(window) if tokens > window => Err(self.place.wrong(
                written.span(),
                format!("must be at most the context window, {window}"),
            )),
            _ => Ok(Some(tokens)),
        }
    }

    fn output_dimensions(&self, task: TaskKind) -> Result<Option<usize>, CatalogError> {
        if task == TaskKind::TextEmbeddings {
            let width = self.needed("output_dimensions", |entry| {
                entry.output_dimensions.as_ref()
            })?;
            return Ok(Some(positive(self.place, width)? as usize));
        }
        match self.value(|entry| entry.output_dimensions.as_ref()) {
            Some(width) => Err(self.place.wrong(width.span(), not_for(task))),
            None => Ok(None),
        }
    }
}

/// `@cf/author/name`: two plain words after the source.
fn is_model_name(name: &str) -> bool {
    let Some(rest) = name
        .strip_prefix("@cf/")
        .or_else(|| name.strip_prefix("@hf/"))
    else {
        return false;
    };
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    rest.split_once('/')
        .is_some_and(|(author, name)| word(author) && word(name))
}

fn not_for(task: TaskKind) -> String {
    format!("{} has none", task.name())
}

fn positive(place: Place<'_>, number: &Spanned<u32>) -> Result<u32, CatalogError> {
    match *number.get_ref() {
        0 => Err(place.wrong(number.span(), "must be at least 1")),
        number => Ok(number),
    }
}

/// A rate in the units of its task: tokens in and out, tokens in, or minutes.
fn judge_rate(
    place: Place<'_>,
    rate: &Spanned<WrittenRate>,
    task: TaskKind,
) -> Result<Rate, CatalogError> {
    let WrittenRate {
        input,
        output,
        minute,
    } = rate.get_ref();
    for number in [input, output, minute].into_iter().flatten() {
        if !(number.get_ref().is_finite() && *number.get_ref() >= 0.0) {
            return Err(place.wrong(number.span(), "must be 0 or more"));
        }
    }
    let number = |number: &Spanned<f64>| *number.get_ref();
    let (rate_read, wanted) = match task {
        TaskKind::TextGeneration => (
            match (input, output, minute) {
                (Some(input), Some(output), None) => Some(Rate::Tokens {
                    input: number(input),
                    output: Some(number(output)),
                }),
                _ => None,
            },
            "{ input, output }",
        ),
        TaskKind::TextEmbeddings => (
            match (input, output, minute) {
                (Some(input), None, None) => Some(Rate::Tokens {
                    input: number(input),
                    output: None,
                }),
                _ => None,
            },
            "{ input }",
        ),
        TaskKind::SpeechRecognition => (
            match (input, output, minute) {
                (None, None, Some(minute)) => Some(Rate::AudioMinute(number(minute))),
                _ => None,
            },
            "{ minute }",
        ),
    };
    rate_read.ok_or_else(|| {
        place.wrong(
            rate.span(),
            format!("{} is counted as {wanted}", task.name()),
        )
    })
}

fn judge_variants(
    place: Place<'_>,
    written: &[Spanned<WrittenVariant>],
    sets: &[WeightSet],
) -> Result<Vec<Variant>, CatalogError> {
    let mut variants: Vec<Variant> = Vec::with_capacity(written.len());
    for entry in written {
        let WrittenVariant { weights, grade } = entry.get_ref();
        let variant = Variant {
            weights: weights.get_ref().clone(),
            grade: (*grade.get_ref()).into(),
        };
        if !sets.iter().any(|set| set.name == variant.weights) {
            return Err(place.wrong(
                weights.span(),
                format!("there are no weights {:?}", variant.weights),
            ));
        }
        if variants
            .iter()
            .any(|earlier| earlier.weights == variant.weights)
        {
            return Err(place.wrong(weights.span(), "is listed twice"));
        }
        if let Some(worse) = variants
            .last()
            .filter(|earlier| earlier.grade > variant.grade)
        {
            return Err(place.wrong(
                grade.span(),
                format!(
                    "comes after \"{}\"; the best grade comes first",
                    worse.grade
                ),
            ));
        }
        variants.push(variant);
    }
    Ok(variants)
}
