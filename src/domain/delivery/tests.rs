//! The whole transition table, and where each change leads.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn in_state(state: State) -> Delivery {
    Delivery { state, made: 3, spent: 2 }
}

fn states() -> Vec<State> {
    vec![
        State::Scheduled { due: at(1) },
        State::Waiting,
        State::InFlight { since: at(1) },
        State::Held { reason: HoldReason::Ambiguous },
        State::Delivered { how: DeliveredHow::Accepted },
        State::Dead { reason: DeadReason::Exhausted },
        State::Cancelled { reason: CancelReason::Operator },
        State::Superseded { by: EventId::from_u64(9) },
        State::Held { reason: HoldReason::OriginalDead },
    ]
}

/// Rows: the change and the states, by letter in the order of `states`, in which it is allowed.
#[test]
fn the_whole_transition_table() {
    let out = Destination::Schedule { due: at(5) };
    let table: [(Change, &str); 16] = [
        (Change::Start { at: at(2) }, "s"),
        (Change::Settle(Conclusion::Delivered(DeliveredHow::Accepted)), "i"),
        (Change::Settle(Conclusion::Dead(DeadReason::Rejected)), "i"),
        (Change::Settle(Conclusion::Held(HoldReason::Gone)), "i"),
        (Change::Settle(Conclusion::Again { due: at(9), spends: true }), "i"),
        (Change::Interrupted, "i"),
        (Change::Free { due: at(2) }, "wo"),
        (Change::Queue, "o"),
        (Change::Hold(HoldReason::Operator), "swo"),
        (Change::Cancel(CancelReason::Operator), "swho"),
        (Change::Cancel(CancelReason::Discarded), "xho"),
        (Change::Supersede { by: EventId::from_u64(7) }, "sw"),
        (Change::Release(out), "ho"),
        (Change::ConfirmDelivered, "ho"),
        (Change::Replay { to: out, force: false }, "xcu"),
        (Change::Replay { to: out, force: true }, "dxcu"),
    ];
    for (change, allowed_in) in table {
        for (state, letter) in states().into_iter().zip("swihdxcuo".chars()) {
            let from = state.kind();
            let result = in_state(state).apply(change);
            assert_eq!(result.is_ok(), allowed_in.contains(letter), "{change:?} from {from:?}");
            if let Err(illegal) = result {
                assert_eq!(illegal.from, from);
            }
        }
    }
}

#[test]
fn each_change_leads_where_it_says() {
    let started = in_state(State::Scheduled { due: at(1) }).apply(Change::Start { at: at(2) }).unwrap();
    assert_eq!(started, in_state(State::InFlight { since: at(2) }));
    let again = started.apply(Change::Settle(Conclusion::Again { due: at(9), spends: true })).unwrap();
    assert_eq!(again, Delivery { state: State::Scheduled { due: at(9) }, made: 4, spent: 3 });
    let throttled = started.apply(Change::Settle(Conclusion::Again { due: at(9), spends: false })).unwrap();
    assert_eq!(throttled, Delivery { state: State::Scheduled { due: at(9) }, made: 4, spent: 2 });
    let interrupted = started.apply(Change::Interrupted).unwrap();
    assert_eq!(interrupted.state, State::Held { reason: HoldReason::Interrupted });
}

#[test]
fn a_replay_keeps_the_count_of_attempts_and_starts_the_schedule_afresh() {
    let dead = in_state(State::Dead { reason: DeadReason::Exhausted });
    let replayed = dead.apply(Change::Replay { to: Destination::Wait, force: false }).unwrap();
    assert_eq!(replayed, Delivery { state: State::Waiting, made: 3, spent: 0 });
}

#[test]
fn a_reversal_held_for_its_original_follows_what_becomes_of_it() {
    for reason in [HoldReason::OriginalDead, HoldReason::OriginalUnknown] {
        let held = in_state(State::Held { reason });
        assert_eq!(held.apply(Change::Free { due: at(3) }).unwrap().state, State::Scheduled { due: at(3) });
        assert_eq!(held.apply(Change::Queue).unwrap().state, State::Waiting);
        assert!(held.apply(Change::Hold(reason)).is_err(), "it is held for that already");
    }
}
