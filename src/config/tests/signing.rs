//! Signatures from the configuration to the bytes: published vectors, the schemes seen in the wild, and rotation.
//!
//! Each scheme is checked by a receiver that is written here from its description; none of it calls the signer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde_json::json;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::{Shop, postback};
use crate::domain::dictionary::Dictionary;
use crate::domain::event::{Event, Rules};
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::request::PreparedRequest;
use crate::domain::template::Scope;

const GET: &str =
    "method = \"GET\"\nurl = \"https://t.example/pb?c={click_id}&tx={transaction_id}&b={sub_ids.b}&a={sub_ids.a}\"\n";
const POST: &str = "method = \"POST\"\nurl = \"https://t.example/hook\"\nbody.json = { click = \"{click_id}\", note = \"{sub_ids.a}\" }\n";

/// An affiliate with one postback of these lines and this signature.
fn configured(lines: &str, signature: &str) -> String {
    format!(
        "id = \"acme\"\nname = \"Acme\"\n[[postback]]\nname = \"p\"\nevents = [\"ftd\"]\n{lines}[postback.signature]\n\
         {signature}\n"
    )
}

/// A configuration whose variables NEW and OLD hold the secrets.
fn shop(text: &str, [new, old]: [&str; 2]) -> Shop {
    Shop::new().variable("NEW", new).variable("OLD", old).file("affiliates/acme.toml", text)
}

fn event(click: &str, transaction: &str, a: &str, b: &str, dictionary: &Dictionary) -> Event {
    let json = json!({
        "transaction_id": transaction, "type": "ftd", "affiliate_id": "acme", "click_id": click, "offer_id": "1234",
        "payout": "120.5", "currency": "EUR", "sub_ids": { "a": a, "b": b },
    });
    let rules = Rules { dictionary, knows_affiliate: &|_| true, now: "2026-11-20T10:00:00Z".parse().unwrap() };
    Event::parse(&json, rules).unwrap()
}

/// One attempt at a time of the test's own.
fn attempt(shop: &Shop, event: [&str; 4], number: u32, at: i64) -> PreparedRequest {
    let loaded = shop.sound();
    let postback = postback(&loaded, "acme", "p");
    let [click, transaction, a, b] = event;
    let event = self::event(click, transaction, a, b, &loaded.settings.dictionary);
    let event_id = EventId::from_u64(7);
    let scope = Scope {
        event: &event,
        event_id,
        delivery_id: DeliveryId { event: event_id, ordinal: 1 },
        attempt: number,
        timestamp: jiff::Timestamp::from_second(at).unwrap(),
        nonce: &format!("nonce-{number}"),
        original: None,
        secrets: &postback.secrets,
    };
    postback.request.render(&scope).unwrap()
}

const NOW: i64 = 1_649_367_553;
const PLAIN: [&str; 4] = ["c-77f3", "dep-88121", "x", "y"];
/// Values that a careless signer or receiver would read differently.
const AWKWARD: [&str; 4] = ["c-1/&=+%41", "t-|{1};", "\"q\"\\ €é", "b=1&a=2"];

fn header<'r>(request: &'r PreparedRequest, name: &str) -> &'r str {
    &request.headers.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn tag<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    <M as KeyInit>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes().to_vec()
}

fn text(body: &[u8]) -> &str {
    std::str::from_utf8(body).unwrap()
}

/// The URL without its last parameter, and that parameter's value, percent-decoded.
fn split_last<'r>(request: &'r PreparedRequest, name: &str) -> (&'r str, String) {
    let (rest, value) = request.url.rsplit_once(&format!("&{name}=")).expect("the signature is the last parameter");
    assert!(!value.contains('&'), "{value}");
    (rest, percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned())
}

/// The parameters as a server sees them, sorted by name.
fn sorted(url: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = url::Url::parse(url).unwrap().query_pairs().into_owned().collect();
    pairs.sort();
    pairs
}

/// A receiver: whether it accepts a request, given its secret.
type Receiver = fn(&PreparedRequest, &str) -> bool;

fn standard_webhooks(request: &PreparedRequest, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let (id, at) = (header(request, "webhook-id"), header(request, "webhook-timestamp"));
    let expected = STANDARD.encode(tag::<Hmac<Sha256>>(&key, format!("{id}.{at}.{}", text(&request.body)).as_bytes()));
    header(request, "webhook-signature").split(' ').any(|one| one.strip_prefix("v1,") == Some(&expected))
}

fn stripe_like(request: &PreparedRequest, secret: &str) -> bool {
    let parts: Vec<_> =
        header(request, "stripe-signature").split(',').map(|part| part.split_once('=').unwrap()).collect();
    let at = parts.iter().find(|(name, _)| *name == "t").unwrap().1;
    let message = format!("{at}.{}", text(&request.body));
    let expected = hex::encode(tag::<Hmac<Sha256>>(secret.as_bytes(), message.as_bytes()));
    parts.iter().any(|(name, value)| *name == "v1" && *value == expected)
}

fn slack(request: &PreparedRequest, secret: &str) -> bool {
    let at = header(request, "x-slack-request-timestamp");
    let message = format!("v0:{at}:{}", text(&request.body));
    header(request, "x-slack-signature")
        == format!("v0={}", hex::encode(tag::<Hmac<Sha256>>(secret.as_bytes(), message.as_bytes())))
}

fn github(request: &PreparedRequest, secret: &str) -> bool {
    header(request, "x-hub-signature-256")
        == format!("sha256={}", hex::encode(tag::<Hmac<Sha256>>(secret.as_bytes(), &request.body)))
}

fn unity_ads(request: &PreparedRequest, secret: &str) -> bool {
    let (rest, signature) = split_last(request, "hmac");
    let pairs: Vec<_> = sorted(rest).iter().map(|(name, value)| format!("{name}={value}")).collect();
    signature == hex::encode(tag::<Hmac<Md5>>(secret.as_bytes(), pairs.join(",").as_bytes()))
}

fn whole_url(request: &PreparedRequest, secret: &str) -> bool {
    let (rest, signature) = split_last(request, "hash");
    signature == hex::encode(tag::<Hmac<Sha1>>(secret.as_bytes(), rest.as_bytes()))
}

fn values(url: &str) -> Vec<String> {
    sorted(url).into_iter().map(|(_, value)| value).collect()
}

fn sorted_values(request: &PreparedRequest, secret: &str) -> bool {
    let (rest, signature) = split_last(request, "sign");
    signature == STANDARD.encode(tag::<Hmac<Sha1>>(secret.as_bytes(), values(rest).concat().as_bytes()))
}

fn sorted_values_with_colons(request: &PreparedRequest, secret: &str) -> bool {
    let message = values(&request.url).join(":");
    header(request, "x-signature") == hex::encode(tag::<Hmac<Sha512>>(secret.as_bytes(), message.as_bytes()))
}

fn query_as_sent(request: &PreparedRequest, secret: &str) -> bool {
    let (rest, signature) = split_last(request, "sig");
    let query = rest.split_once('?').unwrap().1;
    signature == hex::encode(tag::<Hmac<Sha256>>(secret.as_bytes(), query.as_bytes()))
}

fn parameter(request: &PreparedRequest, name: &str) -> String {
    sorted(&request.url).into_iter().find(|(found, _)| found == name).unwrap().1
}

fn reward_wall(request: &PreparedRequest, secret: &str) -> bool {
    let message = format!("{}{}{secret}", parameter(request, "c"), parameter(request, "tx"));
    split_last(request, "sig").1 == hex::encode(Md5::digest(message.as_bytes()))
}

fn reward_wall_with_dots(request: &PreparedRequest, secret: &str) -> bool {
    let message = format!("{}.{}.{secret}", parameter(request, "c"), parameter(request, "tx"));
    split_last(request, "sig").1 == hex::encode(Sha1::digest(message.as_bytes()))
}

fn reward_wall_with_hyphens(request: &PreparedRequest, secret: &str) -> bool {
    let message = format!("{secret}-{}-{}", parameter(request, "tx"), parameter(request, "c"));
    split_last(request, "sig").1 == hex::encode_upper(Sha1::digest(message.as_bytes()))
}

/// The schemes that were seen, as one would configure them; `SECRET` stands for the reference.
const SEEN: [(&str, &str, &str, Receiver); 12] = [
    ("Standard Webhooks", POST, "scheme = \"standard-webhooks\"\nsecret = SECRET", standard_webhooks),
    (
        "Stripe-like",
        POST,
        "scheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = SECRET\nmessage = \"{timestamp}.{body}\"\n\
         place = { header = \"Stripe-Signature\", template = \"t={timestamp},v1={signature}\", repeat = \",v1={signature}\" }",
        stripe_like,
    ),
    (
        "Slack",
        "method = \"POST\"\nurl = \"https://t.example/hook\"\nheaders = { X-Slack-Request-Timestamp = \"{timestamp}\" }\n\
         body.form = { click = \"{click_id}\", note = \"{sub_ids.a}\" }\n",
        "scheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = SECRET\nmessage = \"v0:{timestamp}:{body}\"\n\
         place = { header = \"X-Slack-Signature\", template = \"v0={signature}\" }",
        slack,
    ),
    (
        "GitHub",
        POST,
        "scheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = SECRET\nmessage = \"{body}\"\n\
         place = { header = \"X-Hub-Signature-256\", template = \"sha256={signature}\" }",
        github,
    ),
    (
        "Unity Ads",
        GET,
        "scheme = \"custom\"\nalgorithm = \"hmac-md5\"\nsecret = SECRET\nmessage = \"{sorted_query}\"\njoiner = \",\"\n\
         place = { query = \"hmac\" }",
        unity_ads,
    ),
    (
        "whole URL",
        GET,
        "scheme = \"custom\"\nalgorithm = \"hmac-sha1\"\nsecret = SECRET\nmessage = \"{url}\"\nplace = { query = \"hash\" }",
        whole_url,
    ),
    (
        "values sorted by key",
        GET,
        "scheme = \"custom\"\nalgorithm = \"hmac-sha1\"\nsecret = SECRET\nmessage = \"{sorted_values}\"\n\
         place = { query = \"sign\", encoding = \"base64\" }",
        sorted_values,
    ),
    (
        "values sorted by key, with colons",
        GET,
        "scheme = \"custom\"\nalgorithm = \"hmac-sha512\"\nsecret = SECRET\nmessage = \"{sorted_values}\"\njoiner = \":\"\n\
         place = { header = \"X-Signature\" }",
        sorted_values_with_colons,
    ),
    (
        "query as sent",
        GET,
        "scheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = SECRET\nmessage = \"{query}\"\nplace = { query = \"sig\" }",
        query_as_sent,
    ),
    (
        "reward wall",
        GET,
        "scheme = \"custom\"\nalgorithm = \"md5\"\nsecret = SECRET\nmessage = \"{click_id}{transaction_id}{secret}\"\n\
         place = { query = \"sig\" }",
        reward_wall,
    ),
    (
        "reward wall with dots",
        GET,
        "scheme = \"custom\"\nalgorithm = \"sha1\"\nsecret = SECRET\nmessage = \"{click_id}.{transaction_id}.{secret}\"\n\
         place = { query = \"sig\" }",
        reward_wall_with_dots,
    ),
    (
        "reward wall with hyphens",
        GET,
        "scheme = \"custom\"\nalgorithm = \"sha1\"\nsecret = SECRET\nmessage = \"{secret}-{transaction_id}-{click_id}\"\n\
         place = { query = \"sig\", encoding = \"HEX\" }",
        reward_wall_with_hyphens,
    ),
];

const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OLD: &str = "whsec_b2xkIHNlY3JldCBvZiBhIHBhcnRuZXI=";

#[test]
fn every_scheme_seen_in_the_wild_is_accepted_by_its_receiver() {
    for (name, lines, signature, accepts) in SEEN {
        let shop = shop(&configured(lines, &signature.replace("SECRET", "{ env = \"NEW\" }")), [NEW, OLD]);
        for event in [PLAIN, AWKWARD] {
            let request = attempt(&shop, event, 1, NOW);
            assert!(accepts(&request, NEW), "{name}: {request:?}");
            assert!(!accepts(&request, OLD), "{name}: a receiver that accepts anything proves nothing");
            let shown = format!("{:?}", request.record);
            assert!(shown.contains("***") && !shown.contains(NEW), "{name}: {shown}");
        }
    }
}

#[test]
fn every_attempt_is_signed_afresh() {
    for (name, lines, signature, accepts) in SEEN {
        let shop = shop(&configured(lines, &signature.replace("SECRET", "{ env = \"NEW\" }")), [NEW, OLD]);
        let attempts = [1, 2].map(|number| attempt(&shop, PLAIN, number, NOW + 60 * i64::from(number)));
        assert!(attempts.iter().all(|request| accepts(request, NEW)), "{name}");
        let timed = signature.contains("{timestamp}") || signature.contains("standard");
        assert_eq!(attempts[0] != attempts[1], timed, "{name}");
    }
}

/// The secrets that the daemon has one after the other, and those that the partner accepts.
type Step = (&'static str, &'static [&'static str]);

#[test]
fn nothing_is_wrongly_signed_while_a_secret_is_exchanged() {
    const BOTH: &str = "[{ env = \"NEW\" }, { env = \"OLD\" }]";
    // Where a request can carry both signatures, it does not matter who changes first.
    let carrying_both: &[Step] = &[
        ("{ env = \"OLD\" }", &[OLD]),
        (BOTH, &[OLD]),
        (BOTH, &[OLD, NEW]),
        (BOTH, &[NEW]),
        ("{ env = \"NEW\" }", &[NEW]),
    ];
    // Elsewhere the partner accepts both before we change over.
    let one_at_a_time: &[Step] = &[
        ("{ env = \"OLD\" }", &[OLD]),
        ("{ env = \"OLD\" }", &[OLD, NEW]),
        (BOTH, &[OLD, NEW]),
        ("{ env = \"NEW\" }", &[OLD, NEW]),
        ("{ env = \"NEW\" }", &[NEW]),
    ];
    for (name, lines, signature, accepts) in SEEN {
        let carries = signature.contains("repeat") || signature.contains("standard-webhooks");
        for (secret, known) in if carries { carrying_both } else { one_at_a_time } {
            let shop = shop(&configured(lines, &signature.replace("SECRET", secret)), [NEW, OLD]);
            for event in [PLAIN, AWKWARD] {
                let request = attempt(&shop, event, 1, NOW);
                assert!(
                    known.iter().any(|known| accepts(&request, known)),
                    "{name}: {secret}, accepted {}",
                    known.len()
                );
            }
        }
        let both = shop(&configured(lines, &signature.replace("SECRET", BOTH)), [NEW, OLD]);
        let request = attempt(&both, PLAIN, 1, NOW);
        assert!(accepts(&request, NEW), "{name}: the first is the current one");
        assert_eq!(accepts(&request, OLD), carries, "{name}");
    }
}

#[test]
fn the_vector_of_unity_ads() {
    let url =
        "method = \"GET\"\nurl = \"https://t.example/?sid={click_id}&oid={transaction_id}&productid={offer_id}\"\n";
    let (_, _, signature, _) = SEEN.iter().find(|(name, ..)| *name == "Unity Ads").unwrap();
    let shop = shop(&configured(url, &signature.replace("SECRET", "{ env = \"NEW\" }")), ["xyzKEY", ""]);
    let request = attempt(&shop, ["1234567890", "0987654321", "", ""], 1, NOW);
    assert_eq!(
        request.url,
        "https://t.example/?sid=1234567890&oid=0987654321&productid=1234&hmac=106ed4300f91145aff6378a355fced73"
    );
}

#[test]
fn the_vector_of_github() {
    let body = "method = \"POST\"\nurl = \"https://t.example/\"\nbody = { content_type = \"text/plain\", text = \
                \"Hello, {sub_ids.a}!\" }\n";
    let (_, _, signature, _) = SEEN.iter().find(|(name, ..)| *name == "GitHub").unwrap();
    let text = configured(body, &signature.replace("SECRET", "{ env = \"NEW\" }"));
    let request = attempt(&shop(&text, ["It's a Secret to Everybody", ""]), ["c", "t", "World", ""], 1, NOW);
    assert_eq!(request.body, "Hello, World!");
    assert_eq!(
        header(&request, "x-hub-signature-256"),
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

/// The scheme's own id is the delivery's, which the vector does not know; so its parts are composed.
#[test]
fn the_vector_of_standard_webhooks() {
    let body = "method = \"POST\"\nurl = \"https://t.example/\"\nheaders = { webhook-id = \"{transaction_id}\", \
                webhook-timestamp = \"{timestamp}\" }\nbody.json = { email = \"test@{sub_ids.a}\", username = \"{sub_ids.b}\" }\n";
    let signature = "scheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = { env = \"NEW\" }\nsecret_encoding = \"whsec\"\n\
                     message = \"{transaction_id}.{timestamp}.{body}\"\n\
                     place = { header = \"webhook-signature\", template = \"v1,{signature}\", encoding = \"base64\" }";
    let event = ["c", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", "example.com", "test_user"];
    let request = attempt(&shop(&configured(body, signature), [NEW, ""]), event, 1, NOW);
    assert_eq!(request.body, r#"{"email":"test@example.com","username":"test_user"}"#);
    assert_eq!(header(&request, "webhook-signature"), "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    assert!(standard_webhooks(&request, NEW));
}

#[test]
fn a_secret_may_be_written_in_every_encoding() {
    let signature = |encoding: &str| {
        format!(
            "scheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = {{ env = \"NEW\" }}\nsecret_encoding = \
             \"{encoding}\"\nmessage = \"{{body}}\"\nplace = {{ header = \"X-S\" }}"
        )
    };
    let table = [
        ("utf8", "key!"),
        ("hex", "6B657921"),
        ("base64", "a2V5IQ"),
        ("base64", "a2V5IQ=="),
        ("whsec", "whsec_a2V5IQ=="),
    ];
    for (encoding, secret) in table {
        let request = attempt(&shop(&configured(POST, &signature(encoding)), [secret, ""]), PLAIN, 1, NOW);
        assert_eq!(header(&request, "x-s"), hex::encode(tag::<Hmac<Sha256>>(b"key!", &request.body)), "{encoding}");
    }
}

#[test]
fn every_part_of_a_request_can_be_signed() {
    let signature = "scheme = \"custom\"\nalgorithm = \"sha256\"\nsecret = { env = \"NEW\" }\nmessage = \
                     \"{method} {url} {path} {path_and_query} {query} {sorted_query} {sorted_values} {body} {body_sha256} \
                     {timestamp} {nonce} {idempotency_key} {click_id} {secret}\"\n\
                     place = { header = \"X-S\", encoding = \"base64url\" }";
    let lines = "method = \"POST\"\nurl = \"https://t.example/p%20q/{sub_ids.b}?b={sub_ids.a}&a=1\"\n\
                 body = { content_type = \"text/plain\", text = \"body of {click_id}\" }\n";
    let request = attempt(&shop(&configured(lines, signature), ["s3cret", ""]), ["c-1", "t-1", "é", "y"], 3, NOW);
    let body_hash = hex::encode(Sha256::digest(b"body of c-1"));
    let message = format!(
        "POST https://t.example/p%20q/y?b=%C3%A9&a=1 /p%20q/y /p%20q/y?b=%C3%A9&a=1 b=%C3%A9&a=1 a=1&b=é 1é body of c-1 \
         {body_hash} 1649367553 nonce-3 dlv_{} c-1 s3cret",
        "000000000000e001"
    );
    let expected = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(message.as_bytes()));
    assert_eq!(header(&request, "x-s"), expected, "{message}");
}
