//! E-mail and IP addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::words::{Gap, Number};
use super::{Finding, Kind};

/// Finds e-mail addresses, also inside of longer texts.
pub(super) fn emails(text: &str, found: &mut Vec<Finding>) {
    let mut taken = 0;
    for (at, _) in text.match_indices('@') {
        let (before, after) = (text.get(taken..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
        let local = longest(before.chars().rev(), |c| c.is_alphanumeric() || "._%+-'=!#$&*/?^{|}~".contains(c));
        // What stands before a separator of a query or a path is no part of the address.
        let local = before.get(before.len() - local..).unwrap_or_default();
        let local = local.rsplit(['=', '&', '?', '/', '|', '\'']).next().unwrap_or_default();
        let domain = longest(after.chars(), |c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
        let domain = after.get(..domain).unwrap_or_default().trim_end_matches(['.', '-', '_']);
        if !local.is_empty() && is_domain(domain) {
            found.push(Finding { range: at - local.len()..at + 1 + domain.len(), kind: Kind::Email });
            taken = at + 1 + domain.len();
        }
    }
}

/// The bytes of the characters at the beginning that fit.
fn longest(characters: impl Iterator<Item = char>, fits: impl Fn(char) -> bool) -> usize {
    /// The longest domain; local parts are shorter.
    const MOST: usize = 253;
    characters.take(MOST).take_while(|c| fits(*c)).map(char::len_utf8).sum()
}

/// Whether a text is a domain of the Internet; `2x.png` is an image's density.
fn is_domain(text: &str) -> bool {
    let Some((name, top)) = text.rsplit_once('.') else { return false };
    let letters = top.chars().count() >= 2 && top.chars().all(char::is_alphabetic);
    let density = matches!(name, "2x" | "3x");
    (letters || top.starts_with("xn--")) && !density && name.split('.').all(|label| !label.is_empty())
}

/// Finds IPv4 addresses of hosts.
pub(super) fn v4_addresses(text: &str, numbers: &[Number], found: &mut Vec<Finding>) {
    for number in numbers.iter().filter(|number| number.groups.len() == 4 && number.alone && number.joined_by(Gap::Dot))
    {
        let address = text.get(number.range.clone()).and_then(|text| text.parse::<Ipv4Addr>().ok());
        if address.is_some_and(is_host) {
            found.push(Finding { range: number.range.clone(), kind: Kind::IpAddress });
        }
    }
}

/// Finds IPv6 addresses of hosts.
pub(super) fn v6_addresses(text: &str, found: &mut Vec<Finding>) {
    if text.bytes().filter(|byte| *byte == b':').count() < 2 {
        return;
    }
    let inside = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let mut start = 0;
    for part in text.split(|c: char| !u8::try_from(c).is_ok_and(inside)) {
        let before = text.get(..start).and_then(|before| before.chars().next_back());
        let range = start..start + part.len();
        start = range.end + text.get(range.end..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        let after = text.get(range.end..).and_then(|after| after.chars().next());
        let Some((literal, lead)) = trimmed(part) else { continue };
        let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let cut = lead == 0 && joined(before) || literal.len() + lead == part.len() && joined(after);
        if !cut && literal.parse::<Ipv6Addr>().is_ok_and(|address| is_global(&address)) {
            let begin = range.start + lead;
            found.push(Finding { range: begin..begin + literal.len(), kind: Kind::IpAddress });
        }
    }
}

/// A part without the colons and full stops of the sentence around it, and how many bytes were before it.
fn trimmed(part: &str) -> Option<(&str, usize)> {
    let lead = usize::from(part.starts_with(':') && !part.starts_with("::"));
    let rest = part.get(lead..)?.trim_end_matches('.');
    let rest = rest.strip_suffix(':').filter(|rest| !rest.ends_with(':')).unwrap_or(rest);
    (rest.len() >= 2).then_some((rest, lead))
}

/// Whether an address can be a host's: one that ends in 0 is a network, or was made anonymous.
fn is_host(address: Ipv4Addr) -> bool {
    let [first, .., last] = address.octets();
    (1..=223).contains(&first) && first != 127 && last != 0
}

/// Whether an address is a host's: what merely has the form, such as `ad::cafe`, is in no network that is in use.
fn is_global(address: &Ipv6Addr) -> bool {
    let [first, ..] = address.segments();
    let mapped = address.to_ipv4_mapped().is_some();
    mapped || first & 0xe000 == 0x2000 || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
}
