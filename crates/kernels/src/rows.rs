//! What lies between the matrix products: norms and activations on flat rows.
//!
//! Each is one pass over memory, with the same bits on every back end.

use crate::backend::Backend;
use crate::lanes::{self, Computation, LANES, Lanes, Padded, logistic, squares, tangent, total};

/// `sqrt(2 / pi)` and the cubic's coefficient of the approximation of GELU (Hendrycks and Gimpel
/// 2016, section 2).
const GELU_SLOPE: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;

/// How the gate of a feed-forward opens (Shazeer 2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// `x / (1 + e^-x)`.
    Silu,
    /// The approximation of GELU by a hyperbolic tangent.
    GeluTanh,
    /// GELU by the error function.
    GeluErf,
    /// The larger of the number and zero.
    Relu,
}

/// RMS norm (Zhang and Sennrich 2019) of each row: `row / sqrt(mean(row^2) + epsilon) * weight`.
///
/// # Panics
/// When `rows` and `out` are not whole rows of the weight's length.
pub fn rms_norm(rows: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32], backend: Backend) {
    let width = weight.len();
    assert!(rows.len() == out.len() && rows.len().is_multiple_of(width));
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let norm = Norm {
            row,
            weight,
            bias: None,
            epsilon,
            centred: false,
            out,
        };
        lanes::run(backend, norm);
    }
}

/// Layer norm (Ba et al. 2016) of each row:
/// `(row - mean) / sqrt(mean((row - mean)^2) + epsilon) * weight + bias`.
///
/// # Panics
/// When `rows` and `out` are not whole rows of the weight's length, or the bias has another.
pub fn layer_norm(
    rows: &[f32],
    (weight, bias): (&[f32], Option<&[f32]>),
    epsilon: f32,
    out: &mut [f32],
    backend: Backend,
) {
    let width = weight.len();
    assert!(rows.len() == out.len() && rows.len().is_multiple_of(width));
    assert!(bias.is_none_or(|bias| bias.len() == width));
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let norm = Norm {
            row,
            weight,
            bias,
            epsilon,
            centred: true,
            out,
        };
        lanes::run(backend, norm);
    }
}

/// `gate(values) * others`, in place of `values`; without `others`, the gate alone.
///
/// # Panics
/// When `others` has another length.
pub fn gated(gate: Gate, values: &mut [f32], others: Option<&[f32]>, backend: Backend) {
    assert!(others.is_none_or(|others| others.len() == values.len()));
    lanes::run(
        backend,
        Gated {
            gate,
            values,
            others,
        },
    );
}

/// `sums += others * factor`.
///
/// # Panics
/// When `others` has another length.
pub fn add(sums: &mut [f32], others: &[f32], factor: f32, backend: Backend) {
    assert_eq!(sums.len(), others.len());
    let adding = Adding {
        sums,
        others,
        factor,
    };
    lanes::run(backend, adding);
}

struct Adding<'a> {
    sums: &'a mut [f32],
    others: &'a [f32],
    factor: f32,
}

impl Computation for Adding<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let factor = L::splat(self.factor);
        let (sums, rest) = self.sums.as_chunks_mut::<LANES>();
        let (others, other_rest) = self.others.as_chunks::<LANES>();
        for (sums, others) in sums.iter_mut().zip(others) {
            let sum = L::load(others).multiply_add(factor, L::load(sums));
            sum.store(sums);
        }
        for (sum, other) in rest.iter_mut().zip(other_rest) {
            *sum = other.mul_add(self.factor, *sum);
        }
    }
}

struct Norm<'a> {
    row: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    epsilon: f32,
    centred: bool,
    out: &'a mut [f32],
}

impl Computation for Norm<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let width = self.row.len() as f32;
        let mean = if self.centred {
            total::<L>(self.row) / width
        } else {
            0.0
        };
        let centre = L::splat(mean);
        let squares = squares::<L>(self.row, mean);
        let scale = 1.0 / (squares / width + self.epsilon).sqrt();
        let factor = L::splat(scale);
        let zero = L::splat(0.0);
        let weights = Padded::new(self.weight);
        let biases = self.bias.map(Padded::new);
        let rows = Padded::new(self.row);
        let (whole, rest) = self.out.as_chunks_mut::<LANES>();
        let mut last = [0.0; LANES];
        let places = whole.iter_mut().chain(std::iter::once(&mut last));
        for (index, place) in places.enumerate() {
            // No closures: they would be compiled without the caller's instructions.
            let bias = match &biases {
                Some(biases) => biases.load(index),
                None => zero,
            };
            let value = rows.load::<L>(index).subtract(centre).multiply(factor);
            value.multiply_add(weights.load(index), bias).store(place);
        }
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

struct Gated<'a> {
    gate: Gate,
    values: &'a mut [f32],
    others: Option<&'a [f32]>,
}

impl Computation for Gated<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let one = L::splat(1.0);
        let others = self.others.map(Padded::new);
        let (whole, rest) = self.values.as_chunks_mut::<LANES>();
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        let places = whole.iter_mut().chain(std::iter::once(&mut last));
        for (index, place) in places.enumerate() {
            let value = L::load(place);
            let open = match self.gate {
                Gate::Silu => value.multiply(logistic(value)),
                Gate::GeluTanh => gelu_tanh(value),
                Gate::GeluErf => gelu_erf(value),
                Gate::Relu => L::splat(0.0).maximum(value),
            };
            let other = match &others {
                Some(others) => others.load(index),
                None => one,
            };
            open.multiply(other).store(place);
        }
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
pub(crate) fn gelu_tanh<L: Lanes>(x: L) -> L {
    let square = x.multiply(x);
    let slope = square.multiply_add(L::splat(GELU_CUBIC * GELU_SLOPE), L::splat(GELU_SLOPE));
    let half = x.multiply(L::splat(0.5));
    half.multiply_add(tangent(x.multiply(slope)), half)
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`, the error function by the rational approximation 7.1.26 of
/// Abramowitz and Stegun, whose error is below 1.5e-7.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
pub(crate) fn gelu_erf<L: Lanes>(x: L) -> L {
    const P: f32 = 0.327_591_1;
    const COEFFICIENTS: [f32; 5] = [
        1.061_405_4,
        -1.453_152_1,
        1.421_413_7,
        -0.284_496_72,
        0.254_829_6,
    ];
    let zero = L::splat(0.0);
    let one = L::splat(1.0);
    let z = x.multiply(L::splat(std::f32::consts::FRAC_1_SQRT_2));
    let size = z.maximum(zero.subtract(z));
    let t = one.divide(size.multiply_add(L::splat(P), one));
    let mut polynomial = L::splat(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        polynomial = polynomial.multiply_add(t, L::splat(*coefficient));
    }
    let power = lanes::exponential(zero.subtract(size.multiply(size)));
    // The complement of the error function of |z|.
    let tail = polynomial.multiply(t).multiply(power);
    // x > 0: x - x/2 * tail; x < 0: x/2 * tail.
    let half = x.multiply(L::splat(0.5)).multiply(tail);
    let positive = x.maximum(zero);
    let magnitude = half.maximum(zero.subtract(half));
    positive.subtract(magnitude)
}
