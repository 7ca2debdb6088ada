//! The sessions of `docs/incidents.md`, each with the world that it happens in.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use postbackd::domain::delivery::{Conclusion, DeadReason, DeliveredHow};
use postbackd::domain::event::{Event, Status};
use postbackd::domain::id::PostbackRef;
use postbackd::domain::money::{Amount, Currency};
use postbackd::domain::outcome::Outcome;
use postbackd::domain::postback::OrderPolicy;
use postbackd::domain::record::{AttemptRecord, Timings};
use postbackd::ops::clock::Clock;
use postbackd::outbox::{AcceptRequest, Ingested, Options, Outbox, PlannedDelivery, Settlement, open_engine};
use postbackd::receiver::Script;
use serde_json::json;

use crate::harness::{Partner, QUICK_RETRY, Session, World, ftd, partner};

const PAGE: &str = "docs/incidents.md";

fn acme(script: &str) -> Partner {
    partner("acme", script).postback("events = [\"ftd\"]")
}

fn answers(world: &World, script: &str) {
    world.receiver("acme").set_script(Script::parse(script).unwrap());
}

/// Changes a text of acme's file.
fn edit(world: &World, from: &str, to: &str) {
    let path = world.path("affiliates/acme.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// Their report of some transactions, all as we told them.
fn report(world: &World, name: &str, transactions: impl Iterator<Item = String>) {
    let mut text = String::from("TxID,Payout,Currency\n");
    for transaction in transactions {
        writeln!(text, "{transaction},120.00,EUR").unwrap();
    }
    std::fs::write(world.path(name), text).unwrap();
}

/// A dictionary of one type, so that there is nothing to doubt in it.
fn only_ftds(world: &World) {
    std::fs::write(world.path("events.toml"), "[ftd]\ndescription = \"A first deposit\"\n").unwrap();
    assert_eq!(world.daemon.command(&["reload"]).code, 0);
}

fn deposits(numbers: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = String> {
    numbers.map(|number| format!("dep-{number:02}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_affiliate_says_that_twelve_ftds_are_missing() {
    let mut session = Session::of(PAGE, "An affiliate says that 12 FTDs are missing");
    let script = "?txid=dep-10 => 500*4,200\n?txid=dep-11 => 500*4,200\n?txid=dep-12 => 500*4,200\n200";
    let world = World::with(vec![acme(script).affiliate("[limits.breaker]\nfailures = 0")]).await;
    for transaction in deposits(1..=20) {
        world.accept(ftd("acme", &transaction)).await;
    }
    world.at_rest().await;
    report(&world, "their-report.csv", deposits(13..=20));
    let found = session.next(&world.daemon, "postbackd reconcile", 6);
    assert!(found.contains("missing there (12)"), "{found}");
    session.next(&world.daemon, "postbackd trace dep-07 --requests", 0);
    session.next(&world.daemon, "postbackd dead list", 0);
    session.next(&world.daemon, "postbackd replay --ids missing.ndjson --affiliate acme --dry-run", 0);
    session.next(&world.daemon, "postbackd replay --ids missing.ndjson", 0);
    world.at_rest().await;
    assert_eq!(world.receiver("acme").ledger().accepted_keys, 20);
    report(&world, "their-report.csv", deposits(1..=20));
    session.next(&world.daemon, "postbackd reconcile", 0);
    session.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn their_endpoint_was_down_for_six_hours() {
    let mut session = Session::of(PAGE, "Their endpoint was down for six hours");
    // Open for longer than the commands take that are run before they are up again.
    let breaker = "[limits.breaker]\nfailures = 5\nopen = \"10s\"";
    let retry = QUICK_RETRY.replace("max_attempts = 4", "max_attempts = 2");
    let partners = vec![acme("503").affiliate(breaker), partner("beta", "200").postback("events = [\"ftd\"]")];
    let world = World::configured(partners, &retry).await;
    for transaction in deposits(1..=2) {
        let id = world.accept(ftd("acme", &transaction)).await;
        world.until(&id, "dead").await;
    }
    for transaction in deposits(3..=12) {
        world.accept(ftd("acme", &transaction)).await;
        world.daemon.poll("/v1/affiliates/acme", |affiliate| affiliate["breaker"] == "open").await;
    }
    for transaction in deposits(1..=3) {
        let id = world.accept(ftd("beta", &transaction)).await;
        world.until(&id, "delivered").await;
    }
    world.none_in_flight().await;
    session.next(&world.daemon, "postbackd stats", 0);
    session.next(&world.daemon, "postbackd dead list", 0);
    session.next(&world.daemon, "postbackd list --affiliate acme --state scheduled", 0);
    answers(&world, "200");
    world.at_rest().await;
    assert_eq!(session.next(&world.daemon, "postbackd list --affiliate acme --state delivered", 0), "10\n");
    session.next(&world.daemon, "postbackd dead replay", 0);
    world.at_rest().await;
    session.next(&world.daemon, "postbackd affiliate show acme", 0);
    assert_eq!(world.receiver("acme").ledger().accepted_keys, 12);
    session.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_sent_a_wrong_template_for_an_hour() {
    let mut session = Session::of(PAGE, "We sent a wrong template for an hour");
    let world = World::with(vec![acme("200")]).await;
    edit(&world, "payout={payout}", "payout={revenue}");
    only_ftds(&world);
    let event = |transaction: &str| {
        let mut event = ftd("acme", transaction);
        event["revenue"] = json!("400.00");
        event
    };
    for transaction in deposits(1..=3) {
        world.accept(event(&transaction)).await;
    }
    world.at_rest().await;
    std::fs::write(world.path("their-event.json"), event("dep-01").to_string()).unwrap();
    session.next(&world.daemon, "postbackd affiliate pause", 0);
    let sent = session.next(&world.daemon, "postbackd trace dep-01 --requests", 0);
    assert!(sent.contains("payout=400.00"), "{sent}");
    session.next(&world.daemon, "postbackd list", 0);
    edit(&world, "payout={revenue}", "payout={payout}");
    session.next(&world.daemon, "postbackd check", 0);
    session.next(&world.daemon, "postbackd reload", 0);
    session.next(&world.daemon, "postbackd affiliate render", 0);
    session.next(&world.daemon, "postbackd export attempts", 0);
    session.next(&world.daemon, "postbackd replay --ids sent.ndjson --force --dry-run", 0);
    session.next(&world.daemon, "postbackd replay --affiliate acme --since 1h --state delivered --force --dry-run", 0);
    session.next(&world.daemon, "postbackd replay", 0);
    session.next(&world.daemon, "postbackd affiliate resume", 0);
    world.at_rest().await;
    session.next(&world.daemon, "postbackd trace dep-01", 0);
    let ledger = world.receiver("acme").ledger();
    let right = ledger.entries().iter().filter(|seen| seen.path_and_query.contains("payout=120.00")).count();
    assert_eq!(right, 3, "each was corrected once");
    session.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_got_a_deposit_twice() {
    let mut session = Session::of(PAGE, "They got a deposit twice");
    let script = "?txid=dep-88121 => hang,200\n?txid=dep-90017 => hang\n200";
    let acme = acme(script)
        .query("&key={idempotency_key}")
        .postback("receiver_dedupes = true")
        .tables("[postback.timeout]\ntotal = \"1s\"");
    let world = World::with(vec![acme]).await;
    only_ftds(&world);
    let twice = world.accept(ftd("acme", "dep-88121")).await;
    world.until(&twice, "delivered").await;
    session.next(&world.daemon, "postbackd trace dep-88121", 0);
    let keys = session.next(&world.daemon, "postbackd show", 0);
    assert_eq!(keys, format!("key={twice}\n").repeat(2));
    edit(&world, "receiver_dedupes = true", "receiver_dedupes = false");
    session.next(&world.daemon, "postbackd check", 0);
    session.next(&world.daemon, "postbackd reload", 0);
    let held = world.accept(ftd("acme", "dep-90017")).await;
    world.until(&held, "held").await;
    session.next(&world.daemon, "postbackd list", 0);
    session.next(&world.daemon, "postbackd release", 0);
    let released = world.until(&held, "delivered").await;
    assert_eq!(released["delivery"]["reason"], "operator");
    session.finish();
}

/// A clock of last month.
#[derive(Debug)]
struct October(AtomicI64);

impl Clock for October {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.fetch_add(3_600, Ordering::SeqCst)).unwrap()
    }
}

fn attempt(at: Timestamp, outcome: Outcome) -> AttemptRecord {
    AttemptRecord {
        number: 1,
        started_at: at,
        request: None,
        digest: None,
        response: None,
        timings: Timings::default(),
        remote: None,
        outcome,
        rule: "default".into(),
        error: None,
    }
}

fn october_event(transaction: &str) -> AcceptRequest {
    let postback = PostbackRef { affiliate: "acme".parse().unwrap(), postback: "conversions".parse().unwrap() };
    AcceptRequest {
        event: Event {
            transaction_id: transaction.parse().unwrap(),
            transaction_given: true,
            kind: "ftd".parse().unwrap(),
            affiliate_id: "acme".parse().unwrap(),
            click_id: Some(format!("click-{transaction}").parse().unwrap()),
            offer_id: None,
            status: Status::Approved,
            occurred_at: "2026-10-07T00:00:00Z".parse().unwrap(),
            payout: Some(Amount::parse("120.00").unwrap()),
            revenue: None,
            currency: Some(Currency::parse("EUR").unwrap()),
            sub_ids: [].into(),
            reverses: None,
            params: [].into(),
        },
        occurred_at_given: true,
        click_dedupe: None,
        plan: vec![PlannedDelivery { postback, lane: None, order: OrderPolicy::default() }],
        source: "casino-backend".into(),
    }
}

/// Six conversions of October: five were delivered, one is dead.
async fn october(world: &World) {
    let clock = Arc::new(October(AtomicI64::new("2026-10-07T00:00:00Z".parse::<Timestamp>().unwrap().as_second())));
    let engine = open_engine(crate::harness::engine(), &world.path("outbox"), 8 << 20).unwrap();
    let options = Options { clock: Arc::clone(&clock) as Arc<_>, keep_free: None, observer: None };
    let outbox = Outbox::open(engine, options).unwrap();
    for transaction in deposits(1..=6) {
        let answers = outbox.accept(vec![october_event(&transaction)]).await.unwrap();
        let Ok(Ingested::Accepted(accepted)) = &answers[0] else { panic!("{answers:?}") };
        let lease = outbox.begin(accepted.deliveries[0]).unwrap().leased().unwrap();
        let at = clock.now();
        let (conclusion, outcome) = match transaction.as_str() {
            "dep-04" => (Conclusion::Dead(DeadReason::Rejected), Outcome::Rejected),
            _ => (Conclusion::Delivered(DeliveredHow::Accepted), Outcome::Delivered),
        };
        let attempt = attempt(at, outcome);
        outbox.settle(Settlement { lease, attempt, conclusion, at, pause: None }).await.unwrap();
    }
    outbox.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finance_closes_the_month() {
    let mut session = Session::of(PAGE, "Finance closes the month");
    let mut world = World::with(vec![acme("200")]).await;
    world.daemon.kill();
    october(&world).await;
    world.daemon.start_again();
    world.accept(ftd("acme", "dep-07")).await;
    world.at_rest().await;
    session.next(&world.daemon, "postbackd list", 0);
    session.next(&world.daemon, "postbackd list", 0);
    session.next(&world.daemon, "postbackd dead list", 0);
    session.next(&world.daemon, "postbackd export deliveries", 0);
    session.next(&world.daemon, "head", 0);
    session.next(&world.daemon, "postbackd export deliveries --until 2026-11-01 --mark finance", 0);
    session.next(&world.daemon, "postbackd export marks", 0);
    report(&world, "acme-october.csv", deposits(1..=5).filter(|transaction| transaction != "dep-04"));
    let found = session.next(&world.daemon, "postbackd reconcile", 6);
    assert!(found.contains("missing there (2)"), "{found}");
    session.finish();
}
