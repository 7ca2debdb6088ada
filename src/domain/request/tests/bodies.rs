//! The requests that platforms ask for, as their own documents show them, and the macro styles of partners.

use super::*;

#[test]
fn each_tracker_gets_its_request() {
    let table = [
        // Voluum
        (
            "https://v.example/postback?cid={click_id}&payout={payout}&txid={transaction_id}&currency={currency}&et={type|map(ftd=FTD, else=lead)}",
            "https://v.example/postback?cid=c-77f3&payout=120.00&txid=dep-88121&currency=EUR&et=FTD",
        ),
        // Binom
        (
            "https://b.example/click.php?cnv_id={click_id}&payout={payout}&cnv_status={type}&cnv_status2={status}&cnv_currency={currency}",
            "https://b.example/click.php?cnv_id=c-77f3&payout=120.00&cnv_status=ftd&cnv_status2=approved&cnv_currency=EUR",
        ),
        // Keitaro
        (
            "https://k.example/abc123/postback?subid={click_id}&status={status|map(pending=lead, approved=sale, rejected=rejected)}&payout={payout}&tid={transaction_id}&currency={currency|lower}",
            "https://k.example/abc123/postback?subid=c-77f3&status=sale&payout=120.00&tid=dep-88121&currency=eur",
        ),
        // RedTrack
        (
            "https://r.example/postback?clickid={click_id}&type={type|upper}&rdtk_event_id={event_id}",
            "https://r.example/postback?clickid=c-77f3&type=FTD&rdtk_event_id=evt_001j40f18xt00",
        ),
        // Everflow
        (
            "https://e.example/?nid=12&transaction_id={click_id}&amount={revenue|fixed(2)}&adv1={sub_ids.sub1}&adv2={sub_ids.none}&verification_token={secret.token}",
            "https://e.example/?nid=12&transaction_id=c-77f3&amount=100.50&adv1=banner%203&verification_token=t0ken%2F1",
        ),
        // TUNE
        (
            "https://net.go2cloud.org/aff_lsr?offer_id=7&transaction_id={click_id}&security_token={secret.token}",
            "https://net.go2cloud.org/aff_lsr?offer_id=7&transaction_id=c-77f3&security_token=t0ken%2F1",
        ),
        // Affise
        (
            "https://o.example/postback?clickid={click_id}&action_id={transaction_id}&goal=2&sum={payout}&status={status|map(approved=1, pending=2, rejected=3)}&secure={secret.token}&custom_field1={sub_ids.sub2}",
            "https://o.example/postback?clickid=c-77f3&action_id=dep-88121&goal=2&sum=120.00&status=1&secure=t0ken%2F1&custom_field1=%C3%BC%26%3D",
        ),
        // Scaleo
        (
            "https://s.example/track/conv-addchange?click_id={click_id}&goal_id=3&amount={payout}&currency={currency}&conv_status={status}&token={secret.token}",
            "https://s.example/track/conv-addchange?click_id=c-77f3&goal_id=3&amount=120.00&currency=EUR&conv_status=approved&token=t0ken%2F1",
        ),
        // Trackier
        (
            "https://t.example/acquisition?click_id={click_id}&txn_id={transaction_id}&sale_amount={revenue}&goal_value={type}&revenue={payout}&currency={currency}&status={status}",
            "https://t.example/acquisition?click_id=c-77f3&txn_id=dep-88121&sale_amount=100.5&goal_value=ftd&revenue=120.00&currency=EUR&status=approved",
        ),
        // Offer18
        (
            "https://o18.example/p?mid=44&tid={click_id}&event={type}&adv_sub1={sub_ids.sub1}&sale={revenue}",
            "https://o18.example/p?mid=44&tid=c-77f3&event=ftd&adv_sub1=banner%203&sale=100.5",
        ),
        // BeMob
        (
            "https://bm.example/postback?cid={click_id}&payout={payout}&status={type}",
            "https://bm.example/postback?cid=c-77f3&payout=120.00&status=ftd",
        ),
        // FunnelFlux Pro
        (
            "https://ff.example/pb/?hit={click_id}&tx={transaction_id}&rev={payout}",
            "https://ff.example/pb/?hit=c-77f3&tx=dep-88121&rev=120.00",
        ),
        // PeerClick
        (
            "https://pc.example/postback?cid={click_id}&payout={payout}&status={type}&txid={transaction_id}&currency={currency}",
            "https://pc.example/postback?cid=c-77f3&payout=120.00&status=ftd&txid=dep-88121&currency=EUR",
        ),
        // AlterCPA
        (
            "https://al.example/api/track/postback.json?id={secret.token}&click={click_id}&uid={transaction_id}&status={status|map(pending=hold, approved=approve, rejected=cancel)}&goal={type}&price={payout}&currency={currency}",
            "https://al.example/api/track/postback.json?id=t0ken%2F1&click=c-77f3&uid=dep-88121&status=approve&goal=ftd&price=120.00&currency=EUR",
        ),
    ];
    for (template, expected) in table {
        assert_eq!(url(template), expected);
    }
}

#[test]
fn each_network_gets_its_request() {
    let table = [
        // CJ
        (
            "https://cj.example/u?CID=1&TYPE=2&METHOD=S2S&CJEVENT={click_id}&eventTime={occurred_at|iso}&OID={transaction_id}&CURRENCY={currency|upper}&ITEM1={offer_id}&AMT1={revenue|fixed(2)}&QTY1=1",
            "https://cj.example/u?CID=1&TYPE=2&METHOD=S2S&CJEVENT=c-77f3&eventTime=2026-11-20T10%3A00%3A00Z&OID=dep-88121&CURRENCY=EUR&ITEM1=welcome-100&AMT1=100.50&QTY1=1",
        ),
        // Awin: the literal colon stays, the amount stands twice
        (
            "https://aw.example/sread.php?tt=ss&tv=2&merchant=1&amount={revenue|fixed(2)}&ch=aw&parts=DEFAULT:{revenue|fixed(2)}&cr={currency}&ref={transaction_id}&cks={click_id}&testmode=0",
            "https://aw.example/sread.php?tt=ss&tv=2&merchant=1&amount=100.50&ch=aw&parts=DEFAULT:100.50&cr=EUR&ref=dep-88121&cks=c-77f3&testmode=0",
        ),
        // Rakuten
        (
            "https://rk.example/ep?mid=1&ord={transaction_id}&tr={click_id}&land={occurred_at|date(%Y%m%d_%H%M)}&skulist={offer_id}|fee&qlist=1|1&amtlist={revenue|minor}|0&cur={currency}&xml=1",
            "https://rk.example/ep?mid=1&ord=dep-88121&tr=c-77f3&land=20261120_1000&skulist=welcome-100|fee&qlist=1|1&amtlist=10050|0&cur=EUR&xml=1",
        ),
        // Partnerize
        (
            "https://pz.example/clickref:{click_id}/conversionref:{transaction_id}/currency:{currency}",
            "https://pz.example/clickref:c-77f3/conversionref:dep-88121/currency:EUR",
        ),
        // Adjust
        (
            "https://ad.example/event?s2s=1&app_token=abc&event_token=def&revenue={revenue}&currency={currency}&created_at_unix={occurred_at|unix}",
            "https://ad.example/event?s2s=1&app_token=abc&event_token=def&revenue=100.5&currency=EUR&created_at_unix=1795168800",
        ),
        // Post Affiliate Pro: JSON within a parameter
        (
            "https://pap.example/scripts/track.php?visitorId={click_id}&accountId=default1&sale={params|json}",
            "https://pap.example/scripts/track.php?visitorId=c-77f3&accountId=default1&sale=%7B%22country%22%3A%22DE%22%2C%22level%22%3A3%2C%22vip%22%3Atrue%7D",
        ),
        // Taboola
        (
            "https://tb.example/actions-handler/log/3/s2s-action?click-id={click_id}&name={type}&revenue={revenue}&currency={currency}&orderid={transaction_id}",
            "https://tb.example/actions-handler/log/3/s2s-action?click-id=c-77f3&name=ftd&revenue=100.5&currency=EUR&orderid=dep-88121",
        ),
        // Outbrain
        (
            "https://ob.example/unifiedPixel?ob_click_id={click_id}&name={type}&orderId={transaction_id}&orderValue={revenue}&currency={currency}",
            "https://ob.example/unifiedPixel?ob_click_id=c-77f3&name=ftd&orderId=dep-88121&orderValue=100.5&currency=EUR",
        ),
        // ExoClick
        (
            "https://ex.example/tag.php?goal=1&value={payout}&tag={click_id}",
            "https://ex.example/tag.php?goal=1&value=120.00&tag=c-77f3",
        ),
        // TrafficStars
        (
            "https://ts.example/api/v1/cpa/action?key={secret.token}&clickid={click_id}&goalid=0&value={payout}&price={revenue}&lead_code={transaction_id}",
            "https://ts.example/api/v1/cpa/action?key=t0ken%2F1&clickid=c-77f3&goalid=0&value=120.00&price=100.5&lead_code=dep-88121",
        ),
        // PropellerAds: an empty literal stays
        (
            "https://pr.example/conversion.php?aid=1&pid=&tid=2&visitor_id={click_id}&payout={payout}",
            "https://pr.example/conversion.php?aid=1&pid=&tid=2&visitor_id=c-77f3&payout=120.00",
        ),
        // A macro in the path with no query, several in one value, odd literal names
        (
            "https://x.example/postback/subid={click_id}&status={status}",
            "https://x.example/postback/subid=c-77f3&status=approved",
        ),
        (
            "https://x.example/click/{click_id}?g={type}x{status}&bd[0]=1",
            "https://x.example/click/c-77f3?g=ftdxapproved&bd[0]=1",
        ),
    ];
    for (template, expected) in table {
        assert_eq!(url(template), expected);
    }
}

#[test]
fn a_pasted_template_works_as_it_came() {
    let expected = "https://p.example/pb?c=c-77f3&a=120.00&t=x%20y";
    let table = [
        ("{ }", "{cid}", "{amount}"),
        ("{{ }}", "{{cid}}", "{{ amount }}"),
        ("${ }", "${cid}", "${amount}"),
        ("[ ]", "[cid]", "[amount]"),
        ("# #", "#cid#", "#amount#"),
        ("## ##", "##cid##", "##amount##"),
        ("% %", "%cid%", "%amount%"),
        ("[[[ ]]]", "[[[cid]]]", "[[[amount]]]"),
    ];
    for (style, click, amount) in table {
        let source = RequestSource {
            delimiters: Delimiters::parse(style).unwrap(),
            macros: BTreeMap::from([("cid".into(), "click_id".into()), ("amount".into(), "payout|fixed(2)".into())]),
            ..get(&format!("https://p.example/pb?c={click}&a={amount}&t=x%20y"))
        };
        assert_eq!(render(&source, &event()).unwrap().url, expected, "{style}");
    }
}

#[test]
fn a_form_with_basic_credentials_is_sent_as_impact_wants_it() {
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
