//! URLs: they go where the template says, and what is read back is what was put in.

use percent_encoding::percent_decode_str;

use super::leaving::{leaves_whole, secrets, sent};
use super::{event, get};
use crate::domain::event::Event;
use crate::domain::request::{RenderError, RequestTemplate};
use crate::domain::template::foreign;
use crate::fuzzing::Pieces;

/// Where a request is rehearsed instead.
const ELSEWHERE: &str = "http://127.0.0.1:8480";
/// A template in which each value has a place of its own.
const KNOWN: &str =
    "https://track.example/x/{sub_ids.a}/y?a={sub_ids.a}&{sub_ids.b}=1&c={sub_ids.b}-{params.text}&l=%C3%BC";

/// The first piece is the URL, the others the values.
pub(crate) fn url(input: &[u8]) {
    let pieces = Pieces::of(input);
    let Some(event) = event(&pieces, 1) else { return };
    any(&pieces.text(0), &event);
    if event.sub_ids.len() == 2 {
        known(&event);
    }
}

/// Whatever the template, scheme, host and port are those that it begins with.
fn any(text: &str, event: &Event) {
    let Ok(request) = RequestTemplate::compile(&get(text), None) else { return };
    let origin = request.origin().to_owned();
    let authority = text.split_once("://").map_or("", |(_, behind)| behind.split(['/', '?']).next().unwrap_or(behind));
    let written = text.split_once("://").map_or("", |(scheme, _)| scheme);
    match (::url::Url::parse(&format!("{written}://{authority}/")), ::url::Url::parse(&origin)) {
        (Ok(written), Ok(origin)) => assert_eq!(written, origin, "{text}"),
        other => panic!("{text}: {other:?}"),
    }
    let Ok(here) = sent(&request, event, None, &secrets()) else { return };
    leaves_whole(&here, &origin);
    let moved = request.at_origin(ELSEWHERE);
    if let Ok(there) = sent(&moved, event, None, &secrets()) {
        leaves_whole(&there, ELSEWHERE);
        assert_eq!(here.url.strip_prefix(&origin), there.url.strip_prefix(ELSEWHERE), "path and query");
    }
}

/// Each value is read back from its place, and one that is a macro that nobody filled in is refused.
fn known(event: &Event) {
    let Ok(request) = RequestTemplate::compile(&get(KNOWN), None) else { panic!("{KNOWN} does not compile") };
    let value = |name: &str| event.sub_ids.get(name).cloned().unwrap_or_default();
    let (a, b) = (value("a"), value("b"));
    let text = event.params.get("text").map(ToString::to_string).unwrap_or_default();
    let rendered = sent(&request, event, None, &secrets());
    if [&a, &b, &text].iter().any(|value| foreign::unfilled(value).is_some()) {
        assert!(matches!(rendered, Err(RenderError::Unresolved { .. } | RenderError::Empty { .. })), "{rendered:?}");
        return;
    }
    let rendered = match rendered {
        Ok(rendered) => rendered,
        Err(RenderError::TooLarge { .. }) => return,
        Err(RenderError::PathSegment) if matches!(a.as_str(), "." | "..") => return,
        Err(error) => panic!("{a:?}, {b:?}, {text:?}: {error}"),
    };
    leaves_whole(&rendered, "https://track.example");
    let Ok(parsed) = ::url::Url::parse(&rendered.url) else { panic!("{}", rendered.url) };
    let segments: Vec<_> = parsed.path_segments().into_iter().flatten().collect();
    let decoded: Vec<_> = segments.iter().map(|segment| percent_decode_str(segment).decode_utf8_lossy()).collect();
    assert_eq!(decoded, ["x", a.as_str(), "y"], "{}", rendered.url);
    let pairs: Vec<_> = parsed.query_pairs().into_owned().collect();
    let pair = |key: &str, value: String| (key.to_owned(), value);
    let put = [pair("a", a), pair(&b, "1".into()), pair("c", format!("{b}-{text}")), pair("l", "ü".into())];
    assert_eq!(pairs, put, "{}", rendered.url);
}
