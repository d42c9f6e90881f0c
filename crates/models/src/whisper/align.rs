//! When each token was said: a path through the weights of the decoder's attention to the sound.
//!
//! After openai/whisper's timing.py: softmax over the sound, each position brought to mean 0 and deviation
//! 1 over the tokens, a median filter over time, the mean of the heads, and dynamic time warping (Sakoe
//! and Chiba 1978) through it.

/// Positions under the median filter.
const MEDIAN: usize = 7;

/// Scores of attention before their softmax.
pub(super) struct Scores {
    /// `[heads, rows, positions]`.
    pub(super) values: Vec<f32>,
    /// One for each token of the pass.
    pub(super) rows: usize,
    pub(super) positions: usize,
}

/// The position at which each row of `rows` begins, rows being in order of time.
pub(super) fn begins(scores: Scores, rows: std::ops::Range<usize>) -> Vec<usize> {
    let positions = scores.positions;
    let matrix = weights(scores);
    warp(
        &matrix[rows.start * positions..rows.end * positions],
        positions,
    )
}

/// The mean of the heads' filtered weights, `[rows, positions]`.
fn weights(scores: Scores) -> Vec<f32> {
    let Scores {
        mut values,
        rows,
        positions,
    } = scores;
    let size = rows * positions;
    let heads = values.len() / size.max(1);
    let mut mean = vec![0.0; size];
    let mut line = vec![0.0; positions + MEDIAN - 1];
    for head in values.chunks_exact_mut(size.max(1)) {
        head.chunks_exact_mut(positions).for_each(softmax);
        standardise(head, positions);
        for (row, sums) in head
            .chunks_exact(positions)
            .zip(mean.chunks_exact_mut(positions))
        {
            add_medians(row, &mut line, sums);
        }
    }
    for value in &mut mean {
        *value /= heads.max(1) as f32;
    }
    mean
}

fn softmax(row: &mut [f32]) {
    let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = (*value - best).exp();
        sum += *value;
    }
    for value in row {
        *value /= sum;
    }
}

/// Brings each position to mean 0 and deviation 1 over the rows.
fn standardise(head: &mut [f32], positions: usize) {
    let rows = (head.len() / positions) as f32;
    let mut means = vec![0.0; positions];
    for row in head.chunks_exact(positions) {
        for (mean, value) in means.iter_mut().zip(row) {
            *mean += value / rows;
        }
    }
    let mut squares = vec![0.0; positions];
    for row in head.chunks_exact(positions) {
        for ((square, value), mean) in squares.iter_mut().zip(row).zip(&means) {
            *square += (value - mean) * (value - mean) / rows;
        }
    }
    for row in head.chunks_exact_mut(positions) {
        for ((value, mean), square) in row.iter_mut().zip(&means).zip(&squares) {
            *value = if *square > 0.0 {
                (*value - mean) / square.sqrt()
            } else {
                0.0
            };
        }
    }
}

/// Adds to each of `sums` the median around it; the row is mirrored at its ends. `line` is scratch.
fn add_medians(row: &[f32], line: &mut [f32], sums: &mut [f32]) {
    const EDGE: usize = MEDIAN / 2;
    if row.len() <= EDGE {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
        return;
    }
    let last = row.len() - 1;
    line[EDGE..EDGE + row.len()].copy_from_slice(row);
    for distance in 1..=EDGE {
        line[EDGE - distance] = row[distance];
        line[EDGE + last + distance] = row[last - distance];
    }
    for (sum, around) in sums.iter_mut().zip(line.windows(MEDIAN)) {
        let mut around: [f32; MEDIAN] = std::array::from_fn(|index| around[index]);
        *sum += median(&mut around);
    }
}

/// The fourth of seven, by a network of comparisons (Devillard 1998).
fn median(p: &mut [f32; MEDIAN]) -> f32 {
    for (low, high) in [
        (0, 5),
        (0, 3),
        (1, 6),
        (2, 4),
        (0, 1),
        (3, 5),
        (2, 6),
        (2, 3),
        (3, 6),
        (4, 5),
        (1, 4),
        (1, 3),
        (3, 4),
    ] {
        let (a, b) = (p[low], p[high]);
        p[low] = a.min(b);
        p[high] = a.max(b);
    }
    p[EDGE_OF_SORT]
}

/// Where the network leaves the median.
const EDGE_OF_SORT: usize = MEDIAN / 2;

/// Where a step of the path comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum From {
    Both,
    Row,
    Position,
}

/// The path of least cost from the first row and position to the last, where a cell costs less than
/// nothing by its weight. Gives the position at which each row begins.
fn warp(weights: &[f32], positions: usize) -> Vec<usize> {
    let rows = weights.len() / positions.max(1);
    if rows == 0 {
        return Vec::new();
    }
    let mut trace = vec![From::Position; rows * positions];
    // Costs of the row above, and of this one; before the first there is nothing but the start.
    let mut above = vec![f32::INFINITY; positions + 1];
    above[0] = 0.0;
    for (row, weights) in weights.chunks_exact(positions).enumerate() {
        let mut costs = vec![f32::INFINITY; positions + 1];
        for (position, weight) in weights.iter().enumerate() {
            let (both, from_row, from_position) =
                (above[position], above[position + 1], costs[position]);
            let (least, from) = if both < from_row && both < from_position {
                (both, From::Both)
            } else if from_row < both && from_row < from_position {
                (from_row, From::Row)
            } else {
                (from_position, From::Position)
            };
            costs[position + 1] = least - weight;
            trace[row * positions + position] = from;
        }
        above = costs;
    }
    let mut begins = vec![0; rows];
    let (mut row, mut position) = (rows - 1, positions - 1);
    loop {
        begins[row] = position;
        match trace[row * positions + position] {
            _ if row == 0 && position == 0 => break,
            From::Both if row > 0 && position > 0 => {
                row -= 1;
                position -= 1;
            }
            From::Row if row > 0 => row -= 1,
            _ if position > 0 => position -= 1,
            _ => row -= 1,
        }
    }
    begins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_medians() {
        let mut state = 1_u32;
        for _ in 0..2_000 {
            let mut seven = [0.0; MEDIAN];
            for value in &mut seven {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *value = (state >> 29) as f32;
            }
            let mut sorted = seven;
            sorted.sort_by(f32::total_cmp);
            assert!(
                median(&mut seven.clone()).total_cmp(&sorted[3]).is_eq(),
                "{seven:?}"
            );
        }
    }

    #[test]
    fn the_path_follows_the_weights() {
        // Row 0 is heard at positions 0 to 2, row 1 at 3 and 4, row 2 from 5 on.
        let heard = [0, 0, 0, 1, 1, 2, 2, 2];
        let weights: Vec<f32> = (0..3)
            .flat_map(|row| {
                heard
                    .iter()
                    .map(move |&at| if at == row { 1.0 } else { -1.0 })
            })
            .collect();
        assert_eq!(warp(&weights, heard.len()), [0, 3, 5]);
        assert_eq!(warp(&[0.5], 1), [0]);
        assert!(warp(&[], 5).is_empty());
        // More rows than positions still have a path.
        assert_eq!(warp(&[0.0; 6], 2).len(), 3);
    }

    #[test]
    fn scores_of_several_heads_come_to_one_path() {
        let (rows, positions) = (3, 30);
        let mut values = Vec::new();
        for _head in 0..2 {
            for row in 0..rows {
                values.extend((0..positions).map(|p| if p / 10 == row { 5.0 } else { 0.0 }));
            }
        }
        let scores = Scores {
            values,
            rows,
            positions,
        };
        assert_eq!(begins(scores, 0..3), [0, 10, 20]);
    }
}
