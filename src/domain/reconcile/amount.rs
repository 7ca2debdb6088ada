//! Amounts as other platforms write them, read exactly: `1,234.56`, `1.234,56`, `1 234,56`, `€120`, `120.00 EUR`, `(12.00)`.

use rust_decimal::Decimal;

use super::clue::Clue;
use crate::domain::money::{Amount, Currency};

/// The sign between whole units and their parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalSign {
    /// `1,234.56`
    Point,
    /// `1.234,56`
    Comma,
}

/// An amount as it was written, and the currency that stood beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The amount.
    pub amount: Amount,
    /// Its currency, where the cell names one.
    pub currency: Option<Currency>,
}

/// Characters that only ever group digits: blanks of several widths and apostrophes.
const GROUPING: [char; 6] = [' ', '\u{a0}', '\u{202f}', '\u{2009}', '\'', '\u{2019}'];
/// Signs of currencies; only the first two are of one currency.
const SYMBOLS: [(char, Option<&str>); 9] = [
    ('€', Some("EUR")),
    ('£', Some("GBP")),
    ('$', None),
    ('¥', None),
    ('₹', None),
    ('₽', None),
    ('₺', None),
    ('₴', None),
    ('₩', None),
];

/// A cell without sign and currency.
struct Bare<'c> {
    negative: bool,
    currency: Option<Currency>,
    digits: &'c str,
}

impl DecimalSign {
    fn character(self) -> char {
        match self {
            Self::Point => '.',
            Self::Comma => ',',
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Point => Self::Comma,
            Self::Comma => Self::Point,
        }
    }
}

/// What a cell says about the decimal sign of its column.
pub fn clue(cell: &str) -> Clue<DecimalSign> {
    let Ok(bare) = strip(cell) else { return Clue::Nothing };
    let digits = bare.digits;
    let count = |sign: DecimalSign| digits.matches(sign.character()).count();
    let sign = match (count(DecimalSign::Point), count(DecimalSign::Comma)) {
        (0, 0) => return Clue::Nothing,
        (0, _) => DecimalSign::Comma,
        (_, 0) => DecimalSign::Point,
        // With both, the last one divides.
        _ if digits.rfind('.') > digits.rfind(',') => return Clue::Says(DecimalSign::Point),
        _ => return Clue::Says(DecimalSign::Comma),
    };
    if count(sign) > 1 {
        return Clue::Says(sign.other());
    }
    let (whole, behind) = digits.split_once(sign.character()).unwrap_or((digits, ""));
    let groups = behind.len() == 3 && (1..=3).contains(&whole.len()) && !whole.starts_with('0');
    if groups { Clue::Either } else { Clue::Says(sign) }
}

/// Reads a cell.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse(cell: &str, sign: DecimalSign) -> Result<Written, String> {
    let bare = strip(cell)?;
    let wrong = || {
        format!("{cell:?} is no amount with a decimal {}", if sign == DecimalSign::Point { "point" } else { "comma" })
    };
    let (whole, fraction) = match bare.digits.split_once(sign.character()) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (bare.digits, None),
    };
    let mut text = String::from(if bare.negative { "-" } else { "" });
    text.push_str(&ungrouped(whole, sign).ok_or_else(wrong)?);
    if let Some(fraction) = fraction {
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        if !fraction.is_empty() {
            text.push('.');
            text.push_str(fraction);
        }
    }
    let amount = Amount::parse(&text).map_err(|error| error.to_string())?;
    Ok(Written { amount, currency: bare.currency })
}

/// An amount that was written in minor units (cents).
///
/// # Errors
/// When it is no whole number or grows too small to be kept.
pub fn of_minor(amount: Amount, currency: Currency) -> Result<Amount, String> {
    let minor = amount.decimal();
    if !minor.fract().is_zero() {
        return Err(format!("{amount} is no whole number of minor units of {currency}"));
    }
    let factor = Decimal::from(10_u64.saturating_pow(currency.minor_digits()));
    let major = minor.checked_div(factor).ok_or_else(|| format!("{amount} cannot be divided by {factor}"))?;
    Ok(Amount::from(major))
}

/// Takes sign, brackets and currency away.
fn strip(cell: &str) -> Result<Bare<'_>, String> {
    let mut rest = cell.trim();
    let mut bare = Bare { negative: false, currency: None, digits: "" };
    if let Some(inner) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        (bare.negative, rest) = (true, inner.trim());
    }
    loop {
        let ends = [rest.chars().next(), rest.chars().next_back()];
        let Some(end) = ends.into_iter().flatten().find(|c| !c.is_ascii_digit() && !matches!(c, '.' | ',')) else {
            break;
        };
        let front = rest.starts_with(end);
        rest = if end.is_ascii_alphabetic() {
            take_code(rest, front, &mut bare)?
        } else {
            match (end, SYMBOLS.iter().find(|(symbol, _)| *symbol == end)) {
                (_, Some((_, code))) => {
                    note(&mut bare, code.map(Currency::parse).transpose().map_err(|e| e.to_string())?)?;
                }
                ('-' | '\u{2212}', None) => bare.negative = !bare.negative,
                ('+', None) => {}
                (blank, None) if GROUPING.contains(&blank) => {}
                _ => return Err(format!("{cell:?} is no amount")),
            }
            if front { rest.strip_prefix(end) } else { rest.strip_suffix(end) }.unwrap_or_default()
        };
    }
    if !rest.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(format!("{cell:?} is no amount"));
    }
    bare.digits = rest;
    Ok(bare)
}

fn take_code<'c>(rest: &'c str, front: bool, bare: &mut Bare<'_>) -> Result<&'c str, String> {
    let letter = |c: char| c.is_ascii_alphabetic();
    let left = if front { rest.trim_start_matches(letter) } else { rest.trim_end_matches(letter) };
    let code = if front { rest.strip_suffix(left) } else { rest.strip_prefix(left) }.unwrap_or_default();
    let currency = Currency::parse(&code.to_ascii_uppercase()).map_err(|error| error.to_string())?;
    note(bare, Some(currency))?;
    Ok(left)
}

fn note(bare: &mut Bare<'_>, currency: Option<Currency>) -> Result<(), String> {
    match (bare.currency, currency) {
        (Some(one), Some(other)) if one != other => Err(format!("has two currencies, {one} and {other}")),
        (_, None) => Ok(()),
        (_, Some(_)) => {
            bare.currency = currency;
            Ok(())
        }
    }
}

/// The digits of the whole part, where they are grouped by threes or not at all.
fn ungrouped(whole: &str, sign: DecimalSign) -> Option<String> {
    let groups_by = |c: char| c == sign.other().character() || GROUPING.contains(&c);
    let Some(divider) = whole.chars().find(|c| groups_by(*c)) else {
        let plain = whole.bytes().all(|byte| byte.is_ascii_digit());
        return plain.then(|| if whole.is_empty() { "0".into() } else { whole.to_owned() });
    };
    let mut groups = whole.split(divider);
    let first = groups.next().filter(|first| (1..=3).contains(&first.len()))?;
    let mut digits = first.to_owned();
    for group in groups {
        if group.len() != 3 {
            return None;
        }
        digits.push_str(group);
    }
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cell: &str, sign: DecimalSign) -> String {
        match parse(cell, sign) {
            Ok(written) => {
                let code = written.currency.map(|currency| format!(" {currency}")).unwrap_or_default();
                format!("{}{code}", written.amount)
            }
            Err(_) => "refused".into(),
        }
    }

    #[test]
    fn amounts_are_read_as_platforms_write_them() {
        let point = [
            ("1,234.56", "1234.56"),
            ("1,234,567", "1234567"),
            ("1 234.56", "1234.56"),
            ("1'234.56", "1234.56"),
            ("€120", "120 EUR"),
            ("120.00 EUR", "120.00 EUR"),
            ("eur 120.00", "120.00 EUR"),
            ("$1,000.10", "1000.10"),
            ("-$5", "-5"),
            ("€-5", "-5 EUR"),
            ("(12.00)", "-12.00"),
            ("(€12.00)", "-12.00 EUR"),
            ("12.00-", "-12.00"),
            ("\u{2212}3", "-3"),
            (".5", "0.5"),
            ("5.", "5"),
            ("0.0000000001", "0.0000000001"),
        ];
        for (cell, expected) in point {
            assert_eq!(read(cell, DecimalSign::Point), expected, "{cell:?}");
        }
        let comma = [
            ("1.234,56", "1234.56"),
            ("1 234,56", "1234.56"),
            ("1\u{a0}234,56 €", "1234.56 EUR"),
            ("1\u{202f}234,56", "1234.56"),
            ("12,5", "12.5"),
            ("1.234.567", "1234567"),
            ("0,001", "0.001"),
        ];
        for (cell, expected) in comma {
            assert_eq!(read(cell, DecimalSign::Comma), expected, "{cell:?}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_and_never_bent() {
        let point = [
            "", "-", "EUR", "free", "1,23.45", "12,34", "1,2345", "1.2.3", "1 23.00", "€1 GBP", "1e5", "12 XXQ", "1;2",
        ];
        for cell in point {
            assert_eq!(read(cell, DecimalSign::Point), "refused", "{cell:?}");
        }
        assert_eq!(read("1,234.56", DecimalSign::Comma), "refused");
    }

    #[test]
    fn a_cell_says_how_its_column_is_written_or_that_it_can_be_read_twice() {
        use DecimalSign::{Comma, Point};
        let cases = [
            ("1,234.56", Clue::Says(Point)),
            ("1.234,56", Clue::Says(Comma)),
            ("12,5", Clue::Says(Comma)),
            ("12.50", Clue::Says(Point)),
            ("1,234,567", Clue::Says(Point)),
            ("0,125", Clue::Says(Comma)),
            ("1234.567", Clue::Says(Point)),
            ("1 234,567", Clue::Says(Comma)),
            ("1,234", Clue::Either),
            ("€12.000", Clue::Either),
            ("120", Clue::Nothing),
            ("n/a", Clue::Nothing),
        ];
        for (cell, expected) in cases {
            assert_eq!(clue(cell), expected, "{cell:?}");
        }
    }

    #[test]
    fn minor_units_follow_the_currency() {
        let minor = |text: &str, code: &str| {
            of_minor(Amount::parse(text).unwrap(), Currency::parse(code).unwrap()).map(|amount| amount.to_string())
        };
        assert_eq!(minor("12050", "EUR").as_deref(), Ok("120.50"));
        assert_eq!(minor("120", "JPY").as_deref(), Ok("120"));
        assert_eq!(minor("1234", "KWD").as_deref(), Ok("1.234"));
        assert!(minor("120.5", "EUR").is_err());
    }
}
