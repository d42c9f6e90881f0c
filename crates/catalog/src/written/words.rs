//! The words that a catalogue file may use for a task, a flag and a grade, and the form of free words and days.

use serde::Deserialize;
use tasks::Grade;
use toml::Spanned;

use crate::card::Flags;
use crate::place::{CatalogError, Place};
use crate::task::TaskKind;

/// The task of that name.
pub(super) fn task(place: Place<'_>, name: &Spanned<String>) -> Result<TaskKind, CatalogError> {
    let named = TaskKind::ALL
        .into_iter()
        .find(|task| task.name() == name.get_ref());
    named.ok_or_else(|| {
        let names = TaskKind::ALL.map(TaskKind::name).join(", ");
        place.wrong(
            name.span(),
            format!("must be a task of the catalogue: {names}"),
        )
    })
}

/// Grades that weights can have; [`Grade::Stub`] is the grade of answers without weights.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WeightGrade {
    Exact,
    Quantised,
    Twin,
}

impl From<WeightGrade> for Grade {
    fn from(grade: WeightGrade) -> Self {
        match grade {
            WeightGrade::Exact => Self::Exact,
            WeightGrade::Quantised => Self::Quantised,
            WeightGrade::Twin => Self::Twin,
        }
    }
}

/// One of [`Flags`].
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Flag {
    Lora,
    FunctionCalling,
    JsonMode,
    AsyncQueue,
    Reasoning,
    Vision,
    Beta,
    Partner,
    Realtime,
    RequireWorkersPaid,
    PrivateAccess,
    LicenceAgreement,
}

/// A list of flags, none of them twice.
pub(super) fn flags(place: Place<'_>, list: &[Spanned<Flag>]) -> Result<Flags, CatalogError> {
    let mut flags = Flags::default();
    for flag in list {
        let slot = match flag.get_ref() {
            Flag::Lora => &mut flags.lora,
            Flag::FunctionCalling => &mut flags.function_calling,
            Flag::JsonMode => &mut flags.json_mode,
            Flag::AsyncQueue => &mut flags.async_queue,
            Flag::Reasoning => &mut flags.reasoning,
            Flag::Vision => &mut flags.vision,
            Flag::Beta => &mut flags.beta,
            Flag::Partner => &mut flags.partner,
            Flag::Realtime => &mut flags.realtime,
            Flag::RequireWorkersPaid => &mut flags.require_workers_paid,
            Flag::PrivateAccess => &mut flags.private_access,
            Flag::LicenceAgreement => &mut flags.licence_agreement,
        };
        if std::mem::replace(slot, true) {
            return Err(place.wrong(flag.span(), "is listed twice"));
        }
    }
    Ok(flags)
}

/// A word such as `tg-g2`: lower-case letters, digits and hyphens.
pub(super) fn class(place: Place<'_>, word: &Spanned<String>) -> Result<String, CatalogError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if word.get_ref().is_empty() || !word.get_ref().chars().all(plain) {
        return Err(place.wrong(
            word.span(),
            "must be lower-case letters, digits and hyphens",
        ));
    }
    Ok(word.get_ref().clone())
}

/// A day, `YYYY-MM-DD`.
pub(super) fn day(place: Place<'_>, text: &Spanned<String>) -> Result<String, CatalogError> {
    // TOML's own dates know how long each month is.
    let parsed = text.get_ref().parse::<toml::value::Datetime>();
    let whole = parsed.is_ok_and(|day| day.date.is_some() && day.time.is_none());
    if !whole {
        return Err(place.wrong(
            text.span(),
            "must be a day of the calendar, such as \"2026-05-30\"",
        ));
    }
    Ok(text.get_ref().clone())
}

/// A time as the catalogue's rows have it, `YYYY-MM-DD HH:MM:SS.mmm`.
pub(super) fn row_time(place: Place<'_>, text: &Spanned<String>) -> Result<String, CatalogError> {
    let parsed = text.get_ref().parse::<toml::value::Datetime>();
    let whole =
        parsed.is_ok_and(|it| it.date.is_some() && it.time.is_some() && it.offset.is_none());
    let bytes = text.get_ref().as_bytes();
    if !whole || bytes.len() != 23 || bytes[10] != b' ' || bytes[19] != b'.' {
        return Err(place.wrong(
            text.span(),
            "must be a time such as \"2024-09-25 21:36:32.050\"",
        ));
    }
    Ok(text.get_ref().clone())
}

/// A UUID as the catalogue writes it: 8, 4, 4, 4 and 12 lower-case hex digits.
pub(super) fn uuid(place: Place<'_>, text: &Spanned<String>) -> Result<String, CatalogError> {
    let digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    let groups: Vec<&str> = text.get_ref().split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    if lengths != [8, 4, 4, 4, 12] || !groups.iter().all(|group| group.chars().all(digit)) {
        return Err(place.wrong(
            text.span(),
            "must be a UUID in lower case, such as \"906a57fd-b018-4d6c-a43e-a296d4cc5839\"",
        ));
    }
    Ok(text.get_ref().clone())
}
