//! Functions that are made of an exponential.

use super::Lanes;

/// Where the exponential is the smallest normal number: below, it counts as nothing beside the
/// largest term of a softmax.
const LOWEST: f32 = -87.33;
/// Above, the exponential is beyond the largest number.
const HIGHEST: f32 = 88.02;
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// The natural logarithm of 2 in two parts, the first with few enough bits that whole multiples are
/// exact (Cody and Waite 1980, chapter 6).
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Taylor's coefficients of `e^r`, highest first: for `|r| <= ln(2) / 2` the next term is below
/// `0.35^7 / 7! = 1.2e-7` of the result.
const COEFFICIENTS: [f32; 5] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];

/// `e^x`, within three units of the last place; `x` is clamped to where the result is a normal
/// number.
#[allow(clippy::inline_always)] // has to become part of the function that enables its instructions
#[inline(always)]
pub(crate) fn exponential<L: Lanes>(x: L) -> L {
    // Constants first, so that what is no number passes through.
    let x = L::splat(LOWEST).maximum(x);
    let x = L::splat(HIGHEST).minimum(x);
    let whole = x.multiply(L::splat(LOG2_E)).round();
    let rest = whole.multiply_add(L::splat(-LN_2_HIGH), x);
    let rest = whole.multiply_add(L::splat(-LN_2_LOW), rest);
    let mut sum = L::splat(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        sum = sum.multiply_add(rest, L::splat(*coefficient));
    }
    let one = L::splat(1.0);
    let sum = sum.multiply_add(rest, one).multiply_add(rest, one);
    sum.multiply(whole.power_of_two())
}

/// The polynomial of degree 4 whose largest error relative to `2^r` for `|r| <= 1/2` is least, 2.6e-6 (by Lawson's
/// iteration), highest power first.
const POWER_COEFFICIENTS: [f32; 5] = [
    0.009_570_11,
    0.055_917_87,
    0.240_247_44,
    0.693_121_8,
    0.999_999_3,
];

/// `2^x` for `x` from -126 to 127, within 3e-6 of it: for what is rounded far more coarsely afterwards.
#[allow(clippy::inline_always)] // has to become part of the function that enables its instructions
#[inline(always)]
pub(crate) fn power_of_two<L: Lanes>(x: L) -> L {
    let whole = x.round();
    let rest = x.subtract(whole);
    let mut sum = L::splat(POWER_COEFFICIENTS[0]);
    for coefficient in &POWER_COEFFICIENTS[1..] {
        sum = sum.multiply_add(rest, L::splat(*coefficient));
    }
    sum.multiply(whole.power_of_two())
}

/// `1 / (1 + e^-x)`.
#[allow(clippy::inline_always)] // has to become part of the function that enables its instructions
#[inline(always)]
pub(crate) fn logistic<L: Lanes>(x: L) -> L {
    let one = L::splat(1.0);
    let power = exponential(L::splat(0.0).subtract(x));
    one.divide(one.add(power))
}

/// The hyperbolic tangent of `x`, as `1 - 2 / (1 + e^2x)`.
#[allow(clippy::inline_always)] // has to become part of the function that enables its instructions
#[inline(always)]
pub(crate) fn tangent<L: Lanes>(x: L) -> L {
    let one = L::splat(1.0);
    let power = exponential(x.add(x));
    one.subtract(L::splat(2.0).divide(one.add(power)))
}
