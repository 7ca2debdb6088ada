//! Templates as partners write them, and the filters one by one.

use jiff::Timestamp;
use secrecy::SecretString;

use super::*;
use crate::domain::event::{Event, ParamValue, Status};
use crate::domain::id::{AffiliateId, ClickId, DeliveryId, EventId, EventType, TransactionId};
use crate::domain::money::{Amount, Currency};

fn event() -> Event {
    let number = |text| ParamValue::Number(Amount::parse(text).unwrap());
    Event {
        transaction_id: TransactionId::parse("dep-1").unwrap(),
        transaction_given: true,
        kind: EventType::parse("ftd").unwrap(),
        affiliate_id: AffiliateId::parse("acme").unwrap(),
        click_id: Some(ClickId::parse("C-1").unwrap()),
        offer_id: None,
        status: Status::Pending,
        occurred_at: "2026-11-20T10:00:00.5Z".parse().unwrap(),
        payout: Some(Amount::parse("120.125").unwrap()),
        revenue: Some(Amount::parse("-7.5").unwrap()),
        currency: Some(Currency::parse("EUR").unwrap()),
        sub_ids: BTreeMap::from([("sub1".into(), "b\"3".into()), ("sub2".into(), " x ".into())]),
        reverses: Some(TransactionId::parse("dep-0").unwrap()),
        params: BTreeMap::from([
            ("at".into(), ParamValue::Text("2026-01-02T03:04:05+01:00".into())),
            ("country".into(), ParamValue::Text("DE".into())),
            ("digits".into(), ParamValue::Text("12.50".into())),
            ("level".into(), number("3")),
            ("vip".into(), ParamValue::Boolean(true)),
            ("zero".into(), number("-0.001")),
        ]),
    }
}

fn render_with(template: &Template, event: &Event) -> Result<String, RenderError> {
    let secrets = Secrets::new(BTreeMap::from([("key".into(), vec![SecretString::from("s3cret")])]));
    let event_id = EventId::from_u64(7);
    let scope = Scope {
        event,
        event_id,
        delivery_id: DeliveryId { event: event_id, ordinal: 3 },
        attempt: 2,
        timestamp: Timestamp::from_second(1_700_000_000).unwrap(),
        nonce: "n0nce",
        original: None,
        secrets: &secrets,
    };
    let mut out = String::new();
    template.render(&Environment::new(&scope, View::Wire), Place::Plain, &mut out)?;
    Ok(out)
}

fn compile(text: &str, delimiters: Delimiters) -> Result<Template, Vec<TemplateError>> {
    let alias = |token: &str, meaning: &str| (token.to_owned(), meaning.to_owned());
    let macros =
        BTreeMap::from([alias("cid", "click_id|lower"), alias("lead.Sub1", "sub_ids.sub1"), alias("1", "type")]);
    Template::compile(text, &Syntax { delimiters, macros })
}

fn plain(text: &str) -> String {
    let template = compile(text, Delimiters::Brace).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    render_with(&template, &event()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn every_style_finds_its_macros_and_leaves_the_rest() {
    use Delimiters::{Angle, Brace, Bracket, DollarBrace, DoubleBrace, DoubleHash, Hash, Percent, TripleBracket};
    let table = [
        (Brace, "a={click_id}&b={cid}", "a=C-1&b=c-1"),
        (Brace, "{lead.Sub1|upper}{1}", "B\"3ftd"),
        (Brace, "{\"a\":{\"b\":\"{ click_id }\"}}", "{\"a\":{\"b\":\"C-1\"}}"),
        (Brace, "{} { } {0} [x] %20 #", "{} { } {0} [x] %20 #"),
        (Brace, "{params.none|default(\"}\")}", "}"),
        (DoubleBrace, "{{ click_id }}{x}{{cid|upper}}", "C-1{x}C-1"),
        (DollarBrace, "$5 ${click_id} $", "$5 C-1 $"),
        (Bracket, "bd[0]=[click_id]&x[]=[cid]&[1]", "bd[0]=C-1&x[]=c-1&ftd"),
        (Bracket, "[it's not a name]", "[it's not a name]"),
        (Hash, "#click_id#&#cid|upper#&a#b", "C-1&C-1&a#b"),
        (DoubleHash, "##click_id##&#x#", "C-1&#x#"),
        (Percent, "a%20b=%click_id%%20%C3%BC%affiliate_id%", "a%20b=C-1%20%C3%BCacme"),
        (Percent, "%cid|upper%-100%", "C-1-100%"),
        (TripleBracket, "[[[click_id]]][x][[y]]", "C-1[x][[y]]"),
        (Angle, "a=<click_id>&b=<cid|upper>", "a=C-1&b=C-1"),
        (Angle, "1 < 2 <a b=\"<cid>\"></a> > 1", "1 < 2 <a b=\"c-1\"></a> > 1"),
    ];
    for (style, text, expected) in table {
        let template = compile(text, style).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        assert_eq!(render_with(&template, &event()).unwrap(), expected, "{text}");
    }
}

#[test]
fn styles_are_known_by_what_stands_in_the_configuration() {
    for style in Delimiters::ALL {
        assert_eq!(Delimiters::parse(style.name()), Some(style));
        assert_eq!(Delimiters::parse(&format!("{}{}", style.open(), style.close())), Some(style));
    }
    assert_eq!(Delimiters::parse("<< >>"), None);
    assert_eq!(Delimiters::parse(""), None);
}

#[test]
fn filters_do_what_they_say() {
    let table = [
        ("{event_id} {delivery_id}", "evt_0000000000007 dlv_000000000000e003"),
        ("{attempt} {timestamp} {nonce}", "2 1700000000 n0nce"),
        ("{payout|fixed(2)} {payout|fixed(0)} {payout|fixed(4)}", "120.12 120 120.1250"),
        ("{payout|minor} {revenue|minor} {revenue|int} {revenue|abs} {revenue|neg}", "12012 -750 -7 7.5 7.5"),
        ("{params.zero|fixed(2)} {params.zero|int} {params.zero|neg|fixed(1)}", "0.00 0 0.0"),
        ("{params.digits|fixed(1)} {params.digits|int}", "12.5 12"),
        ("{click_id|lower}{type|upper}[{sub_ids.sub2|trim}]", "c-1FTD[x]"),
        ("{status|map(approved=1, pending=2, else=3)}", "2"),
        ("{status|map(approved=1, else=\"in, review\")}", "in, review"),
        ("{params.vip|map(true=yes, false=no)}{params.level|map(3=three)}", "yesthree"),
        ("{occurred_at} {occurred_at|iso}", "2026-11-20T10:00:00.5Z 2026-11-20T10:00:00Z"),
        ("{occurred_at|unix} {occurred_at|unix_ms} {timestamp|iso}", "1795168800 1795168800500 2023-11-14T22:13:20Z"),
        ("{params.at|unix} {timestamp|unix_ms}", "1767319445 1700000000000"),
        ("{occurred_at|date(%Y%m%d_%H%M)}", "20261120_1000"),
        ("{occurred_at|date('%Y-%m-%d %H:%M:%S%:z', Europe/Berlin)}", "2026-11-20 11:00:00+01:00"),
        ("{click_id|sha256}", "07e9a9696557f5c8f882be06e799bc096a740341e798ddd7337614f5ffc1a070"),
        ("{type|md5}", "b06e48a472d47c8068204a8a2a356ff5"),
        ("{sub_ids|join(|)} {sub_ids|join(\", \")}", "b\"3| x  b\"3,  x "),
        ("{sub_ids|json}", r#"{"sub1":"b\"3","sub2":" x "}"#),
        ("{params.level|json}{params.vip|json}{click_id|json}", "3true\"C-1\""),
        ("{params.at|urlencode}", "2026-01-02T03%3A04%3A05%2B01%3A00"),
        ("{offer_id|default(none)}{offer_id|default(\"a)b\")}{payout|default(0)}", "nonea)b120.125"),
        ("[{offer_id|upper}{offer_id|sha256}{offer_id|fixed(2)}]", "[]"),
        ("{secret.key|raw}", "s3cret"),
        ("{reverses} {original.transaction_id} [{original.click_id}]", "dep-0 dep-0 []"),
    ];
    for (text, expected) in table {
        assert_eq!(plain(text), expected, "{text}");
    }
}

#[test]
fn an_empty_text_counts_as_missing() {
    let mut event = event();
    event.sub_ids.insert("empty".into(), String::new());
    let template = compile("[{sub_ids.empty|sha256}{sub_ids.empty|json}]{sub_ids.empty|default(x)}", Delimiters::Brace);
    assert_eq!(render_with(&template.unwrap(), &event).unwrap(), "[]x");
}

#[test]
fn what_cannot_work_does_not_compile() {
    let table = [
        ("{clickid}", "did you mean \"click_id\""),
        ("{CLICK_ID}", "did you mean \"click_id\""),
        ("{original.clickid}", "did you mean \"original.click_id\""),
        ("{zzz}", "macros"),
        ("{cidd}", "did you mean"),
        ("{payout|fixd(2)}", "did you mean \"fixed\""),
        ("{payout|fixed}", "number of decimals"),
        ("{payout|fixed(x)}", "number of decimals"),
        ("{payout|fixed(99)}", "number of decimals"),
        ("{payout|fixed(2, 3)}", "number of decimals"),
        ("{payout|int(2)}", "takes no arguments"),
        ("{status|map}", "takes pairs"),
        ("{status|map(a)}", "has no \"=\""),
        ("{status|map(a=1, a=2)}", "two entries"),
        ("{status|map(a=1, else='{x}')}", "was not filled in"),
        ("{offer_id|default(null)}", "null"),
        ("{occurred_at|date}", "takes a format"),
        ("{occurred_at|date(%Y, Mars/Base)}", "time zone \"Mars/Base\""),
        ("{occurred_at|date(%!)}", "cannot use the format"),
        ("{occurred_at|fixed(2)}", "not on times"),
        ("{payout|iso}", "works on times"),
        ("{click_id|join(x)}", "sub_ids or params"),
        ("{sub_ids|upper}", "works on one value"),
        ("{click_id|raw|upper}", "must be the last"),
        ("{click_id|raw(1)}", "takes no arguments"),
        ("{click_id|}", "name is missing"),
        ("{click_id|upper x}", "unknown filter"),
        ("{click_id|default(x)y}", "followed by"),
        ("{click_id|default(\"x)}", "never closed"),
        ("{click id}", "begins with a name"),
        ("{click_id", "never closed"),
        ("{{click_id}}", "another style"),
        ("${click_id}", "another style"),
        ("{signature}", "signature.place"),
        ("{body}", "signature.message"),
        ("{secret}", "secret.NAME"),
        ("{secret.}", "unknown macro"),
    ];
    for (text, part) in table {
        let errors = compile(text, Delimiters::Brace).expect_err(text);
        assert!(errors.iter().any(|error| error.to_string().contains(part)), "{text}: {errors:?}");
    }
}

#[test]
fn all_faults_come_at_once() {
    let errors = compile("{a1}{b2}{payout|nope}", Delimiters::Brace).unwrap_err();
    assert_eq!(errors.len(), 3);
}

#[test]
fn a_value_that_does_not_fit_its_filter_is_refused() {
    let table = ["{params.country|fixed(2)}", "{params.country|iso}", "{params.vip|int}", "{status|map(approved=1)}"];
    for text in table {
        let error = render_with(&compile(text, Delimiters::Brace).unwrap(), &event()).unwrap_err();
        assert!(matches!(error, RenderError::Filter { .. }), "{text}: {error}");
        assert!(!error.to_string().contains("DE"), "{error}");
    }
    let mut event = event();
    event.currency = None;
    let error = render_with(&compile("{params.level|minor}", Delimiters::Brace).unwrap(), &event).unwrap_err();
    assert!(error.to_string().contains("currency"));
}

#[test]
fn templates_are_bounded() {
    let brace = |text: &str| compile(text, Delimiters::Brace);
    assert!(brace(&"x".repeat(MAX_TEMPLATE_BYTES)).is_ok());
    assert!(brace(&"x".repeat(MAX_TEMPLATE_BYTES + 1)).is_err());
    assert!(brace(&"{type}".repeat(MAX_EXPRESSIONS)).is_ok());
    assert!(brace(&"{type}".repeat(MAX_EXPRESSIONS + 1)).is_err());
    assert!(brace(&format!("{{type{}}}", "|upper".repeat(MAX_FILTERS))).is_ok());
    assert!(brace(&format!("{{type{}}}", "|upper".repeat(MAX_FILTERS + 1))).is_err());
    assert!(brace(&format!("{{type|map({})}}", "a=1,".repeat(MAX_ARGUMENTS + 1))).is_err());
    assert!(brace(&format!("{{type|default({})}}", "x".repeat(MAX_EXPRESSION_BYTES))).is_err());
}

#[test]
fn secrets_print_their_names_only() {
    let secrets = Secrets::new(BTreeMap::from([("key".into(), vec![SecretString::from("s3cret")])]));
    assert_eq!(format!("{secrets:?}"), "{\"key\"}");
    assert!(Secrets::new(BTreeMap::from([("none".into(), vec![])])).get("none").is_none());
}

#[test]
fn expressions_tell_what_they_read() {
    let template = compile("{params.country}{secret.key}{original.payout}{cid}", Delimiters::Brace).unwrap();
    let expressions: Vec<_> = template.expressions().collect();
    assert_eq!(expressions[0].param(), Some("country"));
    assert_eq!(expressions[1].secret(), Some("key"));
    assert!(expressions[2].reads_original());
    assert!(expressions[3].identifies());
    assert_eq!(expressions[3].text(), "click_id|lower");
    let filtered = compile("{cid|upper}", Delimiters::Brace).unwrap();
    assert_eq!(filtered.expressions().next().unwrap().text(), "click_id|lower|upper");
    assert!(!template.is_literal());
}
