//! How many threads compute on the CPU.

use kernels::Pool;

/// The variables that candle, its products (the gemm crate, by rayon) and tokenisers take their number of
/// threads from. They are read at first use.
pub const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// One for each physical core, as far as the process may use them: its control group and its affinity count.
pub fn default_count() -> usize {
    Pool::default_threads()
}

/// Sets the threads of the kernels, the caller counted. Without effect once they are in use.
pub fn set(count: usize) {
    Pool::set_threads(count);
}
