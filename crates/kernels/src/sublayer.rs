//! What lies between the products of an encoder whose norm comes last (BERT), each in one pass over memory
//! and with the same bits on every back end: the sum of a sublayer with its input and its norm, and the
//! activation of a feed-forward.

use crate::backend::Backend;
use crate::lanes::{self, Computation, LANES, Lanes, load, logistic, store};
use crate::rows::{Gate, gelu_erf, gelu_tanh};

/// What is done to the inputs of a product before they are rounded, channel by channel:
/// `(value - centre) * factor`. Weights divided by the factors and a bias with the centres' product give
/// the same result, and the inputs of a block are then alike in size, so that rounding loses less
/// (after Xiao et al. 2022, SmoothQuant).
#[derive(Debug, Clone, Copy)]
pub struct Balance<'a> {
    /// `[inputs]`.
    pub centres: &'a [f32],
    /// `[inputs]`.
    pub factors: &'a [f32],
}

impl Balance<'_> {
    /// Balances rows of inputs in place.
    ///
    /// # Panics
    /// When the sizes do not fit each other.
    pub fn apply(&self, values: &mut [f32], backend: Backend) {
        let width = self.centres.len();
        assert!(width > 0 && self.factors.len() == width && values.len().is_multiple_of(width));
        lanes::run(
            backend,
            Apply {
                balance: *self,
                values,
            },
        );
    }
}

struct Apply<'a> {
    balance: Balance<'a>,
    values: &'a mut [f32],
}

impl Computation for Apply<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let width = self.balance.centres.len();
        for row in self.values.chunks_exact_mut(width) {
            for index in 0..width.div_ceil(LANES) {
                let value = load::<L>(row, index).subtract(load(self.balance.centres, index));
                store(
                    value.multiply(load(self.balance.factors, index)),
                    row,
                    index,
                );
            }
        }
    }
}

/// The parameters of a layer norm (Ba et al. 2016).
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'a> {
    /// `[width]`.
    pub weight: &'a [f32],
    /// `[width]`.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

impl LayerNorm<'_> {
    /// `residual = norm(residual + sums + bias)`, rows of the norm's width, and into `balanced` the same
    /// as the next product wants it. An empty `bias` is none.
    ///
    /// # Panics
    /// When the sizes do not fit each other.
    pub fn add(
        &self,
        (sums, bias): (&[f32], &[f32]),
        residual: &mut [f32],
        balanced: Option<(Balance<'_>, &mut [f32])>,
        backend: Backend,
    ) {
        let width = self.weight.len();
        assert!(width > 0 && self.bias.len() == width);
        assert!(sums.len() == residual.len() && sums.len().is_multiple_of(width));
        assert!(bias.is_empty() || bias.len() == width);
        if let Some((balance, out)) = &balanced {
            assert!(balance.centres.len() == width && balance.factors.len() == width);
            assert!(out.len() == residual.len());
        }
        lanes::run(
            backend,
            AddNorm {
                norm: self,
                sums,
                bias,
                residual,
                balanced,
            },
        );
    }
}

struct AddNorm<'a, 'b> {
    norm: &'a LayerNorm<'a>,
    sums: &'a [f32],
    bias: &'a [f32],
    residual: &'a mut [f32],
    balanced: Option<(Balance<'b>, &'b mut [f32])>,
}

impl Computation for AddNorm<'_, '_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let width = self.norm.weight.len();
        let vectors = width.div_ceil(LANES);
        // What pads the last vector is as far from the mean as zero: the rest is summed alone.
        let whole = width / LANES;
        let mut balanced = self.balanced;
        let rows = self.residual.chunks_exact_mut(width);
        for (row, (residual, sums)) in rows.zip(self.sums.chunks_exact(width)).enumerate() {
            let mut totals = [L::splat(0.0); 2];
            for index in 0..vectors {
                let mut value = load::<L>(sums, index);
                if !self.bias.is_empty() {
                    value = value.add(load(self.bias, index));
                }
                let value = value.add(load(residual, index));
                store(value, residual, index);
                let total = &mut totals[index % 2];
                *total = total.add(value);
            }
            let mean = totals[0].add(totals[1]).sum() / width as f32;
            let centre = L::splat(mean);
            let mut totals = [L::splat(0.0); 2];
            for index in 0..whole {
                let distance = load::<L>(residual, index).subtract(centre);
                let total = &mut totals[index % 2];
                *total = distance.multiply_add(distance, *total);
            }
            let mut squares = totals[0].add(totals[1]).sum();
            for value in &residual[whole * LANES..] {
                squares = (value - mean).mul_add(value - mean, squares);
            }
            let factor = L::splat(1.0 / (squares / width as f32 + self.norm.epsilon).sqrt());
            for index in 0..vectors {
                let value = load::<L>(residual, index).subtract(centre).multiply(factor);
                let (weight, bias) = (load(self.norm.weight, index), load(self.norm.bias, index));
                let value = value.multiply_add(weight, bias);
                store(value, residual, index);
                if let Some((balance, out)) = &mut balanced {
                    let centre = load(balance.centres, index);
                    let value = value
                        .subtract(centre)
                        .multiply(load(balance.factors, index));
                    store(value, &mut out[row * width..][..width], index);
                }
            }
        }
    }
}

/// `values = gate(values + bias)`, rows of the width of `bias`, and balanced for the next product where
/// that is asked for. A balanced [`Gate::GeluErf`] is within 1.3e-5 of that function up to 4, and beyond within 3.2e-5 of its input: its outputs are
/// rounded far more coarsely.
///
/// # Panics
/// When the sizes do not fit each other.
pub fn bias_gate(
    gate: Gate,
    values: &mut [f32],
    bias: &[f32],
    balance: Option<Balance<'_>>,
    backend: Backend,
) {
    let width = bias.len();
    assert!(width > 0 && values.len().is_multiple_of(width));
    if let Some(balance) = &balance {
        assert!(balance.centres.len() == width && balance.factors.len() == width);
    }
    lanes::run(
        backend,
        BiasGate {
            gate,
            values,
            bias,
            balance,
        },
    );
}

struct BiasGate<'a> {
    gate: Gate,
    values: &'a mut [f32],
    bias: &'a [f32],
    balance: Option<Balance<'a>>,
}

impl Computation for BiasGate<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let width = self.bias.len();
        for row in self.values.chunks_exact_mut(width) {
            for index in 0..width.div_ceil(LANES) {
                let value = load::<L>(row, index).add(load(self.bias, index));
                let open = match (self.gate, &self.balance) {
                    (Gate::Silu, _) => value.multiply(logistic(value)),
                    (Gate::GeluTanh, _) => gelu_tanh(value),
                    (Gate::GeluErf, None) => gelu_erf(value),
                    (Gate::GeluErf, Some(_)) => gelu_near(value),
                    (Gate::Relu, _) => L::splat(0.0).maximum(value),
                };
                let open = match &self.balance {
                    Some(balance) => open
                        .subtract(load(balance.centres, index))
                        .multiply(load(balance.factors, index)),
                    None => open,
                };
                store(open, row, index);
            }
        }
    }
}

/// GELU by the error function, without a division or an exponential: `x (1/2 + c P(c^2))`, `c` being `x`
/// within -4 to 4. `P` is the polynomial of degree 8 whose largest error of the product within those is
/// least, 1.2e-5 (by Lawson's iteration); beyond them the error grows to 3e-5 of `x`.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn gelu_near<L: Lanes>(x: L) -> L {
    const COEFFICIENTS: [f32; 9] = [
        6.740_342e-11,
        -6.066_869e-9,
        2.440_834_2e-7,
        -5.860_583e-6,
        9.494_009e-5,
        -0.001_112_855_3,
        0.009_815_798,
        -0.066_323_62,
        0.398_881_02,
    ];
    let within = L::splat(-4.0).maximum(x);
    let within = L::splat(4.0).minimum(within);
    let square = within.multiply(within);
    let mut polynomial = L::splat(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        polynomial = polynomial.multiply_add(square, L::splat(*coefficient));
    }
    let half = within.multiply_add(polynomial, L::splat(0.5));
    x.multiply(half)
}
