//! A postback: one template of an affiliate, with all that is needed to send and judge it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::event::{Event, Status};
use super::id::{AffiliateId, EventType, LaneName, OfferId, PostbackName, PostbackRef};
use super::outcome::ResponseRule;
use super::request::RequestTemplate;
use super::retry::RetryPolicy;
use super::template::Secrets;

/// One postback of an affiliate, compiled.
#[derive(Debug, Clone)]
pub struct Postback {
    /// Its affiliate.
    pub affiliate: AffiliateId,
    /// Its name within the affiliate.
    pub name: PostbackName,
    /// The events it wants.
    pub wants: Selection,
    /// Its order lane; `None` is the affiliate's own.
    pub lane: Option<LaneName>,
    /// What to do about reversals and newer events.
    pub order: OrderPolicy,
    /// The request to make.
    pub request: RequestTemplate,
    /// The secrets that the request may name.
    pub secrets: Secrets,
    /// Rules for the response.
    pub rules: Vec<ResponseRule>,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Deadlines of one attempt.
    pub timeouts: Timeouts,
    /// Whether the receiver recognises a duplicate.
    pub receiver_dedupes: bool,
}

impl Postback {
    /// The postback's full name.
    pub fn reference(&self) -> PostbackRef {
        PostbackRef { affiliate: self.affiliate.clone(), postback: self.name.clone() }
    }
}

/// Which events a postback wants. An absent list does not narrow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Event types; `None` for all.
    pub events: Option<BTreeSet<EventType>>,
    /// Offers.
    pub offers: Option<BTreeSet<OfferId>>,
    /// Statuses.
    pub statuses: Option<BTreeSet<Status>>,
}

impl Selection {
    /// Whether the event is wanted.
    pub fn wants(&self, event: &Event) -> bool {
        let offer = |offers: &BTreeSet<OfferId>| event.offer_id.as_ref().is_some_and(|offer| offers.contains(offer));
        self.events.as_ref().is_none_or(|events| events.contains(&event.kind))
            && self.offers.as_ref().is_none_or(offer)
            && self.statuses.as_ref().is_none_or(|statuses| statuses.contains(&event.status))
    }
}

/// What to do about reversals and newer events of the same transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct OrderPolicy {
    /// What a reversal does when its original is not yet delivered.
    pub original_unsettled: OriginalUnsettled,
    /// What a reversal does when its original is dead.
    pub original_dead: OriginalDead,
    /// What a reversal does when its original was never handed in.
    pub original_unknown: OriginalUnknown,
    /// Whether a newer status of a transaction makes an unsent or retried older one pointless.
    pub latest_only: bool,
}

/// What a reversal does when its original is not yet delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum OriginalUnsettled {
    /// Waits until the original is settled.
    #[default]
    Hold,
    /// Where the original was never attempted and all of it is reversed, neither is sent; otherwise like `Hold`.
    CancelBoth,
    /// Goes out behind it, also where it is given up on.
    SendBoth,
}

/// What a reversal does when its original is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum OriginalDead {
    /// Waits for a person, or for a replay of the original.
    #[default]
    Hold,
    /// Goes out all the same.
    Send,
}

/// What a reversal does when its original was never handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum OriginalUnknown {
    /// Waits for the original, or for a person.
    #[default]
    Hold,
    /// Goes out: the receiver may know the original from elsewhere.
    Send,
}

/// Deadlines of one attempt, each counted from its start except `first_byte`, which counts from the
/// moment the request is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For name resolution, TCP and TLS together.
    pub connect: Duration,
    /// For the response's head.
    pub first_byte: Duration,
    /// For all of it.
    pub total: Duration,
}
