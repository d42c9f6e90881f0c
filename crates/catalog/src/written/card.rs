//! A `[model."..."]` with what its group adds, judged into a [`ModelCard`].

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::rate::WrittenRate;
use super::variants::{WrittenVariant, judge_variants};
use super::words::{Flag, class, day, flags, row_time, task, uuid};
use crate::card::{ModelCard, ReasoningEffort};
use crate::place::{CatalogError, Place};
use crate::rate::Rate;
use crate::task::TaskKind;

/// The keys of a `[model."..."]`, and of a `[group."..."]`, which has no `group` of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) group: Option<Spanned<String>>,
    id: Option<Spanned<String>>,
    created_at: Option<Spanned<String>>,
    task: Option<Spanned<String>>,
    schema: Option<Spanned<String>>,
    output: Option<Spanned<String>>,
    context_window: Option<Spanned<u32>>,
    max_tokens: Option<Spanned<u32>>,
    max_max_tokens: Option<Spanned<u32>>,
    output_dimensions: Option<Spanned<u32>>,
    flags: Option<Spanned<Vec<Spanned<Flag>>>>,
    reasoning_effort: Option<Spanned<WrittenEffort>>,
    price: Option<Spanned<WrittenRate>>,
    neurons: Option<Spanned<WrittenRate>>,
    deprecated_on: Option<Spanned<String>>,
    pub(super) answered_by: Option<Spanned<String>>,
    pub(super) variants: Option<Spanned<Vec<Spanned<WrittenVariant>>>>,
    twins: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEffort {
    supported: Spanned<Vec<Spanned<String>>>,
    default: Spanned<String>,
    #[serde(default)]
    mandatory: bool,
}

impl Entry {
    /// Where the first key stands that is not `variants`.
    pub(super) fn beside_variants(&self) -> Option<Range<usize>> {
        fn span<T>(value: Option<&Spanned<T>>) -> Option<Range<usize>> {
            value.map(Spanned::span)
        }
        let spans = [
            span(self.group.as_ref()),
            span(self.id.as_ref()),
            span(self.created_at.as_ref()),
            span(self.task.as_ref()),
            span(self.schema.as_ref()),
            span(self.output.as_ref()),
            span(self.context_window.as_ref()),
            span(self.max_tokens.as_ref()),
            span(self.max_max_tokens.as_ref()),
            span(self.output_dimensions.as_ref()),
            span(self.flags.as_ref()),
            span(self.reasoning_effort.as_ref()),
            span(self.price.as_ref()),
            span(self.neurons.as_ref()),
            span(self.deprecated_on.as_ref()),
            span(self.answered_by.as_ref()),
            span(self.twins.as_ref()),
        ];
        spans.into_iter().flatten().min_by_key(|span| span.start)
    }
}

/// A model's name with its own keys and those of its group.
pub(super) struct Written<'a> {
    pub(super) place: Place<'a>,
    pub(super) name: &'a Spanned<String>,
    pub(super) own: &'a Entry,
    pub(super) group: Option<&'a Entry>,
}

impl<'a> Written<'a> {
    /// The card, if every value is possible; `sets` are the names of those that variants may name.
    pub(super) fn judge(&self, sets: &[&str]) -> Result<ModelCard, CatalogError> {
        let place = self.place;
        if !is_model_name(self.name.get_ref()) {
            return Err(place.wrong(
                self.name.span(),
                "a model's name must be @cf/author/name or @hf/author/name",
            ));
        }
        let task = task(place, self.needed("task", |entry| entry.task.as_ref())?)?;
        let context_window = self.value(|entry| entry.context_window.as_ref());
        let context_window = context_window
            .map(|window| positive(place, window))
            .transpose()?;
        let max_max_tokens =
            self.tokens(task, context_window, |entry| entry.max_max_tokens.as_ref())?;
        let rate = |rate: Option<&Spanned<WrittenRate>>| -> Result<Option<Rate>, CatalogError> {
            rate.map(|rate| WrittenRate::judge(rate, place, task))
                .transpose()
        };
        let id = self.own.id.as_ref().map(|id| uuid(place, id));
        let created_at = self.own.created_at.as_ref();
        let created_at = created_at.map(|time| row_time(place, time));
        let day = |text: Option<&Spanned<String>>| text.map(|text| day(place, text)).transpose();
        let effort = self.value(|entry| entry.reasoning_effort.as_ref());
        Ok(ModelCard {
            name: self.name.get_ref().clone(),
            id: id.transpose()?,
            created_at: created_at.transpose()?,
            task,
            schema_class: class(place, self.needed("schema", |entry| entry.schema.as_ref())?)?,
            output_class: class(place, self.needed("output", |entry| entry.output.as_ref())?)?,
            context_window,
            default_max_tokens: self.tokens(task, max_max_tokens.or(context_window), |entry| {
                entry.max_tokens.as_ref()
            })?,
            max_max_tokens,
            output_dimensions: self.output_dimensions(task)?,
            flags: flags(
                place,
                self.value(|entry| entry.flags.as_ref())
                    .map_or(&[], |flags| flags.get_ref().as_slice()),
            )?,
            reasoning_effort: effort
                .map(|effort| effort.get_ref().judge(place))
                .transpose()?,
            price: rate(self.value(|entry| entry.price.as_ref()))?,
            neurons: rate(self.value(|entry| entry.neurons.as_ref()))?,
            deprecated_on: day(self.value(|entry| entry.deprecated_on.as_ref()))?,
            answered_by: self
                .value(|entry| entry.answered_by.as_ref())
                .map(|name| name.get_ref().clone()),
            variants: judge_variants(
                place,
                self.value(|entry| entry.variants.as_ref()),
                self.value(|entry| entry.twins.as_ref()),
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

    /// A number of tokens that a request can ask for, at most `limit`.
    fn tokens(
        &self,
        task: TaskKind,
        limit: Option<u32>,
        of: impl Fn(&'a Entry) -> Option<&'a Spanned<u32>>,
    ) -> Result<Option<u32>, CatalogError> {
        let Some(written) = self.value(of) else {
            return Ok(None);
        };
        if !matches!(task, TaskKind::TextGeneration | TaskKind::ImageToText) {
            return Err(self.place.wrong(written.span(), not_for(task)));
        }
        let tokens = positive(self.place, written)?;
        match limit {
            Some(limit) if tokens > limit => Err(self.place.wrong(
                written.span(),
                format!("must be at most {limit}, the context window or max_max_tokens"),
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

impl WrittenEffort {
    fn judge(&self, place: Place<'_>) -> Result<ReasoningEffort, CatalogError> {
        let words = self.supported.get_ref().iter();
        let supported: Vec<String> = words
            .map(|word| class(place, word))
            .collect::<Result<_, _>>()?;
        if !supported.contains(self.default.get_ref()) {
            return Err(place.wrong(self.default.span(), "must be one of `supported`"));
        }
        Ok(ReasoningEffort {
            supported,
            default: self.default.get_ref().clone(),
            mandatory: self.mandatory,
        })
    }
}
