//! Who comes when, with what: drawn, or read from a file.

use engine::Class;

use super::chance::{Chance, mixed};

/// A request of a load.
#[derive(Debug, Clone)]
pub struct Request {
    /// Seconds after the start.
    pub at: f64,
    pub tenant: u64,
    pub class: Class,
    /// Which beginning it shares with others, and how long that is.
    pub common: (u64, usize),
    /// Tokens of its prompt, the beginning counted.
    pub prompt: usize,
    /// Tokens of its answer.
    pub new: usize,
    /// Seconds after its arrival at which it leaves, if it is not done.
    pub patience: Option<f64>,
}

impl Request {
    /// The tokens of its prompt; `number` is its own.
    #[must_use]
    pub fn tokens(&self, number: u64) -> Vec<u32> {
        let (kind, common) = self.common;
        let token = |whose: u64, at: usize| mixed(whose ^ mixed(at as u64)) as u32 >> 1;
        (0..self.prompt)
            .map(|at| {
                if at < common {
                    token(kind.wrapping_mul(3), at)
                } else {
                    token(number.wrapping_mul(3) + 1, at)
                }
            })
            .collect()
    }
}

/// Lengths and intervals of a load.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Requests.
    pub count: usize,
    /// Requests a second.
    pub rate: f64,
    /// Coefficient of variation of the intervals.
    pub variation: f64,
    /// Medians of prompts and answers, in tokens.
    pub prompt: f64,
    pub new: f64,
    /// Beginnings that requests share, and their length.
    pub beginnings: usize,
    pub common: usize,
    /// Of a prompt and its answer.
    pub window: usize,
}

/// Spread of the lengths: the mean is a third above the median.
const SPREAD: f64 = 0.75;
/// Callers of an ordinary load.
const TENANTS: u64 = 8;

/// Draws a load.
#[must_use]
pub fn drawn(kind: Kind, chance: &mut Chance) -> Vec<Request> {
    let mut at = 0.0;
    (0..kind.count)
        .map(|_| {
            at += chance.gamma(1.0 / kind.rate, kind.variation);
            let which = chance.popular(kind.beginnings) as u64;
            let own = chance.length(kind.prompt, SPREAD, kind.window / 2);
            Request {
                at,
                tenant: chance.bits() % TENANTS,
                class: Class::Default,
                common: (which, kind.common),
                prompt: kind.common + own,
                new: chance.length(kind.new, SPREAD, kind.window / 4),
                patience: None,
            }
        })
        .collect()
}

/// Reads a load: a line a request with the seconds of its arrival, the tokens of its prompt and of its answer,
/// separated by commas, and a first line of words. A time may also be of the form `2023-11-16 18:15:46.6805900`, as in
/// the traces of Azure's services; then the first one is the start.
///
/// # Errors
/// The line that is something else.
pub fn read(text: &str) -> Result<Vec<Request>, String> {
    let mut requests = Vec::new();
    let mut start = None;
    for (number, line) in text.lines().enumerate().skip(1) {
        let wrong = || {
            format!(
                "line {}: expected `time,prompt,answer`, found {line:?}",
                number + 1
            )
        };
        let mut words = line.split(',').map(str::trim);
        let (Some(time), Some(prompt), Some(new)) = (words.next(), words.next(), words.next())
        else {
            return Err(wrong());
        };
        let time = seconds(time).ok_or_else(wrong)?;
        let start = *start.get_or_insert(if time > 1e6 { time } else { 0.0 });
        requests.push(Request {
            at: time - start,
            tenant: 0,
            class: Class::Default,
            common: (0, 0),
            prompt: prompt.parse::<usize>().map_err(|_| wrong())?.max(1),
            new: new.parse::<usize>().map_err(|_| wrong())?.max(1),
            patience: None,
        });
    }
    requests.sort_by(|a, b| a.at.total_cmp(&b.at));
    Ok(requests)
}

fn seconds(time: &str) -> Option<f64> {
    if let Ok(seconds) = time.parse() {
        return Some(seconds).filter(|s: &f64| s.is_finite());
    }
    let (day, clock) = time.split_once(' ')?;
    let mut day = day.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (day.next()??, day.next()??, day.next()??);
    // Days since some day: a year from March on (Hinnant's `days_from_civil`, without eras).
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let mut clock = clock.split(':').map(|part| part.parse::<f64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    Some(days as f64 * 86_400.0 + hour * 3600.0 + minute * 60.0 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_read_in_both_forms_of_time() {
        let plain = read("at,prompt,new\n0.5,10,3\n2,4,1\n").expect("a trace");
        assert_eq!((plain[1].at, plain[1].prompt, plain[1].new), (2.0, 4, 1));
        let dated = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-12-31 23:59:59.5,100,7\n2024-01-01 00:00:01.0,9,9";
        let dated = read(dated).expect("a trace");
        assert!((dated[1].at - 1.5).abs() < 1e-3, "{}", dated[1].at);
        assert!(read("a\nx,y").is_err());
    }
}
