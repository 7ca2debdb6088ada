//! Does one dead affiliate slow the others down? The same load twice, with and without it, in one run.

use std::path::Path;
use std::time::Duration;

use super::{BenchError, Figure, Measured};
use crate::app::Daemon;
use crate::config;
use crate::domain::event::Event;
use crate::domain::id::PostbackRef;
use crate::domain::postback::OrderPolicy;
use crate::ops::clock::monotonic;
use crate::outbox::{AcceptRequest, PlannedDelivery};
use crate::receiver::{Receiver, ReceiverOptions, Script};

/// Affiliates in all; the last one hangs where it takes part.
const AFFILIATES: usize = 50;
/// Deliveries due for the one that hangs.
const HANGING_BACKLOG: usize = 20_000;
/// Events handed over at a time.
const BATCH: usize = 500;
/// Longest one run may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// Times the healthy affiliates without and with one that hangs on every request.
///
/// # Errors
/// When the daemon, the receiver or the disk fails, or the healthy ones never finish.
pub(super) async fn run(directory: &Path, events: usize) -> Result<Vec<Figure>, BenchError> {
    let without = healthy(&directory.join("without"), events, 0).await?;
    let with = healthy(&directory.join("with"), events, HANGING_BACKLOG).await?;
    let name = "49 affiliates deliver, none hangs";
    Ok(vec![
        without.figure(name, None),
        with.figure("49 affiliates deliver, one hangs on 20,000", Some((name, &without))),
    ])
}

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Event(error.to_string())
}

async fn healthy(directory: &Path, events: usize, backlog: usize) -> Result<Measured, BenchError> {
    let script = Script::parse("/hang=hang\n200").map_err(failed)?;
    let key = "eid".parse().map_err(failed)?;
    let receiver =
        Receiver::start(ReceiverOptions { script, key, ..ReceiverOptions::default() }).await.map_err(failed)?;
    write_configuration(directory, &receiver).map_err(failed)?;
    let path = directory.join("postbackd.toml");
    let settings = config::load(&path).map_err(failed)?.settings;
    let daemon = Daemon::start(settings, Some(path)).await.map_err(failed)?;
    let hanging = (0..backlog).map(|number| request(number, AFFILIATES - 1, "hang"));
    hand_over(&daemon, hanging).await?;
    let count = (events / (AFFILIATES - 1)).max(1) * (AFFILIATES - 1);
    let started = monotonic();
    hand_over(&daemon, (0..count).map(|number| request(number, number % (AFFILIATES - 1), "fine"))).await?;
    let all = u64::try_from(count).unwrap_or(u64::MAX);
    let done = receiver.wait_for(|ledger| ledger.accepted_keys >= all, PATIENCE).await;
    let took = monotonic().duration_since(started);
    done.map_err(|ledger| failed(format!("only {} of {all} arrived", ledger.accepted_keys)))?;
    // What hangs need not be waited for.
    receiver.stop().await;
    daemon.stop().await;
    Ok(Measured { count, took, p50: None })
}

async fn hand_over(
    daemon: &Daemon,
    requests: impl Iterator<Item = Result<AcceptRequest, BenchError>>,
) -> Result<(), BenchError> {
    let mut batch = Vec::with_capacity(BATCH);
    for request in requests {
        batch.push(request?);
        if batch.len() == BATCH {
            daemon.outbox().accept(std::mem::take(&mut batch)).await?;
        }
    }
    daemon.outbox().accept(batch).await?;
    Ok(())
}

fn request(number: usize, affiliate: usize, story: &str) -> Result<AcceptRequest, BenchError> {
    let affiliate = format!("affiliate-{affiliate}");
    let event = super::event(number, &affiliate)?;
    let transaction_id = format!("{story}-{number}").parse()?;
    let postback = PostbackRef { affiliate: affiliate.parse()?, postback: "conversion".parse()? };
    Ok(AcceptRequest {
        event: Event { transaction_id, ..event },
        occurred_at_given: true,
        click_dedupe: None,
        plan: vec![PlannedDelivery { postback, lane: None, order: OrderPolicy::default() }],
        source: "bench".into(),
    })
}

pub(super) fn write_configuration(directory: &Path, receiver: &Receiver) -> std::io::Result<()> {
    let affiliates = directory.join("affiliates");
    std::fs::create_dir_all(&affiliates)?;
    let daemon = format!(
        "events = \"events.toml\"\naffiliates = \"affiliates\"\n[outbox]\npath = \"outbox\"\nkeep_free = \"64MiB\"\n\
         [api]\nlisten = \"127.0.0.1:0\"\nsocket = \"postbackd.sock\"\n[egress]\nallow = [\"127.0.0.0/8\"]\nports = [{}]\n\
         [dispatch]\nshutdown = \"1s\"\n[defaults]\ninsecure_http = true\n",
        receiver.address().port()
    );
    std::fs::write(directory.join("postbackd.toml"), daemon)?;
    std::fs::write(directory.join("events.toml"), include_str!("../../config/events.toml"))?;
    for number in 0..AFFILIATES {
        let path = if number == AFFILIATES - 1 { "hang" } else { "fine" };
        let file = format!(
            "id = \"affiliate-{number}\"\nname = \"Affiliate {number}\"\n[[postback]]\nname = \"conversion\"\n\
             events = \"*\"\nmethod = \"GET\"\nurl = \"{}?eid={{event_id}}&txid={{transaction_id}}&cid={{click_id}}\"\n",
            receiver.url(&format!("/{path}"))
        );
        std::fs::write(affiliates.join(format!("affiliate-{number}.toml")), file)?;
    }
    Ok(())
}
