//! `models/search` and `models/schema`: the catalogue as the service tells it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use catalog::{Catalog, ModelCard};
use serde_json::{Value, json};

use super::envelope::{Declined, PageInfo, listed, success};
use super::model_rows::Row;
use super::openrouter;
use crate::App;
use crate::errors::json;
use crate::run::dialects;

/// Days that a model is still listed after it was withdrawn, for those who ask for deprecated ones.
const DEPRECATED_DAYS: i64 = 92;

/// What a caller may ask of the list.
#[derive(Debug, Default, PartialEq)]
struct Search {
    author: Option<String>,
    task: Option<String>,
    /// In lower case.
    text: Option<String>,
    source: Option<u8>,
    hides_experimental: bool,
    includes_deprecated: bool,
    is_openrouter: bool,
    page: Option<usize>,
    per_page: Option<usize>,
}

impl Search {
    /// Parameters that are not known are ignored, as everywhere in the service's API.
    fn read(query: &str) -> Result<Self, Declined> {
        let mut search = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() {
                continue; // a client's way of not giving it
            }
            match &*name {
                "author" => search.author = Some(value.into_owned()),
                "task" => search.task = Some(value.into_owned()),
                "search" => search.text = Some(value.to_lowercase()),
                "source" => search.source = Some(number(&name, &value)?),
                "hide_experimental" => search.hides_experimental = flag(&name, &value)?,
                "include_deprecated" => search.includes_deprecated = flag(&name, &value)?,
                "format" if value == "openrouter" => search.is_openrouter = true,
                "format" => return Err(wrong(&name, &value, "openrouter")),
                "page" => search.page = Some(counted(&name, &value)?),
                "per_page" => search.per_page = Some(counted(&name, &value)?),
                _ => {}
            }
        }
        Ok(search)
    }

    fn takes(&self, card: &ModelCard, today: i64) -> bool {
        let says = |text: &String| {
            let row = Row::of(card);
            row.name().to_lowercase().contains(text)
                || row.description().to_lowercase().contains(text)
        };
        let age = card.deprecated_on.as_deref().and_then(day);
        let is_shown = match age.map(|day| today - day) {
            Some(age) if age >= 0 => self.includes_deprecated && age <= DEPRECATED_DAYS,
            _ => true,
        };
        is_shown
            && self
                .author
                .as_ref()
                .is_none_or(|author| card.author() == author)
            && self
                .task
                .as_ref()
                .is_none_or(|task| card.task.name() == task)
            && self.source.is_none_or(|source| card.source() == source)
            && !(self.hides_experimental && card.flags.beta)
            && self.text.as_ref().is_none_or(says)
    }

    fn find<'a>(&self, catalog: &'a Catalog, today: i64) -> (Vec<&'a ModelCard>, PageInfo) {
        let found: Vec<_> = catalog
            .cards()
            .filter(|card| self.takes(card, today))
            .collect();
        let total_count = found.len();
        // Whoever names no size expects the whole list.
        let per_page = self.per_page.unwrap_or(total_count.max(1));
        let page = self.page.unwrap_or(1);
        let skipped = (page - 1).saturating_mul(per_page);
        let cards: Vec<_> = found.into_iter().skip(skipped).take(per_page).collect();
        let info = PageInfo {
            page,
            per_page,
            count: cards.len(),
            total_count,
        };
        (cards, info)
    }
}

fn wrong(name: &str, value: &str, wanted: &str) -> Declined {
    Declined::invalid(format_args!("{name} is {value:?}, and has to be {wanted}"))
}

fn number(name: &str, value: &str) -> Result<u8, Declined> {
    value
        .parse()
        .map_err(|_| wrong(name, value, "a small number"))
}

fn counted(name: &str, value: &str) -> Result<usize, Declined> {
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(wrong(name, value, "a whole number from 1")),
    }
}

fn flag(name: &str, value: &str) -> Result<bool, Declined> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(wrong(name, value, "true or false")),
    }
}

/// The day since 1970 of `YYYY-MM-DD`.
fn day(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    Some(calendar_day(year, month, day))
}

/// Days since 1970-01-01 in the Gregorian calendar; years begin in March, so that a leap day is a year's last.
fn calendar_day(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn today() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    (now.unwrap_or_default().as_secs() / (24 * 60 * 60)) as i64
}

/// `GET .../ai/models/search`, and `GET /ai-api/models/search` of the binding.
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Declined> {
    let search = Search::read(query.as_deref().unwrap_or_default())?;
    let (cards, info) = search.find(&app.catalog, today());
    if search.is_openrouter {
        return Ok(json(StatusCode::OK, &openrouter::listing(&cards)));
    }
    let rows: Vec<_> = cards.into_iter().map(Row::of).collect();
    Ok(listed(&rows, Some(info)))
}

/// `GET .../ai/models/schema?model=`.
pub(crate) async fn schema(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Declined> {
    let query = query.unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let Some((_, model)) = pairs.find(|(name, _)| name == "model") else {
        return Err(Declined::invalid("the query names no model"));
    };
    let card = app.catalog.card(&model).ok_or_else(Declined::not_found)?;
    Ok(success(&documents(card)?))
}

/// The schemas that a model publishes.
fn documents(card: &ModelCard) -> Result<Value, Declined> {
    match dialects::of(card) {
        Some(class) => Ok(json!({"input": class.input_json, "output": class.output_json})),
        None => Err(Declined::unserved(&format!(
            "the schema of the class {}",
            card.schema_class
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn catalog() -> Catalog {
        Catalog::builtin().unwrap()
    }

    fn names(query: &str, today: i64) -> Vec<String> {
        let search = Search::read(query).unwrap();
        let catalog = catalog();
        let (cards, _) = search.find(&catalog, today);
        cards.iter().map(|card| card.name.clone()).collect()
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day("1970-01-01"), Some(0));
        assert_eq!(day("2000-03-01"), Some(11_017));
        assert_eq!(day("2024-02-29"), Some(19_782));
        assert_eq!(day("2026-05-30"), Some(20_603));
        assert_eq!(day("soon"), None);
    }

    #[test]
    fn withdrawn_models_are_listed_for_three_months_and_only_to_those_who_ask() {
        let name = "@cf/microsoft/phi-2".to_owned();
        let withdrawn = day("2026-05-30").unwrap();
        let asked = "include_deprecated=true";
        assert!(names("", withdrawn - 1).contains(&name));
        assert!(!names("", withdrawn).contains(&name));
        assert!(names(asked, withdrawn).contains(&name));
        assert!(names(asked, withdrawn + 92).contains(&name));
        assert!(!names(asked, withdrawn + 93).contains(&name));
    }

    proptest! {
        /// Whatever the size of a page, the pages together are the list, and the loop of a client that stops at the
        /// first page that is not full comes to its end.
        #[test]
        fn pages_are_the_list_cut_into_pieces(
            per_page in 1_usize..200,
            filter in prop::sample::select(vec!["", "&author=meta", "&task=Text+Generation", "&source=2", "&search=no+such"]),
        ) {
            let catalog = catalog();
            let whole = names(&filter.replacen('&', "", 1), 20_000);
            let mut seen = Vec::new();
            for page in 1.. {
                prop_assert!(page <= 200, "it does not end");
                let query = format!("per_page={per_page}&page={page}{filter}");
                let search = Search::read(&query).ok().unwrap();
                let (cards, info) = search.find(&catalog, 20_000);
                prop_assert_eq!(info.count, cards.len());
                prop_assert_eq!(info.total_count, whole.len());
                seen.extend(cards.iter().map(|card| card.name.clone()));
                if cards.len() < per_page {
                    break;
                }
            }
            prop_assert_eq!(seen, whole);
        }
    }
}
