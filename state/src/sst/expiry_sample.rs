//! By when half of a file's records will have expired, from a sample.

/// How many times are kept: the answer is off by a percent of the file or two.
const SAMPLE_MAX: usize = 4096;

/// Keeps every n-th time, n doubling as the file grows: no randomness, bounded memory.
#[derive(Debug)]
pub(super) struct ExpirySample {
    times_ms: Vec<i64>,
    seen: u64,
    stride: u64,
}

impl Default for ExpirySample {
    fn default() -> Self {
        ExpirySample { times_ms: Vec::new(), seen: 0, stride: 1 }
    }
}

impl ExpirySample {
    /// Takes one record's time of expiry; none for one that does not expire.
    #[inline]
    pub(super) fn push(&mut self, expires_at_ms: Option<i64>) {
        if self.seen.is_multiple_of(self.stride) {
            self.keep(expires_at_ms.unwrap_or(i64::MAX));
        }
        self.seen += 1;
    }

    fn keep(&mut self, time_ms: i64) {
        self.times_ms.push(time_ms);
        if self.times_ms.len() == SAMPLE_MAX {
            let mut index = 0;
            self.times_ms.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
        }
    }

    /// By when half of the records will have expired; `i64::MAX` for never.
    pub(super) fn half_expired_at_ms(mut self) -> i64 {
        let middle = self.times_ms.len() / 2;
        match self.times_ms.is_empty() {
            true => i64::MAX,
            false => *self.times_ms.select_nth_unstable(middle).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(times: impl Iterator<Item = Option<i64>>) -> i64 {
        let mut sample = ExpirySample::default();
        times.for_each(|time| sample.push(time));
        assert!(sample.times_ms.len() <= SAMPLE_MAX);
        sample.half_expired_at_ms()
    }

    #[test]
    fn is_near_the_middle() {
        assert_eq!(half(std::iter::empty()), i64::MAX);
        assert_eq!(half([Some(7)].into_iter()), 7);
        assert_eq!(half([Some(7), None, None].into_iter()), i64::MAX);
        let middle = half((0..1_000_000).map(Some));
        assert!((490_000..510_000).contains(&middle), "{middle}");
    }
}
