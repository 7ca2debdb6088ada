//! The cases of `docs/order.md`: each row of its table is a story, told once as it stands, and once more for each pair of
//! steps with the process dying between them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::domain::money::Amount;

const PAGE: &str = include_str!("../../../docs/order.md");

struct Case {
    name: String,
    policy: OrderPolicy,
    dedupes: bool,
    steps: Vec<String>,
    ends: String,
}

/// The rows of the page's last table.
fn cases() -> Vec<Case> {
    let (_, table) = PAGE.split_once("| case | postback | steps | → |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, postback, steps, ends] = cells[..] else { panic!("a row has four cells: {row}") };
        let (policy, dedupes) = policy(postback);
        let steps = steps.split(", ").map(str::to_owned).collect();
        Case { name: name.to_owned(), policy, dedupes, steps, ends: ends.to_owned() }
    })
    .collect()
}

fn policy(text: &str) -> (OrderPolicy, bool) {
    let mut policy = OrderPolicy::default();
    let mut dedupes = true;
    match text {
        "" => {}
        "latest_only=true" => policy.latest_only = true,
        "original_unsettled=cancel_both" => policy.original_unsettled = OriginalUnsettled::CancelBoth,
        "original_unsettled=send_both" => policy.original_unsettled = OriginalUnsettled::SendBoth,
        "original_dead=send" => policy.original_dead = OriginalDead::Send,
        "original_unknown=send" => policy.original_unknown = OriginalUnknown::Send,
        "receiver_dedupes=false" => dedupes = false,
        other => panic!("{other:?} is no setting of a case"),
    }
    (policy, dedupes)
}

/// A story on its way: who is who, and what is being sent.
struct Told {
    story: Story,
    policy: OrderPolicy,
    dedupes: bool,
    ids: Vec<(String, DeliveryId)>,
    leases: BTreeMap<DeliveryId, Lease>,
}

impl Told {
    fn id(&self, name: &str) -> DeliveryId {
        self.ids.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no event {name:?}")).1
    }

    async fn step(&mut self, step: &str) {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let again = Conclusion::Again { due: now() + Duration::from_mins(1), spends: true };
        match verb {
            "accept" => self.accept(rest).await,
            "send" => self.send(rest).await,
            "deliver" => self.settle(rest, DELIVERED).await,
            "die" => self.settle(rest, DEAD).await,
            "fail" => self.settle(rest, again).await,
            "hang" => self.settle(rest, Conclusion::Held(HoldReason::Ambiguous)).await,
            "crash" => self.crash().await,
            "refuse" => {
                let name = rest.strip_prefix("replay ").unwrap();
                let answer = self.story.order(self.id(name), Order::Replay { force: false }).await;
                assert!(matches!(answer, Err(OrderRefused::Overtaken { .. })), "{answer:?}");
            }
            verb => {
                let order = match verb {
                    "replay" => Order::Replay { force: false },
                    "release" => Order::Release,
                    "cancel" => Order::Cancel,
                    "discard" => Order::Discard,
                    "hold" => Order::Hold,
                    "confirm" => Order::ConfirmDelivered,
                    other => panic!("{other:?} is no step"),
                };
                self.story.order(self.id(rest), order).await.unwrap();
            }
        }
    }

    /// `T`, `T:pending`, `T:deposit`, `R undoes T`, each with an amount in brackets behind it or not.
    async fn accept(&mut self, what: &str) {
        let (what, amount) = match what.split_once(" (") {
            Some((what, amount)) => (what, Some(Amount::parse(amount.trim_end_matches(')')).unwrap())),
            None => (what, None),
        };
        let (name, undone) = match what.split_once(" undoes ") {
            Some((name, undone)) => (name, Some(undone)),
            None => (what, None),
        };
        let (transaction, aspect) = name.split_once(':').unwrap_or((name, ""));
        let status = Status::ALL.into_iter().find(|status| status.name() == aspect);
        let kind = match (undone, status, aspect) {
            (Some(_), _, _) => "refund",
            (None, Some(_), _) | (None, None, "") => "ftd",
            (None, None, kind) => kind,
        };
        let event = Event {
            reverses: undone.map(|undone| undone.parse().unwrap()),
            payout: amount,
            ..event(transaction, kind, status.unwrap_or_default())
        };
        let id = self.story.accept(event, to(&["p"], self.policy)).await;
        self.ids.push((name.to_owned(), id));
    }

    async fn send(&mut self, name: &str) {
        let id = self.id(name);
        let mut lease =
            self.story.outbox().begin(id).unwrap().leased().unwrap_or_else(|| panic!("{name} cannot go out"));
        if !self.dedupes {
            assert!(self.story.outbox().intend(&mut lease).await.unwrap());
        }
        self.leases.insert(id, lease);
    }

    async fn settle(&mut self, name: &str, conclusion: Conclusion) {
        if !self.leases.contains_key(&self.id(name)) {
            self.send(name).await;
        }
        let lease = self.leases.remove(&self.id(name)).unwrap();
        self.story.settle(lease, conclusion).await;
    }

    async fn crash(&mut self) {
        self.leases.clear();
        self.story.reopen().await;
    }

    fn ends(&self) -> String {
        let ends = self.ids.iter().map(|(name, id)| {
            let (kind, reason) = self.story.state(*id);
            let telling = match kind {
                StateKind::Held | StateKind::Cancelled => reason,
                StateKind::Delivered => reason.filter(|reason| *reason == "operator"),
                _ => None,
            };
            let reason = telling.map(|reason| format!(" {reason}")).unwrap_or_default();
            format!("{name} {}{reason}", kind.name())
        });
        ends.collect::<Vec<_>>().join(", ")
    }
}

async fn tell(case: &Case, place: Place, dies_before: Option<usize>) {
    let story = Story::on(place);
    let Case { policy, dedupes, .. } = *case;
    let mut told = Told { story, policy, dedupes, ids: Vec::new(), leases: BTreeMap::new() };
    for (number, step) in case.steps.iter().enumerate() {
        if dies_before == Some(number) {
            told.crash().await;
        }
        told.step(step).await;
    }
    if dies_before == Some(case.steps.len()) {
        told.crash().await;
    }
    assert_eq!(told.ends(), case.ends, "{:?}, dying before step {dies_before:?}", case.name);
    told.story.check_counts();
}

#[tokio::test]
async fn every_case_of_the_page_ends_as_it_says() {
    let cases = cases();
    assert!(cases.len() > 40, "the table is read whole");
    for case in &cases {
        tell(case, Place::Memory(Arc::default()), None).await;
    }
    // On disk, as a sample of what the model of the engine shows for all.
    for case in cases.iter().step_by(8) {
        tell(case, Place::Sled(tempfile::tempdir().unwrap()), Some(case.steps.len())).await;
        tell(case, Place::Fjall(tempfile::tempdir().unwrap()), Some(case.steps.len())).await;
    }
}

#[tokio::test]
async fn every_case_ends_the_same_when_the_process_dies_on_the_way() {
    for case in &cases() {
        for before in 1..=case.steps.len() {
            // Dying while sending to a receiver that does not recognise duplicates is a case of its own.
            let sending = case.steps.get(before - 1).is_some_and(|step| step.starts_with("send "));
            if case.dedupes || !sending {
                tell(case, Place::Memory(Arc::default()), Some(before)).await;
            }
        }
    }
}
