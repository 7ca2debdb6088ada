//! What a template is rendered over.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use secrecy::SecretString;

use super::path::RequestPart;
use crate::domain::concealed::Concealed;
use crate::domain::event::Event;
use crate::domain::id::{DeliveryId, EventId};

/// What stands in a record where a secret or a signature stood in the request.
pub(crate) const MASK: &str = "***";

/// Everything that an expression may read for one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The event that is delivered.
    pub event: &'a Event,
    /// The event's id.
    pub event_id: EventId,
    /// The delivery's id; its text is the idempotency key.
    pub delivery_id: DeliveryId,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// The time of the attempt.
    pub timestamp: Timestamp,
    /// A text that no other attempt has.
    pub nonce: &'a str,
    /// The event that this one reverses, where it is known.
    pub original: Option<&'a Event>,
    /// The postback's secrets.
    pub secrets: &'a Secrets,
}

/// The secrets of a postback by name, each with its live values, the current one first.
///
/// Shows only names when printed.
#[derive(Clone, Default)]
pub struct Secrets {
    by_name: BTreeMap<String, Vec<SecretString>>,
    concealed: Concealed,
}

impl Secrets {
    /// Takes secrets by name; a name without any value counts as absent.
    pub fn new(secrets: BTreeMap<String, Vec<SecretString>>) -> Self {
        let concealed = Concealed::new(secrets.values().flatten().cloned());
        Self { by_name: secrets, concealed }
    }

    /// The live values of a secret, the current one first; never empty.
    pub fn get(&self, name: &str) -> Option<&[SecretString]> {
        self.by_name.get(name).map(Vec::as_slice).filter(|values| !values.is_empty())
    }

    /// The live values of all secrets, as what no answer may bring back.
    pub(crate) fn concealed(&self) -> &Concealed {
        &self.concealed
    }

    /// The names there are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

/// Whether a rendering is to be sent or to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// With secrets and signatures, for the receiver.
    Wire,
    /// With [`MASK`] in their place, for the record.
    Record,
}

/// A scope with what only the places of a request or a signature add to it.
#[derive(Clone, Copy)]
pub(crate) struct Environment<'a> {
    /// The attempt's values.
    pub(crate) scope: &'a Scope<'a>,
    /// Who the rendering is for.
    pub(crate) view: View,
    /// Parts of the request, for the message that is signed.
    pub(crate) part: Option<&'a dyn Fn(RequestPart) -> Cow<'a, str>>,
    /// The value of the signature's own secret that signs.
    pub(crate) own_secret: Option<&'a str>,
    /// The signature, for the header that carries it.
    pub(crate) signature: Option<&'a str>,
    /// Where every value is noted that is made of a secret or a signature.
    pub(crate) noted: Option<&'a RefCell<Vec<SecretString>>>,
}

impl<'a> Environment<'a> {
    /// An environment for the places of a request.
    pub(crate) fn new(scope: &'a Scope<'a>, view: View) -> Self {
        Self { scope, view, part: None, own_secret: None, signature: None, noted: None }
    }

    /// An environment for another place of the same rendering.
    pub(crate) fn afresh(&self) -> Environment<'_> {
        Environment { noted: self.noted, ..Environment::new(self.scope, self.view) }
    }

    /// Notes a value that must not come back in an answer.
    pub(crate) fn note(&self, value: &str) {
        if let Some(noted) = self.noted {
            noted.borrow_mut().push(value.into());
        }
    }
}
