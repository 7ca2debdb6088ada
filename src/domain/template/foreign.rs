//! Recognises macros that nobody filled in, in the styles that trackers use.

use percent_encoding::percent_decode_str;

/// Longest name that is looked for between delimiters, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// What a value looks like when it was handed over unfilled, if it does.
pub(crate) fn unfilled(value: &str) -> Option<&'static str> {
    let trimmed = value.trim();
    if trimmed.eq_ignore_ascii_case("null") || trimmed.eq_ignore_ascii_case("undefined") {
        return Some("a missing value written out as null or undefined");
    }
    if macro_in(trimmed) {
        return Some("a macro that was not filled in");
    }
    if !trimmed.contains('%') {
        return None;
    }
    let once = percent_decode_str(trimmed).decode_utf8_lossy();
    let twice = percent_decode_str(&once).decode_utf8_lossy();
    (macro_in(&once) || macro_in(&twice)).then_some("a percent-encoded macro that was not filled in")
}

/// Whether a text holds a macro of any style.
///
/// Styles whose delimiters are common in data (`[x]`, `#x#`, `%x%`, `<x>`) count only as the whole text.
fn macro_in(text: &str) -> bool {
    within(text, "{", "}")
        || within(text, "[[[", "]]]")
        || within(text, "##", "##")
        || [("[", "]"), ("#", "#"), ("%", "%"), ("<", ">")].iter().any(|(open, close)| {
            text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)).is_some_and(is_token)
        })
}

/// Whether a name stands between the delimiters anywhere in the text.
fn within(text: &str, open: &str, close: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(open) {
        let end = after
            .char_indices()
            .map(|(at, _)| at)
            .take(MAX_NAME_BYTES + 1)
            .find(|&at| after.get(at..).is_some_and(|tail| tail.starts_with(close)));
        if end.and_then(|end| after.get(..end)).is_some_and(is_token) {
            return true;
        }
        rest = after;
    }
    false
}

/// Whether a text is what stands between a macro's delimiters.
fn is_token(text: &str) -> bool {
    let text = text.trim();
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b':' | b'|'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_of_every_style_are_found() {
        let styles = [
            "{clickid}",
            "{{clickid}}",
            "${clickid}",
            "[clickid]",
            "##clickid##",
            "#clickid#",
            "%clickid%",
            "[[[clickid]]]",
            "<clickid>",
            "%7Bclickid%7D",
            "%7bclick_id%7d",
            "%257Bclickid%257D",
            "%23%23x%23%23",
            "a-{sub.1}-b",
            "{{ click_id }}",
            "x${aff_sub}",
            "{click-id}",
            "{a:b}",
            "null",
            "NULL",
            " Undefined ",
        ];
        for value in styles {
            assert!(unfilled(value).is_some(), "{value:?}");
        }
    }

    #[test]
    fn data_is_left_alone() {
        let data = [
            "",
            "c-77f3",
            "nullable",
            "a[0]",
            "banner[top]",
            "{}",
            "{1}",
            "{\"a\":1}",
            "50%",
            "100%25",
            "#1",
            "a#b#c",
            "x<y>z",
            "1{",
            "}a{",
            "%zz",
            "[1]",
            "{a b}",
            "C#",
            "##",
            "{€}",
        ];
        for value in data {
            assert_eq!(unfilled(value), None, "{value:?}");
        }
    }
}
