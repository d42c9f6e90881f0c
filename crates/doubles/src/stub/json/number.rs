//! Numbers: limits, multiples, and one that keeps them all.

use serde_json::{Map, Number, Value};

use super::Unmet;
use super::check::malformed;

/// Multiples that are tried, from the lowest that is allowed.
const TRIED_MULTIPLES: i32 = 64;
/// Above this not every whole number is one of double precision.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// How near to a whole number a quotient has to be, of itself.
const QUOTIENT_SLACK: f64 = 1e-9;

/// How two numbers stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    Same,
    More,
}

pub(super) fn order(a: &Number, b: &Number) -> Order {
    let (whole_a, whole_b) = (whole(a), whole(b));
    let ordering = match whole_a.zip(whole_b) {
        Some((a, b)) => Some(a.cmp(&b)),
        None => double(a).partial_cmp(&double(b)),
    };
    match ordering {
        Some(std::cmp::Ordering::Less) => Order::Less,
        Some(std::cmp::Ordering::Greater) => Order::More,
        _ => Order::Same,
    }
}

fn whole(number: &Number) -> Option<i128> {
    number
        .as_i64()
        .map(i128::from)
        .or(number.as_u64().map(i128::from))
}

pub(super) fn double(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

pub(super) fn is_whole(number: &Number) -> bool {
    whole(number).is_some() || double(number).fract() == 0.0
}

/// Whether a number keeps the limits of a schema.
pub(super) fn is_within(keywords: &Map<String, Value>, number: &Number) -> Result<bool, Unmet> {
    let limits: [(&str, &[Order]); 4] = [
        ("minimum", &[Order::Same, Order::More]),
        ("exclusiveMinimum", &[Order::More]),
        ("maximum", &[Order::Same, Order::Less]),
        ("exclusiveMaximum", &[Order::Less]),
    ];
    for (word, allowed) in limits {
        if let Some(limit) = keywords.get(word) {
            let limit = limit.as_number().ok_or_else(|| malformed(word))?;
            if !allowed.contains(&order(number, limit)) {
                return Ok(false);
            }
        }
    }
    match keywords.get("multipleOf") {
        None => Ok(true),
        Some(step) => {
            let step = step.as_number().ok_or_else(|| malformed("multipleOf"))?;
            is_multiple(number, step)
        }
    }
}

fn is_multiple(number: &Number, step: &Number) -> Result<bool, Unmet> {
    if let Some((number, step)) = whole(number).zip(whole(step).filter(|step| *step > 0)) {
        return Ok(number % step == 0);
    }
    let (number, step) = (double(number), double(step));
    if step.is_nan() || step <= 0.0 {
        return Err(malformed("multipleOf"));
    }
    let quotient = number / step;
    let slack = QUOTIENT_SLACK * quotient.abs().max(1.0);
    Ok((quotient - quotient.round()).abs() <= slack)
}

/// What a number has to keep.
#[derive(Debug, Default)]
pub(super) struct Limits {
    least: Option<f64>,
    most: Option<f64>,
    is_open_below: bool,
    is_open_above: bool,
    /// Above 0.
    steps: Vec<f64>,
}

impl Limits {
    /// Takes the limits of one more schema on.
    pub(super) fn take(&mut self, keywords: &Map<String, Value>) -> Result<(), Unmet> {
        let limit = |word| match keywords.get(word) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| malformed(word)),
        };
        for (word, is_open) in [("minimum", false), ("exclusiveMinimum", true)] {
            if let Some(limit) = limit(word)?
                && self.least.is_none_or(|least| limit >= least)
            {
                self.is_open_below = is_open || (self.is_open_below && self.least == Some(limit));
                self.least = Some(limit);
            }
        }
        for (word, is_open) in [("maximum", false), ("exclusiveMaximum", true)] {
            if let Some(limit) = limit(word)?
                && self.most.is_none_or(|most| limit <= most)
            {
                self.is_open_above = is_open || (self.is_open_above && self.most == Some(limit));
                self.most = Some(limit);
            }
        }
        if let Some(step) = limit("multipleOf")? {
            if step.is_nan() || step <= 0.0 {
                return Err(malformed("multipleOf"));
            }
            self.steps.push(step);
        }
        Ok(())
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        self.least.is_some() || self.most.is_some() || !self.steps.is_empty()
    }

    /// Numbers that may keep them, the plainest first. `variant` tells apart those of one array.
    pub(super) fn candidates(&self, is_whole: bool, variant: u32) -> Vec<Value> {
        let mut found = Vec::new();
        let mut offer = |number: f64| {
            let is_new = |number: &Value| !found.contains(number);
            found.extend(
                written(number, is_whole).filter(|number| self.allows(number) && is_new(number)),
            );
        };
        let variant = f64::from(variant);
        let largest = self.steps.iter().copied().fold(0.0, f64::max);
        if largest == 0.0 {
            let (least, most) = (self.least, self.most);
            offer(1.0 + variant);
            for start in [least.map(f64::ceil), least, least.map(|least| least + 1.0)] {
                offer(start.unwrap_or(1.0) + variant);
            }
            if let (Some(least), Some(most)) = (least, most) {
                // Of an open or narrow span the middle, and for variants more and more of it.
                offer(least + (most - least) * (1.0 / (variant + 2.0)));
            }
            for start in [most.map(f64::floor), most, most.map(|most| most - 1.0)] {
                offer(start.unwrap_or(1.0) - variant);
            }
            return found;
        }
        // Multiples of the largest step, from the lowest (or highest) that is allowed.
        let first = match (self.least, self.most) {
            (Some(least), _) => (least / largest).ceil(),
            (None, Some(most)) => ((most / largest).floor() - f64::from(TRIED_MULTIPLES)).min(1.0),
            (None, None) => 1.0,
        };
        for index in 0..TRIED_MULTIPLES {
            offer(multiple(largest, first + variant + f64::from(index)));
        }
        offer(0.0);
        found
    }

    fn allows(&self, number: &Value) -> bool {
        let Some(number) = number.as_number() else {
            return false;
        };
        let value = double(number);
        let above = |least| {
            if self.is_open_below {
                value > least
            } else {
                value >= least
            }
        };
        let below = |most| {
            if self.is_open_above {
                value < most
            } else {
                value <= most
            }
        };
        let is_multiple = |step: &f64| {
            Number::from_f64(*step).is_some_and(|step| is_multiple(number, &step) == Ok(true))
        };
        self.least.is_none_or(above)
            && self.most.is_none_or(below)
            && self.steps.iter().all(is_multiple)
    }
}

/// `times` steps, as the decimal that they are: 3 times 0.1 is 0.3.
fn multiple(step: f64, times: f64) -> f64 {
    let mut scale = 1.0;
    while scale < 1e12 && ((step * scale).round() - step * scale).abs() > 1e-9 * step * scale {
        scale *= 10.0;
    }
    (step * scale).round() * times / scale
}

/// A number as JSON writes it; whole ones without a point. `None` where one has to be whole and is not.
fn written(number: f64, is_whole: bool) -> Option<Value> {
    if number.fract() == 0.0 && number.abs() <= WHOLE_MAX {
        return Some(Value::from(number as i64));
    }
    if is_whole {
        return None;
    }
    Number::from_f64(number).map(Value::Number)
}
