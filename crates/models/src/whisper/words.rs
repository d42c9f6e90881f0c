//! Words of a transcript and their times.
//!
//! After openai/whisper's timing.py and tokenizer.py: tokens are gathered to words at spaces, or to
//! characters in languages that write none; punctuation joins its word; words that last too long at the
//! borders of sentences and after pauses are shortened.

use super::vocabulary::Vocabulary;

/// Languages that do not part words by spaces.
const WITHOUT_SPACES: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];
/// What Python calls punctuation.
const PUNCTUATION: &str = r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##;
/// Joins the word behind it.
const OPENING: &str = "\"'“¿([{-";
/// Joins the word before it.
const CLOSING: &str = "\"'.。,，!！?？:：”)]}、";
/// Ends a sentence.
const SENTENCE_ENDS: &str = ".。!！?？";
/// The longest median of a word's duration, in seconds.
const MEDIAN_MAX_SECONDS: f64 = 0.7;
/// What a segment's own times may be off before a word's are changed to them, in seconds.
const SEGMENT_SLACK_SECONDS: f64 = 0.5;
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// A word; times are in seconds, from wherever the caller counts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TimedWord {
    /// With its leading space; empty once it has joined another.
    pub(super) text: String,
    /// Tokens that it is made of.
    pub(super) tokens: usize,
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) probability: f64,
}

/// A segment whose words are to be set.
#[derive(Debug)]
pub(super) struct Spoken<'a> {
    pub(super) start: &'a mut f64,
    pub(super) end: &'a mut f64,
    /// Tokens of text.
    pub(super) tokens: usize,
    pub(super) words: &'a mut Vec<TimedWord>,
}

/// Cuts text tokens into words with their numbers of tokens, which add up to all.
pub(super) fn split(
    vocabulary: &Vocabulary,
    tokens: &[u32],
    language: &str,
) -> Result<Vec<(String, usize)>, tokenizers::Error> {
    let characters = split_by_characters(vocabulary, tokens)?;
    if WITHOUT_SPACES.contains(&language) {
        return Ok(characters);
    }
    let mut words: Vec<(String, usize)> = Vec::new();
    for (part, count) in characters {
        let is_punctuation = PUNCTUATION.contains(part.trim());
        match words.last_mut() {
            Some((word, held)) if !part.starts_with(' ') && !is_punctuation => {
                word.push_str(&part);
                *held += count;
            }
            _ => words.push((part, count)),
        }
    }
    Ok(words)
}

/// Cuts tokens where whole characters end.
fn split_by_characters(
    vocabulary: &Vocabulary,
    tokens: &[u32],
) -> Result<Vec<(String, usize)>, tokenizers::Error> {
    let whole: Vec<char> = vocabulary.text(tokens)?.chars().collect();
    let mut parts = Vec::new();
    let (mut first, mut offset) = (0, 0);
    for end in 1..=tokens.len() {
        let part = vocabulary.text(&tokens[first..end])?;
        // A character that is unknown in the whole text, too, is no half character.
        let is_whole = match part.chars().position(|c| c == UNKNOWN) {
            None => true,
            Some(at) => whole.get(offset + at) == Some(&UNKNOWN),
        };
        if is_whole || end == tokens.len() {
            offset += part.chars().count();
            parts.push((part, end - first));
            first = end;
        }
    }
    Ok(parts)
}

/// Shortens words at the ends of sentences, joins punctuation, and gives the words to their segments, whose
/// times follow. `offset` is added to the words' times; `last_speech` is the end of the segment before, and
/// becomes that of the last.
pub(super) fn assign(
    mut words: Vec<TimedWord>,
    segments: &mut [Spoken<'_>],
    offset: f64,
    last_speech: &mut f64,
) {
    let median = median_duration(&words);
    let longest = 2.0 * median;
    if median > 0.0 {
        shorten_sentence_ends(&mut words, longest);
    }
    join_punctuation(&mut words);
    let mut words = words.into_iter();
    for segment in segments {
        let mut taken = 0;
        while taken < segment.tokens {
            let Some(mut word) = words.next() else {
                break;
            };
            taken += word.tokens;
            if !word.text.is_empty() {
                word.start = hundredths(word.start + offset);
                word.end = hundredths(word.end + offset);
                segment.words.push(word);
            }
        }
        fit(segment, median, *last_speech);
        if !segment.words.is_empty() {
            *last_speech = *segment.end;
        }
    }
}

fn hundredths(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

fn median_duration(words: &[TimedWord]) -> f64 {
    let mut durations: Vec<f64> = words
        .iter()
        .map(|word| word.end - word.start)
        .filter(|&duration| duration != 0.0)
        .collect();
    durations.sort_by(f64::total_cmp);
    let half = durations.len() / 2;
    let median = match durations.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => durations[half],
        _ => f64::midpoint(durations[half - 1], durations[half]),
    };
    median.min(MEDIAN_MAX_SECONDS)
}

fn shorten_sentence_ends(words: &mut [TimedWord], longest: f64) {
    for index in 1..words.len() {
        if words[index].end - words[index].start <= longest {
            continue;
        }
        if SENTENCE_ENDS.contains(&words[index].text) {
            words[index].end = words[index].start + longest;
        } else if SENTENCE_ENDS.contains(&words[index - 1].text) {
            words[index].start = words[index].end - longest;
        }
    }
}

fn join_punctuation(words: &mut [TimedWord]) {
    let mut following = words.len().saturating_sub(1);
    for index in (0..following).rev() {
        let is_opening = {
            let text = &words[index].text;
            text.starts_with(' ') && OPENING.contains(text.trim())
        };
        if is_opening {
            let text = std::mem::take(&mut words[index].text);
            let tokens = std::mem::take(&mut words[index].tokens);
            words[following].text.insert_str(0, &text);
            words[following].tokens += tokens;
        } else {
            following = index;
        }
    }
    let mut previous = 0;
    for index in 1..words.len() {
        let joins = !words[previous].text.ends_with(' ') && CLOSING.contains(&words[index].text);
        if joins {
            let text = std::mem::take(&mut words[index].text);
            let tokens = std::mem::take(&mut words[index].tokens);
            words[previous].text.push_str(&text);
            words[previous].tokens += tokens;
        } else {
            previous = index;
        }
    }
}

/// Brings a segment and its words to agree on their times.
fn fit(segment: &mut Spoken<'_>, median: f64, last_speech: f64) {
    let longest = 2.0 * median;
    let words = &mut *segment.words;
    let Some(first) = words.first() else {
        return;
    };
    // The first and second word after a pause.
    let after_pause = first.end - last_speech > 4.0 * median;
    let second = words.get(1).map(|word| (word.start, word.end));
    let too_long = first.end - first.start > longest
        || second.is_some_and(|(_, end)| end - first.start > 2.0 * longest);
    if after_pause && too_long {
        if let Some((start, end)) = second.filter(|(start, end)| end - start > longest) {
            debug_assert!(start <= end);
            let border = (end / 2.0).max(end - longest);
            words[0].end = border;
            words[1].start = border;
        }
        words[0].start = (words[0].end - longest).max(0.0);
    }
    let first = &mut words[0];
    if *segment.start < first.end && *segment.start - SEGMENT_SLACK_SECONDS > first.start {
        first.start = (first.end - median).min(*segment.start).max(0.0);
    } else {
        *segment.start = first.start;
    }
    let Some(last) = words.last_mut() else {
        return;
    };
    if *segment.end > last.start && *segment.end + SEGMENT_SLACK_SECONDS < last.end {
        last.end = (last.start + median).max(*segment.end);
    } else {
        *segment.end = last.end;
    }
}

/// Whether words look like something that nobody said: unlikely, much too short or much too long.
pub(super) fn is_anomaly(words: &[TimedWord]) -> bool {
    /// Words that are looked at.
    const WORDS: usize = 8;
    const UNLIKELY: f64 = 0.15;
    const SHORT_SECONDS: f64 = 0.133;
    const LONG_SECONDS: f64 = 2.0;
    const SHORT_WEIGHT: f64 = 15.0;
    const SCORE: f64 = 3.0;
    let spoken = words
        .iter()
        .filter(|word| !PUNCTUATION.contains(&word.text))
        .take(WORDS);
    let (mut score, mut count) = (0.0, 0);
    for word in spoken {
        let duration = word.end - word.start;
        score += f64::from(u8::from(word.probability < UNLIKELY))
            + (SHORT_SECONDS - duration).max(0.0) * SHORT_WEIGHT
            + (duration - LONG_SECONDS).max(0.0);
        count += 1;
    }
    count > 0 && (score >= SCORE || score + 0.01 >= f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, start: f64, end: f64) -> TimedWord {
        TimedWord {
            text: text.into(),
            tokens: 1,
            start,
            end,
            probability: 0.9,
        }
    }

    fn assigned(
        words: Vec<TimedWord>,
        mut times: (f64, f64),
        last_speech: f64,
    ) -> (Vec<TimedWord>, (f64, f64)) {
        let mut found = Vec::new();
        let mut last_speech = last_speech;
        let mut segments = [Spoken {
            start: &mut times.0,
            end: &mut times.1,
            tokens: words.len(),
            words: &mut found,
        }];
        assign(words, &mut segments, 0.0, &mut last_speech);
        (found, times)
    }

    #[test]
    fn punctuation_joins_its_word() {
        let said = [" \"", "Hello", ",", " dear", " (", "friend", ")", "."];
        let words = said.iter().enumerate();
        let words = words
            .map(|(at, text)| word(text, at as f64 * 0.3, (at + 1) as f64 * 0.3))
            .collect();
        let (words, times) = assigned(words, (0.0, 2.4), 0.0);
        let texts: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, [" \"Hello,", " dear", " (friend)."]);
        assert_eq!(times, (0.3, 1.8));
    }

    #[test]
    fn a_first_word_that_lasts_through_a_pause_is_shortened() {
        let words = vec![
            word(" So", 0.0, 5.0),
            word(" it", 5.0, 5.3),
            word(" is", 5.3, 5.6),
        ];
        let (words, times) = assigned(words, (0.0, 5.6), 0.0);
        assert!((words[0].start - 4.4).abs() < 1e-9, "{words:?}");
        assert!((times.0 - 4.4).abs() < 1e-9);
        // Where the segment knows better, its start is taken.
        let words = vec![
            word(" So", 0.0, 1.0),
            word(" it", 1.0, 1.3),
            word(" is", 1.3, 1.6),
        ];
        let (words, _) = assigned(words, (0.8, 1.6), 0.9);
        assert!((words[0].start - 0.7).abs() < 1e-9, "{words:?}");
    }

    #[test]
    fn unlikely_and_fleeting_words_are_anomalies() {
        let said = |probability, seconds| {
            let mut words = vec![word(" a", 0.0, seconds); 6];
            for word in &mut words {
                word.probability = probability;
            }
            is_anomaly(&words)
        };
        assert!(!said(0.9, 0.3) && said(0.1, 0.3) && said(0.9, 0.05) && said(0.9, 3.0));
        assert!(!is_anomaly(&[]) && !is_anomaly(&[word(".", 0.0, 0.0)]));
    }
}
