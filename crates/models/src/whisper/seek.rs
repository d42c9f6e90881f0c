//! Where a window's transcript is cut into segments, and where the next window starts.
//!
//! After openai/whisper's transcribe.py: timestamps in pairs end one segment and begin the next, and what
//! follows the last pair is heard again in the next window.

use super::vocabulary::TIMESTAMPS_PER_SECOND;
use crate::audio::listen::FRAMES_PER_SECOND;

/// Frames from one timestamp to the next.
const TIMESTAMP_FRAMES: usize = FRAMES_PER_SECOND / TIMESTAMPS_PER_SECOND;

/// A part of a window's transcript.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    /// Seconds from the start of the window.
    pub(super) start: f64,
    /// Seconds from the start of the window.
    pub(super) end: f64,
    /// Text and timestamps.
    pub(super) tokens: Vec<u32>,
}

/// A window's transcript in pieces.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    pub(super) pieces: Vec<Piece>,
    /// Frames from the start of this window to that of the next.
    pub(super) advance: usize,
    /// The transcript ends with text and one timestamp: nothing follows in this window.
    pub(super) is_whole: bool,
}

/// Cuts the transcript of a window with `frames` of sound; tokens from `first_timestamp` on are
/// timestamps.
pub(super) fn cut(tokens: &[u32], frames: usize, first_timestamp: u32) -> Cut {
    let is_timestamp = |token: u32| token >= first_timestamp;
    let steps = |token: u32| token.saturating_sub(first_timestamp) as usize;
    let seconds = |token: u32| steps(token) as f64 / TIMESTAMPS_PER_SECOND as f64;
    let is_whole =
        matches!(tokens, [.., before, last] if !is_timestamp(*before) && is_timestamp(*last));
    let mut ends: Vec<usize> = (1..tokens.len())
        .filter(|&at| is_timestamp(tokens[at - 1]) && is_timestamp(tokens[at]))
        .collect();
    if ends.is_empty() {
        let last = tokens
            .iter()
            .rev()
            .copied()
            .find(|&token| is_timestamp(token));
        let end = match last.filter(|&token| token != first_timestamp) {
            Some(token) => seconds(token),
            None => frames as f64 / FRAMES_PER_SECOND as f64,
        };
        let piece = Piece {
            start: 0.0,
            end,
            tokens: tokens.to_vec(),
        };
        return Cut {
            pieces: vec![piece],
            advance: frames,
            is_whole,
        };
    }
    if is_whole {
        ends.push(tokens.len());
    }
    let mut first = 0;
    let mut pieces = Vec::new();
    for end in ends {
        let part = &tokens[first..end];
        if let [start, .., last] | [start @ last] = part {
            pieces.push(Piece {
                start: seconds(*start),
                end: seconds(*last),
                tokens: part.to_vec(),
            });
        }
        first = end;
    }
    let advance = if is_whole {
        frames
    } else {
        let last = first.checked_sub(1).map_or(0, |at| steps(tokens[at]));
        (last * TIMESTAMP_FRAMES).min(frames)
    };
    Cut {
        pieces,
        advance,
        is_whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u32 = 1_000;

    /// A timestamp of so many seconds.
    fn at(seconds: f64) -> u32 {
        FIRST + (seconds * 50.0).round() as u32
    }

    fn spans(cut: &Cut) -> Vec<(f64, f64)> {
        cut.pieces
            .iter()
            .map(|piece| (piece.start, piece.end))
            .collect()
    }

    #[test]
    fn pairs_end_segments_and_the_rest_is_heard_again() {
        let tokens = [at(0.0), 7, at(2.0), at(2.5), 8, at(6.0), at(6.0), 9];
        let cut = cut(&tokens, 3_000, FIRST);
        assert_eq!(spans(&cut), [(0.0, 2.0), (2.5, 6.0)]);
        assert_eq!((cut.advance, cut.is_whole), (600, false));
        assert_eq!(cut.pieces[1].tokens, [at(2.5), 8, at(6.0)]);
    }

    #[test]
    fn a_single_timestamp_at_the_end_leaves_nothing_to_hear() {
        let tokens = [at(0.0), 7, at(2.0), at(2.5), 8, at(6.0)];
        let cut = cut(&tokens, 3_000, FIRST);
        assert_eq!(spans(&cut), [(0.0, 2.0), (2.5, 6.0)]);
        assert_eq!((cut.advance, cut.is_whole), (3_000, true));
    }

    #[test]
    fn without_pairs_the_window_is_one_segment() {
        let whole = cut(&[at(0.0), 7, 8], 1_234, FIRST);
        assert_eq!(spans(&whole), [(0.0, 12.34)]);
        assert_eq!((whole.advance, whole.is_whole), (1_234, false));
        assert_eq!(
            spans(&cut(&[at(0.0), 7, at(4.0)], 3_000, FIRST)),
            [(0.0, 4.0)]
        );
        assert_eq!(spans(&cut(&[], 10, FIRST)), [(0.0, 0.1)]);
    }
}
