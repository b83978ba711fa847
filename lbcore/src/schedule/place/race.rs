//! Many weighted draws at once: a rain of points, and the first to hit a row wins it.

use crate::rng::{Rng, Xoshiro};

/// The backends that race for the rows, and who leads in each.
pub(super) struct Race {
    runners: Vec<Runner>,
    /// The earliest time in each row so far, and whose it is.
    leads: Vec<(f64, u32)>,
    bits: u32,
    /// The points up to this time are drawn.
    horizon: f64,
    /// How much time brings about one point a row.
    step: f64,
}

/// One backend's rain.
struct Runner {
    position: u32,
    rng: Xoshiro,
    /// The time from one point to the next, on average, is 1 over this.
    weight: f64,
    /// Its next point.
    time: f64,
}

impl Race {
    /// A race for 2^`bits` rows of these: position, seed and weight of each. A weight of 0 does not
    /// run, and one of them must.
    pub(super) fn new(bits: u32, runners: impl Iterator<Item = (u32, u64, u16)>) -> Self {
        let rows = 1_usize << bits;
        let runners: Vec<Runner> = runners
            .filter(|&(.., weight)| weight > 0)
            .map(|(position, seed, weight)| Runner::new(position, seed, weight))
            .collect();
        let total: f64 = runners.iter().map(|runner| runner.weight).sum();
        Self {
            runners,
            leads: vec![(f64::INFINITY, u32::MAX); rows],
            bits,
            horizon: 0.0,
            step: f64::from(1_u32 << bits) / total,
        }
    }

    /// The winner of each row.
    pub(super) fn run(mut self) -> Vec<u32> {
        // After ln r + 3 steps all rows are hit in 19 of 20 races.
        self.draw(f64::from(self.bits) * LN_2 + 3.0);
        while !self.runners.is_empty() && self.leads.iter().any(|lead| lead.0 > self.horizon) {
            self.draw(1.0);
        }
        self.leads
            .into_iter()
            .map(|(_, position)| position)
            .collect()
    }

    /// Lets it rain for so many steps more.
    fn draw(&mut self, steps: f64) {
        self.horizon += steps * self.step;
        for runner in &mut self.runners {
            while runner.time <= self.horizon {
                let row = usize::try_from(runner.rng.next_u64() >> (u64::BITS - self.bits));
                let lead = row.ok().and_then(|row| self.leads.get_mut(row));
                // Of two that come at once, the one of the lower position wins.
                if let Some(lead) = lead.filter(|lead| runner.time < lead.0) {
                    *lead = (runner.time, runner.position);
                }
                runner.advance();
            }
        }
    }
}

impl Runner {
    fn new(position: u32, seed: u64, weight: u16) -> Self {
        let mut runner = Self {
            position,
            rng: Xoshiro::new(seed),
            weight: f64::from(weight),
            time: 0.0,
        };
        runner.advance();
        runner
    }

    fn advance(&mut self) {
        // 1 - u is above 0, so the logarithm is finite.
        self.time -= ln(1.0 - self.rng.unit()) / self.weight;
    }
}

const LN_2: f64 = std::f64::consts::LN_2;

/// The natural logarithm of `x` in (0, 1], alike on every machine.
///
/// `f64::ln` may differ in its last bit between platforms, and a draw then fall differently on two
/// nodes. This takes basic operations alone, which IEEE 754 fixes; its error is below 10^-12.
fn ln(x: f64) -> f64 {
    const HALF: u64 = 0x3fe0_0000_0000_0000;
    const MANTISSA: u64 = 0x000f_ffff_ffff_ffff;
    let bits = x.to_bits();
    // x = m · 2^e with m in [1/2, 1), then in [√1/2, √2).
    let exponent = u32::try_from(bits >> 52).unwrap_or(0);
    let (mut m, mut e) = (
        f64::from_bits(bits & MANTISSA | HALF),
        f64::from(exponent) - 1_022.0,
    );
    if m < std::f64::consts::FRAC_1_SQRT_2 {
        m *= 2.0;
        e -= 1.0;
    }
    // ln m = 2 artanh((m − 1)/(m + 1)), as a power series.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0];
    let sum = series.iter().fold(0.0, |sum, n| sum * square + 1.0 / n);
    2.0 * s * sum + e * LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_the_standard_library_within_rounding() {
        let mut rng = Xoshiro::new(1);
        let any = (0..100_000).map(|_| 1.0 - rng.unit());
        for x in any.chain([
            1.0,
            0.5,
            0.25,
            0.75,
            0.707,
            0.708,
            1.0 / (1_u64 << 53) as f64,
        ]) {
            assert!(
                (ln(x) - x.ln()).abs() <= 1e-12 * x.ln().abs().max(1.0),
                "ln {x}"
            );
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn a_winner_is_the_one_whose_first_point_in_the_row_is_earliest() {
        let runners = [(0, 11, 3), (1, 12, 0), (2, 13, 1), (3, 14, 9)];
        let winners = Race::new(6, runners.into_iter()).run();
        // Judged by drawing many points of each and looking at every row.
        let mut first = vec![(f64::INFINITY, 9); 64];
        for (position, seed, weight) in [runners[0], runners[2], runners[3]] {
            let mut rng = Xoshiro::new(seed);
            let mut time = 0.0;
            for _ in 0..5_000 {
                time -= (1.0 - rng.unit()).ln() / f64::from(weight);
                let row = usize::try_from(rng.next_u64() >> 58).unwrap();
                if time < first[row].0 {
                    first[row] = (time, position);
                }
            }
        }
        let expected: Vec<u32> = first.into_iter().map(|(_, position)| position).collect();
        assert_eq!(winners, expected);
    }

    #[test]
    fn every_row_has_a_winner_however_unequal_the_weights() {
        for seed in 0..200 {
            let runners = [(0, seed, 65_535), (1, !seed, 1)].into_iter();
            let winners = Race::new(4, runners).run();
            assert!(
                winners.iter().all(|&winner| winner < 2),
                "{seed}: {winners:?}"
            );
        }
    }
}
