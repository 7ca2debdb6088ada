//! Paths: the names that expressions begin with, and the values they lead to.

use std::borrow::Cow;

use rust_decimal::Decimal;
use secrecy::ExposeSecret;

use super::error::{RenderError, TemplateError};
use super::scope::{Environment, View};
use super::value::{Kind, Value};
use crate::domain::event::{Event, MAX_KEY_LENGTH, ParamValue};
use crate::domain::id::{ClickId, OfferId, TransactionId};
use crate::domain::money::Currency;
use crate::domain::nearest::nearest;
use crate::planted::{Bug, planted};

/// Which names may be used: depends on where a template stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    /// URL, headers and body.
    Request,
    /// The message that is signed: also the parts of the request, and the signature's own secret.
    Message,
    /// The header that is composed around a signature: also the signature.
    SignatureHeader,
}

/// A part of the finished request, for the message that is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestPart {
    Method,
    Url,
    Path,
    PathAndQuery,
    Query,
    SortedQuery,
    SortedValues,
    Body,
    BodySha256,
}

impl RequestPart {
    const ALL: [(&'static str, Self); 9] = [
        ("method", Self::Method),
        ("url", Self::Url),
        ("path", Self::Path),
        ("path_and_query", Self::PathAndQuery),
        ("query", Self::Query),
        ("sorted_query", Self::SortedQuery),
        ("sorted_values", Self::SortedValues),
        ("body", Self::Body),
        ("body_sha256", Self::BodySha256),
    ];
}

/// A name resolved to what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    Event(Part),
    Original(Part),
    EventId,
    DeliveryId,
    Attempt,
    Timestamp,
    Nonce,
    Secret(String),
    OwnSecret,
    Signature,
    Request(RequestPart),
}

/// A part of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    TransactionId,
    Type,
    AffiliateId,
    ClickId,
    OfferId,
    Status,
    OccurredAt,
    Payout,
    Revenue,
    Currency,
    Reverses,
    SubIds,
    SubId(String),
    Params,
    Param(String),
}

/// The event's fields that are one name.
const PARTS: [(&str, Part); 13] = [
    ("transaction_id", Part::TransactionId),
    ("type", Part::Type),
    ("affiliate_id", Part::AffiliateId),
    ("click_id", Part::ClickId),
    ("offer_id", Part::OfferId),
    ("status", Part::Status),
    ("occurred_at", Part::OccurredAt),
    ("payout", Part::Payout),
    ("revenue", Part::Revenue),
    ("currency", Part::Currency),
    ("reverses", Part::Reverses),
    ("sub_ids", Part::SubIds),
    ("params", Part::Params),
];

/// The built-in names beside the event's fields.
const BUILT_IN: [(&str, Path); 7] = [
    ("event_id", Path::EventId),
    ("delivery_id", Path::DeliveryId),
    ("idempotency_key", Path::DeliveryId),
    ("attempt", Path::Attempt),
    ("timestamp", Path::Timestamp),
    ("nonce", Path::Nonce),
    ("signature", Path::Signature),
];

/// The names that may stand in a request beside `original.…`, `secret.…` and the entries of objects.
#[cfg(test)]
pub(crate) fn event_names() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|(name, _)| *name).chain(BUILT_IN.iter().map(|(name, _)| *name))
}

/// The names that may stand only in the message that is signed.
#[cfg(test)]
pub(crate) fn message_names() -> impl Iterator<Item = &'static str> {
    RequestPart::ALL.iter().map(|(name, _)| *name).chain(["secret"])
}

/// Whether a text may be a name at all.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

impl Path {
    /// Finds what a name stands for.
    pub(super) fn resolve(name: &str, vocabulary: Vocabulary) -> Result<Self, TemplateError> {
        if let Some((_, path)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return match (path, vocabulary) {
                (Self::Signature, Vocabulary::Request) => Err(TemplateError::NotHere {
                    name: name.into(),
                    reason: "the signature is placed by `signature.place`: a query parameter, a header, or a header composed around {signature}",
                }),
                (Self::Signature, Vocabulary::Message) => Err(TemplateError::NotHere {
                    name: name.into(),
                    reason: "the message is what the signature is made of",
                }),
                (path, _) => Ok(path.clone()),
            };
        }
        if let Some(part) = Part::resolve(name) {
            return Ok(Self::Event(part));
        }
        if let Some(part) = name.strip_prefix("original.").and_then(Part::resolve) {
            return Ok(Self::Original(part));
        }
        if let Some(secret) = name.strip_prefix("secret.").filter(|secret| !secret.is_empty()) {
            return Ok(Self::Secret(secret.into()));
        }
        let own = (name == "secret").then_some(Self::OwnSecret);
        let request = RequestPart::ALL.iter().find(|(known, _)| *known == name).map(|(_, part)| Self::Request(*part));
        match (own.or(request), vocabulary) {
            (Some(path), Vocabulary::Message) => Ok(path),
            (Some(Self::OwnSecret), _) => {
                Err(TemplateError::NotHere { name: name.into(), reason: "name the secret: {secret.NAME}" })
            }
            (Some(_), _) => Err(TemplateError::NotHere {
                name: name.into(),
                reason: "parts of the request can only stand in `signature.message`",
            }),
            (None, _) => Err(TemplateError::UnknownName { name: name.into(), hint: hint(name, vocabulary) }),
        }
    }

    /// What type of value it leads to.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Event(part) | Self::Original(part) => part.kind(),
            Self::Attempt => Kind::Number,
            Self::Timestamp => Kind::Seconds,
            Self::EventId
            | Self::DeliveryId
            | Self::Nonce
            | Self::Secret(_)
            | Self::OwnSecret
            | Self::Signature
            | Self::Request(_) => Kind::Text,
        }
    }

    /// Whether its value must not be kept on record.
    pub(super) fn is_confidential(&self) -> bool {
        match self {
            Self::Secret(_) | Self::OwnSecret | Self::Signature => true,
            Self::Event(_)
            | Self::Original(_)
            | Self::EventId
            | Self::DeliveryId
            | Self::Attempt
            | Self::Timestamp
            | Self::Nonce
            | Self::Request(_) => false,
        }
    }

    /// Whether its value came from outside and may be a macro that somebody forgot to fill in.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self, Self::Event(_) | Self::Original(_))
    }

    /// The value it leads to.
    pub(super) fn value<'a>(&'a self, environment: &Environment<'a>) -> Result<Value<'a>, RenderError> {
        let scope = environment.scope;
        let text = |text: String| Value::Text(Cow::Owned(text));
        Ok(match self {
            Self::Secret(_) | Self::OwnSecret | Self::Signature if environment.view == View::Record => Value::Masked,
            Self::Event(part) => part.value(scope.event),
            Self::Original(part) => match (scope.original, part) {
                (Some(original), part) => part.value(original),
                // The reversal itself says which transaction it undoes.
                (None, Part::TransactionId) => Part::Reverses.value(scope.event),
                (None, _) => Value::Missing,
            },
            Self::EventId => text(scope.event_id.to_string()),
            Self::DeliveryId if planted(Bug::FreshKeys) => text(format!("{}-{}", scope.delivery_id, scope.attempt)),
            Self::DeliveryId => text(scope.delivery_id.to_string()),
            Self::Attempt => Value::Number(Decimal::from(scope.attempt)),
            Self::Timestamp => Value::Seconds(scope.timestamp),
            Self::Nonce => Value::Text(Cow::Borrowed(scope.nonce)),
            Self::Secret(name) => secret(environment, name)?,
            Self::OwnSecret => {
                environment.own_secret.map_or(Value::Missing, |secret| Value::Text(Cow::Borrowed(secret)))
            }
            Self::Signature => {
                environment.signature.map_or(Value::Missing, |signature| Value::Text(Cow::Borrowed(signature)))
            }
            Self::Request(part) => environment.part.map_or(Value::Missing, |look_up| Value::Text(look_up(*part))),
        })
    }

    /// The currency that goes with its amounts.
    pub(super) fn currency(&self, environment: &Environment<'_>) -> Option<Currency> {
        match self {
            Self::Original(_) => environment.scope.original?.currency,
            Self::Event(_)
            | Self::EventId
            | Self::DeliveryId
            | Self::Attempt
            | Self::Timestamp
            | Self::Nonce
            | Self::Secret(_)
            | Self::OwnSecret
            | Self::Signature
            | Self::Request(_) => environment.scope.event.currency,
        }
    }
}

fn secret<'a>(environment: &Environment<'a>, name: &str) -> Result<Value<'a>, RenderError> {
    let current = environment.scope.secrets.get(name).and_then(<[_]>::first);
    let current = current.ok_or_else(|| RenderError::UnknownSecret { name: name.into() })?;
    Ok(Value::Text(Cow::Borrowed(current.expose_secret())))
}

/// What may have been meant by an unknown name, as the end of a sentence.
fn hint(name: &str, vocabulary: Vocabulary) -> String {
    let (prefix, rest) = match name.strip_prefix("original.") {
        Some(rest) => ("original.", rest),
        None => ("", name),
    };
    let lower = rest.to_ascii_lowercase();
    let fields = PARTS.iter().map(|(name, _)| *name);
    let built_in = BUILT_IN.iter().map(|(name, _)| *name).filter(|_| prefix.is_empty());
    let parts = RequestPart::ALL.iter().map(|(name, _)| *name).filter(|_| vocabulary == Vocabulary::Message);
    match nearest(&lower, fields.chain(built_in).chain(parts)) {
        Some(near) => format!("; did you mean {:?}?", format!("{prefix}{near}")),
        None => "; give a partner's own token a meaning under `macros`, or use sub_ids.… or params.…".into(),
    }
}

impl Part {
    fn resolve(name: &str) -> Option<Self> {
        if let Some((_, part)) = PARTS.iter().find(|(known, _)| *known == name) {
            return Some(part.clone());
        }
        let entry = |key: &str| (!key.is_empty() && key.len() <= MAX_KEY_LENGTH).then(|| key.to_owned());
        let (parent, key) = name.split_once('.')?;
        match parent {
            "sub_ids" => entry(key).map(Self::SubId),
            "params" => entry(key).map(Self::Param),
            _ => None,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::TransactionId
            | Self::Type
            | Self::AffiliateId
            | Self::ClickId
            | Self::OfferId
            | Self::Status
            | Self::Currency
            | Self::Reverses => Kind::Text,
            Self::OccurredAt => Kind::Time,
            Self::Payout | Self::Revenue => Kind::Number,
            Self::SubIds | Self::Params => Kind::Object,
            Self::SubId(_) | Self::Param(_) => Kind::Any,
        }
    }

    fn value<'a>(&self, event: &'a Event) -> Value<'a> {
        let text = |text: &'a str| Value::Text(Cow::Borrowed(text));
        let optional = |value: Option<&'a str>| value.map_or(Value::Missing, text);
        match self {
            Self::TransactionId => event.operators_transaction_id().map_or(Value::Missing, |id| text(id.as_str())),
            Self::Type => text(event.kind.as_str()),
            Self::AffiliateId => text(event.affiliate_id.as_str()),
            Self::ClickId => optional(event.click_id.as_ref().map(ClickId::as_str)),
            Self::OfferId => optional(event.offer_id.as_ref().map(OfferId::as_str)),
            Self::Status => text(event.status.name()),
            Self::OccurredAt => Value::Time(event.occurred_at),
            Self::Payout => event.payout.map_or(Value::Missing, |amount| Value::Number(amount.decimal())),
            Self::Revenue => event.revenue.map_or(Value::Missing, |amount| Value::Number(amount.decimal())),
            Self::Currency => optional(event.currency.map(Currency::code)),
            Self::Reverses => optional(event.reverses.as_ref().map(TransactionId::as_str)),
            Self::SubIds => Value::SubIds(&event.sub_ids),
            Self::SubId(key) => optional(event.sub_ids.get(key).map(String::as_str)),
            Self::Params => Value::Params(&event.params),
            Self::Param(key) => match event.params.get(key) {
                None => Value::Missing,
                Some(ParamValue::Text(value)) => text(value),
                Some(ParamValue::Number(value)) => Value::Number(value.decimal()),
                Some(ParamValue::Boolean(value)) => Value::Bool(*value),
            },
        }
    }
}
