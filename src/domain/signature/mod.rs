//! Signatures: what is signed, with which secret, and where the signature goes.
//!
//! A scheme is compiled once and applied to every attempt afresh, after the rest of the request is
//! finished and before anything is sent: render, sign, place.
//!
//! `standard-webhooks` follows <https://www.standardwebhooks.com>: `id.timestamp.body`, one signature for each live
//! secret. `custom` signs a message template over the request's parts and the event's fields with the current secret;
//! only a header whose value says how may carry a signature of each further live secret, too.
//!
//! This module refuses to know where secrets are kept and what else is in the request.

mod algorithm;
mod message;

pub use algorithm::{Algorithm, Output, SecretEncoding};
pub use message::ParameterForm;

use std::borrow::Cow;
use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::request::RequestFault;
use super::template::encode::{self, Place as Encoding};
use super::template::{
    Delimiters, Environment, Expression, MASK, RenderError, RequestPart, Scope, Secrets, Syntax, Template, View,
    Vocabulary,
};
use message::Parts;

/// A signature as the configuration asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureSource {
    /// The headers of the Standard Webhooks specification.
    StandardWebhooks {
        /// The name of the secret; its values are base64, with or without `whsec_` before it.
        secret: String,
    },
    /// Whatever else receivers ask for.
    Custom(CustomSource),
}

/// The parts of a custom signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomSource {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The name of the secret.
    pub secret: String,
    /// How the secret's text stands for the key's bytes. Plain hashes use the text as it is.
    pub secret_encoding: SecretEncoding,
    /// The message, a template in `{ }` over the request's parts and the event's fields.
    pub message: String,
    /// What stands between the entries of `{sorted_query}` (default `&`) and `{sorted_values}` (default nothing).
    pub joiner: Option<String>,
    /// How `{sorted_query}` and `{sorted_values}` write names and values.
    pub parameters: ParameterForm,
    /// How the signature is written.
    pub output: Output,
    /// Where the signature goes.
    pub place: PlaceSource,
}

/// Where a custom signature goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceSource {
    /// A query parameter of this name, behind all others.
    Query(String),
    /// A header.
    Header {
        /// Its name.
        name: String,
        /// Its value as a template in `{ }` around `{signature}`; `None` for the signature alone.
        value: Option<String>,
        /// What follows for each live secret behind the current one, as a template around its `{signature}`; `None`
        /// where only the current one signs.
        repeat: Option<String>,
    },
}

/// A compiled signature.
#[derive(Debug, Clone, PartialEq)]
pub struct SignatureScheme(Scheme);

#[derive(Debug, Clone, PartialEq)]
enum Scheme {
    StandardWebhooks { secret: String },
    Custom(Box<Custom>),
}

#[derive(Debug, Clone, PartialEq)]
struct Custom {
    algorithm: Algorithm,
    secret: String,
    secret_encoding: SecretEncoding,
    message: Template,
    joiner: Option<String>,
    parameters: ParameterForm,
    output: Output,
    place: Place,
}

#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// The parameter's name as it stands in the URL.
    Query(String),
    Header {
        name: String,
        value: Template,
        repeat: Option<Template>,
    },
}

/// A finished request without its signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) body: &'a str,
}

/// What a signature adds to a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Placement {
    /// `name=value`, in the form in which it stands in the URL.
    Query(String),
    /// Headers, with names in lower case.
    Headers(Vec<(String, String)>),
}

/// The headers of the Standard Webhooks specification.
const WEBHOOK_HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

impl SignatureScheme {
    /// Compiles a signature; `macros` are the postback's tokens, which its message may use too.
    ///
    /// # Errors
    /// Every fault, with keys such as `signature.message`.
    pub fn compile(source: &SignatureSource, macros: &BTreeMap<String, String>) -> Result<Self, Vec<RequestFault>> {
        let custom = match source {
            SignatureSource::StandardWebhooks { secret } => {
                let faults: Vec<_> = check_secret_name(secret).into_iter().collect();
                let scheme = Self(Scheme::StandardWebhooks { secret: secret.clone() });
                return if faults.is_empty() { Ok(scheme) } else { Err(faults) };
            }
            SignatureSource::Custom(custom) => custom,
        };
        let syntax = Syntax { delimiters: Delimiters::Brace, macros: macros.clone() };
        let mut faults: Vec<_> = check_secret_name(&custom.secret).into_iter().collect();
        let mut template = |key: &str, text: &str, vocabulary| match Template::compile_with(text, &syntax, vocabulary) {
            Ok(template) => Some(template),
            Err(errors) => {
                faults.extend(errors.iter().map(|error| RequestFault::new(key, error.to_string())));
                None
            }
        };
        let message = template("signature.message", &custom.message, Vocabulary::Message);
        let place = match &custom.place {
            PlaceSource::Query(name) => Some(Place::Query(encode::url_literal(name, Encoding::Query))),
            PlaceSource::Header { name, value, repeat } => {
                let mut template = |text| template("signature.place", text, Vocabulary::SignatureHeader);
                let value = template(value.as_deref().unwrap_or("{signature}"));
                let repeat = repeat.as_deref().map(template);
                let whole = repeat.as_ref().is_none_or(Option::is_some);
                value.filter(|_| whole).map(|value| Place::Header {
                    name: name.to_ascii_lowercase(),
                    value,
                    repeat: repeat.flatten(),
                })
            }
        };
        faults.extend(message.iter().flat_map(|message| check_message(custom, message)));
        faults.extend(check_place(&custom.place, place.as_ref()));
        match (message, place) {
            (Some(message), Some(place)) if faults.is_empty() => Ok(Self(Scheme::Custom(Box::new(Custom {
                algorithm: custom.algorithm,
                secret: custom.secret.clone(),
                secret_encoding: custom.secret_encoding,
                message,
                joiner: custom.joiner.clone(),
                parameters: custom.parameters,
                output: custom.output,
                place,
            })))),
            _ => Err(faults),
        }
    }

    /// The names of the headers that it adds, in lower case.
    pub(crate) fn headers(&self) -> Vec<&str> {
        match &self.0 {
            Scheme::StandardWebhooks { .. } => WEBHOOK_HEADERS.to_vec(),
            Scheme::Custom(custom) => match &custom.place {
                Place::Header { name, .. } => vec![name],
                Place::Query(_) => Vec::new(),
            },
        }
    }

    /// The name of the query parameter that it adds, as it stands in the URL.
    pub(crate) fn query_parameter(&self) -> Option<&str> {
        match &self.0 {
            Scheme::StandardWebhooks { .. } => None,
            Scheme::Custom(custom) => match &custom.place {
                Place::Query(name) => Some(name),
                Place::Header { .. } => None,
            },
        }
    }

    /// The expressions of its message and its header.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let (message, header, repeat) = match &self.0 {
            Scheme::StandardWebhooks { .. } => (None, None, None),
            Scheme::Custom(custom) => match &custom.place {
                Place::Header { value, repeat, .. } => (Some(&custom.message), Some(value), repeat.as_ref()),
                Place::Query(_) => (Some(&custom.message), None, None),
            },
        };
        message.into_iter().chain(header).chain(repeat).flat_map(Template::expressions)
    }

    /// The name of its secret.
    pub fn secret(&self) -> &str {
        match &self.0 {
            Scheme::StandardWebhooks { secret } => secret,
            Scheme::Custom(custom) => &custom.secret,
        }
    }

    /// The scheme in words, such as `custom, hmac-sha256 in hex, secret "acme-hmac"`.
    pub fn describe(&self) -> String {
        match &self.0 {
            Scheme::StandardWebhooks { secret } => format!("standard-webhooks, secret {secret:?}"),
            Scheme::Custom(custom) => {
                let (algorithm, output) = (custom.algorithm.name(), custom.output.name());
                format!("custom, {algorithm} in {output}, secret {:?}", custom.secret)
            }
        }
    }

    /// The text that is signed, for people: in a view for the record its secrets are masked.
    pub(crate) fn message(&self, request: Unsigned<'_>, given: &Environment<'_>) -> Result<String, RenderError> {
        match &self.0 {
            Scheme::StandardWebhooks { .. } => Ok(webhook_message(given.scope, request.body)),
            Scheme::Custom(custom) => custom.message(request, given, None),
        }
    }

    /// Checks that its secret exists, and that every live value is in the encoding asked for.
    pub fn check_secrets(&self, secrets: &Secrets) -> Vec<RequestFault> {
        let fault = |error: RenderError| vec![RequestFault::new("signature.secret", error.to_string())];
        let name = self.secret();
        let Some(values) = secrets.get(name) else {
            return fault(RenderError::UnknownSecret { name: name.into() });
        };
        let encoding = match &self.0 {
            Scheme::StandardWebhooks { .. } => SecretEncoding::Whsec,
            Scheme::Custom(custom) if custom.algorithm.is_keyed() => custom.secret_encoding,
            Scheme::Custom(_) => SecretEncoding::Utf8,
        };
        let bad = values.iter().any(|value| encoding.key(value.expose_secret()).is_none());
        if bad {
            return fault(RenderError::SecretEncoding { name: name.into(), encoding: encoding.name() });
        }
        Vec::new()
    }

    /// Signs a request, or writes what stands in its record.
    pub(crate) fn sign(&self, request: Unsigned<'_>, given: &Environment<'_>) -> Result<Placement, RenderError> {
        match &self.0 {
            Scheme::StandardWebhooks { secret } => {
                standard_webhooks(secret, request.body, given).map(Placement::Headers)
            }
            Scheme::Custom(custom) => custom.sign(request, given),
        }
    }
}

impl Custom {
    fn sign(&self, request: Unsigned<'_>, given: &Environment<'_>) -> Result<Placement, RenderError> {
        let live = live(given.scope.secrets, &self.secret)?;
        let signature = |secret: &SecretString| match given.view {
            View::Wire => self.signature(request, given, secret.expose_secret()),
            View::Record => Ok(MASK.to_owned()),
        };
        let (current, others) = live.split_first().ok_or_else(|| unknown(&self.secret))?;
        match &self.place {
            Place::Query(name) => {
                let mut parameter = format!("{name}=");
                match given.view {
                    View::Wire => {
                        // Cannot fail: only headers and XML refuse characters.
                        let _ = encode::push(&signature(current)?, Encoding::Query, false, &mut parameter);
                    }
                    View::Record => parameter.push_str(MASK),
                }
                Ok(Placement::Query(parameter))
            }
            Place::Header { name, value, repeat } => {
                let mut text = String::new();
                let again = others.iter().filter_map(|secret| Some((repeat.as_ref()?, secret)));
                for (template, secret) in std::iter::once((value, current)).chain(again) {
                    let signature = signature(secret)?;
                    let environment = Environment { signature: Some(&signature), ..given.afresh() };
                    template.render(&environment, Encoding::Header, &mut text)?;
                }
                Ok(Placement::Headers(vec![(name.clone(), text)]))
            }
        }
    }

    /// The text that is signed, with the value of the secret that signs it.
    fn message(
        &self,
        request: Unsigned<'_>,
        given: &Environment<'_>,
        own_secret: Option<&str>,
    ) -> Result<String, RenderError> {
        let parts = Parts { request, joiner: self.joiner.as_deref(), form: self.parameters };
        let look_up = |part: RequestPart| -> Cow<'_, str> { parts.get(part) };
        let environment = Environment { part: Some(&look_up), own_secret, ..given.afresh() };
        let mut message = String::new();
        self.message.render(&environment, Encoding::Plain, &mut message)?;
        Ok(message)
    }

    /// The signature by one live value of the secret.
    fn signature(&self, request: Unsigned<'_>, given: &Environment<'_>, secret: &str) -> Result<String, RenderError> {
        let message = self.message(request, given, Some(secret))?;
        let key = if self.algorithm.is_keyed() {
            self.secret_encoding.key(secret).ok_or_else(|| RenderError::SecretEncoding {
                name: self.secret.clone(),
                encoding: self.secret_encoding.name(),
            })?
        } else {
            Vec::new()
        };
        let signature = self.output.write(&self.algorithm.digest(&key, message.as_bytes()));
        given.note(&signature);
        Ok(signature)
    }
}

/// What the specification signs: `id.timestamp.body`.
fn webhook_message(scope: &Scope<'_>, body: &str) -> String {
    format!("{}.{}.{body}", scope.delivery_id, scope.timestamp.as_second())
}

/// The three headers of the specification; one signature for each live secret, the current one first.
fn standard_webhooks(secret: &str, body: &str, given: &Environment<'_>) -> Result<Vec<(String, String)>, RenderError> {
    let Environment { scope, view, .. } = *given;
    let id = scope.delivery_id.to_string();
    let timestamp = scope.timestamp.as_second().to_string();
    let values = live(scope.secrets, secret)?;
    let message = match view {
        View::Wire => webhook_message(scope, body),
        View::Record => String::new(),
    };
    let mut signatures = Vec::with_capacity(values.len());
    for value in values {
        let signature = match view {
            View::Wire => {
                let key = SecretEncoding::Whsec.key(value.expose_secret()).ok_or_else(|| {
                    RenderError::SecretEncoding { name: secret.into(), encoding: SecretEncoding::Whsec.name() }
                })?;
                let signature = Output::Base64.write(&Algorithm::HmacSha256.digest(&key, message.as_bytes()));
                given.note(&signature);
                signature
            }
            View::Record => MASK.to_owned(),
        };
        signatures.push(format!("v1,{signature}"));
    }
    let values = [id, timestamp, signatures.join(" ")];
    Ok(WEBHOOK_HEADERS.into_iter().map(str::to_owned).zip(values).collect())
}

/// The live values of a secret, the current one first; never empty.
fn live<'s>(secrets: &'s Secrets, name: &str) -> Result<&'s [SecretString], RenderError> {
    secrets.get(name).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> RenderError {
    RenderError::UnknownSecret { name: name.into() }
}

fn check_secret_name(name: &str) -> Option<RequestFault> {
    name.is_empty().then(|| RequestFault::new("signature.secret", "names no secret"))
}

fn check_message(source: &CustomSource, message: &Template) -> Vec<RequestFault> {
    let mut faults = Vec::new();
    let fault = |detail: &str| RequestFault::new("signature.message", detail);
    if message.pieces().is_empty() {
        faults.push(fault("is empty; name what is signed, such as {body} or {path_and_query}"));
    }
    let has_secret =
        message.expressions().any(|expression| expression.is_own_secret() || expression.secret().is_some());
    if !source.algorithm.is_keyed() && !has_secret {
        faults.push(fault("holds no {secret}: a plain hash without a secret can be made by anybody"));
    }
    faults
}

fn check_place(source: &PlaceSource, place: Option<&Place>) -> Vec<RequestFault> {
    let fault = |detail: &str| vec![RequestFault::new("signature.place", detail)];
    match (source, place) {
        (PlaceSource::Query(name), _) => {
            let fine = !name.is_empty() && !name.contains(|c: char| c.is_control() || "&=#? {}\"<>".contains(c));
            if fine { Vec::new() } else { fault("must name a query parameter without spaces, &, =, # or ?") }
        }
        (PlaceSource::Header { name, .. }, place) => {
            let mut faults = Vec::new();
            if let Some(problem) = super::request::header_name_problem(name) {
                faults.extend(fault(problem));
            }
            if let Some(Place::Header { value, repeat, .. }) = place {
                for template in std::iter::once(value).chain(repeat) {
                    if !template.expressions().any(Expression::is_signature) {
                        faults.extend(fault("is a header without {signature}"));
                    }
                    if template.literals().any(|text| text.chars().any(char::is_control)) {
                        faults.extend(fault("holds a control character, which a header must not carry"));
                    }
                }
            }
            faults
        }
    }
}

#[cfg(test)]
mod tests;
