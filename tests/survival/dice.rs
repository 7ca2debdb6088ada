//! Chance that can be repeated: numbers from a seed, by `SplitMix64` (Steele, Lea and Flood, 2014).

use std::time::Duration;

/// A sequence of numbers that its seed decides.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of their own for one thing among many, so that what is drawn for others does not change it.
    pub(crate) fn of(seed: u64, what: &str, number: u64) -> Self {
        let mut dice = Self(seed ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        for byte in what.bytes() {
            dice.0 = dice.0.wrapping_add(u64::from(byte));
            dice.0 = dice.next();
        }
        dice
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// A place in something of this length.
    pub(crate) fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// True so many times of a hundred.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// A time up to this one: any, or one of the earliest, when a daemon is on its way up.
    pub(crate) fn moment(&mut self, longest: Duration) -> Duration {
        let longest = u64::try_from(longest.as_micros()).unwrap();
        Duration::from_micros(if self.percent(70) { self.below(longest) } else { self.by_magnitude(longest) })
    }

    /// A number from 1 to this one, each order of magnitude as likely as the next: what happens early is met as often as
    /// what happens late.
    pub(crate) fn by_magnitude(&mut self, most: u64) -> u64 {
        let top = 1 << self.below(u64::from(most.max(1).ilog2()) + 1);
        (top + self.below(top)).min(most)
    }
}
