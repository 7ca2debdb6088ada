//! Exact decimal amounts and ISO 4217 currencies; no binary floating point anywhere.

use std::fmt;

use iso_currency::Currency as Iso;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Most significant digits an amount may have; what a `Decimal` holds without rounding.
pub const MAX_DIGITS: usize = 28;

/// Why a text is not an amount or a currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    /// Not plain decimal notation.
    #[error("{0:?} is not a decimal number such as \"120.00\" (digits, at most one point, no exponent or grouping)")]
    Notation(String),
    /// More digits than can be kept exactly.
    #[error("has {0} digits, at most {MAX_DIGITS} can be kept exactly")]
    Digits(usize),
    /// Not a currency code of ISO 4217.
    #[error("{0:?} is not an ISO 4217 currency code such as \"EUR\" (three upper-case letters)")]
    Currency(String),
}

/// An exact decimal amount; keeps the scale it was written with (`120.00` stays `120.00`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(Decimal);

impl Amount {
    /// Parses plain decimal notation exactly.
    ///
    /// # Errors
    /// When the text is anything but `-?digits[.digits]`, or has more than 28 digits.
    pub fn parse(text: &str) -> Result<Self, InvalidMoney> {
        let notation = || InvalidMoney::Notation(text.chars().take(64).collect());
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let digits_only = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits_only(whole) || !digits_only(fraction) {
            return Err(notation());
        }
        let digits = unsigned.trim_start_matches('0').bytes().filter(u8::is_ascii_digit).count();
        if digits > MAX_DIGITS || fraction.len() > MAX_DIGITS {
            return Err(InvalidMoney::Digits(digits.max(fraction.len())));
        }
        Decimal::from_str_exact(text).map(Self).map_err(|_| notation())
    }

    /// The amount as a decimal.
    pub fn decimal(self) -> Decimal {
        self.0
    }
}

impl From<Decimal> for Amount {
    fn from(decimal: Decimal) -> Self {
        Self(decimal)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&self.0)
        } else {
            (self.0.mantissa(), self.0.scale()).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            Self::parse(&text).map_err(D::Error::custom)
        } else {
            let (mantissa, scale) = <(i128, u32)>::deserialize(deserializer)?;
            Decimal::try_from_i128_with_scale(mantissa, scale).map(Self).map_err(D::Error::custom)
        }
    }
}

/// A currency of ISO 4217.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(Iso);

impl Currency {
    /// Parses an upper-case ISO 4217 code.
    ///
    /// # Errors
    /// When the code is unknown or not in upper case.
    pub fn parse(code: &str) -> Result<Self, InvalidMoney> {
        let known = code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
        known
            .then(|| Iso::from_code(code))
            .flatten()
            .map(Self)
            .ok_or_else(|| InvalidMoney::Currency(code.chars().take(16).collect()))
    }

    /// The three-letter code.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Digits of the minor unit: 2 for EUR, 0 for JPY, 3 for KWD.
    pub fn minor_digits(self) -> u32 {
        u32::from(self.0.exponent().unwrap_or(0))
    }

    /// The amount in minor units (cents), rounded half to even where it is finer than the currency.
    ///
    /// `None` where the result no longer fits.
    pub fn to_minor(self, amount: Amount) -> Option<Decimal> {
        let factor = Decimal::from(10_u64.checked_pow(self.minor_digits())?);
        let minor = amount.0.checked_mul(factor)?;
        Some(minor.round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.code().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::parse(&code).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_stays_exactly_as_written() {
        for text in ["120.00", "0.1", "-5", "0", "9999999999999999999999999999", "0.0000000000000000000000000001"] {
            assert_eq!(Amount::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        for text in ["", "-", ".5", "5.", "1e2", "12,34", "1 000", "+1", "NaN", "0x10", "--1", "1.2.3"] {
            assert!(matches!(Amount::parse(text), Err(InvalidMoney::Notation(_))), "{text:?}");
        }
        assert_eq!(Amount::parse("10000000000000000000000000000"), Err(InvalidMoney::Digits(29)));
        assert_eq!(Amount::parse("0.00000000000000000000000000001"), Err(InvalidMoney::Digits(29)));
    }

    #[test]
    fn minor_units_follow_the_currency() {
        let minor =
            |code, text| Currency::parse(code).unwrap().to_minor(Amount::parse(text).unwrap()).unwrap().to_string();
        assert_eq!(minor("EUR", "120.00"), "12000");
        assert_eq!(minor("JPY", "120"), "120");
        assert_eq!(minor("KWD", "1.234"), "1234");
        assert_eq!(minor("EUR", "0.125"), "12");
    }

    #[test]
    fn currencies_are_upper_case_iso_codes() {
        assert!(Currency::parse("EUR").is_ok());
        for code in ["eur", "XXQ", "", "EURO"] {
            assert_eq!(Currency::parse(code), Err(InvalidMoney::Currency(code.into())));
        }
    }
}
