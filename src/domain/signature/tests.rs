//! Published vectors, and the schemes that receivers use.

use jiff::Timestamp;
use secrecy::SecretString;

use super::*;
use crate::domain::event::{Event, Status};
use crate::domain::id::{AffiliateId, ClickId, DeliveryId, EventId, EventType, TransactionId};
use crate::domain::template::Scope;

const URL: &str = "https://a.example/pb?sid=1234567890&productid=1234&oid=0987654321";

fn event() -> Event {
    Event {
        transaction_id: TransactionId::parse("dep-1").unwrap(),
        transaction_given: true,
        kind: EventType::parse("ftd").unwrap(),
        affiliate_id: AffiliateId::parse("acme").unwrap(),
        click_id: Some(ClickId::parse("c-1").unwrap()),
        offer_id: None,
        status: Status::Approved,
        occurred_at: Timestamp::UNIX_EPOCH,
        payout: None,
        revenue: None,
        currency: None,
        sub_ids: BTreeMap::new(),
        reverses: None,
        params: BTreeMap::new(),
    }
}

fn custom(algorithm: Algorithm, message: &str, output: Output) -> CustomSource {
    CustomSource {
        algorithm,
        secret: "key".into(),
        secret_encoding: SecretEncoding::Utf8,
        message: message.into(),
        joiner: None,
        parameters: ParameterForm::Decoded,
        output,
        place: PlaceSource::Header { name: "X-Sign".into(), value: None, repeat: None },
    }
}

fn compile(source: CustomSource) -> Result<SignatureScheme, Vec<RequestFault>> {
    SignatureScheme::compile(&SignatureSource::Custom(source), &BTreeMap::new())
}

fn sign(
    scheme: &SignatureScheme,
    request: Unsigned<'_>,
    secret: &[&str],
    view: View,
) -> Result<Placement, RenderError> {
    let values = secret.iter().map(|text| SecretString::from(*text)).collect();
    let secrets = Secrets::new(BTreeMap::from([("key".into(), values)]));
    let event = event();
    let event_id = EventId::from_u64(7);
    let scope = Scope {
        event: &event,
        event_id,
        delivery_id: DeliveryId { event: event_id, ordinal: 0 },
        attempt: 1,
        timestamp: Timestamp::from_second(1_649_367_553).unwrap(),
        nonce: "n0nce",
        original: None,
        secrets: &secrets,
    };
    scheme.sign(request, &Environment::new(&scope, view))
}

/// The header's value that a custom signature gives.
fn signed(source: CustomSource, secret: &str, url: &str, body: &str) -> String {
    let request = Unsigned { method: "POST", url, body };
    match sign(&compile(source).unwrap(), request, &[secret], View::Wire).unwrap() {
        Placement::Headers(mut headers) => headers.remove(0).1,
        Placement::Query(parameter) => parameter,
    }
}

#[test]
fn unity_ads_vector() {
    let source = CustomSource {
        joiner: Some(",".into()),
        place: PlaceSource::Query("hmac".into()),
        ..custom(Algorithm::HmacMd5, "{sorted_query}", Output::Hex)
    };
    assert_eq!(signed(source, "xyzKEY", URL, ""), "hmac=106ed4300f91145aff6378a355fced73");
}

#[test]
fn github_vector() {
    let source = CustomSource {
        place: PlaceSource::Header {
            name: "X-Hub-Signature-256".into(),
            value: Some("sha256={signature}".into()),
            repeat: None,
        },
        ..custom(Algorithm::HmacSha256, "{body}", Output::Hex)
    };
    assert_eq!(
        signed(source, "It's a Secret to Everybody", URL, "Hello, World!"),
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

#[test]
fn standard_webhooks_vector() {
    let key = SecretEncoding::Whsec.key("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
    let message = r#"msg_27UH4WbU6Z5A5EzD8u03UvzRbpk.1649367553.{"email":"test@example.com","username":"test_user"}"#;
    let signature = Algorithm::HmacSha256.digest(&key, message.as_bytes());
    assert_eq!(Output::Base64.write(&signature), "tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
}

#[test]
fn standard_webhooks_signs_id_timestamp_and_body_with_every_live_secret() {
    let source = SignatureSource::StandardWebhooks { secret: "key".into() };
    let scheme = SignatureScheme::compile(&source, &BTreeMap::new()).unwrap();
    let request = Unsigned { method: "POST", url: URL, body: "{}" };
    let secrets = ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_Zmlyc3Qta2V5"];
    let Placement::Headers(headers) = sign(&scheme, request, &secrets, View::Wire).unwrap() else { panic!() };
    let id = DeliveryId { event: EventId::from_u64(7), ordinal: 0 };
    let expected = secrets.map(|secret| {
        let key = SecretEncoding::Whsec.key(secret).unwrap();
        let tag = Algorithm::HmacSha256.digest(&key, format!("{id}.1649367553.{{}}").as_bytes());
        format!("v1,{}", Output::Base64.write(&tag))
    });
    let header = |name: &str, value: String| (name.to_owned(), value);
    assert_eq!(
        headers,
        [
            header("webhook-id", id.to_string()),
            header("webhook-timestamp", "1649367553".into()),
            header("webhook-signature", expected.join(" ")),
        ]
    );
    let Placement::Headers(headers) = sign(&scheme, request, &secrets, View::Record).unwrap() else { panic!() };
    assert_eq!(headers[2].1, "v1,*** v1,***");
}

/// Expected values were made with Python's `hmac` and `hashlib`.
#[test]
fn schemes_seen_in_the_wild() {
    let header =
        |name: &str, value: &str| PlaceSource::Header { name: name.into(), value: Some(value.into()), repeat: None };
    let body = r#"{"a":1}"#;
    let table = [
        (
            CustomSource {
                place: header("Stripe-Signature", "t={timestamp},v1={signature}"),
                ..custom(Algorithm::HmacSha256, "{timestamp}.{body}", Output::Hex)
            },
            "t=1649367553,v1=52ae3175da13620fb4bd4df71cd62bb6569851be4c591d2d395eb6f4b74f72fd",
        ),
        (
            CustomSource {
                place: header("X-Slack-Signature", "v0={signature}"),
                ..custom(Algorithm::HmacSha256, "v0:{timestamp}:{body}", Output::Hex)
            },
            "v0=b4ea619faa222181d152b3dede80ceed9882eca12c73b6b0edb7afae46f0388e",
        ),
        (
            CustomSource { place: PlaceSource::Query("h".into()), ..custom(Algorithm::HmacSha1, "{url}", Output::Hex) },
            "h=cea23e11062bba8d84cb7b2733d82adfe68651a1",
        ),
        (custom(Algorithm::HmacSha1, "{sorted_values}", Output::Base64), "T98kH87C7otuOUY0ZnX0etIn+VA="),
        (
            CustomSource { joiner: Some(":".into()), ..custom(Algorithm::HmacSha512, "{sorted_values}", Output::Hex) },
            "7ccfb3709abacbc7b3ddcd782fb019312c7b74eb94dc77ab438fc1be36bce189af1ac7793c23b1d740442c6165ef97b0fa15b757584424c307e533aa60df2d6a",
        ),
        (
            custom(Algorithm::HmacSha256, "{query}", Output::UpperHex),
            "307689F4790D061CA3660A95E22A0D3400FD7D80B11807C13805530477A87BF9",
        ),
        (
            custom(Algorithm::Md5, "{click_id}-{transaction_id}-{secret}", Output::Hex),
            "d851e44b122a72358f006a9bcfce45ae",
        ),
        (custom(Algorithm::Sha1, "{click_id}{secret.key}", Output::Hex), "00086b518a23953e867a432a0a9a454e038b95a8"),
        (
            custom(Algorithm::Sha256, "{method}\n{path}\n{body_sha256}\n{secret}", Output::Base64Url),
            "s9zrf5D8-2V97bzESGIbTLEg4GfkO-utFLHRiRC6yzo",
        ),
        (
            custom(Algorithm::HmacSha256, "{timestamp}{nonce}{path_and_query}", Output::Hex),
            "fc971d7bf3708ec9adc0a33fe399209465ac116959bc2a2796333f51c8142c0a",
        ),
    ];
    for (source, expected) in table {
        assert_eq!(signed(source.clone(), "s3cret", URL, body), expected, "{}", source.message);
    }
}

#[test]
fn parameters_are_sorted_as_the_receiver_sees_them() {
    let sorted = |form, url: &str, part| {
        let parts = Parts { request: Unsigned { method: "GET", url, body: "" }, joiner: None, form };
        parts.get(part).into_owned()
    };
    let url = "https://a.example/?b=x%20y&a=2&B=%C3%BC&a=1&flag&c=";
    assert_eq!(sorted(ParameterForm::Decoded, url, RequestPart::SortedQuery), "B=ü&a=2&a=1&b=x y&c=&flag=");
    assert_eq!(sorted(ParameterForm::AsSent, url, RequestPart::SortedQuery), "B=%C3%BC&a=2&a=1&b=x%20y&c=&flag=");
    assert_eq!(sorted(ParameterForm::Decoded, url, RequestPart::SortedValues), "ü21x y");
    assert_eq!(sorted(ParameterForm::Decoded, "https://a.example/p", RequestPart::PathAndQuery), "/p");
    assert_eq!(sorted(ParameterForm::Decoded, "https://a.example/p", RequestPart::SortedQuery), "");
}

#[test]
fn keys_are_decoded_as_configured() {
    let table = [
        (SecretEncoding::Utf8, "ab", Some(b"ab".to_vec())),
        (SecretEncoding::Hex, "6162", Some(b"ab".to_vec())),
        (SecretEncoding::Hex, "616", None),
        (SecretEncoding::Base64, "YWI=", Some(b"ab".to_vec())),
        (SecretEncoding::Base64, "YWI", Some(b"ab".to_vec())),
        (SecretEncoding::Base64, "-_8=", Some(vec![0xfb, 0xff])),
        (SecretEncoding::Base64, "!", None),
        (SecretEncoding::Whsec, "whsec_YWI=", Some(b"ab".to_vec())),
        (SecretEncoding::Whsec, "whsec_", None),
        (SecretEncoding::Utf8, "", None),
    ];
    for (encoding, text, expected) in table {
        assert_eq!(encoding.key(text), expected, "{encoding:?} {text:?}");
    }
}

#[test]
fn the_current_secret_signs() {
    let scheme = compile(custom(Algorithm::HmacSha256, "{body}", Output::Hex)).unwrap();
    let request = Unsigned { method: "POST", url: URL, body: "x" };
    let both = sign(&scheme, request, &["new", "old"], View::Wire).unwrap();
    assert_eq!(both, sign(&scheme, request, &["new"], View::Wire).unwrap());
    assert_ne!(both, sign(&scheme, request, &["old"], View::Wire).unwrap());
}

#[test]
fn an_unusable_secret_is_named_and_not_shown() {
    let source =
        CustomSource { secret_encoding: SecretEncoding::Hex, ..custom(Algorithm::HmacSha256, "x", Output::Hex) };
    let scheme = compile(source).unwrap();
    let request = Unsigned { method: "POST", url: URL, body: "" };
    let error = sign(&scheme, request, &["not hex"], View::Wire).unwrap_err();
    assert_eq!(error, RenderError::SecretEncoding { name: "key".into(), encoding: "hex" });
    assert!(!error.to_string().contains("not hex"));
    assert_eq!(sign(&scheme, request, &[], View::Wire).unwrap_err(), RenderError::UnknownSecret { name: "key".into() });
    let secrets = Secrets::new(BTreeMap::from([("key".into(), vec!["6162".into(), "zz".into()])]));
    assert_eq!(scheme.check_secrets(&secrets).len(), 1);
    assert_eq!(scheme.check_secrets(&Secrets::default()).len(), 1);
}

#[test]
fn what_cannot_work_does_not_compile() {
    let base = || custom(Algorithm::HmacSha256, "{body}", Output::Hex);
    let header =
        |name: &str, value: &str| PlaceSource::Header { name: name.into(), value: Some(value.into()), repeat: None };
    let repeated = |text: &str| PlaceSource::Header { name: "X-S".into(), value: None, repeat: Some(text.into()) };
    let table = [
        (CustomSource { message: "{bodi}".into(), ..base() }, "signature.message", "did you mean \"body\""),
        (CustomSource { message: "{signature}".into(), ..base() }, "signature.message", "cannot be used here"),
        (CustomSource { message: String::new(), ..base() }, "signature.message", "is empty"),
        (custom(Algorithm::Md5, "{click_id}", Output::Hex), "signature.message", "no {secret}"),
        (CustomSource { place: header("X-S", "v1="), ..base() }, "signature.place", "without {signature}"),
        (CustomSource { place: repeated(",v1="), ..base() }, "signature.place", "without {signature}"),
        (CustomSource { place: repeated(",{signatur}"), ..base() }, "signature.place", "did you mean \"signature\""),
        (CustomSource { place: header("X S", "{signature}"), ..base() }, "signature.place", "header's name"),
        (CustomSource { place: header("Host", "{signature}"), ..base() }, "signature.place", "connection"),
        (CustomSource { place: header("X-S", "{signature}\r\nA: b"), ..base() }, "signature.place", "control"),
        (CustomSource { place: PlaceSource::Query("a&b".into()), ..base() }, "signature.place", "query parameter"),
        (CustomSource { secret: String::new(), ..base() }, "signature.secret", "no secret"),
    ];
    for (source, key, part) in table {
        let faults = compile(source.clone()).unwrap_err();
        assert!(faults.iter().any(|f| f.key == key && f.detail.contains(part)), "{source:?}: {faults:?}");
    }
}

#[test]
fn names_lead_back_to_their_meaning() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
    }
    for output in Output::ALL {
        assert_eq!(Output::parse(output.name()), Some(output));
    }
    assert_eq!(SecretEncoding::parse("whsec_"), Some(SecretEncoding::Whsec));
    assert_eq!(ParameterForm::parse("as-sent"), Some(ParameterForm::AsSent));
}
