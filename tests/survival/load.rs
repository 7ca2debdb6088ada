//! The operator's backend and its people: events in batches and one by one, again where no answer came, and orders.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::past::Past;
use crate::world::{TOKEN, players_partners};

/// Clients that hand events in at once.
const CLIENTS: u64 = 4;
/// Most events of a batch.
const BATCH: u64 = 40;
/// The pause between two orders.
const BETWEEN_ORDERS: Duration = Duration::from_millis(30);
/// The pause behind an answer that asks to come back.
const COME_BACK: Duration = Duration::from_millis(20);

/// How the events of a transaction follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Single,
    PendingThenApproved,
    Reversed,
}

/// A transaction with its events, each of which is handed in once the one before is acknowledged.
#[derive(Debug, Clone)]
struct Transaction {
    number: u64,
    affiliate: &'static str,
    course: Course,
    next: usize,
}

impl Transaction {
    fn length(&self) -> usize {
        if self.course == Course::Single { 1 } else { 2 }
    }
}

/// An event that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    transaction: Transaction,
    /// Its id.
    pub(crate) event: String,
    /// Its deliveries.
    pub(crate) deliveries: Vec<String>,
}

impl Acknowledged {
    /// Its affiliate.
    pub(crate) fn affiliate(&self) -> &'static str {
        self.transaction.affiliate
    }

    /// The number of its transaction.
    pub(crate) fn number(&self) -> u64 {
        self.transaction.number
    }

    /// Its place in the transaction.
    pub(crate) fn step(&self) -> usize {
        self.transaction.next
    }
}

/// Everything that was handed in and ordered, over all starts of a daemon.
#[derive(Clone)]
pub(crate) struct Load {
    book: Arc<Mutex<Book>>,
    client: reqwest::Client,
}

/// What is remembered.
#[derive(Clone)]
pub(crate) struct Book {
    dice: Dice,
    name: String,
    queue: VecDeque<Transaction>,
    next: u64,
    left: u64,
    /// Every event that was acknowledged.
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Transactions of which a delivery may have been cancelled.
    pub(crate) cancelling: BTreeSet<u64>,
    /// Deliveries whose cancelling was acknowledged.
    pub(crate) cancelled: Vec<String>,
    /// What was delivered before the campaign began, and is to be deleted.
    pub(crate) past: Past,
    /// Answers that contradict what was acknowledged before.
    pub(crate) contradictions: Vec<String>,
}

impl Load {
    /// A load of so many events; its name keeps its transactions apart from those of others.
    pub(crate) fn new(name: &str, events: u64, dice: Dice) -> Self {
        let book = Book {
            dice,
            name: name.to_owned(),
            queue: VecDeque::new(),
            next: 0,
            left: events,
            acknowledged: Vec::new(),
            cancelling: BTreeSet::new(),
            cancelled: Vec::new(),
            past: Past::new(),
            contradictions: Vec::new(),
        };
        let client = postbackd::transport::api_client().unwrap().timeout(Duration::from_secs(20)).build().unwrap();
        Self { book: Arc::new(Mutex::new(book)), client }
    }

    /// The same load as it stands now, to go on by itself.
    pub(crate) fn fork(&self) -> Self {
        let book = self.book().clone();
        Self { book: Arc::new(Mutex::new(book)), client: self.client.clone() }
    }

    /// What is remembered.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Hands so many more events in than were meant.
    pub(crate) fn add(&self, events: u64) {
        self.book().left += events;
    }

    /// Begins nothing more than what has begun.
    pub(crate) fn drop_rest(&self) {
        self.book().left = 0;
    }

    /// Hands events in and gives orders until all is done, the daemon does not answer any more, or it is told to stop.
    pub(crate) async fn run(&self, address: &str, stop: &CancellationToken, with_orders: bool) {
        let mut clients = JoinSet::new();
        let ended = CancellationToken::new();
        for number in 0..CLIENTS {
            let (load, address, stop) = (self.clone(), address.to_owned(), stop.clone());
            let dice = Dice::of(self.book().dice.next(), "client", number);
            clients.spawn(async move { load.hand_in(&address, &stop, dice).await });
        }
        if with_orders {
            let (load, address, stop, ended) = (self.clone(), address.to_owned(), stop.clone(), ended.clone());
            let dice = Dice::of(self.book().dice.next(), "operator", 0);
            clients.spawn(async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    () = load.give_orders(&address, &stop, dice) => {}
                }
            });
        }
        let mut open = CLIENTS;
        while let Some(joined) = clients.join_next().await {
            joined.unwrap();
            open = open.saturating_sub(1);
            if open == 0 {
                ended.cancel();
            }
        }
    }

    async fn hand_in(&self, address: &str, stop: &CancellationToken, mut dice: Dice) {
        while !stop.is_cancelled() {
            let size = if dice.percent(40) { 1 } else { 1 + dice.below(BATCH) };
            let batch = self.book().take(size);
            if batch.is_empty() {
                return;
            }
            let name = self.book().name.clone();
            let answer = match &batch[..] {
                [one] => self.post(address, "/v1/events", &body(&name, one)).await,
                many => {
                    let events = many.iter().map(|transaction| body(&name, transaction)).collect();
                    self.post(address, "/v1/events/batch", &Value::Array(events)).await
                }
            };
            let Some((status, answer)) = answer else {
                self.book().put_back(batch);
                return;
            };
            let alone = batch.len() == 1;
            let mut come_back = false;
            for (at, transaction) in batch.into_iter().enumerate() {
                let (status, taken) = if alone {
                    (u64::from(status), &answer)
                } else {
                    let taken = &answer["results"][at];
                    (taken["status"].as_u64().unwrap_or_else(|| u64::from(status)), taken)
                };
                come_back |= self.book().note(transaction, status, taken);
            }
            if come_back {
                tokio::time::sleep(COME_BACK).await;
            }
        }
    }

    /// Posts JSON; `None` where no whole answer came.
    pub(crate) async fn post(&self, address: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let request = self.client.post(format!("{address}{path}")).bearer_auth(TOKEN);
        let request = request.header("content-type", "application/json").body(body.to_string());
        answer(request.send().await.ok()?).await
    }

    /// Gets JSON; `None` where no whole answer came.
    pub(crate) async fn get(&self, address: &str, path: &str) -> Option<(u16, Value)> {
        answer(self.client.get(format!("{address}{path}")).bearer_auth(TOKEN).send().await.ok()?).await
    }

    async fn give_orders(&self, address: &str, stop: &CancellationToken, mut dice: Dice) {
        while !stop.is_cancelled() {
            let why = json!({ "reason": "survival" });
            let affiliate = players_partners().nth(dice.place(5)).unwrap().id;
            let answered = match dice.below(10) {
                0 => self.post(address, &format!("/v1/affiliates/{affiliate}/pause"), &why).await.is_some(),
                1 | 2 => self.post(address, &format!("/v1/affiliates/{affiliate}/resume"), &why).await.is_some(),
                3 => self.post(address, "/v1/reload", &json!({})).await.is_some(),
                4 => self.bulk(address, "replay", "delta", "dead").await,
                5 => self.bulk(address, "release", affiliate, "held").await,
                6 => self.order_one(address, "cancel", &mut dice).await,
                7 => self.order_one(address, "replay", &mut dice).await,
                _ => self.order_one(address, "hold", &mut dice).await,
            };
            if !answered {
                return;
            }
            tokio::time::sleep(BETWEEN_ORDERS).await;
        }
    }

    /// Orders something about all deliveries of an affiliate in a state; false where no answer came.
    pub(crate) async fn bulk(&self, address: &str, verb: &str, affiliate: &str, state: &str) -> bool {
        if verb == "release" && affiliate == "strict" {
            // Only a person can tell whether an interrupted attempt arrived.
            return true;
        }
        // What is dead goes out also when something later has arrived.
        let force = verb == "replay" && state == "dead";
        let filter = json!({ "affiliate": affiliate, "state": state });
        let order = json!({ "verb": verb, "filter": filter, "force": force, "reason": "survival" });
        self.post(address, "/v1/orders", &order).await.is_some()
    }

    /// Orders something about one of the latest deliveries of those who may be ordered about.
    async fn order_one(&self, address: &str, order: &str, dice: &mut Dice) -> bool {
        let Some((delivery, number)) = self.book().recent(dice, order == "cancel") else { return true };
        if order == "replay" {
            // It may go out after all, also where no answer tells so.
            self.book().cancelled.retain(|known| *known != delivery);
        }
        let path = format!("/v1/deliveries/{delivery}/{order}");
        let Some((status, _)) = self.post(address, &path, &json!({ "reason": "survival" })).await else { return false };
        let mut book = self.book();
        if order == "cancel" && status == 200 {
            book.cancelled.push(delivery);
            book.cancelling.insert(number);
        }
        true
    }

    /// Hands acknowledged events in again: they must be known, each under its id.
    pub(crate) async fn repeat_some(&self, address: &str, most: usize) {
        let (name, chosen) = {
            let mut book = self.book();
            let count = book.acknowledged.len();
            let mut chosen = Vec::new();
            for _ in 0..most.min(count) {
                // Half of them among the latest, which a fault hits first.
                let from = if book.dice.percent(50) { count.saturating_sub(50) } else { 0 };
                let at = from + book.dice.place(count - from);
                chosen.push(book.acknowledged[at].clone());
            }
            (book.name.clone(), chosen)
        };
        for known in chosen {
            let sent = body(&name, &known.transaction);
            let Some((status, answer)) = self.post(address, "/v1/events", &sent).await else { return };
            let same = answer["event_id"] == known.event && answer["duplicate"] == true;
            if !(status == 200 && same) && status < 500 && status != 429 {
                let text = format!("{} was acknowledged, and then answered {status} {answer}", known.event);
                self.book().contradictions.push(text);
            }
        }
    }
}

impl Book {
    /// The transactions whose next events go into a batch.
    fn take(&mut self, size: u64) -> Vec<Transaction> {
        let mut batch = Vec::new();
        while (batch.len() as u64) < size {
            let Some(transaction) = self.queue.pop_front().or_else(|| self.begin()) else { break };
            batch.push(transaction);
        }
        batch
    }

    fn begin(&mut self) -> Option<Transaction> {
        if self.left == 0 {
            return None;
        }
        let course = match self.dice.below(10) {
            0 | 1 => Course::PendingThenApproved,
            2 => Course::Reversed,
            _ => Course::Single,
        };
        let affiliate = players_partners().nth(self.dice.place(5)).unwrap().id;
        self.next += 1;
        let transaction = Transaction { number: self.next, affiliate, course, next: 0 };
        self.left = self.left.saturating_sub(transaction.length() as u64);
        Some(transaction)
    }

    fn put_back(&mut self, batch: Vec<Transaction>) {
        for transaction in batch.into_iter().rev() {
            self.queue.push_front(transaction);
        }
    }

    /// Notes an answer; true where the daemon asks to come back.
    fn note(&mut self, mut transaction: Transaction, status: u64, taken: &Value) -> bool {
        let (200 | 202, Some(event)) = (status, taken["event_id"].as_str()) else {
            if status < 500 && status != 429 {
                self.contradictions.push(format!("an event was refused: {status} {taken}"));
            }
            self.queue.push_back(transaction);
            return true;
        };
        let deliveries = taken["deliveries"].as_array().into_iter().flatten();
        let deliveries = deliveries.filter_map(Value::as_str).map(str::to_owned).collect();
        self.acknowledged.push(Acknowledged { transaction: transaction.clone(), event: event.to_owned(), deliveries });
        transaction.next += 1;
        if transaction.next < transaction.length() {
            self.queue.push_back(transaction);
        }
        false
    }

    /// A delivery among the latest that may be ordered about: the affiliate's own, where its receiver dedupes.
    fn recent(&mut self, dice: &mut Dice, cancelling: bool) -> Option<(String, u64)> {
        let from = self.acknowledged.len().saturating_sub(30);
        let count = self.acknowledged.len() - from;
        let known = self.acknowledged.get(from + dice.place(count))?;
        if known.affiliate() == "strict" {
            return None;
        }
        let chosen = (known.deliveries.get(dice.place(known.deliveries.len()))?.clone(), known.number());
        if cancelling {
            // Noted before it is ordered: it may be carried out without an answer.
            self.cancelling.insert(chosen.1);
        }
        Some(chosen)
    }
}

async fn answer(response: reqwest::Response) -> Option<(u16, Value)> {
    let status = response.status().as_u16();
    let body = response.bytes().await.ok()?;
    Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

/// The event that a transaction has come to.
fn body(name: &str, transaction: &Transaction) -> Value {
    let Transaction { number, affiliate, course, next } = transaction;
    let id = format!("{name}-{number}");
    let (id, kind, status, reverses) = match (course, next) {
        (Course::PendingThenApproved, 0) => (id, "ftd", "pending", None),
        (Course::Reversed, 1) => (format!("{id}-back"), "ftd_reversed", "approved", Some(id)),
        _ => (id, "ftd", "approved", None),
    };
    json!({
        "transaction_id": id, "type": kind, "affiliate_id": affiliate, "click_id": format!("click-{number}"),
        "status": status, "reverses": reverses, "occurred_at": "2026-11-01T00:00:00Z",
        "payout": "120.00", "currency": "EUR",
    })
}
