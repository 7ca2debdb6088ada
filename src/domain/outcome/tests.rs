//! What answers and failures mean, and what follows from them.

use regex::bytes::Regex;

use super::*;
use crate::domain::delivery::State;
use crate::domain::retry::Jitter;

fn response(status: u16, body: &str) -> Response<'_> {
    Response {
        status,
        content_type: Some("text/html; charset=utf-8"),
        retry_after: None,
        body: body.as_bytes(),
        over_cap: false,
    }
}

fn rule(when: Conditions, then: Verdict) -> ResponseRule {
    ResponseRule { when, then }
}

#[test]
fn defaults_decide_where_no_rule_does() {
    let wait = Some(Duration::from_secs(7));
    let table = [
        (200, None, Outcome::Delivered),
        (204, None, Outcome::Delivered),
        (301, None, Outcome::Retry),
        (400, None, Outcome::Retry),
        (410, None, Outcome::Gone),
        (429, None, Outcome::Throttled),
        (500, None, Outcome::Retry),
        (503, None, Outcome::Retry),
        (503, wait, Outcome::Throttled),
    ];
    for (status, retry_after, outcome) in table {
        let judged = judge(&Response { retry_after, ..response(status, "") }, &[], true);
        assert_eq!((judged.outcome, judged.retry_after), (outcome, retry_after), "{status}");
    }
}

#[test]
fn the_first_rule_that_holds_decides_and_is_named() {
    let status = |text| StatusRange::parse_list(text).unwrap();
    let json = |pointer: &str, value| {
        vec![JsonCondition { pointer: pointer.into(), expected: Expectation::OneOf(vec![value]) }]
    };
    let rules = [
        rule(
            Conditions { status: status("200"), body_contains: Some("duplicate".into()), ..Conditions::default() },
            Verdict::Duplicate,
        ),
        rule(
            Conditions {
                status: status("2xx"),
                json: json("/code", serde_json::json!(40100)),
                ..Conditions::default()
            },
            Verdict::Throttled,
        ),
        rule(
            Conditions { body_matches: Some(Regex::new("^ERROR").unwrap()), ..Conditions::default() },
            Verdict::Rejected,
        ),
        rule(
            Conditions { status: status("2xx"), content_type: Some("text/HTML".into()), ..Conditions::default() },
            Verdict::Misconfigured,
        ),
    ];
    let judged = |status, body| judge(&response(status, body), &rules, true);
    assert_eq!(judged(200, "a duplicate").rule, "rule 1 (status 200, body contains \"duplicate\")");
    assert_eq!(judged(201, "{\"code\":40100}").outcome, Outcome::Throttled);
    assert_eq!(judged(201, "{\"code\":40101}").outcome, Outcome::Misconfigured);
    assert_eq!(judged(500, "ERROR: no").outcome, Outcome::Rejected);
    assert_eq!(judged(500, "no ERROR").outcome, Outcome::Retry);
}

#[test]
fn a_page_is_misconfigured_only_where_a_rule_expects_otherwise() {
    let status = |text| StatusRange::parse_list(text).unwrap();
    let json = || vec![JsonCondition { pointer: "/error".into(), expected: Expectation::Present }];
    let xml = || vec![XmlCondition { tag: "error".into(), expected: Expectation::Present }];
    let none = Conditions::default;
    let page = "<html><body>Log in</body></html>";
    let table = [
        (rule(Conditions { json: json(), ..none() }, Verdict::Rejected), page, Outcome::Misconfigured),
        (rule(Conditions { json: json(), ..none() }, Verdict::Rejected), "{\"ok\":1}", Outcome::Delivered),
        (rule(Conditions { xml: xml(), ..none() }, Verdict::Rejected), page, Outcome::Misconfigured),
        (rule(Conditions { xml: xml(), ..none() }, Verdict::Rejected), "<ok/>", Outcome::Delivered),
        (
            rule(Conditions { content_type: Some("application/json".into()), ..none() }, Verdict::Delivered),
            page,
            Outcome::Misconfigured,
        ),
        (
            rule(Conditions { body_contains: Some("OK".into()), ..none() }, Verdict::Delivered),
            page,
            Outcome::Misconfigured,
        ),
        (
            rule(Conditions { body_contains: Some("OK".into()), ..none() }, Verdict::Delivered),
            "fine",
            Outcome::Delivered,
        ),
        (rule(Conditions { body_contains: Some("ERR".into()), ..none() }, Verdict::Rejected), page, Outcome::Delivered),
        (
            rule(Conditions { status: status("409"), json: json(), ..none() }, Verdict::Rejected),
            page,
            Outcome::Delivered,
        ),
    ];
    for (rule, body, outcome) in table {
        assert_eq!(judge(&response(200, body), std::slice::from_ref(&rule), true).outcome, outcome, "{rule:?} {body}");
        assert_eq!(judge(&response(500, body), &[rule], true).outcome, Outcome::Retry);
    }
    let rules = [rule(Conditions { json: json(), ..none() }, Verdict::Rejected)];
    let unnamed = Response { content_type: None, ..response(200, " <!DOCTYPE HTML>\n<p>") };
    assert_eq!(judge(&unnamed, &rules, true).outcome, Outcome::Misconfigured);
    assert_eq!(judge(&Response { body: b"OK", ..unnamed }, &rules, true).outcome, Outcome::Delivered);
}

#[test]
fn a_body_over_the_cap_is_not_success() {
    let over = Response { over_cap: true, ..response(200, "x") };
    assert_eq!(judge(&over, &[], true).outcome, Outcome::Retry);
    assert_eq!(judge(&over, &[], false).outcome, Outcome::Ambiguous);
}

#[test]
fn what_is_ours_to_mend_is_told_from_what_an_event_lacks() {
    let outcome = |error| judge_failure(failure_to_render(&error)).outcome;
    let name = || "hmac".to_owned();
    assert_eq!(outcome(RenderError::UnknownSecret { name: name() }), Outcome::Misconfigured);
    assert_eq!(outcome(RenderError::SecretEncoding { name: name(), encoding: "hex" }), Outcome::Misconfigured);
    assert_eq!(outcome(RenderError::PathSegment), Outcome::Unrenderable);
}

#[test]
fn what_follows() {
    let now = Timestamp::from_second(1_000).unwrap();
    let delivery = |spent| Delivery { state: State::InFlight { since: now }, made: spent, spent };
    let policy = RetryPolicy::explicit(vec![Duration::from_secs(10)], Jitter::None);
    let judged = |outcome, wait: Option<u64>| Judgement {
        outcome,
        rule: "".into(),
        retry_after: wait.map(Duration::from_secs),
        local: false,
    };
    let conclude =
        |outcome, wait, spent, dedupes| conclude(&judged(outcome, wait), &delivery(spent), &policy, dedupes, now, 0.5);
    let again =
        |seconds: i64, spends| Conclusion::Again { due: Timestamp::from_second(1_000 + seconds).unwrap(), spends };

    assert_eq!(conclude(Outcome::Retry, None, 0, true), again(10, true));
    assert_eq!(conclude(Outcome::Retry, Some(3), 0, true), again(10, true));
    assert_eq!(conclude(Outcome::Retry, Some(60), 0, true), again(60, true));
    assert_eq!(conclude(Outcome::Retry, None, 1, true), Conclusion::Dead(DeadReason::Exhausted));
    assert_eq!(conclude(Outcome::Throttled, Some(3), 1, true), again(3, false));
    assert_eq!(conclude(Outcome::Throttled, Some(0), 1, true), again(1, false), "never a hot loop");
    assert_eq!(conclude(Outcome::Throttled, None, 5, true), again(10, false));
    assert_eq!(conclude(Outcome::Ambiguous, None, 0, true), again(10, true));
    assert_eq!(conclude(Outcome::Ambiguous, None, 0, false), Conclusion::Held(HoldReason::Ambiguous));
    assert_eq!(conclude(Outcome::Unreachable, None, 0, false), again(10, true));
    assert_eq!(conclude(Outcome::Gone, None, 0, true), Conclusion::Held(HoldReason::Gone));
    assert_eq!(conclude(Outcome::Blocked, None, 0, true), Conclusion::Dead(DeadReason::Blocked));
}

#[test]
fn a_failure_is_judged_by_whose_it_is() {
    let table = [
        (Failure::Blocked, Outcome::Blocked, Health::Unknown),
        (Failure::Unrenderable, Outcome::Unrenderable, Health::Unknown),
        (Failure::SecretUnusable, Outcome::Misconfigured, Health::Unknown),
        (Failure::Unreachable, Outcome::Unreachable, Health::Bad),
        (Failure::Local, Outcome::Unreachable, Health::Unknown),
        (Failure::Tls, Outcome::Retry, Health::Bad),
        (Failure::OwnTls, Outcome::Misconfigured, Health::Unknown),
        (Failure::Lost, Outcome::Ambiguous, Health::Bad),
    ];
    for (failure, outcome, health) in table {
        let judged = judge_failure(failure);
        assert_eq!((judged.outcome, judged.health()), (outcome, health), "{failure:?}");
        assert_eq!(judged.rule.contains("local"), failure == Failure::Local, "{failure:?}");
    }
}

#[test]
fn a_local_fault_spends_nothing_and_waits_seconds_however_the_schedule_stands() {
    let now = Timestamp::from_second(1_000).unwrap();
    let used_up = RetryPolicy::explicit(Vec::new(), Jitter::None);
    let hours = RetryPolicy::explicit(vec![Duration::from_hours(6)], Jitter::None);
    let follows = |policy, (made, spent), dedupes| {
        let delivery = Delivery { state: State::InFlight { since: now }, made, spent };
        conclude(&judge_failure(Failure::Local), &delivery, policy, dedupes, now, 0.0)
    };
    let again =
        |seconds: i64| Conclusion::Again { due: Timestamp::from_second(1_000 + seconds).unwrap(), spends: false };
    assert_eq!(follows(&used_up, (0, 0), true), again(1));
    assert_eq!(follows(&hours, (0, 0), false), again(1));
    assert_eq!(follows(&hours, (5, 3), true), again(4), "each one that spent nothing doubles the wait");
    assert_eq!(follows(&hours, (99, 0), true), again(30));
    let spends = Conclusion::Again { due: Timestamp::from_second(1_000 + 6 * 3_600).unwrap(), spends: true };
    assert_eq!(follows(&hours, (100, 0), true), spends, "what lasts so long is not awaited for ever");
    assert_eq!(follows(&used_up, (100, 0), true), Conclusion::Dead(DeadReason::Exhausted));
}
