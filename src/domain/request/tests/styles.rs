//! Macros in the styles that partners paste, and in the places where they put them.

use super::*;

/// A source whose macros are written between delimiters, with a partner's names for the click, the amount and more.
fn pasted(style: &str, url: &str) -> RequestSource {
    let macros = [
        ("cid", "click_id"),
        ("amount", "payout|fixed(2)"),
        ("goal", "type"),
        ("sub_id_1", "sub_ids.sub1"),
        ("external_id", "click_id"),
        ("lead.Sub1", "sub_ids.sub1"),
        ("aff-sub", "sub_ids.sub2"),
        ("1", "transaction_id"),
    ];
    RequestSource {
        delimiters: Delimiters::parse(style).unwrap_or_else(|| panic!("{style}")),
        macros: macros.iter().map(|(token, meaning)| ((*token).to_owned(), (*meaning).to_owned())).collect(),
        ..get(url)
    }
}

/// Every style with a template as partners write it: values, several in one, paths, dotted names, a filter.
const PASTED: [(&str, &str); 9] = [
    ("{ }", "https://p.example/{cid}?c={cid}&a={amount}&g={goal}x{status}&s={lead.Sub1}&u={currency|lower}&t=x%20y"),
    (
        "{{ }}",
        "https://p.example/{{cid}}?c={{ cid }}&a={{amount}}&g={{goal}}x{{status}}&s={{lead.Sub1}}&u={{currency|lower}}&t=x%20y",
    ),
    (
        "${ }",
        "https://p.example/${cid}?c=${cid}&a=${amount}&g=${goal}x${status}&s=${lead.Sub1}&u=${currency|lower}&t=x%20y",
    ),
    ("[ ]", "https://p.example/[cid]?c=[cid]&a=[amount]&g=[goal]x[status]&s=[lead.Sub1]&u=[currency|lower]&t=x%20y"),
    ("# #", "https://p.example/#cid#?c=#cid#&a=#amount#&g=#goal#x#status#&s=#lead.Sub1#&u=#currency|lower#&t=x%20y"),
    (
        "## ##",
        "https://p.example/##cid##?c=##cid##&a=##amount##&g=##goal##x##status##&s=##lead.Sub1##&u=##currency|lower##&t=x%20y",
    ),
    ("% %", "https://p.example/%cid%?c=%cid%&a=%amount%&g=%goal%x%status%&s=%lead.Sub1%&u=%currency|lower%&t=x%20y"),
    (
        "[[[ ]]]",
        "https://p.example/[[[cid]]]?c=[[[cid]]]&a=[[[amount]]]&g=[[[goal]]]x[[[status]]]&s=[[[lead.Sub1]]]&u=[[[currency|lower]]]&t=x%20y",
    ),
    ("< >", "https://p.example/<cid>?c=<cid>&a=<amount>&g=<goal>x<status>&s=<lead.Sub1>&u=<currency|lower>&t=x%20y"),
];

#[test]
fn a_pasted_template_works_as_it_came_in_every_style() {
    let expected = "https://p.example/c-77f3?c=c-77f3&a=120.00&g=ftdxapproved&s=banner%203&u=eur&t=x%20y";
    for (style, url) in PASTED {
        assert_eq!(render(&pasted(style, url), &event()).unwrap().url, expected, "{style}");
    }
    let tried: Vec<_> = PASTED.iter().map(|(style, _)| Delimiters::parse(style).unwrap()).collect();
    assert_eq!(tried, Delimiters::ALL);
}

#[test]
fn a_template_of_one_style_is_refused_where_another_is_set() {
    for (style, url) in PASTED {
        for other in Delimiters::ALL.into_iter().filter(|other| other.name() != style) {
            let mut source = pasted(style, url);
            source.delimiters = other;
            let found = faults(&source);
            assert!(!found.is_empty(), "{style} as {}: {url} would be sent", other.name());
        }
    }
}

#[test]
fn macros_stand_where_partners_put_them() {
    let table = [
        ("https://x.example/click/{external_id}?a=1", "https://x.example/click/c-77f3?a=1"),
        ("https://x.example/click/{external_id}/", "https://x.example/click/c-77f3/"),
        (
            "https://x.example/postback/subid={sub_id_1}&status={status}",
            "https://x.example/postback/subid=banner%203&status=approved",
        ),
        ("https://x.example/postback/subid={sub_id_1}&status=", "https://x.example/postback/subid=banner%203&status="),
        ("https://x.example/?g={goal}x{status}&bd[0]={1}", "https://x.example/?g=ftdxapproved&bd[0]=dep-88121"),
        ("https://x.example/?click-id={cid}&x={aff-sub}", "https://x.example/?click-id=c-77f3&x=%C3%BC%26%3D"),
        ("https://x.example/?{goal}_{status}={cid}", "https://x.example/?ftd_approved=c-77f3"),
        ("https://x.example/?l={cid}|fee&q=1|1", "https://x.example/?l=c-77f3|fee&q=1|1"),
        ("https://x.example/clickref:{cid}/currency:{currency}", "https://x.example/clickref:c-77f3/currency:EUR"),
    ];
    for (url, expected) in table {
        assert_eq!(render(&pasted("{ }", url), &event()).unwrap().url, expected, "{url}");
    }
}

#[test]
fn a_style_holds_for_headers_and_bodies_too() {
    for (style, _) in PASTED {
        let delimiters = Delimiters::parse(style).unwrap();
        let cid = format!("{}cid{}", delimiters.open(), delimiters.close());
        let base =
            RequestSource { headers: vec![("X-Click".into(), cid.clone())], ..pasted(style, "https://p.example/") };
        let bodies = [
            (BodySource::Form(vec![(cid.clone(), format!("a{cid}b{cid}"))]), "c-77f3=ac-77f3bc-77f3"),
            (BodySource::Json(json!({ "a": [cid.clone(), format!("x{cid}")] })), r#"{"a":["c-77f3","xc-77f3"]}"#),
            (BodySource::Text { content_type: "text/plain".into(), text: format!("a {cid}, b") }, "a c-77f3, b"),
        ];
        for (body, expected) in bodies {
            let request = render(&RequestSource { method: "POST".into(), body, ..base.clone() }, &event()).unwrap();
            assert_eq!(request.body, expected, "{style}");
            assert_eq!(request.headers[0].1, "c-77f3", "{style}");
        }
    }
}

#[test]
fn tags_of_xml_are_no_macros_where_macros_are_written_in_angle_brackets() {
    let text = "<order id=\"<1>\"></order>";
    let body = BodySource::Text { content_type: "text/xml".into(), text: text.into() };
    let source = RequestSource { method: "POST".into(), body, ..pasted("< >", "https://p.example/") };
    assert_eq!(render(&source, &event()).unwrap().body, "<order id=\"dep-88121\"></order>");
}
