//! Random numbers that are the same in every run: SplitMix64 (Steele, Lea, Flood 2014), and what is drawn from them.

/// A generator.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The same seed, the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Some 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// A number with mean 0 and deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A number of a gamma distribution with this mean and coefficient of variation (Marsaglia and Tsang 2000).
    /// Intervals between arrivals: 1 is a Poisson process, more comes in bursts.
    pub fn gamma(&mut self, mean: f64, variation: f64) -> f64 {
        let shape = 1.0 / (variation * variation);
        let scale = mean / shape;
        // Below a shape of 1, one of a shape that is larger by 1, made smaller.
        let (larger, boost) = if shape < 1.0 {
            (shape + 1.0, self.uniform().powf(1.0 / shape))
        } else {
            (shape, 1.0)
        };
        let d = larger - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v * boost * scale;
            }
        }
    }

    /// A length with this median, a log-normal one, at least 1 and at most `most`.
    pub fn length(&mut self, median: f64, spread: f64, most: usize) -> usize {
        let length = median * (spread * self.normal()).exp();
        (length as usize).clamp(1, most.max(1))
    }

    /// One of `count`, the first most often: the n-th as often as 1/n of it (Zipf).
    pub fn popular(&mut self, count: usize) -> usize {
        let weights = (1..=count).map(|rank| 1.0 / rank as f64);
        let mut left = self.uniform() * weights.clone().sum::<f64>();
        weights
            .enumerate()
            .find(|(_, weight)| {
                left -= weight;
                left < 0.0
            })
            .map_or(count - 1, |(rank, _)| rank)
    }
}

/// The finaliser: nearby numbers become far.
#[must_use]
pub fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_the_mean_and_the_variation_that_were_asked_for() {
        let mut chance = Chance::new(1);
        for variation in [0.5, 1.0, 2.0, 4.0] {
            let all: Vec<f64> = (0..200_000).map(|_| chance.gamma(3.0, variation)).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let square = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
            assert!((mean / 3.0 - 1.0).abs() < 0.05, "{mean}");
            let found = square.sqrt() / mean;
            assert!(
                (found / variation - 1.0).abs() < 0.05,
                "{found} for {variation}"
            );
        }
    }
}
