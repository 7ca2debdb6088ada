//! What people type to say which deliveries they mean, for fuzzing.

use std::fmt::Debug;

use clap::{Args as _, Command, FromArgMatches as _};

pub(crate) use super::enqueue::fuzzing::{Written, found, read_again};

use super::affiliate::parse_target;
use super::filter::{FilterArgs, query, unrouted_query};
use super::{ids, time};
use crate::config;
use crate::fuzzing::{Pieces, now};
use crate::inspect::{DeliveryFilter, UnroutedFilter};

/// The first piece is a value, the second the arguments of `list`, one a line, the third a file of ids.
pub(crate) fn cli_filters(input: &[u8]) {
    let pieces = Pieces::of(input);
    let value = pieces.text(0);
    durations(&value);
    moments(&value);
    config::fuzzing::quantities(&value);
    if let Ok(target) = parse_target(&value) {
        read_as_shown(&parse_target(&target.to_string()), &Ok(target));
    }
    let _ = ids::of_lines(pieces.bytes(2)).map(|ids| {
        let lines: Vec<_> = ids.iter().map(ToString::to_string).collect();
        read_as_shown(&ids::of_lines(lines.join("\n").as_bytes()), &Ok(ids));
    });
    filters(&pieces.text(1));
}

fn read_as_shown<T: PartialEq + Debug>(again: &T, first: &T) {
    assert_eq!(again, first, "shown, and read again");
}

/// A duration is bounded, and the configuration, where it takes it, means the same by it.
fn durations(text: &str) {
    let Ok(duration) = time::duration(text) else { return };
    assert!(duration.as_secs() <= time::LONGEST_SECONDS, "{text:?} is {duration:?}");
    if let Some(configured) = config::fuzzing::duration(text) {
        assert_eq!(duration, configured, "{text:?} is typed, and is configured");
    }
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    read_as_shown(&time::duration(&format!("{millis}ms")), &Ok(duration));
}

/// A moment is read again as it is shown, to the millisecond; a duration lies in the past.
fn moments(text: &str) {
    let Ok(moment) = time::moment_at(text, now()) else { return };
    let shown = time::shown(moment);
    let again = time::moment_at(&shown, now());
    let near = again.as_ref().is_ok_and(|again| again.duration_since(moment).abs().as_millis() <= 1);
    assert!(near, "{text:?} is shown as {shown:?} and read as {again:?}");
    if time::duration(text).is_ok() {
        assert!(moment <= now(), "{text:?} ago is {moment}");
    }
}

/// What is typed is asked of the daemon as it was meant: the same in JSON, and in a query.
fn filters(lines: &str) {
    let command = FilterArgs::augment_args(Command::new("list").no_binary_name(true));
    let Ok(matches) = command.try_get_matches_from(lines.lines().filter(|line| !line.is_empty())) else { return };
    let Ok(typed) = FilterArgs::from_arg_matches(&matches) else { return };
    let unrouted = typed.unrouted();
    let asked: Option<UnroutedFilter> = json_of(&unrouted_query(&unrouted));
    assert_eq!(asked.as_ref(), Some(&unrouted), "asked as it was typed");
    let Ok(filter) = typed.filter(&[]) else { return };
    assert_eq!(filter.validate(), Ok(()), "{filter:?}");
    let asked: Option<DeliveryFilter> = json_of(&query(&filter));
    assert_eq!(asked.as_ref(), Some(&filter), "asked as it was typed");
    assert_eq!(filter.is_empty(), query(&filter).is_empty(), "{filter:?}");
}

/// What a query comes to behind its encoding, read as a filter.
fn json_of<T: serde::de::DeserializeOwned>(query: &[(&'static str, String)]) -> Option<T> {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(query);
    let text = text.finish();
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    let fields = pairs.map(|(name, value)| {
        let value = match (&*name, value.parse::<u16>()) {
            ("http_status", Ok(code)) => code.into(),
            _ => value.into_owned().into(),
        };
        (name.into_owned(), value)
    });
    serde_json::from_value(serde_json::Value::Object(fields.collect())).ok()
}
