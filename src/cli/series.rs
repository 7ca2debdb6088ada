//! Orders about more deliveries than one can name by id: several, one behind the other.

use serde_json::Value;

use super::bulk::{BulkArgs, Meant, body, counted};
use super::client::Client;
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::watch;
use crate::dispatch::BulkView;
use crate::inspect::DeliveryFilter;
use crate::outbox::BulkState;

/// Most deliveries that one order names by id: what its body has room for.
pub(super) const IDS_OF_AN_ORDER: usize = 50_000;

/// The parts that orders are given about, each with how many it is about: no more than was shown, since what comes to
/// meet the filter from now on is for another order.
pub(super) fn limited_to(parts: Vec<(DeliveryFilter, u64)>, mut left: u64) -> Vec<(DeliveryFilter, u64)> {
    let limited = parts.into_iter().map(|(part, matched)| {
        let most = matched.min(left);
        left -= most;
        (part, most)
    });
    limited.filter(|(_, most)| *most > 0).collect()
}

/// Gives one order behind the other, the next one only when the one before was carried out: one that a person stopped, or of
/// which nothing could be done, says that the rest is not to be done either.
pub(super) async fn give(
    context: &Context,
    client: &Client,
    args: &BulkArgs,
    meant: Meant,
    orders: &[(DeliveryFilter, u64)],
) -> Ended {
    let mut ended = Exit::Ok;
    for (number, (part, most)) in orders.iter().enumerate() {
        let given = start(context, client, args, &body(args, meant, part, Some(*most), false), meant).await?;
        if args.detach {
            return Ok(Exit::Ok);
        }
        let exit = watch::exit(&given);
        ended = if exit == Exit::Ok { ended } else { exit };
        let rest: u64 = orders.iter().skip(number + 1).map(|(_, most)| most).sum();
        let carried_out = given.state == BulkState::Finished && exit != Exit::Refused;
        if rest > 0 && !carried_out {
            context.output.say(&format!(
                "{} more were not ordered, since order {} was not carried out; repeat the command for what is left",
                counted(rest, meant.unrouted),
                given.order_id
            ));
            return Ok(Exit::Partial);
        }
    }
    Ok(ended)
}

/// Gives one order, and watches it unless it is not to be waited for.
async fn start(
    context: &Context,
    client: &Client,
    args: &BulkArgs,
    order: &Value,
    meant: Meant,
) -> Result<BulkView, Failure> {
    let doing = format!("starting to {}", meant.verb);
    let given: BulkView = client.post(&["v1", "orders"], order).await.map_err(|error| error.failing(&doing))?;
    if args.detach {
        context.output.say(&format!("watch it with: postbackd orders watch {}", given.order_id));
        watch::report(context, &given)?;
        return Ok(given);
    }
    watch::to_the_end(context, client, given).await
}

/// Several orders that nobody waits for would run at once, each at the rate.
pub(super) fn refuse_to_detach(orders: usize, meant: Meant) -> Failure {
    let why = format!(
        "so many ids take {orders} orders, which would all run at once, each at the rate; one behind the other takes somebody \
         who waits"
    );
    let next = format!("leave --detach out, or divide the file into parts of {IDS_OF_AN_ORDER} ids");
    Failure::new(Exit::Usage, format!("{} --detach", meant.verb), why, next)
}

/// The filter in as many parts as it takes to name all of its ids.
pub(super) fn divided(filter: &DeliveryFilter) -> Vec<DeliveryFilter> {
    if filter.ids.len() <= IDS_OF_AN_ORDER {
        return vec![filter.clone()];
    }
    let of = |ids: &[String]| DeliveryFilter { ids: ids.to_vec(), ..filter.clone() };
    filter.ids.chunks(IDS_OF_AN_ORDER).map(of).collect()
}
