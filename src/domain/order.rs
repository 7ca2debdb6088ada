//! Which delivery may go out when others of its order group are not settled.
//!
//! An order group is everything that one affiliate is told about one transaction. Within a lane of it,
//! deliveries of a later event wait for those of earlier events. A reversal waits for its original in
//! every lane.

use super::delivery::{CancelReason, Delivery, HoldReason, State, StateKind};
use super::id::{DeliveryId, EventId, EventType, LaneName};
use super::postback::{OrderPolicy, OriginalDead, OriginalUnsettled};

/// One delivery of an order group, as far as order is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which delivery.
    pub id: DeliveryId,
    /// Its lane.
    pub lane: Option<LaneName>,
    /// The postback that it is for, by any number that tells postbacks apart.
    pub postback: u32,
    /// The type of its event.
    pub kind: EventType,
    /// Its place in the group's story.
    pub role: Role,
    /// How it stands.
    pub delivery: Delivery,
}

/// What a delivery's event is to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Tells of the transaction itself.
    Original,
    /// Undoes it.
    Reversal,
}

/// What a delivery has to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It may go out.
    Open,
    /// It waits behind earlier ones.
    Wait,
    /// It waits for a person.
    Hold(HoldReason),
    /// Neither it nor these originals, which were never attempted, are sent.
    CancelBoth(Vec<DeliveryId>),
}

/// A delivery that asks whether it may go out.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Which delivery.
    pub id: DeliveryId,
    /// Its lane.
    pub lane: Option<&'a LaneName>,
    /// The postback that it is for.
    pub postback: u32,
    /// Its place in the group's story.
    pub role: Role,
    /// What its postback asks for.
    pub policy: OrderPolicy,
}

/// Decides for one delivery, given all members of its group; those of its own event and of later events
/// do not count. It waits for whatever the affiliate is told earlier, but only what its own postback was
/// told, or was not, decides whether there is anything to reverse.
pub fn gate(candidate: Candidate<'_>, group: &[Member]) -> Gate {
    let Candidate { id, lane, postback, role, policy } = candidate;
    let earlier = || group.iter().filter(|member| member.id.event < id.event);
    let originals = || earlier().filter(|member| role == Role::Reversal && member.role == Role::Original);
    let own = || originals().filter(|member| member.postback == postback);
    let unsettled = |member: &&Member| !member.delivery.state.kind().is_settled();
    let in_lane = |member: &&Member| member.lane.as_ref() == lane;

    if policy.original_unsettled == OriginalUnsettled::CancelBoth {
        let unsent = State::Cancelled { reason: CancelReason::ReversedUnsent };
        if own().next().is_some() && own().all(|member| member.delivery.state == unsent) {
            return Gate::CancelBoth(Vec::new());
        }
        let open: Vec<&Member> = own().filter(unsettled).collect();
        let told = own().any(|member| member.delivery.made > 0);
        if !open.is_empty() && !told && open.iter().all(|member| never_attempted(&member.delivery)) {
            return Gate::CancelBoth(open.iter().map(|member| member.id).collect());
        }
    }
    if earlier().filter(in_lane).any(|member| unsettled(&member)) || originals().any(|member| unsettled(&member)) {
        return Gate::Wait;
    }
    let dead = |member: &Member| member.delivery.state.kind() == StateKind::Dead;
    let arrived = |member: &Member| member.delivery.state.kind() == StateKind::Delivered;
    if policy.original_dead == OriginalDead::Hold && own().any(dead) && !own().any(arrived) {
        return Gate::Hold(HoldReason::OriginalDead);
    }
    Gate::Open
}

fn never_attempted(delivery: &Delivery) -> bool {
    delivery.made == 0 && matches!(delivery.state, State::Scheduled { .. } | State::Waiting | State::Held { .. })
}

/// The earlier deliveries of a postback that an event of the same type and a newer status makes pointless.
pub fn superseded_by(event: EventId, postback: u32, kind: &EventType, group: &[Member]) -> Vec<DeliveryId> {
    group
        .iter()
        .filter(|member| member.id.event < event && member.role == Role::Original)
        .filter(|member| member.postback == postback && member.kind == *kind)
        .filter(|member| matches!(member.delivery.state, State::Scheduled { .. } | State::Waiting))
        .map(|member| member.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::{DeadReason, DeliveredHow};
    use jiff::Timestamp;

    fn id(event: u64) -> DeliveryId {
        DeliveryId { event: EventId::from_u64(event), ordinal: 0 }
    }

    fn lane(name: &str) -> Option<LaneName> {
        (!name.is_empty()).then(|| LaneName::parse(name).unwrap())
    }

    fn member(event: u64, lane_name: &str, state: State, made: u32) -> Member {
        Member {
            id: id(event),
            postback: 1,
            kind: "ftd".parse().unwrap(),
            lane: lane(lane_name),
            role: Role::Original,
            delivery: Delivery { state, made, spent: made },
        }
    }

    fn asked(lane: Option<&LaneName>, role: Role, policy: OrderPolicy, group: &[Member]) -> Gate {
        gate(Candidate { id: id(2), lane, postback: 1, role, policy }, group)
    }

    fn scheduled() -> State {
        State::Scheduled { due: Timestamp::UNIX_EPOCH }
    }

    fn policy(original_unsettled: OriginalUnsettled, original_dead: OriginalDead) -> OrderPolicy {
        OrderPolicy { original_unsettled, original_dead, latest_only: false }
    }

    const DEFAULT: OrderPolicy = OrderPolicy {
        original_unsettled: OriginalUnsettled::Hold,
        original_dead: OriginalDead::Hold,
        latest_only: false,
    };

    #[test]
    fn a_later_event_waits_for_earlier_ones_of_its_lane() {
        let held = State::Held { reason: HoldReason::Operator };
        for state in [scheduled(), State::Waiting, held] {
            let group = [member(1, "", state, 0)];
            assert_eq!(asked(None, Role::Original, DEFAULT, &group), Gate::Wait);
            assert_eq!(asked(lane("b").as_ref(), Role::Original, DEFAULT, &group), Gate::Open);
        }
    }

    #[test]
    fn settled_whichever_way_is_enough_for_a_successor() {
        let settled = [
            State::Delivered { how: DeliveredHow::Accepted },
            State::Dead { reason: DeadReason::Exhausted },
            State::Superseded { by: EventId::from_u64(9) },
        ];
        for state in settled {
            assert_eq!(asked(None, Role::Original, DEFAULT, &[member(1, "", state, 1)]), Gate::Open);
        }
    }

    #[test]
    fn deliveries_of_the_same_and_of_later_events_do_not_count() {
        let sibling = Member { id: DeliveryId { ordinal: 1, ..id(2) }, ..member(2, "", scheduled(), 0) };
        let group = [sibling, member(3, "", scheduled(), 0)];
        assert_eq!(asked(None, Role::Original, DEFAULT, &group), Gate::Open);
    }

    #[test]
    fn a_reversal_waits_for_its_original_in_every_lane() {
        let group = [member(1, "a", scheduled(), 1)];
        assert_eq!(asked(lane("b").as_ref(), Role::Reversal, DEFAULT, &group), Gate::Wait);
    }

    #[test]
    fn a_reversal_of_a_dead_original_is_held_unless_told_to_send() {
        let dead = || State::Dead { reason: DeadReason::Rejected };
        let group = [member(1, "", dead(), 3)];
        assert_eq!(asked(None, Role::Reversal, DEFAULT, &group), Gate::Hold(HoldReason::OriginalDead));
        let send = policy(OriginalUnsettled::Hold, OriginalDead::Send);
        assert_eq!(asked(None, Role::Reversal, send, &group), Gate::Open);
        let told = [group[0].clone(), member(1, "", State::Delivered { how: DeliveredHow::Accepted }, 1)];
        assert_eq!(asked(None, Role::Reversal, DEFAULT, &told), Gate::Open);
    }

    #[test]
    fn cancel_both_only_where_the_original_was_never_attempted() {
        let cancel = policy(OriginalUnsettled::CancelBoth, OriginalDead::Hold);
        let untried = [member(1, "", scheduled(), 0)];
        assert_eq!(asked(None, Role::Reversal, cancel, &untried), Gate::CancelBoth(vec![id(1)]));
        let tried = [member(1, "", scheduled(), 1)];
        assert_eq!(asked(None, Role::Reversal, cancel, &tried), Gate::Wait);
        assert_eq!(asked(None, Role::Original, cancel, &untried), Gate::Wait);
    }

    #[test]
    fn what_another_postback_was_told_decides_nothing() {
        let other = |state| Member { postback: 2, ..member(1, "", state, 0) };
        let cancel = policy(OriginalUnsettled::CancelBoth, OriginalDead::Hold);
        assert_eq!(asked(None, Role::Reversal, cancel, &[other(scheduled())]), Gate::Wait);
        let dead = member(1, "", State::Dead { reason: DeadReason::Exhausted }, 3);
        let told = other(State::Delivered { how: DeliveredHow::Accepted });
        assert_eq!(asked(None, Role::Reversal, DEFAULT, &[dead, told]), Gate::Hold(HoldReason::OriginalDead));
        let unsent = member(1, "", State::Cancelled { reason: CancelReason::ReversedUnsent }, 0);
        assert_eq!(asked(None, Role::Reversal, cancel, &[unsent]), Gate::CancelBoth(Vec::new()));
    }

    #[test]
    fn a_newer_status_supersedes_what_its_own_postback_has_not_settled() {
        let of = |postback, kind: &str, event| Member {
            postback,
            kind: kind.parse().unwrap(),
            ..member(event, "", scheduled(), 0)
        };
        let settled = member(5, "", State::Delivered { how: DeliveredHow::Accepted }, 1);
        let group =
            [of(1, "ftd", 1), of(2, "ftd", 2), of(1, "registration", 3), of(1, "ftd", 4), settled, of(1, "ftd", 7)];
        assert_eq!(superseded_by(EventId::from_u64(6), 1, &"ftd".parse().unwrap(), &group), [id(1), id(4)]);
    }
}
