//! One attempt of one delivery: lease, run the errand, settle.
//!
//! What is the receiver's fault becomes the attempt's record; only a failing outbox is an error.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::errand::{self, Errand, Made};
use super::scheduler::Ended;
use crate::domain::delivery::{Delivery, HoldReason, State};
use crate::domain::outcome::{self, Health, Judgement, Outcome};
use crate::domain::postback::Postback;
use crate::domain::record::Timings;
use crate::domain::retry::LEAST_LOCAL;
use crate::domain::timestamp::to_micros;
use crate::ops::clock::{SharedClock, monotonic};
use crate::ops::random;
use crate::outbox::{Begun, Due, Outbox, OutboxError, Pause, Settlement};
use crate::planted::{Bug, planted};
use crate::transport::SharedWire;

/// What an attempt needs.
#[derive(Debug, Clone)]
pub(crate) struct Attempter {
    pub(crate) outbox: Outbox,
    pub(crate) wire: SharedWire,
    pub(crate) clock: SharedClock,
    pub(crate) observers: Arc<[Arc<dyn AttemptObserver>]>,
}

/// Is told of every attempt, in the task that made it: it must not block.
pub trait AttemptObserver: Send + Sync + std::fmt::Debug {
    /// An attempt was made and is durable.
    fn attempted(&self, note: &Arc<AttemptNote>);
}

/// An attempt that was made and is durable.
#[derive(Debug, Clone)]
pub struct AttemptNote {
    /// The delivery.
    pub id: crate::domain::id::DeliveryId,
    /// The transaction that it tells of.
    pub transaction_id: crate::domain::id::TransactionId,
    /// The click that led to it.
    pub click_id: Option<crate::domain::id::ClickId>,
    /// Its postback.
    pub postback: crate::domain::id::PostbackRef,
    /// The event's type.
    pub kind: crate::domain::id::EventType,
    /// When the event was accepted.
    pub accepted_at: Timestamp,
    /// The attempt's number.
    pub number: u32,
    /// What it came to.
    pub outcome: Outcome,
    /// The response's status code.
    pub status: Option<u16>,
    /// The rule that decided.
    pub rule: String,
    /// Why there was no whole answer.
    pub error: Option<String>,
    /// How the delivery stands behind it.
    pub delivery: Delivery,
    /// How long it took.
    pub timings: Timings,
    /// When it ended.
    pub at: Timestamp,
}

/// How long to wait for whoever changes a delivery, or its original, at the moment when it is due: about a commit.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// How old a request may be when it is sent: receivers compare its time with their own.
const FRESH: Duration = Duration::from_secs(1);

/// What came of a delivery's turn.
#[derive(Debug)]
pub(crate) enum Attempted {
    /// It was attempted, and that is durable.
    Made(Ended),
    /// There was nothing to attempt (any more).
    Nothing,
    /// It, or its original, is being changed at this moment: it has to have another turn.
    Busy,
}

impl Attempter {
    /// Attempts a delivery.
    pub(crate) async fn attempt(&self, due: Due, postback: Option<Arc<Postback>>) -> Result<Attempted, OutboxError> {
        let begun = monotonic();
        let mut lease = match self.outbox.begin_due(due)? {
            Begun::Leased(lease) => *lease,
            Begun::NotScheduled => return Ok(Attempted::Nothing),
            Begun::Busy => {
                tokio::time::sleep(BUSY_PAUSE).await;
                return Ok(Attempted::Busy);
            }
        };
        let Some(postback) = postback else {
            drop(lease);
            self.outbox.hold_unconfigured(due.id).await?;
            return Ok(Attempted::Nothing);
        };
        if !postback.receiver_dedupes && !self.outbox.intend(&mut lease).await? {
            return Ok(Attempted::Nothing);
        }
        let errand = Errand {
            event: &lease.record().event,
            original: lease.original(),
            id: lease.id(),
            number: lease.before().made + 1,
        };
        tracing::debug!(delivery = %errand.id, postback = %postback.reference(), attempt = errand.number, "postback.attempting");
        #[cfg(feature = "planted")]
        let wire = &super::early::wire(&self.wire);
        #[cfg(not(feature = "planted"))]
        let wire = &self.wire;
        let prepared_at = monotonic();
        let Made { record, judgement } = match errand::prepare(errand, &postback, &*self.clock) {
            Ok(mut prepared) => {
                if !planted(Bug::SentBeforeDurable)
                    && let Err(error) = self.outbox.durable(due.id.event).await
                {
                    tracing::debug!(delivery = %due.id, %error, "nothing is sent: its event is not durable");
                    return Ok(Attempted::Nothing);
                }
                // A disk that stalled has made the signature old.
                if monotonic().duration_since(prepared_at) > FRESH
                    && let Ok(fresh) = errand::prepare(errand, &postback, &*self.clock)
                {
                    prepared = fresh;
                }
                errand::send(prepared, &postback, &**wire, &*self.clock).await
            }
            Err(made) => *made,
        };
        let at = to_micros(self.clock.now());
        let policy = &postback.retry;
        let conclusion =
            outcome::conclude(&judgement, lease.before(), policy, postback.receiver_dedupes, at, random::unit());
        let mut note = AttemptNote {
            id: lease.id(),
            transaction_id: lease.record().event.transaction_id.clone(),
            click_id: lease.record().event.click_id.clone(),
            postback: postback.reference(),
            kind: lease.record().event.kind.clone(),
            accepted_at: lease.record().accepted_at,
            number: record.number,
            outcome: record.outcome,
            status: record.response.as_ref().map(|response| response.status),
            rule: record.rule.clone(),
            error: record.error.clone(),
            delivery: lease.before().clone(),
            timings: record.timings,
            at,
        };
        let pause = (judgement.outcome == Outcome::Gone).then(|| Pause {
            at,
            by: "postbackd".into(),
            reason: format!("the receiver answered that the postback is gone ({})", note.rule),
        });
        note.delivery = self.outbox.settle(Settlement { lease, attempt: record, conclusion, at, pause }).await?;
        log(&note);
        let note = Arc::new(note);
        for observer in &*self.observers {
            observer.attempted(&note);
        }
        let slow_down = slow_down(&judgement, &note.delivery.state, at);
        let took = monotonic().duration_since(begun);
        Ok(Attempted::Made(Ended { health: health(&judgement, &note), slow_down, took }))
    }
}

/// What the attempt says of the receiver: a receiver that cannot take our requests at all is not healthy.
fn health(judgement: &Judgement, note: &AttemptNote) -> Health {
    match note.delivery.state {
        State::Held { reason: HoldReason::Ambiguous } => Health::Bad,
        _ => judgement.health(),
    }
}

/// How long nothing more is sent to the affiliate: as long as it asks, and for a moment where this machine failed. Its
/// whole backlog would fail within that moment, and each attempt leaves a record.
fn slow_down(judgement: &Judgement, state: &State, at: Timestamp) -> Option<Duration> {
    match (judgement.outcome, state) {
        _ if judgement.local => Some(LEAST_LOCAL),
        (Outcome::Throttled, State::Scheduled { due }) => due.duration_since(at).try_into().ok(),
        (Outcome::Throttled, _) => Some(Duration::ZERO),
        _ => None,
    }
}

/// One wide line an attempt.
fn log(note: &AttemptNote) {
    let micros = |part: Option<Duration>| part.map(|part| u64::try_from(part.as_micros()).unwrap_or(u64::MAX));
    tracing::info!(
        delivery = %note.id,
        transaction = %note.transaction_id,
        affiliate = %note.postback.affiliate,
        postback = %note.postback.postback,
        event_type = %note.kind,
        attempt = note.number,
        outcome = %note.outcome,
        status = note.status,
        state = note.delivery.state.kind().name(),
        reason = note.delivery.state.reason(),
        rule = note.rule,
        error = note.error,
        dns_us = micros(note.timings.dns),
        connect_us = micros(note.timings.connect),
        tls_us = micros(note.timings.tls),
        first_byte_us = micros(note.timings.first_byte),
        total_us = micros(Some(note.timings.total)),
        "postback.attempted"
    );
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;
    use crate::domain::event::Status;
    use crate::domain::id::PostbackRef;
    use crate::domain::postback::Timeouts;
    use crate::domain::request::PreparedRequest;
    use crate::fixtures;
    use crate::ops::clock::Clock;
    use crate::outbox::unthreaded::{self, Pace};
    use crate::outbox::{AcceptRequest, MemoryEngine, Options, PlannedDelivery};
    use crate::transport::{Exchange, Received, Sending, Wire};

    /// The note of an attempt of acme's delivery.
    pub(in crate::dispatch) fn note(outcome: Outcome) -> AttemptNote {
        let at = fixtures::now();
        AttemptNote {
            id: "dlv_0000000000000000".parse().unwrap(),
            transaction_id: "dep-1".parse().unwrap(),
            click_id: None,
            postback: PostbackRef { affiliate: "acme".parse().unwrap(), postback: "conversions".parse().unwrap() },
            kind: "ftd".parse().unwrap(),
            accepted_at: at,
            number: 1,
            outcome,
            status: None,
            rule: "test".into(),
            error: None,
            delivery: Delivery { state: State::Scheduled { due: at }, made: 1, spent: 1 },
            timings: Timings::default(),
            at,
        }
    }

    const AFFILIATE: &str = "id = \"acme\"\nname = \"acme\"\n[[postback]]\nname = \"conversions\"\nevents = \"*\"\nmethod = \"GET\"\n\
                             url = \"https://acme.example/?ts={timestamp}\"\n";
    const EVENTS: &str = "[ftd]\ndescription = \"A deposit.\"\n";

    /// A postback that tells the time, as a daemon reads it.
    fn telling_the_time() -> Arc<Postback> {
        let directory = tempfile::TempDir::new().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        std::fs::create_dir(directory.path().join("affiliates")).unwrap();
        write("postbackd.toml", "[api]\nsocket = \"s\"\n");
        write("events.toml", EVENTS);
        write("affiliates/acme.toml", AFFILIATE);
        let loaded = crate::config::load(&directory.path().join("postbackd.toml"));
        let settings = loaded.unwrap_or_else(|problems| panic!("{problems}")).settings;
        Arc::clone(&settings.affiliates.values().next().unwrap().postbacks[0])
    }

    /// A clock that goes with the runtime's.
    #[derive(Debug)]
    struct Runtimes(Instant);

    impl Clock for Runtimes {
        fn now(&self) -> Timestamp {
            fixtures::now() + monotonic().duration_since(self.0)
        }
    }

    /// A disk that stalls at each sync.
    struct Stalls(Duration);

    impl Pace for Stalls {
        fn gathering(&self) -> Duration {
            Duration::ZERO
        }

        fn applying(&self) -> Duration {
            Duration::ZERO
        }

        fn syncing(&self) -> Duration {
            self.0
        }
    }

    /// A wire that keeps the URLs it is given, and when.
    #[derive(Debug)]
    struct Keeps(SharedClock, Mutex<Vec<(String, Timestamp)>>);

    impl Wire for Keeps {
        fn send(&self, request: PreparedRequest, _: Timeouts) -> Sending<'_> {
            self.1.lock().unwrap().push((request.url, self.0.now()));
            let received = Received { status: 200, headers: Vec::new(), body: Vec::new(), over_cap: false };
            let told = Exchange { result: Ok(received), timings: Timings::default(), remote: None };
            Box::pin(async { told })
        }
    }

    /// The time that a request tells, and when it was sent, in seconds from its acceptance, over a disk that stalls so long.
    async fn told_and_sent(stalls: Duration) -> (i64, i64) {
        let clock: SharedClock = Arc::new(Runtimes(monotonic()));
        let options = Options { clock: Arc::clone(&clock), keep_free: None, observer: None };
        let engine = Arc::new(MemoryEngine::default());
        let outbox = unthreaded::open(engine, options, Arc::new(Stalls(stalls))).unwrap();
        let wire = Arc::new(Keeps(Arc::clone(&clock), Mutex::default()));
        let postback = telling_the_time();
        let plan = vec![PlannedDelivery { postback: postback.reference(), lane: None, order: postback.order }];
        let event = fixtures::event("t-1", "ftd", Status::Approved);
        let request = AcceptRequest { event, occurred_at_given: true, click_dedupe: None, plan, source: "test".into() };
        let accepting = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.accept(vec![request]).await }
        });
        outbox.arrivals().wait().await;
        let due = outbox.arrivals().take().due.remove(0);
        let attempter = Attempter { outbox, wire: Arc::clone(&wire) as SharedWire, clock, observers: Arc::new([]) };
        attempter.attempt(due, Some(postback)).await.unwrap();
        accepting.await.unwrap().unwrap();
        let (url, at) = wire.1.lock().unwrap().remove(0);
        let told: i64 = url.rsplit_once('=').unwrap().1.parse().unwrap();
        let accepted = fixtures::now().as_second();
        (told - accepted, at.as_second() - accepted)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waited_for_a_disk_that_stalled_tells_the_time_anew() {
        assert_eq!(told_and_sent(Duration::from_secs(40)).await, (40, 40));
        assert_eq!(told_and_sent(Duration::from_millis(20)).await, (0, 0));
    }

    #[test]
    fn the_affiliate_slows_down_as_it_asks_and_for_a_moment_where_this_machine_failed() {
        let at = Timestamp::from_second(1_000).unwrap();
        let scheduled = State::Scheduled { due: Timestamp::from_second(1_040).unwrap() };
        let judged = |outcome, local| Judgement { outcome, rule: "".into(), retry_after: None, local };
        let table = [
            (judged(Outcome::Throttled, false), Some(Duration::from_secs(40))),
            (judged(Outcome::Unreachable, true), Some(LEAST_LOCAL)),
            (judged(Outcome::Unreachable, false), None),
            (judged(Outcome::Delivered, false), None),
        ];
        for (judgement, expected) in table {
            assert_eq!(slow_down(&judgement, &scheduled, at), expected, "{judgement:?}");
        }
    }
}
