//! The day's events, made from a seed: the same seed is the same day.

use serde_json::{Value, json};

use super::cast::AFFILIATES;

/// A small generator of numbers (SplitMix64): good enough to deal out a day, and always the same.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`.
    pub(crate) fn throw(&mut self, sides: u64) -> u64 {
        self.next() % sides.max(1)
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, part: u64) -> bool {
        self.throw(100) < part
    }
}

/// A day: the stories of many players, each in its own order.
#[derive(Debug)]
pub(crate) struct Day {
    /// One story a player: his events in the order in which they happened.
    pub(crate) stories: Vec<Vec<Value>>,
}

impl Day {
    pub(crate) fn events(&self) -> impl Iterator<Item = &Value> {
        self.stories.iter().flatten()
    }
}

pub(crate) fn generate(events: usize, seed: u64) -> Day {
    let mut dice = Dice::new(seed);
    let mut stories = Vec::new();
    let mut left = events;
    let mut player = 0;
    while left > 0 {
        let mut story = player_story(player, &mut dice);
        story.truncate(left);
        left -= story.len();
        stories.push(story);
        player += 1;
    }
    Day { stories }
}

fn with(event: &mut Value, field: &str, value: String) {
    if let Value::Object(fields) = event {
        fields.insert(field.into(), Value::String(value));
    }
}

fn player_story(player: usize, dice: &mut Dice) -> Vec<Value> {
    let index = usize::try_from(dice.throw(AFFILIATES.len() as u64)).unwrap_or_default();
    let affiliate = AFFILIATES.get(index).map_or("aurora", |(id, _)| id);
    let click = format!("c-{player}-{:x}", dice.throw(1 << 32));
    let event = |kind: &str, transaction: String| {
        json!({
            "transaction_id": transaction, "type": kind, "affiliate_id": affiliate, "click_id": click,
            "sub_ids": { "sub1": format!("banner-{}", player % 7) },
        })
    };
    let money = |mut event: Value, field: &str, amount: String, currency: &str| {
        with(&mut event, field, amount);
        with(&mut event, "currency", currency.into());
        event
    };
    let mut story = vec![event("registration", format!("reg-{player}"))];
    if !dice.percent(70) {
        return story;
    }
    story.push(event("kyc_approved", format!("kyc-{player}")));
    if !dice.percent(80) {
        return story;
    }
    let currency = ["EUR", "GBP", "JPY"].get(player % 3).copied().unwrap_or("EUR");
    let whole = 10 + dice.throw(490);
    let cents = if currency == "JPY" { String::new() } else { format!(".{:02}", dice.throw(100)) };
    let first = format!("dep-{player}-0");
    story.push(money(event("ftd", first.clone()), "payout", format!("{whole}{cents}"), currency));
    for deposit in 1..=dice.throw(3) {
        let amount = format!("{}.{:02}", dice.throw(90), dice.throw(100));
        story.push(money(event("deposit", format!("dep-{player}-{deposit}")), "revenue", amount, "EUR"));
    }
    if dice.percent(15) {
        let mut reversed =
            money(event("ftd_reversed", format!("rev-{player}")), "payout", format!("-{whole}{cents}"), currency);
        with(&mut reversed, "reverses", first);
        story.push(reversed);
    }
    story
}
