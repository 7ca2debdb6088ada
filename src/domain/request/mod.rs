//! Requests: what a postback's template becomes for one attempt, and what is kept of it.
//!
//! [`RequestTemplate::compile`] checks everything that can be known without an event and reports all faults at
//! once. [`RequestTemplate::render`] writes every value in the encoding of its place, signs the result, and makes a
//! second copy for the record in which secrets and signatures are [`MASK`](crate::domain::template)ed: it is rendered
//! with masks, never searched for secrets. Only what the receiver answers has to be searched: for that, the request
//! carries what is [`Concealed`].
//!
//! # Empty values
//!
//! A parameter is a pair of the query or a form, a JSON member, or a header. Its `on_empty` decides:
//!
//! - not set: an empty `click_id` or `transaction_id` (also of the original) refuses the request; else the parameter is
//!   left out when all of its expressions are empty, and sent with what there is when only some are;
//! - `refuse`: one empty expression refuses the request;
//! - `omit`: left out when all of its expressions are empty, whichever they are;
//! - `send`: sent as it is, such as `pid=`; in JSON as `""`, never as `null`.
//!
//! A name that comes out empty takes its parameter with it. An empty expression in the path always refuses. In a text
//! body an empty click or transaction refuses, and other empty expressions leave nothing behind. JSON members are named
//! by their path (`data.click.id`), or by their own name where no path is meant.
//!
//! # JSON
//!
//! A string of a JSON document that is exactly one expression takes the JSON type of its value: amounts are numbers with
//! exactly their digits (`fixed(2)` stays a number), booleans booleans, `sub_ids` and `params` objects. Filters that
//! give text (`json`, `upper`, …) give a string. Anything else is a string with the values written into it.
//!
//! # Raw
//!
//! `|raw` leaves the syntax of its place to the value: `&`, `=` and `%XX` in a query, `/` in a path, tags in XML. It never
//! lets a space, a control character or `#` into a URL, or a line break into a header.
//!
//! This module refuses to know how a request is sent.

mod body;
mod explain;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod headers;
mod lint;
mod parameter;
mod url;

pub use super::template::RenderError;
pub use explain::{Explanation, Part, PartFate, PartPlace, SignedText};

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

pub(crate) use self::url::is_plain;
use self::url::{Origin, UrlTemplate};
use super::concealed::Concealed;
use super::nearest::nearest;
use super::signature::{Placement, SignatureScheme, Unsigned};
use super::template::encode::Place;
use super::template::{Delimiters, Environment, Expression, Scope, Secrets, Syntax, Template, View};
use body::BodyTemplate;
pub(crate) use headers::header_name_problem;
use headers::{HeaderTemplate, compile_headers, with_usual};
use parameter::{Fate, fate};

/// Most bytes of a rendered URL.
pub const MAX_URL_BYTES: usize = 8 * 1024;
/// Most bytes of a rendered body.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Most bytes of a rendered header's value.
pub const MAX_HEADER_BYTES: usize = 4 * 1024;
/// Most headers of a template.
pub const MAX_HEADERS: usize = 64;

/// The methods that a postback may use.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// A request as the configuration describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestSource {
    /// GET, POST, PUT, PATCH or DELETE.
    pub method: String,
    /// The URL; macros may stand in path and query.
    pub url: String,
    /// Names and templates of headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: BodySource,
    /// What stands around a macro.
    pub delimiters: Delimiters,
    /// A partner's name of a token, and the expression of ours that it stands for.
    pub macros: BTreeMap<String, String>,
    /// What happens to a parameter whose value is empty, by the parameter's name.
    pub on_empty: BTreeMap<String, OnEmpty>,
    /// Whether plain http is allowed.
    pub insecure_http: bool,
}

/// A body as the configuration describes it.
#[derive(Debug, Clone, PartialEq)]
pub enum BodySource {
    /// No body.
    None,
    /// A form: names and values may hold macros.
    Form(Vec<(String, String)>),
    /// A JSON document whose strings may hold macros.
    Json(serde_json::Value),
    /// Any other text.
    Text {
        /// Its content type; decides how values are escaped.
        content_type: String,
        /// The text, which may hold macros.
        text: String,
    },
}

/// What happens to a parameter whose value is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnEmpty {
    /// No request is made.
    Refuse,
    /// The parameter is left out.
    Omit,
    /// The parameter is sent without a value.
    Send,
}

/// One thing wrong with a request's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFault {
    /// Where: `url`, `headers.X`, `body.x`, `signature.message`.
    pub key: String,
    /// What is wrong, and what to do.
    pub detail: String,
}

impl RequestFault {
    /// A fault at a key.
    pub(crate) fn new(key: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { key: key.into(), detail: detail.into() }
    }
}

/// A compiled request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestTemplate {
    method: String,
    url: UrlTemplate,
    headers: Vec<HeaderTemplate>,
    body: BodyTemplate,
    signature: Option<SignatureScheme>,
    /// Whether the record differs from what is sent also where nothing is signed.
    confidential: bool,
    lints: Vec<RequestFault>,
}

/// A request ready to be sent, and its record.
///
/// Shows only the record when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PreparedRequest {
    /// The method.
    pub method: String,
    /// The URL, in the form that a URL parser leaves as it is.
    pub url: String,
    /// The headers, with names in lower case, in the order in which they are sent.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// What is kept of it.
    pub record: RecordedRequest,
    /// SHA-256 over method, LF, URL, LF, each header as `name: value` and LF, LF, and the body.
    pub digest: [u8; 32],
    /// What must not be recorded of the answer.
    pub concealed: Concealed,
}

impl fmt::Debug for PreparedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedRequest")
            .field("record", &self.record)
            .field("digest", &hex::encode(self.digest))
            .finish_non_exhaustive()
    }
}

/// A request as it is kept: every secret and signature is `***`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// A rendered request before it is checked and split up.
#[derive(Clone)]
struct Draft {
    url: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl RequestTemplate {
    /// Compiles a request and the signature that goes with it.
    ///
    /// # Errors
    /// Every fault of the request.
    pub fn compile(source: &RequestSource, signature: Option<SignatureScheme>) -> Result<Self, Vec<RequestFault>> {
        let syntax = Syntax { delimiters: source.delimiters, macros: source.macros.clone() };
        let mut faults: Vec<_> = syntax
            .faults()
            .iter()
            .map(|(token, error)| RequestFault::new(format!("macros.{token}"), error.to_string()))
            .collect();
        faults.extend(check_method(source));
        let url = body::compile("url", &source.url, &syntax, &mut faults);
        let url = url.and_then(|template| {
            let url = UrlTemplate::compile(template, source.delimiters, source.insecure_http);
            url.map_err(|found| faults.extend(found)).ok()
        });
        let headers = compile_headers(&with_usual(&source.headers), &syntax, &mut faults);
        let body = BodyTemplate::compile(&source.body, &syntax).map_err(|found| faults.extend(found)).ok();
        let (Some(url), Some(body)) = (url, body) else { return Err(faults) };
        let mut request = Self {
            method: source.method.clone(),
            url,
            headers,
            body,
            signature,
            confidential: false,
            lints: Vec::new(),
        };
        request.lints = lint::find(source, &request.url);
        faults.extend(request.check_signature());
        faults.extend(request.set_on_empty(&source.on_empty));
        let confidential = request.unsigned_expressions().any(Expression::is_confidential);
        request.confidential = confidential;
        if faults.is_empty() { Ok(request) } else { Err(faults) }
    }

    /// What is allowed but most likely a mistake.
    pub fn lints(&self) -> Vec<RequestFault> {
        self.lints.clone()
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Scheme, host and port, which are the same for every event.
    pub fn origin(&self) -> &str {
        self.url.origin.as_str()
    }

    /// The same request to another receiver: path, query, headers and body stay what the template makes of them.
    ///
    /// `origin` is scheme, host and port, without a slash behind them.
    #[must_use]
    pub fn at_origin(&self, origin: &str) -> Self {
        let mut moved = self.clone();
        moved.url.origin = Origin::new(origin);
        moved
    }

    /// Every expression of URL, headers, body and signature.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.unsigned_expressions().chain(self.signature.iter().flat_map(SignatureScheme::expressions))
    }

    fn unsigned_expressions(&self) -> impl Iterator<Item = &Expression> {
        let headers = self.headers.iter().map(|header| &header.value);
        self.url.templates().chain(headers).chain(self.body.templates()).flat_map(Template::expressions)
    }

    /// Checks that every secret it reads exists and can be used.
    pub fn check_secrets(&self, secrets: &Secrets) -> Vec<RequestFault> {
        let read: std::collections::BTreeSet<_> = self.expressions().filter_map(Expression::secret).collect();
        let missing = read.into_iter().filter(|name| secrets.get(name).is_none()).map(|name| {
            RequestFault::new(format!("secrets.{name}"), RenderError::UnknownSecret { name: name.into() }.to_string())
        });
        missing.chain(self.signature.iter().flat_map(|signature| signature.check_secrets(secrets))).collect()
    }

    /// Makes the request of one attempt.
    ///
    /// # Errors
    /// When a value is missing, unfilled or unfit for its place, a secret is absent, or a bound is passed.
    pub fn render(&self, scope: &Scope<'_>) -> Result<PreparedRequest, RenderError> {
        let noted = RefCell::new(Vec::new());
        let for_wire = Environment { noted: Some(&noted), ..Environment::new(scope, View::Wire) };
        let for_record = Environment::new(scope, View::Record);
        let sent = self.unsigned(&for_wire)?;
        let kept = if self.confidential { self.unsigned(&for_record)? } else { sent.clone() };
        let draft = self.sign(sent, &for_wire)?;
        check_bounds(&draft, &self.url.origin)?;
        let record = self.record(self.sign(kept, &for_record)?);
        let Draft { url, headers, body } = draft;
        let digest = digest(&self.method, &url, &headers, body.as_bytes());
        let (method, body) = (self.method.clone(), Bytes::from(body));
        let concealed = scope.secrets.concealed().and(Concealed::new(noted.into_inner()));
        Ok(PreparedRequest { method, url, headers, body, record, digest, concealed })
    }

    fn record(&self, draft: Draft) -> RecordedRequest {
        let Draft { url, headers, body } = draft;
        RecordedRequest { method: self.method.clone(), url, headers, body }
    }

    /// Renders everything but the signature.
    fn unsigned(&self, environment: &Environment<'_>) -> Result<Draft, RenderError> {
        let places = environment.afresh();
        Ok(Draft {
            url: self.url.render(&places)?,
            headers: self.render_headers(&places)?,
            body: self.body.render(&places)?,
        })
    }

    /// Adds the signature to what is rendered.
    fn sign(&self, mut draft: Draft, environment: &Environment<'_>) -> Result<Draft, RenderError> {
        if let Some(signature) = &self.signature {
            let unsigned = Unsigned { method: &self.method, url: &draft.url, body: &draft.body };
            match signature.sign(unsigned, environment)? {
                Placement::Query(parameter) => {
                    draft.url.push(if draft.url.contains('?') { '&' } else { '?' });
                    draft.url.push_str(&parameter);
                }
                Placement::Headers(headers) => draft.headers.extend(headers),
            }
        }
        Ok(draft)
    }

    fn render_headers<'t>(&'t self, environment: &Environment<'t>) -> Result<Vec<(String, String)>, RenderError> {
        let mut headers = Vec::with_capacity(self.headers.len() + 4);
        for header in &self.headers {
            let mut text = String::new();
            let found = header.value.render(environment, Place::Header, &mut text)?;
            if fate(&header.name, header.on_empty, &found)? == Fate::Keep {
                headers.push((header.name.clone(), text));
            }
        }
        let given = self.headers.iter().any(|header| header.name == "content-type");
        if let Some(content_type) = self.body.content_type().filter(|_| !given) {
            headers.push(("content-type".into(), content_type.into()));
        }
        Ok(headers)
    }

    /// Finds what the signature adds and the template already has.
    fn check_signature(&self) -> Vec<RequestFault> {
        let Some(signature) = &self.signature else { return Vec::new() };
        let fault = |detail| RequestFault::new("signature.place", detail);
        let taken = signature.headers().into_iter().filter(|name| self.headers.iter().any(|h| h.name == **name));
        let mut faults: Vec<_> =
            taken.map(|name| fault(format!("header {name:?} is the signature's; remove it from `headers`"))).collect();
        if let Some(name) = signature.query_parameter()
            && self.url.parameters.iter().any(|parameter| parameter.key.label() == name)
        {
            faults.push(fault(format!("parameter {name:?} is the signature's; remove it from the url")));
        }
        faults
    }

    /// Hands each parameter its setting; a setting for nobody is a fault.
    fn set_on_empty(&mut self, settings: &BTreeMap<String, OnEmpty>) -> Vec<RequestFault> {
        let query = self.url.parameters.iter_mut().map(|p| (p.name.as_str(), &mut p.on_empty));
        let mut places: Vec<_> = query.chain(self.body.on_empty()).collect();
        let mut faults = Vec::new();
        for (name, setting) in settings {
            let header_name = name.to_ascii_lowercase();
            let headers = self.headers.iter_mut().filter(|header| header.name == header_name);
            let mut found = headers.map(|header| header.on_empty = Some(*setting)).count();
            let mut set = |is_meant: &dyn Fn(&str) -> bool| {
                let meant = places.iter_mut().filter(|(place, _)| is_meant(place));
                meant.map(|(_, on_empty)| **on_empty = Some(*setting)).count()
            };
            found += set(&|place| place == name);
            if found == 0 {
                found = set(&|place| place.rsplit('.').next() == Some(name));
            }
            if found == 0 {
                let near = nearest(name, places.iter().map(|(place, _)| *place));
                let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
                let detail = format!("the request has no parameter, header or member of this name{hint}");
                faults.push(RequestFault::new(format!("on_empty.{name}"), detail));
            }
        }
        faults
    }
}

fn check_method(source: &RequestSource) -> Vec<RequestFault> {
    let mut faults = Vec::new();
    if !METHODS.contains(&source.method.as_str()) {
        let detail = format!("{:?} is not one of {}", source.method, METHODS.join(", "));
        faults.push(RequestFault::new("method", detail));
    }
    if source.method == "GET" && source.body != BodySource::None {
        faults.push(RequestFault::new("body", "a GET request has no body; use POST, or put the values into the url"));
    }
    faults
}

fn check_bounds(draft: &Draft, origin: &Origin) -> Result<(), RenderError> {
    url::check(&draft.url, origin)?;
    let too_large = |what: String, length, limit| Err(RenderError::TooLarge { what, length, limit });
    if draft.body.len() > MAX_BODY_BYTES {
        return too_large("the body".into(), draft.body.len(), MAX_BODY_BYTES);
    }
    match draft.headers.iter().find(|(_, value)| value.len() > MAX_HEADER_BYTES) {
        Some((name, value)) => too_large(format!("header {name:?}"), value.len(), MAX_HEADER_BYTES),
        None => Ok(()),
    }
}

fn digest(method: &str, url: &str, headers: &[(String, String)], body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [method, "\n", url, "\n"] {
        hash.update(part);
    }
    for (name, value) in headers {
        for part in [name, ": ", value, "\n"] {
            hash.update(part);
        }
    }
    hash.update("\n");
    hash.update(body);
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
