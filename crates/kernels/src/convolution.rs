//! Convolutions over pictures (LeCun et al. 1989), as products: each pixel's window is a row.

use std::ops::Range;

use crate::backend::{Backend, Columns};
use crate::blocks::{GAP, PANELS, Rows, Sink, product};
use crate::float_linear::FloatLinear;
use crate::ggml::{Format, FormatError};
use crate::lanes::LANES;
use crate::pool::Pool;

/// Rows and columns that are transposed together.
const SQUARE: usize = 16;

/// A square window, and how it goes over a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Pixels of a side.
    pub side: usize,
    /// Pixels from one place to the next.
    pub stride: usize,
    /// Pixels of zeros around the picture.
    pub padding: usize,
}

/// Pictures `[batch, channels, height, width]`.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// Pictures.
    pub batch: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// The weights of a convolution.
#[derive(Debug)]
pub struct Convolution {
    /// `[outputs, side, side, inputs]`.
    matrix: FloatLinear,
    inputs: usize,
    window: Window,
}

impl Convolution {
    /// Packs a tensor `[outputs, inputs, side, side]` of little-endian floats; exact.
    ///
    /// # Errors
    /// [`FormatError`] for a format that is no float, and when `bytes` is not that many of them.
    pub fn pack(
        format: Format,
        bytes: &[u8],
        (outputs, inputs): (usize, usize),
        window: Window,
    ) -> Result<Self, FormatError> {
        let places = window.side * window.side;
        let number = match format {
            Format::F16 | Format::BF16 => 2,
            _ => 4,
        };
        let mut ordered = Vec::with_capacity(bytes.len());
        for filter in bytes.chunks_exact(inputs * places * number) {
            for place in 0..places {
                for input in 0..inputs {
                    ordered
                        .extend_from_slice(&filter[(input * places + place) * number..][..number]);
                }
            }
        }
        if ordered.len() != bytes.len() {
            ordered.clear(); // which is refused
        }
        Ok(Self {
            matrix: FloatLinear::pack(format, &ordered, outputs, inputs * places)?,
            inputs,
            window,
        })
    }

    /// Rows or columns of what comes of so many.
    pub fn size(&self, size: usize) -> usize {
        let Window {
            side,
            stride,
            padding,
        } = self.window;
        (size + 2 * padding).saturating_sub(side) / stride + usize::from(size + 2 * padding >= side)
    }

    /// Channels of a picture.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Outputs, channels of what comes of a picture.
    pub fn outputs(&self) -> usize {
        self.matrix.outputs()
    }

    /// Writes what comes of pictures, plus a bias `[outputs]` or one for each picture, `[batch, outputs]`, into
    /// `out`, `[batch, outputs, size(height), size(width)]`.
    ///
    /// # Panics
    /// When the sizes do not fit each other.
    pub fn run(&self, picture: Picture<'_>, bias: &[f32], out: &mut [f32], backend: Backend) {
        let pixels = picture.height * picture.width;
        assert!(picture.values.len() == picture.batch * self.inputs * pixels);
        let (height, width) = (self.size(picture.height), self.size(picture.width));
        let places = height * width;
        assert!(out.len() == picture.batch * self.outputs() * places);
        assert!(bias.len() == self.outputs() || bias.len() == picture.batch * self.outputs());
        if out.is_empty() {
            return;
        }
        let mut turned = vec![0.0; picture.values.len()];
        for (from, to) in picture
            .values
            .chunks_exact(self.inputs * pixels)
            .zip(turned.chunks_exact_mut(self.inputs * pixels))
        {
            transpose(from, to, self.inputs, pixels);
        }
        let windows = Windows {
            values: &turned,
            channels: self.inputs,
            from: (picture.height, picture.width),
            to: (height, width),
            window: self.window,
        };
        let sink = Channels {
            out: Columns::new(out, places),
            bias,
            outputs: self.outputs(),
            places,
        };
        product(
            &self.matrix,
            &windows,
            picture.batch * places,
            &sink,
            backend,
        );
    }
}

/// `[rows, columns]` to `[columns, rows]`.
fn transpose(from: &[f32], to: &mut [f32], rows: usize, columns: usize) {
    let lines = Columns::new(to, rows);
    let strips = columns.div_ceil(SQUARE);
    let pool = Pool::global();
    let chunks = (4 * pool.threads()).min(strips);
    pool.run(chunks, &|chunk| {
        let mut square = [[0.0; SQUARE]; SQUARE];
        for strip in strips * chunk / chunks..strips * (chunk + 1) / chunks {
            let first = strip * SQUARE;
            let wide = SQUARE.min(columns - first);
            for row in (0..rows).step_by(SQUARE) {
                let tall = SQUARE.min(rows - row);
                for index in 0..tall {
                    let line = &from[(row + index) * columns + first..][..wide];
                    for (square, value) in square.iter_mut().zip(line) {
                        square[index] = *value;
                    }
                }
                for (column, line) in square[..wide].iter().enumerate() {
                    lines.set((first + column, row), &line[..tall]);
                }
            }
        }
    });
}

/// The windows of pictures `[batch, height, width, channels]`, place by place.
struct Windows<'a> {
    values: &'a [f32],
    channels: usize,
    from: (usize, usize),
    to: (usize, usize),
    window: Window,
}

impl Rows for Windows<'_> {
    fn block<'a>(
        &'a self,
        rows: Range<usize>,
        inputs: Range<usize>,
        block: &'a mut Vec<f32>,
    ) -> (&'a [f32], usize) {
        let Window {
            side,
            stride,
            padding,
        } = self.window;
        let ((height, width), channels) = (self.from, self.channels);
        let places = self.to.0 * self.to.1;
        let line_inputs = side * channels;
        block.clear();
        for row in rows {
            let (picture, place) = (row / places, row % places);
            let (y, x) = (place / self.to.1 * stride, place % self.to.1 * stride);
            // The inputs of a line of the window that lie within the picture.
            let before = padding.saturating_sub(x).min(side) * channels;
            let end = ((width + padding).saturating_sub(x).min(side) * channels).max(before);
            let mut input = inputs.start;
            while input < inputs.end {
                let line = input / line_inputs;
                let first = input - line * line_inputs;
                let last = line_inputs.min(inputs.end - line * line_inputs);
                input = line * line_inputs + last;
                let Some(line) = (y + line)
                    .checked_sub(padding)
                    .filter(|&line| line < height)
                else {
                    block.resize(block.len() + last - first, 0.0);
                    continue;
                };
                let (from, to) = (before.clamp(first, last), end.clamp(first, last));
                block.resize(block.len() + from - first, 0.0);
                if to > from {
                    // Where the window's first column would be.
                    let at = (picture * height + line) * width * channels + x * channels;
                    let at = at + from - padding * channels;
                    block.extend_from_slice(&self.values[at..at + to - from]);
                }
                block.resize(block.len() + last - to, 0.0);
            }
            block.resize(block.len() + GAP, 0.0);
        }
        (block, inputs.len() + GAP)
    }
}

/// Pictures `[batch, outputs, places]` of rows that are places.
struct Channels<'a> {
    out: Columns<'a>,
    /// `[outputs]`, or of each picture.
    bias: &'a [f32],
    outputs: usize,
    places: usize,
}

impl Sink for Channels<'_> {
    fn put(&self, first: usize, output: usize, sums: &[[f32; LANES]], line: &mut Vec<f32>) {
        let count = sums.len() / PANELS;
        let rows: &[[[f32; LANES]; PANELS]] = sums.as_chunks().0;
        for channel in 0..(PANELS * LANES).min(self.outputs - output) {
            line.clear();
            line.extend(rows.iter().map(|row| row[channel / LANES][channel % LANES]));
            let mut row = 0;
            while row < count {
                let (picture, place) = ((first + row) / self.places, (first + row) % self.places);
                let taken = (self.places - place).min(count - row);
                let at = picture * self.outputs + output + channel;
                let bias = self.bias[at % self.bias.len()];
                let part = &mut line[row..row + taken];
                for sum in part.iter_mut() {
                    *sum += bias;
                }
                self.out.set((at, place), part);
                row += taken;
            }
        }
    }
}
