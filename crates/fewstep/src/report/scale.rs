//! From values to positions in a drawing.

/// An axis of a plot: `low` to `high` lie at `from` to `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub from: f64,
    pub to: f64,
    pub spacing: Spacing,
}

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spacing {
    /// Equal differences, equal distances.
    Linear,
    /// Equal ratios, equal distances; for values above 0.
    Log,
}

impl Axis {
    /// Where a value lies.
    pub(super) fn at(&self, value: f64) -> f64 {
        let spread = |v: f64| match self.spacing {
            Spacing::Linear => v,
            Spacing::Log => v.ln(),
        };
        let (low, high) = (spread(self.low), spread(self.high));
        let share = match high > low {
            true => (spread(value) - low) / (high - low),
            false => 0.5,
        };
        self.from + share * (self.to - self.from)
    }
}

/// Round numbers from 0 up to the first that is not below `max`: about five of them, 1, 2 or 5
/// times a power of ten apart.
pub(super) fn round_ticks(max: f64) -> Vec<f64> {
    if !max.is_finite() || max <= 0.0 {
        return vec![0.0, 1.0];
    }
    let rough = max / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let count = (max / step - 1e-9).ceil() as usize;
    (0..=count).map(|i| i as f64 * step).collect()
}

/// The powers of two from the last that is not above `low` to the first that is not below `high`;
/// both at least 1.
pub(super) fn powers_of_two(low: usize, high: usize) -> Vec<usize> {
    let first = low.max(1).ilog2();
    let last = high.max(1).next_power_of_two().ilog2();
    (first..=last).map(|power| 1 << power).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_distances_on_a_logarithmic_axis() {
        let axis = Axis {
            low: 1.0,
            high: 128.0,
            from: 100.0,
            to: 800.0,
            spacing: Spacing::Log,
        };
        let places = [1.0, 2.0, 4.0, 128.0].map(|v| axis.at(v).round());
        assert_eq!(places, [100.0, 200.0, 300.0, 800.0]);
    }

    #[test]
    fn an_axis_may_point_up_and_may_have_no_extent() {
        let up = Axis {
            low: 0.0,
            high: 10.0,
            from: 300.0,
            to: 0.0,
            spacing: Spacing::Linear,
        };
        assert_eq!([0.0, 2.5, 10.0].map(|v| up.at(v)), [300.0, 225.0, 0.0]);
        let point = Axis { high: 0.0, ..up };
        assert_eq!(point.at(0.0), 150.0);
    }

    #[test]
    fn ticks_are_round_and_reach_the_largest_value() {
        assert_eq!(round_ticks(16.1), [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(round_ticks(5.0), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(round_ticks(0.07).len(), 5);
        assert_eq!(round_ticks(0.0), [0.0, 1.0]);
        assert_eq!(round_ticks(f64::NAN), [0.0, 1.0]);
    }

    #[test]
    fn powers_of_two_enclose_the_values() {
        assert_eq!(powers_of_two(1, 5), [1, 2, 4, 8]);
        assert_eq!(powers_of_two(3, 8), [2, 4, 8]);
        assert_eq!(powers_of_two(0, 0), [1]);
    }
}
