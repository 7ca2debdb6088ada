//! Bodies and the headers that go with them.

use super::*;

#[test]
fn a_form_is_sent_with_its_parameters_encoded() {
    let mut source = post(BodySource::Form(vec![
        ("CampaignId".into(), "77".into()),
        ("ClickId".into(), "{click_id}".into()),
        ("Amount".into(), "{revenue|fixed(2)}".into()),
        ("Note".into(), "{sub_ids.sub1}&{sub_ids.sub2}".into()),
        ("PromoCode".into(), "{sub_ids.none}".into()),
    ]));
    source.headers = vec![("Authorization".into(), "Basic {secret.token}".into())];
    let request = render(&source, &event()).unwrap();
    assert_eq!(request.body, "CampaignId=77&ClickId=c-77f3&Amount=100.50&Note=banner+3%26%C3%BC%26%3D");
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        own(&request.headers),
        [header("authorization", "Basic t0ken/1"), header("content-type", "application/x-www-form-urlencoded")]
    );
}

#[test]
fn json_keeps_the_types_of_its_values() {
    let source = post(BodySource::Json(json!({
        "data": [{ "event_time": "{occurred_at|unix}", "value": "{revenue|fixed(2)}", "text": "{payout|json}",
            "note": "a \"{sub_ids.sub2}\"\n", "vip": "{params.vip}", "params": "{params}", "gone": "{sub_ids.none}",
            "at": "{occurred_at}", "fixed": [1, null, "x", "{sub_ids.none}"], "first": "{attempt}" }],
        "eventValue": "{params|json}",
        "ok": "{status|map(approved=true, else=false)}",
    })));
    let body = render(&source, &event()).unwrap().body;
    let text = std::str::from_utf8(&body).unwrap();
    assert!(text.contains(r#""value":100.50,"#), "{text}");
    let parsed: Value = serde_json::from_slice(&body).unwrap();
    let expected: Value = serde_json::from_str(
        r#"{"data":[{"event_time":1795168800,"value":100.50,"text":"120.00","note":"a \"ü&=\"\n","vip":true,
            "params":{"country":"DE","level":3,"vip":true},"at":"2026-11-20T10:00:00Z","fixed":[1,null,"x"],"first":2}],
            "eventValue":"{\"country\":\"DE\",\"level\":3,\"vip\":true}","ok":true}"#,
    )
    .unwrap();
    assert_eq!(parsed, expected);
}

#[test]
fn a_text_of_a_document_stays_one_also_when_raw() {
    let mut event = event();
    event.sub_ids.insert("x".into(), "a\",\"payout\":\"9\n".into());
    let source = post(BodySource::Json(json!({ "note": "x {sub_ids.x|raw}", "alone": "{sub_ids.x|raw}" })));
    let request = render(&source, &event).unwrap();
    let parsed: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(parsed, json!({ "note": "x a\",\"payout\":\"9\n", "alone": "a\",\"payout\":\"9\n" }));
}

#[test]
fn text_bodies_are_escaped_by_their_content_type() {
    let mut event = event();
    event.sub_ids.insert("x".into(), "a<b>&\"'\\ü".into());
    let table = [
        ("text/xml", "<a>{sub_ids.x}</a>", "<a>a&lt;b&gt;&amp;&quot;&apos;\\ü</a>"),
        ("application/soap+xml; charset=utf-8", "<a>{sub_ids.x|raw}</a>", "<a>a<b>&\"'\\ü</a>"),
        ("application/vnd.x+json", "{\"a\":\"{sub_ids.x}\"}", "{\"a\":\"a<b>&\\\"'\\\\ü\"}"),
        ("application/x-www-form-urlencoded", "a={sub_ids.x}", "a=a%3Cb%3E%26%22%27%5C%C3%BC"),
        ("text/plain", "{sub_ids.x}", "a<b>&\"'\\ü"),
    ];
    for (content_type, text, expected) in table {
        let source = post(BodySource::Text { content_type: content_type.into(), text: text.into() });
        let request = render(&source, &event).unwrap();
        assert_eq!(request.body, expected, "{content_type}");
        assert_eq!(own(&request.headers), [("content-type".to_owned(), content_type.to_owned())]);
    }
}
