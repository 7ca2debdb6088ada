//! Order groups told as stories: who may go out, and what follows from what.

use jiff::Timestamp;

use super::*;
use crate::domain::delivery::{Change, DeadReason, DeliveredHow};

/// A group told as a story: each step is one event with one delivery for each postback named.
#[derive(Default)]
struct Story(Group);

fn id(event: u64) -> DeliveryId {
    DeliveryId { event: EventId::from_u64(event), ordinal: 0 }
}

fn scheduled() -> State {
    State::Scheduled { due: Timestamp::UNIX_EPOCH }
}

fn delivered() -> State {
    State::Delivered { how: DeliveredHow::Accepted }
}

fn dead() -> State {
    State::Dead { reason: DeadReason::Exhausted }
}

fn held(reason: HoldReason) -> State {
    State::Held { reason }
}

/// An event of the story; changed by the methods before it is told.
struct Event {
    told: Told,
}

fn event(number: u64, transaction: &str) -> Event {
    let delivery = Delivery { state: State::Waiting, made: 0, spent: 0 };
    let member = Member { id: id(number), lane: None, postback: 1, policy: OrderPolicy::default(), delivery };
    let facts = Facts {
        transaction: transaction.parse().unwrap(),
        kind: "ftd".parse().unwrap(),
        reverses: None,
        payout: None,
        revenue: None,
    };
    Event { told: Told { id: EventId::from_u64(number), facts, members: vec![member] } }
}

impl Event {
    fn each(mut self, change: impl Fn(&mut Member)) -> Self {
        self.told.members.iter_mut().for_each(change);
        self
    }

    fn undoing(mut self, transaction: &str) -> Self {
        self.told.facts.reverses = Some(transaction.parse().unwrap());
        self.told.facts.kind = "ftd_reversed".parse().unwrap();
        self
    }

    fn kind(mut self, kind: &str) -> Self {
        self.told.facts.kind = kind.parse().unwrap();
        self
    }

    fn worth(mut self, payout: &str) -> Self {
        self.told.facts.payout = Some(Amount::parse(payout).unwrap());
        self
    }

    fn to(self, postback: u32) -> Self {
        self.each(|member| member.postback = postback)
    }

    fn lane(self, lane: &str) -> Self {
        self.each(|member| member.lane = Some(lane.parse().unwrap()))
    }

    fn policy(self, policy: OrderPolicy) -> Self {
        self.each(|member| member.policy = policy)
    }

    fn stands(self, state: &State, made: u32) -> Self {
        self.each(|member| member.delivery = Delivery { state: state.clone(), made, spent: made })
    }

    fn told_to_nobody(mut self) -> Self {
        self.told.members.clear();
        self
    }
}

impl Story {
    fn with(mut self, event: Event) -> Self {
        self.0.add(event.told);
        self
    }

    fn gate(&self, event: u64) -> Gate {
        self.0.gate(id(event))
    }

    fn follow(&mut self) -> Vec<(u64, StateKind)> {
        let followed = self.0.follow(Timestamp::UNIX_EPOCH, &mut |_| true);
        let stands = |id: DeliveryId| self.0.member(id).unwrap().delivery.state.kind();
        followed.iter().map(|c| (c.id.event.as_u64(), stands(c.id))).collect()
    }

    fn settle(&mut self, event: u64, state: State) {
        self.0.set(id(event), Delivery { state, made: 1, spent: 1 });
    }

    fn state(&self, event: u64) -> State {
        self.0.member(id(event)).unwrap().delivery.state.clone()
    }
}

fn cancel_both() -> OrderPolicy {
    OrderPolicy { original_unsettled: OriginalUnsettled::CancelBoth, ..OrderPolicy::default() }
}

#[test]
fn a_later_event_waits_for_earlier_ones_of_its_lane() {
    for state in [scheduled(), State::Waiting, held(HoldReason::Operator)] {
        let story = || Story::default().with(event(1, "t").stands(&state, 0));
        assert_eq!(story().with(event(2, "t")).gate(2), Gate::Wait);
        assert_eq!(story().with(event(2, "t").lane("b")).gate(2), Gate::Open);
    }
}

#[test]
fn settled_whichever_way_is_enough_for_a_successor() {
    for state in [delivered(), dead(), State::Superseded { by: EventId::from_u64(9) }] {
        let story = Story::default().with(event(1, "t").stands(&state, 1)).with(event(2, "t"));
        assert_eq!(story.gate(2), Gate::Open);
    }
}

#[test]
fn deliveries_of_the_same_and_of_later_events_do_not_count() {
    let mut both = event(2, "t");
    let sibling = Member { id: DeliveryId { ordinal: 1, ..id(2) }, ..both.told.members[0].clone() };
    both.told.members.push(sibling);
    let story = Story::default().with(both).with(event(3, "t").stands(&scheduled(), 0));
    assert_eq!(story.gate(2), Gate::Open);
}

#[test]
fn a_reversal_waits_for_its_original_in_every_lane_and_postback() {
    let story = Story::default()
        .with(event(1, "t").lane("a").to(7).stands(&scheduled(), 1))
        .with(event(2, "r").undoing("t").lane("b"));
    assert_eq!(story.gate(2), Gate::Wait);
}

#[test]
fn a_reversal_of_a_dead_original_is_held_unless_told_to_send() {
    let story = |policy| {
        Story::default().with(event(1, "t").stands(&dead(), 3)).with(event(2, "r").undoing("t").policy(policy))
    };
    assert_eq!(story(OrderPolicy::default()).gate(2), Gate::Hold(HoldReason::OriginalDead));
    let send = OrderPolicy { original_dead: OriginalDead::Send, ..OrderPolicy::default() };
    assert_eq!(story(send).gate(2), Gate::Open);
    let both = OrderPolicy { original_unsettled: OriginalUnsettled::SendBoth, ..OrderPolicy::default() };
    assert_eq!(story(both).gate(2), Gate::Open);
    let another_status = Story::default()
        .with(event(1, "t").stands(&dead(), 3))
        .with(event(2, "t").stands(&delivered(), 1))
        .with(event(3, "r").undoing("t"));
    assert_eq!(another_status.gate(3), Gate::Open, "the receiver knows of it");
}

#[test]
fn what_another_postback_was_told_decides_nothing() {
    let story = Story::default().with(event(1, "t").to(2).stands(&dead(), 3)).with(event(2, "r").undoing("t"));
    assert_eq!(story.gate(2), Gate::Open);
    let unsent = Story::default()
        .with(event(1, "t").to(2).stands(&scheduled(), 0))
        .with(event(2, "r").undoing("t").policy(cancel_both()));
    assert_eq!(unsent.gate(2), Gate::Wait);
}

#[test]
fn cancel_both_only_where_the_original_was_never_attempted() {
    let story = |state: &State, made| {
        Story::default().with(event(1, "t").stands(state, made)).with(event(2, "r").undoing("t").policy(cancel_both()))
    };
    assert_eq!(story(&scheduled(), 0).gate(2), Gate::CancelBoth(vec![id(1)]));
    assert_eq!(story(&scheduled(), 1).gate(2), Gate::Wait);
    assert_eq!(story(&delivered(), 1).gate(2), Gate::Open);
    assert_eq!(story(&UNSENT, 0).gate(2), Gate::CancelBoth(Vec::new()), "there is nothing left to reverse");
    assert_eq!(story(&dead(), 3).gate(2), Gate::Hold(HoldReason::OriginalDead));
}

#[test]
fn a_part_of_an_original_is_not_cancelled_with_all_of_it() {
    let story = |part: &str| {
        Story::default()
            .with(event(1, "t").worth("100.00").stands(&scheduled(), 0))
            .with(event(2, "r").undoing("t").worth(part).policy(cancel_both()))
    };
    assert_eq!(story("-30.00").gate(2), Gate::Wait);
    assert_eq!(story("-100").gate(2), Gate::CancelBoth(vec![id(1)]));
    assert_eq!(story("100.00").gate(2), Gate::CancelBoth(vec![id(1)]));
}

#[test]
fn a_reversal_of_a_reversal_follows_the_reversal() {
    let story = |reversal: &State| {
        Story::default()
            .with(event(1, "t").stands(&delivered(), 1))
            .with(event(2, "r").undoing("t").lane("b").stands(reversal, 1))
            .with(event(3, "rr").undoing("r").lane("c"))
    };
    assert_eq!(story(&scheduled()).gate(3), Gate::Wait, "another lane does not help it");
    assert_eq!(story(&delivered()).gate(3), Gate::Open);
    assert_eq!(story(&dead()).gate(3), Gate::Hold(HoldReason::OriginalDead));
}

#[test]
fn a_reversal_may_carry_the_name_of_what_it_undoes() {
    let story = Story::default()
        .with(event(1, "t").stands(&delivered(), 1))
        .with(event(2, "t").undoing("t").kind("refund").stands(&dead(), 3))
        .with(event(3, "t").undoing("t").kind("chargeback"));
    assert_eq!(story.gate(3), Gate::Open, "a refund that died is no original of a chargeback");
}

#[test]
fn an_unknown_original_holds_a_reversal_unless_told_to_send() {
    let story = |policy| Story::default().with(event(1, "r").undoing("t").policy(policy));
    assert_eq!(story(OrderPolicy::default()).gate(1), Gate::Hold(HoldReason::OriginalUnknown));
    let send = OrderPolicy { original_unknown: OriginalUnknown::Send, ..OrderPolicy::default() };
    assert_eq!(story(send).gate(1), Gate::Open);
    let known = Story::default().with(event(1, "t").told_to_nobody()).with(event(2, "r").undoing("t"));
    assert_eq!(known.gate(2), Gate::Open, "known, although this affiliate was not told of it");
}

#[test]
fn a_reversal_that_came_before_its_original_steps_back_behind_it() {
    let mut story = Story::default()
        .with(event(1, "r").undoing("t").stands(&held(HoldReason::OriginalUnknown), 0))
        .with(event(2, "t"));
    assert_eq!(story.gate(2), Gate::Open);
    story.settle(2, scheduled());
    assert_eq!(story.follow(), [(1, StateKind::Waiting)]);
    let later = event(3, "t").kind("deposit");
    story = story.with(later);
    assert_eq!(story.gate(3), Gate::Wait);
    story.settle(2, delivered());
    assert_eq!(story.follow(), [(1, StateKind::Scheduled)], "right behind the original");
    story.settle(1, delivered());
    assert_eq!(story.follow(), [(3, StateKind::Scheduled)]);
}

#[test]
fn an_original_that_came_late_waits_for_a_reversal_that_has_gone_out() {
    let story = Story::default().with(event(1, "r").undoing("t").stands(&scheduled(), 1)).with(event(2, "t"));
    assert_eq!(story.gate(2), Gate::Wait);
}

#[test]
fn what_undoes_each_other_in_a_circle_is_left_to_a_person() {
    let mut story = Story::default()
        .with(event(1, "a").undoing("b").stands(&held(HoldReason::OriginalUnknown), 0))
        .with(event(2, "b").undoing("c").stands(&held(HoldReason::OriginalUnknown), 0))
        .with(event(3, "c").undoing("a"));
    assert_eq!(story.gate(1), Gate::Hold(HoldReason::OriginalUnknown));
    assert_eq!((story.gate(2), story.gate(3)), (Gate::Wait, Gate::Wait));
    story.settle(1, delivered());
    assert_eq!(story.follow(), [], "the next one is held as well");
}

#[test]
fn whatever_came_between_a_reversal_and_its_late_original_goes_out() {
    let story = Story::default()
        .with(event(1, "r").undoing("t").stands(&State::Waiting, 0))
        .with(event(2, "rr").undoing("r").stands(&State::Waiting, 0))
        .with(event(3, "r").kind("fee").stands(&State::Waiting, 0))
        .with(event(4, "t"));
    let gates = [1, 2, 3, 4].map(|number| story.gate(number));
    assert_eq!(gates, [Gate::Wait, Gate::Wait, Gate::Open, Gate::Wait]);
}

#[test]
fn one_change_is_followed_to_its_end() {
    let mut story = Story::default()
        .with(event(1, "t").stands(&scheduled(), 0))
        .with(event(2, "r").undoing("t").policy(cancel_both()))
        .with(event(3, "t").kind("deposit"));
    let cancelled = [(1, StateKind::Cancelled), (2, StateKind::Cancelled), (3, StateKind::Scheduled)];
    assert_eq!(story.follow(), cancelled);
}

#[test]
fn originals_that_are_being_sent_are_not_cancelled() {
    let mut story = Story::default()
        .with(event(1, "t").stands(&scheduled(), 0))
        .with(event(2, "r").undoing("t").policy(cancel_both()));
    assert_eq!(story.0.follow(Timestamp::UNIX_EPOCH, &mut |_| false), []);
    assert_eq!(story.state(2), State::Waiting);
}

#[test]
fn a_reversal_held_for_a_dead_original_goes_out_once_a_replay_of_it_arrives() {
    let mut story = Story::default().with(event(1, "t").stands(&dead(), 3)).with(event(2, "r").undoing("t"));
    assert_eq!(story.follow(), [(2, StateKind::Held)]);
    story.settle(1, scheduled());
    assert_eq!(story.follow(), [(2, StateKind::Waiting)]);
    story.settle(1, delivered());
    assert_eq!(story.follow(), [(2, StateKind::Scheduled)]);
}

#[test]
fn a_newer_status_makes_older_ones_of_its_own_postback_pointless() {
    let latest = OrderPolicy { latest_only: true, ..OrderPolicy::default() };
    let open = |number| event(number, "t").stands(&scheduled(), 1).policy(latest);
    let story = Story::default()
        .with(open(1))
        .with(open(2).to(2))
        .with(open(3).kind("registration"))
        .with(event(4, "t").stands(&delivered(), 1))
        .with(open(5))
        .with(open(7));
    assert_eq!(story.0.made_pointless_by(id(5)), [id(1)]);
    assert_eq!(story.0.newer_than(id(1)), Some(EventId::from_u64(7)));
    assert_eq!(story.0.newer_than(id(2)), None);
    let not_asked = Story::default().with(open(1)).with(event(2, "t"));
    assert_eq!(not_asked.0.made_pointless_by(id(2)), []);
    assert_eq!(not_asked.0.newer_than(id(1)), None);
}

#[test]
fn what_was_told_since_would_be_undone_by_sending_the_older_again() {
    let story = |second: Event| Story::default().with(event(1, "t").stands(&dead(), 3)).with(second);
    let overtaken = |second| story(second).0.overtaken_by(id(1));
    assert_eq!(overtaken(event(2, "t").stands(&delivered(), 1)), Some(id(2)));
    assert_eq!(overtaken(event(2, "r").undoing("t").stands(&delivered(), 1)), Some(id(2)));
    assert_eq!(overtaken(event(2, "t").stands(&scheduled(), 1)), Some(id(2)), "it is on its way");
    assert_eq!(overtaken(event(2, "t").stands(&State::Waiting, 0)), None);
    assert_eq!(overtaken(event(2, "t").kind("deposit").stands(&delivered(), 1)), None);
    assert_eq!(overtaken(event(2, "t").to(2).stands(&delivered(), 1)), None);
}

#[test]
fn consequences_are_changes_that_the_state_allows() {
    let mut story = Story::default()
        .with(event(1, "t").stands(&delivered(), 1))
        .with(event(2, "r").undoing("t").stands(&held(HoldReason::OriginalDead), 0));
    let followed = story.0.follow(Timestamp::UNIX_EPOCH, &mut |_| true);
    assert_eq!(followed.len(), 1);
    assert_eq!(followed[0].change, Change::Free { due: Timestamp::UNIX_EPOCH });
}
