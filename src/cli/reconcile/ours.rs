//! Our side: deliveries read page by page, an event each.

use jiff::Timestamp;

use super::merge::Sides;
use super::unsorted;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::list::Walk;
use crate::cli::output::Unit;
use crate::cli::source::Source;
use crate::domain::delivery::StateKind;
use crate::domain::event::Status;
use crate::domain::id::DeliveryId;
use crate::domain::money::{Amount, Currency};
use crate::domain::reconcile::{OurEvent, Outside, Period, Told};
use crate::inspect::{DeliveryFilter, DeliverySummary, Direction};

/// Reads what meets the filter: into the sides what can match, and counts what lies beyond that.
pub(super) async fn load(
    context: &Context,
    source: &Source,
    (filter, matched): (&DeliveryFilter, &Period),
    sides: &mut Sides,
) -> Result<Outside, Failure> {
    let mut beyond = Outside::default();
    let mut take = |event: OurEvent| {
        let accepted_at = event.told.accepted_at;
        if matched.holds(accepted_at) {
            return sides.ours(event).map_err(|error| unsorted(&error));
        }
        if event.is_owed() {
            beyond.count(matched, accepted_at);
        }
        Ok(())
    };
    context.output.begin(None, Unit::Deliveries);
    let mut walk = Walk::new(source, filter, Direction::Oldest, usize::MAX);
    let mut open: Option<OurEvent> = None;
    let mut read = 0_u64;
    while let Some(page) = walk.next().await? {
        for delivery in page {
            read += 1;
            let arrived = first_arrival(source, &delivery).await?;
            let event = event(delivery, arrived)?;
            // The deliveries of an event stand together in the order of acceptance.
            match open.as_mut().filter(|open| open.event_id == event.event_id) {
                Some(open) => open.told_also(event.told),
                None => {
                    open.replace(event).map_or(Ok(()), &mut take)?;
                }
            }
        }
        context.output.proceed(read, "deliveries of ours".into());
    }
    context.output.end();
    open.map_or(Ok(()), take)?;
    Ok(beyond)
}

fn event(delivery: DeliverySummary, arrived: Option<Timestamp>) -> Result<OurEvent, Failure> {
    let nonsense = |what: &str| {
        let why = format!("{what} of {} makes no sense here", delivery.delivery_id);
        Failure::new(Exit::Error, "reading our deliveries", why, "use the postbackd of the daemon's version")
    };
    let status = Status::ALL.into_iter().find(|status| status.name() == delivery.status);
    let status = status.ok_or_else(|| nonsense("the status"))?;
    let amount = delivery.payout.as_deref().map(Amount::parse).transpose().map_err(|_| nonsense("the amount"))?;
    let currency =
        delivery.currency.as_deref().map(Currency::parse).transpose().map_err(|_| nonsense("the currency"))?;
    let told = told(&delivery, arrived);
    Ok(OurEvent {
        event_id: delivery.event_id,
        transaction: delivery.transaction_id,
        reverses: delivery.reverses,
        click: delivery.click_id,
        kind: delivery.kind,
        status,
        amount,
        currency,
        told,
    })
}

/// When a delivery arrived first.
///
/// A replay begins a new schedule, so that of a delivery whose attempts were all spent from one the last change is meant;
/// only the others (sent again, or throttled) have their history looked at.
async fn first_arrival(source: &Source, delivery: &DeliverySummary) -> Result<Option<Timestamp>, Failure> {
    let last = (delivery.state == StateKind::Delivered).then_some(delivery.changed_at);
    let Ok(id) = delivery.delivery_id.parse::<DeliveryId>() else { return Ok(last) };
    if delivery.attempts <= delivery.spent {
        return Ok(last);
    }
    let history = source.delivery(id).await?.map(|detail| detail.history).unwrap_or_default();
    let first = history.iter().find(|entry| entry.state == StateKind::Delivered).map(|entry| entry.at);
    Ok(first.or(last))
}

fn told(delivery: &DeliverySummary, arrived: Option<Timestamp>) -> Told {
    let last = delivery.last_attempt.as_ref();
    Told {
        delivery_id: delivery.delivery_id.clone(),
        state: delivery.state,
        reason: delivery.reason.clone(),
        attempts: delivery.attempts,
        accepted_at: delivery.accepted_at,
        delivered_at: arrived,
        outcome: last.map(|last| last.outcome.name().into()),
        http_status: last.and_then(|last| last.http_status),
        answer: last.map(|last| last.error.clone().unwrap_or_else(|| last.rule.clone())),
    }
}
