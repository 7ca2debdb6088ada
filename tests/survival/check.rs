//! What must hold after a fault: the store opens and is whole, what was acknowledged is there, all of it is settled in
//! time, and nobody was told more often, or in another order, than allowed.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use postbackd::outbox::store_file;
use serde_json::Value;

use crate::daemon::command;
use crate::load::Load;
use crate::past::Past;
use crate::tally::Tally;
use crate::world::{PARTNERS, World, engine, most_in_flight};

/// Longest that a store may take to settle without any progress.
const STANDSTILL: Duration = Duration::from_secs(30);
/// The pause between two looks at what is open.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// The pause between two rounds of orders; each of them needs time to be carried out.
const BETWEEN_ORDERS: Duration = Duration::from_millis(400);
/// Longest that a daemon may take to delete what is over: it looks for it at its start, and once a minute.
const FORGOTTEN: Duration = Duration::from_secs(100);
/// Problems of a kind that are told one by one.
const NAMED: usize = 5;

/// A delivery as the store has it.
struct Row {
    state: String,
    reason: String,
}

/// Opens a copy of the store, has it verified, and looks for everything that was acknowledged.
pub(crate) async fn copy(world: &World, load: &Load, copy: &Path, tally: &mut Tally) {
    if load.book().acknowledged.is_empty() && !copy.join(store_file(engine())).exists() {
        // The fault came before there was a store, and nobody was told of any.
        return;
    }
    let configuration = world.configuration_for(copy);
    let path = copy.to_str().unwrap();
    let output = command(&configuration, &["doctor", "--verify", "--outbox", path, "--json"]).await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let verified = found["findings"].as_array().into_iter().flatten().find(|finding| finding["check"] == "verify");
    match verified {
        Some(finding) if finding["level"] == "ok" => {}
        Some(finding) => tally.damaged(&finding["found"].to_string()),
        None => tally.unopenable(&String::from_utf8_lossy(&output.stderr)),
    }
    let columns = "delivery_id,event_id,transaction_id,type,status,affiliate,state,reason";
    let output = command(&configuration, &["export", "deliveries", "--format", "ndjson", "--columns", columns]).await;
    if !output.status.success() {
        tally.unopenable(&String::from_utf8_lossy(&output.stderr));
        return;
    }
    compare(&output.stdout, load, tally);
}

/// Compares an export with what was acknowledged.
fn compare(export: &[u8], load: &Load, tally: &mut Tally) -> HashMap<String, Row> {
    let mut rows = HashMap::new();
    let mut events = HashSet::new();
    let mut told: HashMap<String, String> = HashMap::new();
    for line in export.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(row) = serde_json::from_slice::<Value>(line) else {
            tally.fail(format!("an export has a line that is no JSON: {}", String::from_utf8_lossy(line)));
            continue;
        };
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let meant = ["affiliate", "transaction_id", "type", "status"].map(text).join(" ");
        if let Some(other) = told.insert(meant, text("delivery_id")) {
            tally.twice(&format!("{} and {other} are one event's deliveries to one postback", text("delivery_id")));
        }
        events.insert(text("event_id"));
        rows.insert(text("delivery_id"), Row { state: text("state"), reason: text("reason") });
    }
    let book = load.book();
    let left = left_of_past(&book.past, &rows, tally);
    tally.past(book.past.len(), left);
    for known in &book.acknowledged {
        if !events.contains(&known.event) {
            tally.false_acknowledgement(&format!("event {} of {}", known.event, known.affiliate()));
            continue;
        }
        for delivery in known.deliveries.iter().filter(|delivery| !rows.contains_key(*delivery)) {
            tally.lost(&format!("delivery {delivery}"));
        }
    }
    for delivery in &book.cancelled {
        if let Some(row) = rows.get(delivery).filter(|row| row.state != "cancelled") {
            tally.fail(format!("{delivery} was cancelled, and is {}", row.state));
        }
    }
    for text in &book.contradictions {
        tally.fail(text.clone());
    }
    rows
}

/// How many events of the past are there: whole, and as they were.
fn left_of_past(past: &Past, rows: &HashMap<String, Row>, tally: &mut Tally) -> usize {
    let mut left = 0;
    for (event, deliveries) in past {
        let found: Vec<&Row> = deliveries.iter().filter_map(|delivery| rows.get(delivery)).collect();
        if !found.is_empty() && found.len() != deliveries.len() {
            tally.fail(format!("{event} was deleted in part"));
        }
        if let Some(row) = found.iter().find(|row| row.state != "delivered") {
            tally.fail(format!("{event} was delivered long ago, and is {}: {}", row.state, row.reason));
        }
        left += usize::from(!found.is_empty());
    }
    left
}

/// Has everything settled, and then compares what the store says with what the receivers saw.
pub(crate) async fn settle(world: &World, load: &Load, address: &str, tally: &mut Tally) {
    if !settled(load, address, tally).await {
        return;
    }
    forgotten(world, load, tally).await;
    let configuration = world.configuration();
    let columns = "delivery_id,event_id,transaction_id,type,status,affiliate,state,reason";
    let output = command(&configuration, &["export", "deliveries", "--format", "ndjson", "--columns", columns]).await;
    if !output.status.success() {
        tally.fail(format!("the export failed: {}", String::from_utf8_lossy(&output.stderr)));
        return;
    }
    let rows = compare(&output.stdout, load, tally);
    arrived(world, load, &rows, tally);
    in_order(world, load, tally);
    tally.acknowledged += load.book().acknowledged.len() as u64;
}

/// Replays, releases and resumes until nothing is open but what only a person can decide on.
async fn settled(load: &Load, address: &str, tally: &mut Tally) -> bool {
    let (mut least, mut since) = (u64::MAX, Instant::now());
    let mut last_orders: Option<Instant> = None;
    while since.elapsed() < STANDSTILL {
        // Often enough to come to an end, and not so often that orders stand in each other's way.
        if last_orders.is_none_or(|at| at.elapsed() > BETWEEN_ORDERS) {
            for partner in &PARTNERS {
                let path = format!("/v1/affiliates/{}/resume", partner.id);
                load.post(address, &path, &serde_json::json!({ "reason": "survival" })).await;
                load.bulk(address, "replay", partner.id, "dead").await;
                load.bulk(address, "release", partner.id, "held").await;
            }
            last_orders = Some(Instant::now());
        }
        let Some((200, stats)) = load.get(address, "/v1/stats").await else {
            tally.fail("the daemon does not answer while it settles".into());
            return false;
        };
        let of = |state: &str| stats["deliveries"][state].as_u64().unwrap_or(0);
        let held = held_elsewhere(load, address).await;
        let open = of("scheduled") + of("waiting") + of("in_flight") + of("dead") + held;
        if open == 0 {
            return true;
        }
        // What strict holds keeps the rest of its transaction waiting.
        if of("scheduled") + of("in_flight") + of("dead") + held == 0 && waiting_elsewhere(load, address).await == 0 {
            return true;
        }
        if open < least {
            (least, since) = (open, Instant::now());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    tally.unsettled(least, &still_open(load, address).await);
    false
}

/// Some of what does not settle, one a line.
async fn still_open(load: &Load, address: &str) -> String {
    let mut open = String::new();
    for state in ["scheduled", "waiting", "held", "dead"] {
        let path = format!("/v1/deliveries?state={state}&limit=5");
        let page = load.get(address, &path).await.map(|(_, page)| page).unwrap_or_default();
        for item in page["items"].as_array().into_iter().flatten() {
            write!(open, "\n    {item}").unwrap();
        }
    }
    open
}

/// How many are held where they need not be.
async fn held_elsewhere(load: &Load, address: &str) -> u64 {
    count_elsewhere(load, address, "held").await
}

async fn waiting_elsewhere(load: &Load, address: &str) -> u64 {
    count_elsewhere(load, address, "waiting").await
}

async fn count_elsewhere(load: &Load, address: &str, state: &str) -> u64 {
    let mut count = 0;
    for partner in PARTNERS.iter().filter(|partner| partner.dedupes) {
        let path = format!("/v1/deliveries?affiliate={}&state={state}&limit=1", partner.id);
        let page = load.get(address, &path).await.map(|(_, page)| page).unwrap_or_default();
        count += page["items"].as_array().map_or(0, Vec::len) as u64;
    }
    count
}

/// Compares each delivery's state with what its receiver saw.
fn arrived(world: &World, load: &Load, rows: &HashMap<String, Row>, tally: &mut Tally) {
    let ledgers: HashMap<&str, _> = PARTNERS.iter().map(|partner| (partner.id, world.received(partner.id))).collect();
    let book = load.book();
    let mut extra = 0;
    for known in &book.acknowledged {
        for (place, delivery) in known.deliveries.iter().enumerate() {
            let Some(row) = rows.get(delivery) else { continue };
            let accepted: HashMap<&str, u32> =
                ledgers.iter().map(|(id, ledger)| (*id, ledger.accepted(delivery))).filter(|(_, n)| *n > 0).collect();
            let times: u32 = accepted.values().sum();
            let strict = known.affiliate() == "strict" && !accepted.contains_key("audit");
            match row.state.as_str() {
                "delivered" if times == 0 => tally.lost(&format!("{delivery} is said to be delivered, and was not")),
                "delivered" => {}
                "cancelled" if book.cancelling.contains(&known.number()) => {}
                "held" | "waiting" if known.affiliate() == "strict" => {}
                state => {
                    tally.fail(format!("{delivery} (number {place} of {}) ends {state}: {}", known.event, row.reason));
                }
            }
            if strict && times > 1 {
                tally.doubled_at_strict(&format!("{delivery} arrived {times} times where repeats are not recognised"));
            }
            extra += u64::from(times.saturating_sub(1));
        }
    }
    tally.doubled(extra, most_in_flight());
}

/// Waits until the past is deleted, and looks whether any of it was sent again.
async fn forgotten(world: &World, load: &Load, tally: &mut Tally) {
    let past = load.book().past.clone();
    let configuration = world.configuration();
    let since = Instant::now();
    let mut left = past.len();
    while left > 0 && since.elapsed() < FORGOTTEN {
        let arguments = ["export", "deliveries", "--format", "ndjson", "--columns", "event_id"];
        let output = command(&configuration, &[&arguments[..], &["--by", "accepted", "--until", "24h"]].concat()).await;
        if output.status.success() {
            left = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        }
        tokio::time::sleep(BETWEEN_ORDERS).await;
    }
    if left > 0 {
        tally.fail(format!("{left} events that are over since long are not deleted"));
    }
    for ledger in ["acme", "audit"].map(|partner| world.received(partner)) {
        if let Some(again) = past.values().flatten().find(|delivery| ledger.key(delivery).is_some()) {
            tally.fail(format!("{again} was delivered long ago, and was sent again"));
        }
    }
}

/// Looks for later events of a transaction that were sent, or taken, before earlier ones.
fn in_order(world: &World, load: &Load, tally: &mut Tally) {
    let book = load.book();
    let mut firsts: HashMap<u64, &crate::load::Acknowledged> = HashMap::new();
    for known in book.acknowledged.iter().filter(|known| known.step() == 0) {
        firsts.insert(known.number(), known);
    }
    let ledgers: Vec<_> =
        PARTNERS.iter().filter(|partner| !partner.gives_up).map(|p| (p.id, world.received(p.id))).collect();
    for later in book.acknowledged.iter().filter(|known| known.step() > 0) {
        let Some(earlier) = firsts.get(&later.number()) else { continue };
        if book.cancelling.contains(&later.number()) {
            continue;
        }
        for (partner, ledger) in &ledgers {
            let seen = |deliveries: &[String]| deliveries.iter().find_map(|delivery| ledger.key(delivery));
            let (Some(first), Some(second)) = (seen(&earlier.deliveries), seen(&later.deliveries)) else { continue };
            let taken_late = first.first_accepted > second.first_accepted && second.first_accepted.is_some();
            if first.first_sequence > second.first_sequence || taken_late {
                tally.disordered(&format!("{} to {partner} came behind {}", earlier.event, later.event));
            }
        }
    }
}

/// The first few of many.
pub(crate) fn first_few(texts: &[String]) -> String {
    let named: Vec<&str> = texts.iter().take(NAMED).map(String::as_str).collect();
    let more = texts.len().saturating_sub(NAMED);
    if more == 0 { named.join("\n    ") } else { format!("{}\n    and {more} more", named.join("\n    ")) }
}
