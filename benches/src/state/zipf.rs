//! Ranks drawn from a bounded Zipf distribution, by rejection-inversion (Hörmann and Derflinger).

use crate::digest::splitmix64;

/// Draws ranks `0..count`, rank `r` with a probability proportional to `(r + 1)^-exponent`.
pub(super) struct Zipf {
    count: f64,
    exponent: f64,
    integral_first: f64,
    integral_last: f64,
    /// Draws that land this close below their rank are taken without another look.
    shortcut: f64,
    /// The seed of the next draw.
    next: u64,
}

impl Zipf {
    pub(super) fn new(count: u64, exponent: f64) -> Self {
        let mut zipf = Zipf {
            count: count as f64,
            exponent,
            integral_first: 0.0,
            integral_last: 0.0,
            shortcut: 0.0,
            next: 1,
        };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(count as f64 + 0.5);
        zipf.shortcut = 2.0 - zipf.integral_inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        exp_m1_over((1.0 - self.exponent) * log) * log
    }

    fn integral_inverse(&self, x: f64) -> f64 {
        let scaled = (x * (1.0 - self.exponent)).max(-1.0);
        (ln_1p_over(scaled) * x).exp()
    }

    /// The next rank.
    pub(super) fn draw(&mut self) -> u64 {
        loop {
            self.next = self.next.wrapping_add(1);
            let unit = (splitmix64(self.next) >> 11) as f64 / (1_u64 << 53) as f64;
            let at = self.integral_last + unit * (self.integral_first - self.integral_last);
            let x = self.integral_inverse(at);
            let rank = x.round().clamp(1.0, self.count);
            if rank - x <= self.shortcut || at >= self.integral(rank + 0.5) - self.density(rank) {
                return rank as u64 - 1;
            }
        }
    }
}

/// `(e^x - 1) / x`, also near zero.
fn exp_m1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// `ln(1 + x) / x`, also near zero.
fn ln_1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ranks_have_their_share() {
        let (count, draws) = (1_000, 200_000);
        let mut zipf = Zipf::new(count, 0.99);
        let mut seen = vec![0_u32; count as usize];
        (0..draws).for_each(|_| seen[zipf.draw() as usize] += 1);
        let sum: f64 = (1..=count).map(|rank| (rank as f64).powf(-0.99)).sum();
        for rank in [1, 2, 10] {
            let expected = f64::from(draws) * (rank as f64).powf(-0.99) / sum;
            let found = f64::from(seen[rank - 1]);
            assert!((found / expected - 1.0).abs() < 0.05, "{rank}: {found} {expected}");
        }
    }
}
