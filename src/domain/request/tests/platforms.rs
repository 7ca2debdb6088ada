//! The requests that platforms ask for, as their own documents show them.

use super::*;

#[test]
fn each_platform_gets_its_request() {
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
    ];
    for (template, expected) in table {
        assert_eq!(url(template), expected);
    }
}
