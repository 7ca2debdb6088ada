//! When a delivery is tried again: the schedule, its jitter, and what a receiver may ask for.
//!
//! The schedule is laid out once, when the configuration is read. Randomness comes in as a number.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// Longest wait that a receiver can ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
/// Shortest wait behind an answer of "not now": one that asks for none must not be asked again at once.
pub const LEAST_THROTTLED: Duration = Duration::from_secs(1);
/// Wait behind the first local fault of a delivery; each attempt that spent nothing doubles it.
pub const LEAST_LOCAL: Duration = Duration::from_secs(1);
/// Longest wait behind a local fault, before jitter.
const MOST_LOCAL: Duration = Duration::from_secs(30);
/// Most attempts that may spend nothing before a local fault counts like any other: most of an hour.
const LOCAL_ATTEMPTS: u32 = 100;
/// Most attempts a schedule may have.
pub const MAX_ATTEMPTS: u32 = 100;

/// How often and when a delivery is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    delays: Vec<Duration>,
    jitter: Jitter,
}

/// How much a delay grows at random, so that retries do not come in waves. A delay never shrinks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Jitter {
    /// The delay as it is.
    None,
    /// Up to the delay once more.
    Full,
    /// Up to half the delay more.
    Equal,
    /// Up to this part of the delay more; 0.2 is 20 %.
    Part(f64),
}

impl Jitter {
    fn part(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Full => 1.0,
            Self::Equal => 0.5,
            Self::Part(part) => part,
        }
    }
}

/// An exponential schedule as configured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exponential {
    /// Delay behind the first attempt.
    pub initial: Duration,
    /// What each delay is multiplied by for the next.
    pub factor: f64,
    /// Longest delay.
    pub max_delay: Duration,
    /// Most attempts, the first included; at least 1.
    pub max_attempts: u32,
}

impl RetryPolicy {
    /// Lays out an exponential schedule.
    pub fn exponential(settings: Exponential, jitter: Jitter) -> Self {
        let mut steps = ExponentialBackoff {
            initial_interval: settings.initial,
            current_interval: settings.initial,
            multiplier: settings.factor,
            max_interval: settings.max_delay,
            randomization_factor: 0.0,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        let retries = settings.max_attempts.clamp(1, MAX_ATTEMPTS) - 1;
        // Not what a step returns: also without jitter, it is now and then a nanosecond more.
        let delays = (0..retries).map_while(|_| {
            let delay = steps.current_interval.min(settings.max_delay);
            steps.next_backoff().map(|_| delay)
        });
        Self { delays: delays.collect(), jitter }
    }

    /// A schedule of explicit delays: one more attempt than delays.
    pub fn explicit(delays: Vec<Duration>, jitter: Jitter) -> Self {
        Self { delays, jitter }
    }

    /// Most attempts, the first included.
    pub fn max_attempts(&self) -> usize {
        self.delays.len() + 1
    }

    /// The delays without jitter, in order.
    pub fn delays(&self) -> &[Duration] {
        &self.delays
    }

    /// The wait behind the attempt that brought the number of spent attempts to `spent`; `None` when the
    /// schedule is used up. `random` lies in 0 (inclusive) to 1 (exclusive).
    pub fn delay(&self, spent: u32, random: f64) -> Option<Duration> {
        let step = usize::try_from(spent).ok()?.checked_sub(1)?;
        self.delays.get(step).map(|&delay| self.jittered(delay, random))
    }

    /// The wait behind an answer of "not now" that names no time: like the schedule's, its last step repeated.
    pub fn throttled_delay(&self, made: u32, random: f64) -> Duration {
        const UNSCHEDULED: Duration = Duration::from_secs(30);
        let step = usize::try_from(made.saturating_sub(1)).unwrap_or(usize::MAX);
        let delay = self.delays.get(step).or(self.delays.last()).copied().unwrap_or(UNSCHEDULED);
        self.jittered(delay, random)
    }

    fn jittered(&self, delay: Duration, random: f64) -> Duration {
        delay + delay.mul_f64(self.jitter.part() * random.clamp(0.0, 1.0))
    }
}

/// The wait behind a fault of this machine, given how many attempts of the delivery have spent nothing so far; `None`
/// when they were so many that it will not pass by itself.
///
/// Seconds, because the receiver may be well; more of them each time, because every attempt leaves a record. Up to
/// half of it is added at random, so that all that waits does not come back at once.
pub fn local_delay(unspent: u32, random: f64) -> Option<Duration> {
    if unspent >= LOCAL_ATTEMPTS {
        return None;
    }
    let delay = LEAST_LOCAL.saturating_mul(2_u32.saturating_pow(unspent)).min(MOST_LOCAL);
    Some(delay + delay.mul_f64(0.5 * random.clamp(0.0, 1.0)))
}

/// Reads a `Retry-After` header (RFC 9110, section 10.2.3): seconds or an HTTP date.
///
/// A value that is neither, or a date in the past, counts as absent; a longer wait is cut to 24 hours.
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.len() <= 10 && value.bytes().all(|b| b.is_ascii_digit()) {
        return value.parse().ok().map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    }
    let date = value.strip_suffix("GMT").filter(|_| value.len() <= 40)?;
    let at = rfc2822::DateTimeParser::new().parse_timestamp(format!("{date}+0000")).ok()?;
    let wait = Duration::try_from(at.duration_since(now)).ok()?;
    Some(wait.min(MAX_RETRY_AFTER))
}

/// When a wait that begins now ends.
pub fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn exponential(max_attempts: u32) -> Exponential {
        Exponential { initial: secs(5), factor: 3.0, max_delay: secs(100), max_attempts }
    }

    #[test]
    fn the_schedule_grows_to_its_longest_delay() {
        let policy = RetryPolicy::exponential(exponential(6), Jitter::None);
        assert_eq!(policy.delays(), [secs(5), secs(15), secs(45), secs(100), secs(100)]);
        assert_eq!(policy.delay(1, 0.9), Some(secs(5)));
        assert_eq!(policy.delay(5, 0.9), Some(secs(100)));
        assert_eq!(policy.delay(6, 0.9), None);
    }

    #[test]
    fn the_same_settings_lay_out_the_same_schedule() {
        let settings = Exponential { max_delay: secs(21_600), ..exponential(12) };
        let first = RetryPolicy::exponential(settings, Jitter::Full);
        assert_eq!(first.delays().get(6), Some(&secs(3_645)));
        // Rare where it happens: once in some thousand delays.
        for _ in 0..20_000 {
            assert_eq!(RetryPolicy::exponential(settings, Jitter::Full), first);
        }
    }

    #[test]
    fn an_explicit_schedule_has_one_attempt_more_than_delays() {
        let policy = RetryPolicy::explicit(vec![secs(5), secs(300)], Jitter::None);
        assert_eq!((policy.max_attempts(), policy.delay(2, 0.0), policy.delay(3, 0.0)), (3, Some(secs(300)), None));
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date() {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let read = |value| parse_retry_after(value, now);
        assert_eq!(read("120"), Some(secs(120)));
        assert_eq!(read(" 0 "), Some(secs(0)));
        assert_eq!(read("9999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(read("Fri, 20 Nov 2026 10:01:00 GMT"), Some(secs(60)));
        assert_eq!(read("Fri, 20 Nov 2099 10:01:00 GMT"), Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn hostile_retry_after_counts_as_absent() {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        for value in ["", "-5", "1e9", "99999999999999999999", "soon", "Fri, 20 Nov 2020 10:01:00 GMT", "12 34", "1.5"]
        {
            assert_eq!(parse_retry_after(value, now), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn jitter_only_ever_adds_and_stays_in_its_part(random in 0.0..1.0_f64, spent in 1..12_u32, part in 0.0..1.0_f64) {
            for (jitter, most) in [(Jitter::Full, 2.0), (Jitter::Equal, 1.5), (Jitter::Part(part), 1.0 + part)] {
                let plain = RetryPolicy::exponential(exponential(13), Jitter::None).delay(spent, random).unwrap();
                let delay = RetryPolicy::exponential(exponential(13), jitter).delay(spent, random).unwrap();
                prop_assert!(delay >= plain && delay <= plain.mul_f64(most) + Duration::from_nanos(1));
            }
        }
    }
}
