//! Packed weights that lie in bytes of somebody else's, as in a file that was written by an earlier run.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::ops::Range;
use std::sync::Arc;

use kernels::{
    Activations, Backend, Format, PACKED_ALIGNMENT, PACKING_VERSION, PackedLinear, Packing,
    Precision,
};

const OUTPUTS: usize = 40;
const INPUTS: usize = 256;
/// A format of each packing, and one whose weights are rounded anew.
const FORMATS: [Format; 8] = [
    Format::Q4_1,
    Format::Q4_0,
    Format::MXFP4,
    Format::Q8_0,
    Format::F32,
    Format::Q4_K,
    Format::Q5_K,
    Format::Q6_K,
];

/// Bytes from the first multiple of 64 on, plus a shift.
struct Shifted {
    bytes: Vec<u8>,
    from: usize,
}

impl Shifted {
    fn new(packed: &[u8], shift: usize) -> Arc<Self> {
        let mut bytes = vec![0; packed.len() + 2 * PACKED_ALIGNMENT + shift];
        let from = bytes.as_ptr().align_offset(PACKED_ALIGNMENT) + shift;
        bytes[from..from + packed.len()].copy_from_slice(packed);
        Arc::new(Self { bytes, from })
    }
}

impl AsRef<[u8]> for Shifted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

/// The numbers of a linear congruential generator: the same for ever.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn packed(format: Format) -> PackedLinear {
    let mut tensor = bytes(format.row_bytes(INPUTS).unwrap() * OUTPUTS);
    if format == Format::F32 {
        for float in tensor.as_chunks_mut::<4>().0 {
            *float = (f32::from(float[0]) - 128.5).to_le_bytes();
        }
    }
    PackedLinear::pack(format, &tensor, OUTPUTS, INPUTS).unwrap()
}

fn bits(layer: &PackedLinear) -> Vec<u32> {
    let rows: Vec<f32> = bytes(3 * INPUTS)
        .iter()
        .map(|&byte| f32::from(byte) - 100.0)
        .collect();
    let mut activations = Activations::default();
    activations.quantise(&rows, INPUTS, Precision::Outliers, Backend::best());
    let mut out = vec![0.0; 3 * OUTPUTS];
    layer.multiply(&activations, &mut out, Backend::best());
    let mut row = vec![0.0; INPUTS];
    layer.row(OUTPUTS - 1, &mut row);
    out.iter()
        .chain(&row)
        .map(|value| value.to_bits())
        .collect()
}

fn lent(
    format: Format,
    bytes: Arc<Shifted>,
    range: Range<usize>,
) -> Result<PackedLinear, kernels::LentError> {
    PackedLinear::lent(format.packing(), OUTPUTS, INPUTS, bytes, range)
}

#[test]
fn lent_weights_are_the_owned_ones() {
    for format in FORMATS {
        let owned = packed(format);
        let whole = owned.as_bytes();
        let same = lent(format, Shifted::new(whole, 0), 0..whole.len()).unwrap();
        assert_eq!(same.as_bytes(), whole, "{format:?}");
        assert_eq!(bits(&same), bits(&owned), "{format:?}");
    }
}

#[test]
fn bytes_that_are_no_weights_are_refused() {
    for format in FORMATS {
        let owned = packed(format);
        let whole = owned.as_bytes();
        let length = whole.len();
        for (shift, range) in [
            (1, 0..length),
            (0, 0..length - 1),
            (0, 0..0),
            (0, 1..length + 1),
            (0, usize::MAX - length..usize::MAX),
        ] {
            let refused = lent(format, Shifted::new(whole, shift), range.clone());
            assert!(refused.is_err(), "{format:?}: {shift}, {range:?}");
        }
        let other = Packing::bytes(format.packing(), usize::MAX, INPUTS);
        assert_eq!(other, None);
    }
    for packing in [Packing::FourK, Packing::FiveK, Packing::SixK] {
        assert_eq!(packing.bytes(OUTPUTS, INPUTS + 32), None);
    }
}

/// Kept files say by [`PACKING_VERSION`] how their weights were packed: whoever packs otherwise has to raise it,
/// and then writes here what the sums are now.
#[test]
fn the_version_says_how_weights_are_packed() {
    // Fowler, Noll and Vo's hash, FNV-1a.
    let sum = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    let sums = FORMATS.map(|format| sum(packed(format).as_bytes()));
    assert_eq!(PACKING_VERSION, 2);
    assert_eq!(
        sums,
        [
            12_803_516_572_584_225_911,
            15_192_025_128_392_497_642,
            6_562_785_870_689_336_983,
            1_131_756_726_221_585_092,
            11_487_707_075_838_678_469,
            4_726_168_703_789_080_480,
            4_290_148_326_073_799_749,
            4_254_577_516_133_837_957,
        ]
    );
}
