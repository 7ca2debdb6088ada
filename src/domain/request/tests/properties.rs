//! What holds for every value that an event could carry.

use proptest::prelude::*;
use quick_xml::events::Event as XmlEvent;

use super::*;
use crate::domain::template::foreign;

/// Texts of every kind: any characters, and those that have a meaning somewhere in a request.
fn text() -> impl Strategy<Value = String> {
    let special = proptest::sample::select(
        " &=?#%/\\\"'<>{}[]$+;:,.|^`~ü€😀\u{0}\r\n\t\u{7f}\u{85}a1".chars().collect::<Vec<_>>(),
    );
    prop_oneof![
        any::<String>(),
        proptest::collection::vec(special, 1..12).prop_map(|chars| chars.into_iter().collect()),
    ]
    .prop_filter("has a value", |text| !text.is_empty())
}

fn event_with(values: &[(&str, &str)]) -> Event {
    let sub_ids = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Event { sub_ids, ..event() }
}

/// Renders; `None` where a value is one that must not leave.
fn rendered(source: &RequestSource, values: &[(&str, &str)]) -> Option<PreparedRequest> {
    let result = render(source, &event_with(values));
    if values.iter().any(|(_, value)| foreign::unfilled(value).is_some()) {
        assert!(matches!(result, Err(RenderError::Unresolved { .. })));
        return None;
    }
    match result {
        Ok(request) => Some(request),
        Err(RenderError::TooLarge { .. }) => None,
        Err(error) => panic!("{values:?}: {error}"),
    }
}

/// The attribute and the text of a document's one element, as an XML parser reads them.
fn xml_of(document: &str) -> (String, String) {
    let mut reader = quick_xml::Reader::from_str(document);
    let (mut attribute, mut text) = (None, String::new());
    loop {
        match reader.read_event().unwrap() {
            XmlEvent::Start(tag) => {
                let found = tag.attributes().next().unwrap().unwrap();
                attribute = Some(found.normalized_value(quick_xml::XmlVersion::Implicit1_0).unwrap().into_owned());
            }
            XmlEvent::Text(part) => text.push_str(&part.xml10_content()),
            XmlEvent::GeneralRef(part) => match part.resolve_char_ref().unwrap() {
                Some(character) => text.push(character),
                None => text.push_str(quick_xml::escape::resolve_xml_entity(&part.xml10_content()).unwrap()),
            },
            XmlEvent::End(_) => {}
            XmlEvent::Eof => return (attribute.unwrap(), text),
            other => panic!("{document}: {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_query_holds_exactly_the_values(a in text(), b in text(), key in text()) {
        let source = get("https://a.example/x?a={sub_ids.a}&{sub_ids.key}=1&b={sub_ids.a}-{sub_ids.b}");
        let Some(request) = rendered(&source, &[("a", &a), ("b", &b), ("key", &key)]) else { return Ok(()) };
        let parsed = ::url::Url::parse(&request.url).unwrap();
        let pairs: Vec<_> = parsed.query_pairs().into_owned().collect();
        prop_assert_eq!(pairs, vec![("a".into(), a.clone()), (key, "1".into()), ("b".into(), format!("{a}-{b}"))]);
        prop_assert_eq!(parsed.path(), "/x");
        prop_assert_eq!(parsed.host_str(), Some("a.example"));
        prop_assert_eq!(parsed.fragment(), None);
        prop_assert!(request.url.bytes().all(|b| b.is_ascii_graphic()));
    }

    #[test]
    fn a_path_segment_stays_one_segment(a in text()) {
        prop_assume!(a != "." && a != "..");
        let Some(request) = rendered(&get("https://a.example/x/{sub_ids.a}/y"), &[("a", &a)]) else { return Ok(()) };
        let parsed = ::url::Url::parse(&request.url).unwrap();
        let segments: Vec<_> = parsed.path_segments().unwrap().collect();
        prop_assert_eq!(segments.len(), 3);
        let decoded = percent_encoding::percent_decode_str(segments[1]).decode_utf8().unwrap();
        prop_assert_eq!(decoded.as_ref(), a.as_str());
        prop_assert_eq!(parsed.query(), None);
    }

    #[test]
    fn raw_never_breaks_the_request_line(a in text()) {
        for template in ["https://a.example/x/{sub_ids.a|raw}/y", "https://a.example/x?a={sub_ids.a|raw}"] {
            match render(&get(template), &event_with(&[("a", &a)])) {
                Ok(request) => {
                    prop_assert!(request.url.bytes().all(|b| b.is_ascii_graphic() && b != b'#'), "{}", request.url);
                    let start = "https://a.example/";
                    prop_assert!(request.url.starts_with(start));
                }
                Err(error) => {
                    let expected = matches!(error, RenderError::Unresolved { .. } | RenderError::PathSegment | RenderError::TooLarge { .. });
                    prop_assert!(expected, "{}: {}", template, error);
                }
            }
        }
    }

    #[test]
    fn a_header_never_holds_a_line_break(a in text()) {
        let source = RequestSource { headers: vec![("X".into(), "v={sub_ids.a}".into())], ..get("https://a.example/?") };
        match render(&source, &event_with(&[("a", &a)])) {
            Ok(request) => {
                prop_assert!(request.headers[0].1.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
                prop_assert!(!a.chars().any(char::is_control));
            }
            Err(RenderError::HeaderValue { .. }) => prop_assert!(a.chars().any(char::is_control)),
            Err(error) => prop_assert!(matches!(error, RenderError::Unresolved { .. } | RenderError::TooLarge { .. }), "{error}"),
        }
    }

    #[test]
    fn json_holds_exactly_the_values(a in text(), b in text()) {
        let source = post(BodySource::Json(json!({ "a": "{sub_ids.a}", "b": ["<{sub_ids.b}>"], "all": "{sub_ids}" })));
        let Some(request) = rendered(&source, &[("a", &a), ("b", &b)]) else { return Ok(()) };
        let parsed: Value = serde_json::from_slice(&request.body).unwrap();
        prop_assert_eq!(parsed, json!({ "a": a, "b": [format!("<{b}>")], "all": { "a": a, "b": b } }));
    }

    #[test]
    fn json_within_text_and_within_a_string_holds_exactly_the_values(a in text()) {
        let text = BodySource::Text { content_type: "application/json".into(), text: "{\"a\":\"{sub_ids.a}\"}".into() };
        let nested = BodySource::Json(json!({ "eventValue": "{sub_ids|json}" }));
        let Some(request) = rendered(&post(text), &[("a", &a)]) else { return Ok(()) };
        prop_assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), json!({ "a": a }));
        let request = rendered(&post(nested), &[("a", &a)]).unwrap();
        let outer: Value = serde_json::from_slice(&request.body).unwrap();
        let inner: Value = serde_json::from_str(outer["eventValue"].as_str().unwrap()).unwrap();
        prop_assert_eq!(inner, json!({ "a": a }));
    }

    #[test]
    fn a_form_holds_exactly_the_values(a in text(), key in text()) {
        let form = vec![("lit & eral".into(), "x=ü {sub_ids.a}".into()), ("{sub_ids.key}".into(), "1".into())];
        let Some(request) = rendered(&post(BodySource::Form(form)), &[("a", &a), ("key", &key)]) else { return Ok(()) };
        let pairs: Vec<_> = ::url::form_urlencoded::parse(&request.body).into_owned().collect();
        prop_assert_eq!(pairs, vec![("lit & eral".into(), format!("x=ü {a}")), (key, "1".into())]);
    }

    #[test]
    fn xml_holds_exactly_the_values(a in text(), b in text()) {
        let body = BodySource::Text { content_type: "text/xml".into(), text: "<a b=\"{sub_ids.a}\">{sub_ids.b}</a>".into() };
        match render(&post(body), &event_with(&[("a", &a), ("b", &b)])) {
            Ok(request) => prop_assert_eq!(xml_of(std::str::from_utf8(&request.body).unwrap()), (a, b)),
            Err(error) => prop_assert!(matches!(error, RenderError::Unresolved { .. } | RenderError::XmlValue { .. } | RenderError::TooLarge { .. }), "{error}"),
        }
    }

    #[test]
    fn every_style_sends_exactly_the_parameters_that_have_a_value(
        style in proptest::sample::select(Delimiters::ALL.to_vec()),
        values in proptest::collection::vec(prop_oneof![text(), Just(String::new())], 3),
    ) {
        let names = ["a", "b", "c"];
        let cell = |name: &str| format!("{}sub_ids.{name}{}", style.open(), style.close());
        let written = |name: &str| format!("pre-{}-{}", cell(name), cell(name));
        let query: Vec<_> = names.iter().map(|name| format!("{name}={}", written(name))).collect();
        let url = format!("https://a.example/x?{}&lit=1", query.join("&"));
        let form: Vec<_> = names.iter().map(|name| ((*name).to_owned(), written(name))).collect();
        let members: serde_json::Map<_, _> = form.iter().map(|(name, text)| (name.clone(), Value::String(text.clone()))).collect();
        let given: Vec<_> = names.iter().copied().zip(values.iter().map(String::as_str)).collect();
        let sent: Vec<_> = given.iter().filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| ((*name).to_owned(), format!("pre-{value}-{value}"))).collect();
        for body in [BodySource::Form(form), BodySource::Json(Value::Object(members))] {
            let source = RequestSource { delimiters: style, url: url.clone(), ..post(body) };
            let Some(request) = rendered(&source, &given) else { return Ok(()) };
            let pairs: Vec<_> = ::url::Url::parse(&request.url).unwrap().query_pairs().into_owned().collect();
            let (last, pairs) = pairs.split_last().unwrap();
            prop_assert_eq!(last, &("lit".to_owned(), "1".to_owned()));
            prop_assert_eq!(pairs, sent.as_slice());
            match &source.body {
                BodySource::Form(_) => {
                    let pairs: Vec<_> = ::url::form_urlencoded::parse(&request.body).into_owned().collect();
                    prop_assert_eq!(pairs, sent.clone());
                }
                BodySource::Json(_) | BodySource::None | BodySource::Text { .. } => {
                    let parsed: BTreeMap<String, String> = serde_json::from_slice(&request.body).unwrap();
                    prop_assert_eq!(parsed.into_iter().collect::<Vec<_>>(), sent.clone());
                }
            }
            let all = format!("{} {}", request.url, std::str::from_utf8(&request.body).unwrap());
            prop_assert!(!all.contains("sub_ids."), "{}", all);
        }
    }

    #[test]
    fn a_macro_that_somebody_forgot_never_leaves(
        style in proptest::sample::select(Delimiters::ALL.to_vec()),
        name in "[a-zA-Z_][a-zA-Z0-9_.-]{0,12}",
        around in proptest::sample::select(vec![("", ""), ("x-", ""), ("", "-x"), ("a ", " b")]),
        encoded in 0..3_usize,
    ) {
        // Brackets, single hashes, percent signs and angles are common in data: there, only a whole value counts.
        let common = matches!(style, Delimiters::Bracket | Delimiters::Hash | Delimiters::Percent | Delimiters::Angle);
        let (before, behind) = if common { ("", "") } else { around };
        let unfilled = (0..encoded).fold(format!("{before}{}{name}{}{behind}", style.open(), style.close()), |text, _| {
            percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string()
        });
        let places = [
            get("https://a.example/?c={sub_ids.a}"),
            get("https://a.example/{sub_ids.a|raw}?"),
            RequestSource { headers: vec![("X".into(), "{sub_ids.a|upper}".into())], ..get("https://a.example/?") },
            post(BodySource::Form(vec![("a".into(), "{sub_ids.a}".into())])),
            post(BodySource::Json(json!({ "a": "{sub_ids|json}" }))),
        ];
        for source in places {
            let result = render(&source, &event_with(&[("a", &unfilled)]));
            prop_assert!(matches!(result, Err(RenderError::Unresolved { .. })), "{}", unfilled);
        }
    }

    #[test]
    fn each_header_is_one_line(a in text(), b in text()) {
        let headers = [("X-A", "{sub_ids.a|raw}"), ("X-B", "{sub_ids.b}; {sub_ids.a|json}"), ("Cookie", "a={sub_ids.a|urlencode}")];
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let source = RequestSource { headers, ..get("https://a.example/?") };
        let Ok(request) = render(&source, &event_with(&[("a", &a), ("b", &b)])) else { return Ok(()) };
        let head = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\r\n");
        let lines: Vec<_> = head.split(['\r', '\n']).filter(|line| !line.is_empty()).collect();
        prop_assert_eq!(lines.len(), 5, "{}", head);
        for (line, (name, value)) in lines.iter().zip(&request.headers) {
            prop_assert_eq!(line.split_once(": "), Some((name.as_str(), value.as_str())));
        }
        if a.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            prop_assert_eq!(&request.headers[0].1, &a);
        }
    }

    #[test]
    fn every_text_is_a_template_or_a_fault(a in text(), b in text(), style in 0..Delimiters::ALL.len()) {
        let delimiters = Delimiters::ALL[style];
        let url = format!("https://a.example/{a}?{b}={}click_id{}", delimiters.open(), delimiters.close());
        let source = RequestSource { delimiters, ..get(&url) };
        let Ok(request) = RequestTemplate::compile(&source, None) else { return Ok(()) };
        // What compiles renders to a URL that every parser reads as it stands.
        let rendered = with_scope(&event(), |scope| request.render(scope)).unwrap();
        let parsed = ::url::Url::parse(&rendered.url).unwrap();
        prop_assert_eq!(parsed.as_str(), rendered.url.as_str());
    }

    #[test]
    fn what_is_plain_is_left_as_it_is_by_a_parser(
        rest in "/?([a-c/?.:@&=+$,;!~*()_|^'\\\\\"<>#`{} \\t-]|%2[eEfF]|\\.\\.?/){0,12}",
    ) {
        for origin in ["https://a.example", "http://10.0.0.1:81", "https://[2001:db8::1]"] {
            let url = format!("{origin}{rest}");
            let parsed = ::url::Url::parse(&url);
            if crate::domain::request::is_plain(&rest) {
                prop_assert_eq!(parsed.map(String::from), Ok(url));
            }
        }
    }

    #[test]
    fn the_record_is_the_request_where_nothing_is_secret(a in text()) {
        let Some(request) = rendered(&get("https://a.example/?a={sub_ids.a}"), &[("a", &a)]) else { return Ok(()) };
        prop_assert_eq!(request.record.url, request.url);
        prop_assert_eq!(request.record.headers, request.headers);
    }
}

#[test]
fn what_is_plain_is_left_as_it_is_byte_by_byte() {
    let mut plain = 0;
    for byte in 0..=u8::MAX {
        let c = char::from(byte);
        for rest in [format!("/x{c}y"), format!("/x?y{c}z"), format!("/{c}/x"), format!("{c}x"), format!("/x/{c}")] {
            if crate::domain::request::is_plain(&rest) {
                plain += 1;
                let url = format!("https://a.example{rest}");
                assert_eq!(::url::Url::parse(&url).unwrap().as_str(), url);
            }
        }
    }
    assert!(plain > 300, "{plain}: most requests would take a parser");
}

#[test]
fn literal_characters_of_a_url_go_out_as_they_came_where_parsers_keep_them() {
    for byte in b'!'..=b'~' {
        let c = char::from(byte);
        for literal in [format!("https://a.example/x{c}y?"), format!("https://a.example/?x{c}y=1")] {
            let Ok(request) = RequestTemplate::compile(&get(&literal), None) else {
                assert!("\"#%<>\\`{}".contains(c), "{literal} is refused");
                continue;
            };
            let sent = with_scope(&event(), |scope| request.render(scope)).unwrap().url;
            assert_eq!(sent, ::url::Url::parse(&literal).unwrap().as_str(), "{literal}");
        }
    }
}
