//! The network and the receivers behind it, in place of the wire: each in a mood, and all of them honest about what
//! reached them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::books::CameTo;
use super::dice::Dice;
use super::promises;
use super::world::World;
use crate::domain::id::{DeliveryId, PostbackRef};
use crate::domain::outcome::Failure;
use crate::domain::postback::Timeouts;
use crate::domain::record::Timings;
use crate::domain::request::PreparedRequest;
use crate::transport::{Exchange, Received, SendFailure, Sending, Wire};

/// How a receiver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    Slow,
    Fails,
    SaysError,
    SaysAgain,
    SaysNever,
    Throttles,
    Gone,
    Hangs,
    Refuses,
    Resets,
    /// This machine has no descriptor left.
    Local,
    /// Any of the others, anew for each request.
    Flaps,
}

const MOODS: [Mood; 13] = [
    Mood::Well,
    Mood::Slow,
    Mood::Fails,
    Mood::SaysError,
    Mood::SaysAgain,
    Mood::SaysNever,
    Mood::Throttles,
    Mood::Gone,
    Mood::Hangs,
    Mood::Refuses,
    Mood::Resets,
    Mood::Local,
    Mood::Flaps,
];

/// The receivers.
#[derive(Debug)]
pub(super) struct Receivers {
    dice: Dice,
    moods: BTreeMap<PostbackRef, Mood>,
}

impl Receivers {
    pub(super) fn new(dice: Dice) -> Self {
        Self { dice, moods: BTreeMap::new() }
    }

    /// Puts the receiver of a postback into some mood.
    pub(super) fn change(&mut self, postback: &PostbackRef, dice: &mut Dice) -> Mood {
        let mood = if dice.chance(35) { Mood::Well } else { *dice.pick(&MOODS).unwrap() };
        self.moods.insert(postback.clone(), mood);
        mood
    }

    /// Makes everybody well.
    pub(super) fn cheer_up(&mut self) {
        self.moods.clear();
    }

    /// What a receiver does with a request, and how long it takes until the daemon knows; without an end where it waits
    /// for its deadline.
    fn answer(&mut self, postback: &PostbackRef) -> (Mood, Option<Duration>, u64) {
        let mut mood = self.moods.get(postback).copied().unwrap_or(Mood::Well);
        if mood == Mood::Flaps {
            mood = *self.dice.pick(&MOODS[..12]).unwrap();
        }
        let millis = match mood {
            Mood::Slow => self.dice.between(500, 5_000),
            _ => self.dice.between(1, 120),
        };
        let wait = (mood != Mood::Hangs).then(|| Duration::from_millis(millis));
        (mood, wait, self.dice.between(1, 20))
    }
}

/// What a request says of itself.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) postback: PostbackRef,
    pub(super) key: DeliveryId,
    pub(super) number: u32,
    pub(super) transaction: String,
}

fn told(request: &PreparedRequest) -> Told {
    let url = url::Url::parse(&request.url).unwrap();
    let host = url.host_str().unwrap();
    let of = |name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    Told {
        postback: PostbackRef {
            affiliate: host.strip_suffix(".example").unwrap().parse().unwrap(),
            postback: url.path()[1..].parse().unwrap(),
        },
        key: of("key").parse().unwrap(),
        number: of("n").parse().unwrap(),
        transaction: of("tx"),
    }
}

/// The network of a story.
#[derive(Debug)]
pub(super) struct Network(pub(super) Arc<World>);

impl Wire for Network {
    fn send(&self, request: PreparedRequest, timeouts: Timeouts) -> Sending<'_> {
        Box::pin(async move {
            let told = told(&request);
            let sent = promises::check_send(&self.0, &told, request.digest);
            let (mood, wait, asks) = self.0.receivers().answer(&told.postback);
            let wait = wait.unwrap_or(timeouts.total).min(timeouts.total);
            tokio::time::sleep(wait).await;
            let late = wait >= timeouts.total;
            let result = if late { Err(lost()) } else { answered(mood, asks) };
            self.0.with_books(|books| {
                let came_to = came_to(&result);
                books.flying.remove(&sent);
                books.note(format_args!("{} answers {mood:?}: {came_to:?}", told.key));
                books.sent[sent].came_to = Some(came_to);
            });
            let timings = Timings { total: wait, ..Timings::default() };
            Exchange { result, timings, remote: None }
        })
    }
}

fn lost() -> SendFailure {
    SendFailure { failure: Failure::Lost, error: "no answer".into(), partial: None }
}

fn answered(mood: Mood, asks: u64) -> Result<Received, SendFailure> {
    let received =
        |status: u16, body: &str| Ok(Received { status, headers: Vec::new(), body: body.into(), over_cap: false });
    let unsent = |failure| Err(SendFailure { failure, error: "no connection".into(), partial: None });
    match mood {
        Mood::Well | Mood::Slow | Mood::Flaps => received(200, "ok"),
        Mood::Fails => received(500, "sorry"),
        Mood::SaysError => received(200, "error"),
        Mood::SaysAgain => received(200, "again"),
        Mood::SaysNever => received(200, "never"),
        Mood::Throttles => received(429, "slow down")
            .map(|received| Received { headers: vec![("retry-after".into(), asks.to_string())], ..received }),
        Mood::Gone => received(410, "gone"),
        Mood::Refuses => unsent(Failure::Unreachable),
        Mood::Local => unsent(Failure::Local),
        Mood::Hangs | Mood::Resets => Err(lost()),
    }
}

fn came_to(result: &Result<Received, SendFailure>) -> CameTo {
    match result {
        Ok(Received { status: 200, body, .. }) => match &body[..] {
            b"ok" | b"again" => CameTo::Taken,
            b"never" => CameTo::Refused,
            _ => CameTo::Failed,
        },
        Ok(Received { status: 410, .. }) => CameTo::Refused,
        Ok(_) => CameTo::Failed,
        Err(SendFailure { failure: Failure::Lost, .. }) => CameTo::Lost,
        Err(_) => CameTo::Unsent,
    }
}
