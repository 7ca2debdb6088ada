//! What is refused, when the configuration is read and when an event comes; and what is masked.

use super::*;

fn empty_fields() -> Event {
    Event { click_id: None, offer_id: None, payout: None, ..event() }
}

fn outcome(source: &RequestSource) -> String {
    match render(source, &empty_fields()) {
        Ok(request) => request.url.trim_start_matches("https://a.example").to_owned(),
        Err(RenderError::Empty { parameter, .. }) => format!("refused {parameter}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn empty_values_follow_on_empty() {
    let table = [
        ("/?c={click_id}&x=1", None, "refused c"),
        ("/?c={click_id}&x=1", Some(OnEmpty::Omit), "/?x=1"),
        ("/?c={click_id}&x=1", Some(OnEmpty::Send), "/?c=&x=1"),
        ("/?c={offer_id}", None, "/"),
        ("/?x=1&c={offer_id}&y=2", None, "/?x=1&y=2"),
        ("/?c={offer_id}&y=2", Some(OnEmpty::Send), "/?c=&y=2"),
        ("/?c={offer_id}&y=2", Some(OnEmpty::Refuse), "refused c"),
        ("/?c=a-{offer_id}", None, "/"),
        ("/?c={offer_id}-{status}", None, "/?c=-approved"),
        ("/?c={offer_id}-{status}", Some(OnEmpty::Refuse), "refused c"),
        ("/?c={click_id}-{status}", None, "refused c"),
        ("/?c={click_id}-{status}", Some(OnEmpty::Omit), "/?c=-approved"),
        ("/?c={click_id|default(none)}", None, "/?c=none"),
        ("/?c={offer_id|upper}{payout|fixed(2)}", None, "/"),
        ("/?c={transaction_id}&{offer_id}=1&y", None, "/?c=dep-88121&y"),
        ("/{status}?c=1", None, "/approved?c=1"),
        ("/{offer_id}?c=1", None, "refused url path"),
        ("/x{offer_id}y?c=1", None, "refused url path"),
        ("/?c={original.click_id}", None, "refused c"),
        ("/?c=&d=&&", None, "/?c=&d=&&"),
        ("?c={status}", None, "/?c=approved"),
    ];
    for (template, on_empty, expected) in table {
        let mut source = get(&format!("https://a.example{template}"));
        source.on_empty = on_empty.map(|setting| ("c".to_owned(), setting)).into_iter().collect();
        assert_eq!(outcome(&source), expected, "{template} {on_empty:?}");
    }
}

#[test]
fn empty_values_follow_on_empty_in_headers_and_bodies() {
    let settings = BTreeMap::from([("x-offer".into(), OnEmpty::Send), ("data.c".into(), OnEmpty::Omit)]);
    let mut source = post(BodySource::Json(json!({ "data": { "c": "{click_id}", "d": "x{offer_id}" }, "s": "" })));
    source.headers = vec![("X-Offer".into(), "{offer_id}".into()), ("X-Payout".into(), "{payout}".into())];
    source.on_empty = settings;
    let request = render(&source, &empty_fields()).unwrap();
    assert_eq!(request.body, r#"{"data":{},"s":""}"#);
    assert_eq!(request.headers[0], ("x-offer".to_owned(), String::new()));
    assert_eq!(own(&request.headers)[1].0, "content-type");

    source.on_empty = BTreeMap::from([("c".into(), OnEmpty::Send), ("d".into(), OnEmpty::Send)]);
    assert_eq!(render(&source, &empty_fields()).unwrap().body, r#"{"data":{"c":"","d":"x"},"s":""}"#);

    source.on_empty = BTreeMap::new();
    let error = render(&source, &empty_fields()).unwrap_err();
    assert!(error.to_string().contains("\"data.c\""), "{error}");

    let text = BodySource::Text { content_type: "text/plain".into(), text: "{offer_id}|{click_id}".into() };
    assert!(matches!(render(&post(text), &empty_fields()), Err(RenderError::Empty { .. })));
    let whole = post(BodySource::Json(json!("{offer_id}")));
    assert!(matches!(render(&whole, &empty_fields()), Err(RenderError::Empty { .. })));
}

#[test]
fn unfilled_values_never_leave() {
    let places = [
        get("https://a.example/?c={click_id}"),
        get("https://a.example/{click_id}?"),
        get("https://a.example/?c={click_id|sha256}"),
        get("https://a.example/?c={click_id|raw}"),
        post(BodySource::Json(json!({ "c": "{click_id}" }))),
        RequestSource { headers: vec![("X".into(), "{click_id}".into())], ..get("https://a.example/?") },
    ];
    for value in ["{clickid}", "%7Bclickid%7D", "[[[x]]]", "##x##", "${x}", "null", "NULL", "undefined", "a{b}c"] {
        let event = Event { click_id: Some(ClickId::parse(value).unwrap()), ..event() };
        for source in &places {
            let error = render(source, &event).unwrap_err();
            assert!(matches!(error, RenderError::Unresolved { .. }), "{value}: {error}");
            assert!(!error.to_string().contains("clickid}"), "{error}");
        }
    }
    let mut event = event();
    event.sub_ids.insert("s".into(), "{x}".into());
    assert!(render(&get("https://a.example/?c={sub_ids|json}"), &event).is_err());
}

#[test]
fn faulty_requests_do_not_compile() {
    let long = format!("https://a.example/?{}", "x".repeat(9000));
    let table = [
        ("https://{click_id}.example/", "cannot hold a macro"),
        ("{click_id}://a.example/", "cannot hold a macro"),
        ("https://a.example:{attempt}/", "cannot hold a macro"),
        ("https://a.example{click_id}", "cannot hold a macro"),
        ("https://a.example", "nothing behind its host"),
        ("a.example/pb", "not an absolute URL"),
        ("", "is empty"),
        ("https://u:p@a.example/", "user name"),
        ("https://a.example/#frag", "fragment"),
        ("https://a.example/\u{7}", "control character"),
        ("https://a.example/a b", "percent-encoded"),
        ("https://a.example/?a=%zz", "two hexadecimal digits"),
        ("http://a.example/", "plain http"),
        ("ftp://a.example/", "scheme"),
        ("https:///x", "faulty host"),
        ("https://a.example/a/../b", "\"..\""),
        ("https://a.example/a/%2e%2E/b", "\"..\""),
        ("https://a.example/?a=[[[x]]]", "not filled in"),
        ("https://a.example/?a=[x]", "not filled in"),
        ("https://a.example/?a=%7Bclickid%7D", "not filled in"),
        ("https://a.example/%7Bclickid%7D", "not filled in"),
        ("https://a.example/?a=null", "null"),
        ("https://a.example/?a={{click_id}}", "another style"),
        ("https://a.example/?a=<click>", "outside of a macro"),
        ("https://a.example/?a={click_id", "never closed"),
        ("https://a.example/?a={clickid}", "did you mean \"click_id\""),
        ("https://a.example/?a={signature}", "signature.place"),
        (long.as_str(), "at most"),
    ];
    for (template, part) in table {
        let faults = faults(&get(template));
        assert!(
            faults.iter().any(|fault| fault.starts_with("url: ") && fault.contains(part)),
            "{template}: {faults:?}"
        );
    }
}

#[test]
fn every_fault_is_reported_at_once() {
    let source = RequestSource {
        method: "get".into(),
        url: "https://a.example/?a={bad1}&b={payout|nope}".into(),
        headers: vec![
            ("X Y".into(), "1".into()),
            ("Host".into(), "x".into()),
            ("A".into(), "a\r\nb".into()),
            ("B".into(), "{bad2}".into()),
            ("b".into(), "1".into()),
            ("b".into(), "2".into()),
            ("C".into(), "{broken}".into()),
        ],
        body: BodySource::Json(json!({ "x": { "y": ["{bad3}"] }, "{type}": 1, "z": "[[[q]]]" })),
        macros: BTreeMap::from([("broken".into(), "bad4".into())]),
        ..get("")
    };
    let faults = faults(&source).join("\n");
    let keys = [
        "macros.broken: unknown macro \"bad4\"",
        "method: \"get\"",
        "url: unknown macro \"bad1\"",
        "url: unknown filter \"nope\"",
        "headers.X Y: is not a header's name",
        "headers.Host: belongs to the connection",
        "headers.A: holds a control character",
        "headers.B: unknown macro \"bad2\"",
        "headers.b: is there twice",
        "body.x.y: unknown macro \"bad3\"",
        "body.{type}: the name of a member",
        "body.z: holds \"[[[q]]]\"",
    ];
    for key in keys {
        assert!(faults.contains(key), "{key} in\n{faults}");
    }
    assert_eq!(faults.matches("bad4").count(), 1, "{faults}");
}

#[test]
fn settings_that_nobody_reads_are_faults() {
    let mut source = get("https://a.example/?click={click_id}");
    source.on_empty = BTreeMap::from([("clik".into(), OnEmpty::Omit)]);
    assert!(faults(&source)[0].contains("did you mean \"click\""));
    let source = RequestSource { body: BodySource::Form(vec![]), ..get("https://a.example/?") };
    assert!(faults(&source)[0].contains("GET request has no body"));
}

#[test]
fn likely_mistakes_are_pointed_out() {
    let lints = |url: &str| {
        let source = RequestSource { insecure_http: true, ..get(url) };
        let found = RequestTemplate::compile(&source, None).unwrap().lints();
        found.into_iter().map(|lint| lint.detail).collect::<Vec<_>>().join("\n")
    };
    let table = [
        ("http://a.example/?a=1", "plain http"),
        ("https://a.example/?a=REPLACE&b=1", "REPLACE"),
        ("https://a.example/REPLACE_ME?", "REPLACE"),
        ("https://a.example/?cid={click_id}\u{a4}cy={currency}", "&curren"),
        ("https://a.example/?a=1?b=2", "second \"?\""),
        ("https://a.example/?a={click_id}?b=2", "second \"?\""),
        ("https://a.example/?api_token=8f14e45fceea167a5a36dedd4bea2543", "seems to hold a secret"),
    ];
    for (url, part) in table {
        assert!(lints(url).contains(part), "{url}: {}", lints(url));
    }
    for url in [
        "https://a.example/?a={click_id|default(\"?\")}&token={secret.token}&app_token=abc",
        "https://a.example/?key=aaaaaaaaaaaaaaaaaaaa&goal=8f14e45fceea167a5a36dedd4bea2543",
    ] {
        assert_eq!(lints(url), "", "{url}");
    }
}

#[test]
fn requests_are_bounded() {
    let mut event = event();
    event.sub_ids.insert("s".into(), "ü".repeat(1500));
    let error = render(&get("https://a.example/?s={sub_ids.s}"), &event).unwrap_err();
    assert!(matches!(error, RenderError::TooLarge { limit: MAX_URL_BYTES, .. }), "{error}");
    let header = RequestSource { headers: vec![("X-S".into(), "{sub_ids.s}".into())], ..get("https://a.example/?") };
    let error = render(&header, &event).unwrap_err();
    assert!(error.to_string().contains("header \"x-s\""), "{error}");
    let body = BodySource::Json(Value::Array(vec!["{sub_ids.s}".into(); 30]));
    assert!(matches!(render(&post(body), &event), Err(RenderError::TooLarge { limit: MAX_BODY_BYTES, .. })));
}

#[test]
fn headers_take_no_control_characters() {
    let source = RequestSource { headers: vec![("X".into(), "{sub_ids.s|raw}".into())], ..get("https://a.example/?") };
    for value in ["a\r\nSet-Cookie: x", "a\nb", "a\0", "a\tb", "\u{7f}"] {
        let mut event = event();
        event.sub_ids.insert("s".into(), value.into());
        assert!(matches!(render(&source, &event), Err(RenderError::HeaderValue { .. })), "{value:?}");
    }
}

#[test]
fn a_value_cannot_lead_out_of_its_path() {
    for value in [".", "..", "%2e%2E"] {
        let event = Event { click_id: Some(ClickId::parse(value).unwrap()), ..event() };
        assert_eq!(
            render(&get("https://a.example/x/{click_id|raw}/y"), &event),
            Err(RenderError::PathSegment),
            "{value}"
        );
    }
    let event = Event { click_id: Some(ClickId::parse("../../admin?a=1#b").unwrap()), ..event() };
    let url = render(&get("https://a.example/x/{click_id}/y"), &event).unwrap().url;
    assert_eq!(url, "https://a.example/x/..%2F..%2Fadmin%3Fa%3D1%23b/y");
}

#[test]
fn raw_leaves_the_syntax_to_the_value_but_no_more() {
    let mut event = event();
    event.sub_ids.insert("s".into(), "a=1&b=%20%zz /?#\r\nü\"".into());
    let url = |text: &str| render(&get(text), &event).unwrap().url;
    assert_eq!(
        url("https://a.example/?x={sub_ids.s|raw}"),
        "https://a.example/?x=a=1&b=%20%25zz%20/?%23%0D%0A%C3%BC%22"
    );
    assert_eq!(url("https://a.example/{sub_ids.s|raw}?"), "https://a.example/a=1&b=%20%25zz%20/%3F%23%0D%0A%C3%BC%22?");
}

fn signature(place: PlaceSource) -> SignatureScheme {
    let source = CustomSource {
        algorithm: Algorithm::HmacSha256,
        secret: "hmac".into(),
        secret_encoding: SecretEncoding::Utf8,
        message: "{timestamp}.{path_and_query}.{body}".into(),
        joiner: None,
        parameters: ParameterForm::Decoded,
        output: Output::Base64,
        place,
    };
    SignatureScheme::compile(&SignatureSource::Custom(source), &BTreeMap::new()).unwrap()
}

#[test]
fn secrets_and_signatures_are_masked_on_record() {
    let mut source = post(BodySource::Json(json!({ "key": "{secret.token}", "note": "k={secret.token|md5}" })));
    source.url = "https://a.example/{secret.token}/p?token={secret.token|sha256}&c={click_id}".into();
    source.headers = vec![("Authorization".into(), "Bearer {secret.token}".into())];
    let template = RequestTemplate::compile(&source, Some(signature(PlaceSource::Query("sig".into())))).unwrap();
    let request = with_scope(&event(), |scope| template.render(scope)).unwrap();
    assert_eq!(request.record.url, "https://a.example/***/p?token=***&c=c-77f3&sig=***");
    assert_eq!(request.record.body, r#"{"key":"***","note":"k=***"}"#);
    assert_eq!(request.record.headers[0].1, "Bearer ***");
    assert!(request.url.contains("t0ken%2F1"));
    assert_eq!(request.headers[0].1, "Bearer t0ken/1");
    assert!(!format!("{request:?}").contains("t0ken"));
    let json = serde_json::to_string(&request.record).unwrap();
    assert_eq!(serde_json::from_str::<RecordedRequest>(&json).unwrap(), request.record);
}

#[test]
fn the_signature_covers_what_is_sent_and_comes_last() {
    let source = get("https://a.example/p?c={click_id}&s={sub_ids.sub2}");
    let template = RequestTemplate::compile(&source, Some(signature(PlaceSource::Query("sig".into())))).unwrap();
    let request = with_scope(&event(), |scope| template.render(scope)).unwrap();
    // HMAC-SHA256 of "1763632801./p?c=c-77f3&s=%C3%BC%26%3D." with "top-secret", made with Python's hmac.
    assert_eq!(
        request.url,
        "https://a.example/p?c=c-77f3&s=%C3%BC%26%3D&sig=dgq0VV7K4ZEmXdOExE3Iw4ECFxKlTtFsyp9E67NvRiw%3D"
    );

    let template = RequestTemplate::compile(
        &get("https://a.example/p?x={sub_ids.none}"),
        Some(signature(PlaceSource::Query("sig".into()))),
    )
    .unwrap();
    let request = with_scope(&event(), |scope| template.render(scope)).unwrap();
    assert_eq!(request.record.url, "https://a.example/p?sig=***");

    let place =
        PlaceSource::Header { name: "X-Sig".into(), value: Some("t={timestamp},v1={signature}".into()), repeat: None };
    let template = RequestTemplate::compile(&source, Some(signature(place))).unwrap();
    let request = with_scope(&event(), |scope| template.render(scope)).unwrap();
    assert_eq!(own(&request.record.headers), [("x-sig".to_owned(), "t=1763632801,v1=***".to_owned())]);
    let sent = &own(&request.headers)[0].1;
    assert!(sent.starts_with("t=1763632801,v1=") && !sent.contains('*'));
}

#[test]
fn what_the_signature_adds_must_not_be_there_already() {
    let mut source = get("https://a.example/p?sig=1");
    source.headers = vec![("x-sig".into(), "1".into())];
    let header = PlaceSource::Header { name: "X-Sig".into(), value: None, repeat: None };
    for place in [PlaceSource::Query("sig".into()), header] {
        let faults = RequestTemplate::compile(&source, Some(signature(place))).unwrap_err();
        assert_eq!(faults[0].key, "signature.place");
    }
}

#[test]
fn secrets_that_are_missing_are_found_before_they_are_needed() {
    let source = get("https://a.example/?a={secret.token}&b={secret.nope}");
    let template = RequestTemplate::compile(&source, None).unwrap();
    let faults = template.check_secrets(&secrets());
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].key, "secrets.nope");
    let error = with_scope(&event(), |scope| template.render(scope)).unwrap_err();
    assert_eq!(error, RenderError::UnknownSecret { name: "nope".into() });
}

#[test]
fn the_digest_covers_the_exact_bytes() {
    let mut source = post(BodySource::Text { content_type: "text/plain".into(), text: "b={click_id}".into() });
    source.headers = vec![("X-A".into(), "1".into())];
    let request = render(&source, &event()).unwrap();
    let bytes = format!(
        "POST\nhttps://a.example/p\nx-a: 1\naccept: */*\nuser-agent: postbackd/{}\ncontent-type: text/plain\n\nb=c-77f3",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(request.digest, <[u8; 32]>::from(Sha256::digest(bytes)));
}
