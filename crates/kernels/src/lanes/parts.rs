//! Products in parts whose sums stay in registers.

use super::Lanes;

/// A product that gives sums of rows by vectors, each of which can be computed without the others.
pub(crate) trait Product {
    /// Computes the sums of `R` rows and `V` vectors from a row and a vector on. Has to be inlined, as all it calls.
    fn part<L: Lanes, const R: usize, const V: usize>(&mut self, row: usize, vector: usize);
}

/// Rows of a part where not all of them fit.
const FEWER_ROWS: usize = 4;

/// Whether the sums of so many rows and vectors fit into registers, beside the vectors if more than one row needs them.
const fn fits<L: Lanes>(rows: usize, vectors: usize) -> bool {
    let multiplied = if rows > 1 { vectors } else { 0 };
    rows * vectors + multiplied <= L::HELD
}

/// Computes all sums of `R` rows and `V` vectors, as many at once as fit into registers: a sum that waits in memory
/// takes longer than its product.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
pub(crate) fn in_parts<L: Lanes, const R: usize, const V: usize>(product: &mut impl Product) {
    const {
        assert!(fits::<L>(R, 1) || fits::<L>(FEWER_ROWS, 1) && R.is_multiple_of(FEWER_ROWS));
    };
    if const { fits::<L>(R, V) } {
        product.part::<L, R, V>(0, 0);
    } else if const { fits::<L>(R, 2) && V.is_multiple_of(2) } {
        for vector in (0..V).step_by(2) {
            product.part::<L, R, 2>(0, vector);
        }
    } else if const { fits::<L>(R, 1) } {
        for vector in 0..V {
            product.part::<L, R, 1>(0, vector);
        }
    } else {
        for vector in 0..V {
            for row in (0..R).step_by(FEWER_ROWS) {
                product.part::<L, FEWER_ROWS, 1>(row, vector);
            }
        }
    }
}
