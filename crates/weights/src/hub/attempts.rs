//! How often, and after which pause, the hub is asked again.

use std::time::{Duration, Instant};

use crate::hub::hub_error::{HubError, Trouble};
use crate::hub::options::HubOptions;
use crate::progress::Progress;

/// Bytes further than ever before that make the attempts count from the start.
const GAIN_BYTES: u64 = 1024 * 1024;
/// How often a pause looks whether the caller wants to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Counts the attempts of one fetch.
pub(crate) struct Attempts<'a> {
    options: &'a HubOptions,
    set: &'a str,
    progress: &'a dyn Progress,
    made: u32,
    furthest: u64,
    /// Whether anything was ever answered: a source that never was is not waited for.
    reached: bool,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(options: &'a HubOptions, set: &'a str, progress: &'a dyn Progress) -> Self {
        Self {
            options,
            set,
            progress,
            made: 0,
            furthest: 0,
            reached: false,
        }
    }

    /// Another file: its attempts are its own.
    pub(crate) fn restart(&mut self) {
        self.made = 0;
        self.furthest = 0;
    }

    /// The hub answered.
    pub(crate) fn reached(&mut self) {
        self.reached = true;
    }

    /// The file has `bytes` bytes now. Enough more than ever before, and the attempts count from the start; a
    /// file that is cut and begun again for ever does not get that far.
    pub(crate) fn at(&mut self, bytes: u64) {
        if bytes >= self.furthest + GAIN_BYTES {
            self.furthest = bytes;
            self.made = 0;
        }
    }

    /// Waits before another attempt, or gives the trouble back where there will be none.
    pub(crate) fn failed(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        let Trouble::Hub(error) = trouble else {
            return Err(trouble);
        };
        if !matches!(error, HubError::Unreachable { .. }) {
            self.reached = true;
        }
        self.made += 1;
        if !self.reached || !error.may_pass() || self.made >= self.options.attempts.max(1) {
            return Err(error.into());
        }
        self.progress.note(&format!(
            "{}: attempt {} of {} failed ({error}); trying again",
            self.set, self.made, self.options.attempts
        ));
        let doubled = 2u32.saturating_pow(self.made - 1);
        let pause = error
            .after()
            .unwrap_or(self.options.pause.saturating_mul(doubled));
        self.sleep(pause.min(self.options.longest_pause))
    }

    fn sleep(&self, pause: Duration) -> Result<(), Trouble> {
        let began = Instant::now();
        loop {
            if self.progress.cancelled() {
                return Err(Trouble::Cancelled);
            }
            let left = pause.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}
