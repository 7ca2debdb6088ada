//! What people are told of a request before it is sent.

use super::*;

fn custom(message: &str) -> SignatureScheme {
    let source = SignatureSource::Custom(CustomSource {
        algorithm: Algorithm::HmacSha256,
        secret: "hmac".into(),
        secret_encoding: SecretEncoding::Utf8,
        message: message.into(),
        joiner: None,
        parameters: ParameterForm::Decoded,
        output: Output::Hex,
        place: PlaceSource::Query("sig".into()),
    });
    SignatureScheme::compile(&source, &BTreeMap::new()).unwrap()
}

fn explained(source: &RequestSource, signature: Option<SignatureScheme>, event: &Event) -> Explanation {
    let request = RequestTemplate::compile(source, signature).unwrap_or_else(|faults| panic!("{faults:?}"));
    with_scope(event, |scope| request.explain(scope))
}

/// Each part as `place name=value <template>`; headers that every request carries are left out.
fn told(explanation: &Explanation) -> Vec<String> {
    let usual = |part: &&Part| !matches!(part.name.as_str(), "accept" | "user-agent");
    let told = explanation.parts.iter().filter(usual).map(|part| {
        let value = match &part.fate {
            PartFate::Sent => part.value.clone().unwrap(),
            PartFate::Omitted => "(omitted)".into(),
            PartFate::Refused(_) => "(refused)".into(),
        };
        let template = part.template.as_deref().unwrap_or("fixed");
        format!("{} {}={value} <{template}>", part.place.name(), part.name)
    });
    told.collect()
}

#[test]
fn every_parameter_is_told_as_the_receiver_decodes_it_with_where_it_came_from() {
    let mut source =
        get("https://a.example/{type}?cid={click_id}&s={sub_ids.sub2}&goal=1&r={reverses}&k={secret.token}");
    source.headers = vec![("X-Id".into(), "{delivery_id|upper}".into())];
    let explanation = explained(&source, Some(custom("{timestamp}.{path_and_query}.{secret}")), &event());
    let id = with_scope(&event(), |scope| scope.delivery_id.to_string()).to_uppercase();
    assert_eq!(
        told(&explanation),
        [
            "path =/ftd </{type}>".to_owned(),
            "query cid=c-77f3 <{click_id}>".to_owned(),
            "query s=ü&= <{sub_ids.sub2}>".to_owned(),
            "query goal=1 <fixed>".to_owned(),
            "query r=(omitted) <{reverses}>".to_owned(),
            "query k=*** <{secret.token}>".to_owned(),
            format!("header x-id={id} <{{delivery_id|upper}}>"),
            "query sig=*** <the signature>".to_owned(),
        ]
    );
    let signed = explanation.signed.unwrap();
    assert_eq!(signed.text, "1763632801./ftd?cid=c-77f3&s=%C3%BC%26%3D&goal=1&k=***.***");
    assert_eq!(signed.scheme, "custom, hmac-sha256 in hex, secret \"hmac\"");
}

#[test]
fn members_of_bodies_are_told_one_by_one() {
    let body = json!({ "a": { "click": "{click_id}", "to": "{reverses}" }, "sum": "{payout}", "fixed": 1 });
    let explanation = explained(&post(BodySource::Json(body)), None, &event());
    let mut members = told(&explanation);
    members.sort();
    assert_eq!(
        members,
        ["body a.click=\"c-77f3\" <{click_id}>", "body a.to=(omitted) <{reverses}>", "body sum=120.00 <{payout}>"]
    );
    let form = BodySource::Form(vec![("c d".into(), "{sub_ids.sub1}".into())]);
    assert_eq!(told(&explained(&post(form), None, &event())), ["body c d=banner 3 <{sub_ids.sub1}>"]);
}

#[test]
fn all_refusals_are_told_at_once() {
    let mut source = get("https://a.example/{offer_id}?cid={click_id}&p={payout|date(\"%Y\", UTC)}&t={transaction_id}");
    source.url = source.url.replace("&p={payout|date(\"%Y\", UTC)}", "&p={sub_ids.sub1|minor}");
    let empty = Event { click_id: None, offer_id: None, ..event() };
    let explanation = explained(&source, None, &empty);
    assert!(explanation.request.is_err());
    assert_eq!(explanation.refusals.len(), 3, "{:#?}", explanation.refusals);
    assert_eq!(explanation.parts.iter().filter(|part| part.refusal().is_some()).count(), 3);
    assert_eq!(explanation.signed, None);
}

#[test]
fn a_request_to_another_receiver_differs_by_its_origin_alone() {
    let request = RequestTemplate::compile(&get("https://a.example/p?cid={click_id}"), None).unwrap();
    let moved = request.at_origin("http://127.0.0.1:9000/");
    let url = with_scope(&event(), |scope| moved.render(scope)).unwrap().url;
    assert_eq!(url, "http://127.0.0.1:9000/p?cid=c-77f3");
}
