//! Recognises values that look like personal data, so that they are refused before they leave the house.

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An e-mail address.
    Email,
    /// A payment card number whose Luhn digit is right.
    Card,
    /// An international bank account number whose mod-97 check is right.
    Iban,
    /// A telephone number in international form.
    Phone,
}

impl Kind {
    /// The kind for a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "an e-mail address",
            Self::Card => "a payment card number",
            Self::Iban => "a bank account number (IBAN)",
            Self::Phone => "a telephone number",
        }
    }
}

/// Finds what kind of personal data a whole value looks like, if any; percent-encoding is looked through.
pub fn find(value: &str) -> Option<Kind> {
    let decoded = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
    [value, decoded.as_ref()].into_iter().find_map(find_plain)
}

fn find_plain(value: &str) -> Option<Kind> {
    let value = value.trim();
    if is_email(value) {
        return Some(Kind::Email);
    }
    let compact: String = value.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    if is_iban(&compact) {
        return Some(Kind::Iban);
    }
    if is_phone(value) {
        return Some(Kind::Phone);
    }
    if is_card(value, &compact) {
        return Some(Kind::Card);
    }
    None
}

fn is_email(value: &str) -> bool {
    let Some((local, domain)) = value.rsplit_once('@') else { return false };
    let word = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    let Some((name, top)) = domain.rsplit_once('.') else { return false };
    let top_fine = top.len() >= 2 && top.chars().all(char::is_alphabetic);
    !local.is_empty() && local.chars().all(word) && !name.is_empty() && name.chars().all(word) && top_fine
}

/// Card networks' first digits and lengths beside the Luhn digit; numeric click ids of other shapes pass.
fn is_card(value: &str, compact: &str) -> bool {
    let digits: Vec<u32> = compact.chars().filter_map(|c| c.to_digit(10)).collect();
    if digits.len() != compact.len() || value.starts_with('-') {
        return false;
    }
    let network = match (compact.get(..2), digits.len()) {
        (Some("34" | "37"), 15) => true,
        (Some(start), 16) => {
            start.starts_with('4') || ("51"..="55").contains(&start) || matches!(start, "60" | "65" | "35")
        }
        _ => false,
    };
    let doubled = |(i, d): (usize, &u32)| {
        if i % 2 == 1 { [0, 2, 4, 6, 8, 1, 3, 5, 7, 9].get(*d as usize).copied().unwrap_or(0) } else { *d }
    };
    network && digits.iter().rev().enumerate().map(doubled).sum::<u32>().is_multiple_of(10)
}

fn is_iban(compact: &str) -> bool {
    let shape = (15..=34).contains(&compact.len())
        && compact.is_ascii()
        && compact.bytes().take(2).all(|b| b.is_ascii_uppercase())
        && compact.bytes().skip(2).take(2).all(|b| b.is_ascii_digit())
        && compact.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if !shape {
        return false;
    }
    let (head, tail) = compact.split_at(4);
    let remainder = tail.chars().chain(head.chars()).filter_map(|c| c.to_digit(36)).fold(0_u32, |rest, digit| {
        let shifted = if digit > 9 { rest * 100 } else { rest * 10 };
        (shifted + digit) % 97
    });
    remainder == 1
}

fn is_phone(value: &str) -> bool {
    let Some(rest) = value.strip_prefix('+') else { return false };
    let digits = rest.chars().filter(char::is_ascii_digit).count();
    (8..=15).contains(&digits)
        && rest.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-' | '(' | ')' | '/' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_data_is_found() {
        assert_eq!(find("jo.doe+x@mail.example.com"), Some(Kind::Email));
        assert_eq!(find("jo%40example.com"), Some(Kind::Email));
        assert_eq!(find("4111 1111 1111 1111"), Some(Kind::Card));
        assert_eq!(find("378282246310005"), Some(Kind::Card));
        assert_eq!(find("DE89 3704 0044 0532 0130 00"), Some(Kind::Iban));
        assert_eq!(find("+49 151 23456789"), Some(Kind::Phone));
    }

    #[test]
    fn click_ids_are_left_alone() {
        for id in [
            "c-77f3",
            "550e8400-e29b-41d4-a716-446655440000",
            "w7KJ9X2PQ8LM4N6R",
            "1763632800123",
            "4111111111111112",
            "9876543210987654",
            "abc@def",
            "DE89370400440532013001",
        ] {
            assert_eq!(find(id), None, "{id}");
        }
    }
}
