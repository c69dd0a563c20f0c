//! How times are told: by their percentiles.

/// Milliseconds, in order.
pub struct Spread(Vec<i64>);

impl Spread {
    pub fn of(mut millis: Vec<i64>) -> Self {
        millis.sort_unstable();
        Self(millis)
    }

    pub fn at(&self, percent: usize) -> i64 {
        self.at_mille(10 * percent)
    }

    /// The same in thousandths.
    pub fn at_mille(&self, mille: usize) -> i64 {
        self.0[(self.0.len() * mille / 1_000).min(self.0.len() - 1)]
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        write!(f, "{} measured: least {least} ms, p50 {} ms, p90 {} ms, p99 {} ms, most {most} ms", self.0.len(), self.at(50), self.at(90), self.at(99))
    }
}
