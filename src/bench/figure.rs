//! Figures beside their baselines: what was measured in turns, and what it comes to.
//!
//! The machine is shared and noisy. A figure and its baseline are therefore taken one after the other, several times,
//! and the ratio is the median of those of single turns.

use std::time::Duration;

use serde::Serialize;

/// One figure beside its baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The median over all turns.
    pub value: f64,
    /// What the value counts.
    pub unit: Unit,
    /// What it is compared with.
    pub baseline: Option<String>,
    /// The baseline's median over all turns.
    pub baseline_value: Option<f64>,
    /// The figure divided by the baseline: the median of the turns' ratios.
    pub ratio: Option<f64>,
    /// What is aimed at: for the ratio, or for the value where there is no baseline.
    pub target: Option<Target>,
    /// Whether that is reached.
    pub met: Option<bool>,
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// So many a second.
    PerSecond,
    /// Microseconds.
    Micros,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Attempts, events or allocations: a plain number.
    Count,
}

/// What is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

impl Target {
    /// Whether a number reaches it.
    pub fn is_met_by(self, number: f64) -> bool {
        match self {
            Self::AtLeast(least) => number >= least,
            Self::AtMost(most) => number <= most,
        }
    }
}

/// The same thing, measured once a turn.
#[derive(Debug, Clone)]
pub(super) struct Series {
    name: String,
    unit: Unit,
    turns: Vec<f64>,
}

impl Series {
    pub(super) fn new(name: impl Into<String>, unit: Unit) -> Self {
        Self { name: name.into(), unit, turns: Vec::new() }
    }

    /// A series of a single turn.
    pub(super) fn once(name: impl Into<String>, unit: Unit, value: f64) -> Self {
        Self { turns: vec![value], ..Self::new(name, unit) }
    }

    pub(super) fn push(&mut self, value: f64) {
        self.turns.push(value);
    }

    /// The figure by itself.
    pub(super) fn figure(&self, target: Option<Target>) -> Figure {
        let value = median(self.turns.clone());
        Figure {
            name: self.name.clone(),
            value,
            unit: self.unit,
            baseline: None,
            baseline_value: None,
            ratio: None,
            target,
            met: target.map(|target| target.is_met_by(value)),
        }
    }

    /// The figure beside a baseline of the same turns.
    pub(super) fn beside(&self, baseline: &Self, target: Option<Target>) -> Figure {
        let turns = self.turns.iter().zip(&baseline.turns);
        let ratio = median(turns.map(|(figure, beside)| figure / beside.max(f64::EPSILON)).collect());
        Figure {
            baseline: Some(baseline.name.clone()),
            baseline_value: Some(median(baseline.turns.clone())),
            ratio: Some(ratio),
            target,
            met: target.map(|target| target.is_met_by(ratio)),
            ..self.figure(None)
        }
    }
}

/// So many in so long, with the time of each where each was waited for.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) count: usize,
    pub(super) took: Duration,
    pub(super) times: Vec<Duration>,
}

impl Measured {
    pub(super) fn per_second(&self) -> f64 {
        number(self.count) / self.took.as_secs_f64().max(f64::EPSILON)
    }

    /// The time that so many of a thousand stay within, in microseconds.
    pub(super) fn within(&mut self, per_mille: usize) -> f64 {
        self.times.sort_unstable();
        let place = (self.times.len() * per_mille / 1_000).min(self.times.len().saturating_sub(1));
        self.times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}

/// A count as a number to calculate with.
#[allow(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
pub(super) fn number(count: usize) -> f64 {
    count as f64
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = |at: usize| all.get(at).copied().unwrap_or_default();
    match all.len() {
        0 => 0.0,
        count if count % 2 == 0 => f64::midpoint(middle(count / 2 - 1), middle(count / 2)),
        count => middle(count / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, turns: &[f64]) -> Series {
        Series { name: name.into(), unit: Unit::PerSecond, turns: turns.to_vec() }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_turns_so_that_a_disturbed_turn_counts_for_nothing() {
        // In the last turn the machine was busy with something else while the figure was taken.
        let (figure, baseline) = (series("accepts", &[50.0, 60.0, 1.0]), series("appends", &[100.0, 100.0, 100.0]));
        let beside = figure.beside(&baseline, Some(Target::AtLeast(0.5)));
        assert_eq!((beside.ratio, beside.met, beside.value), (Some(0.5), Some(true), 50.0));
        assert_eq!((beside.baseline.as_deref(), beside.baseline_value), (Some("appends"), Some(100.0)));
        // A machine that is half as fast in one turn is so for both.
        let (figure, baseline) = (series("a", &[40.0, 20.0]), series("b", &[100.0, 50.0]));
        assert_eq!(figure.beside(&baseline, Some(Target::AtMost(0.3))).met, Some(false));
        assert_eq!(figure.beside(&baseline, None).ratio, Some(0.4));
    }

    #[test]
    fn quantiles_are_of_all_times_whatever_their_order() {
        let times = (1..=1_000).rev().map(Duration::from_micros).collect();
        let mut measured = Measured { count: 1_000, took: Duration::from_secs(2), times };
        let found = [500, 990, 999].map(|per_mille| format!("{:.0}", measured.within(per_mille)));
        assert_eq!(found, ["501", "991", "1000"]);
        assert!((measured.per_second() - 500.0).abs() < 1e-9);
        assert!(Measured::default().within(990).abs() < 1e-9, "of nothing");
    }
}
