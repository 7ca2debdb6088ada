//! Explanations: what a template makes of one event, part by part, for people.
//!
//! Everything is rendered for the record, so that no secret and no signature is in it. A part that would refuse the
//! request does not end the explanation: all refusals are told at once.

use super::body::{BodyTemplate, Node};
use super::parameter::{Fate, Parameter, fate};
use super::{PreparedRequest, RequestTemplate};
use crate::domain::signature::Unsigned;
use crate::domain::template::encode::Place;
use crate::domain::template::{Environment, MASK, RenderError, Scope, Template, View};

/// What a template makes of one event.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The request; the first refusal where there is none.
    pub request: Result<PreparedRequest, RenderError>,
    /// Everything that the request is made of, in order.
    pub parts: Vec<Part>,
    /// Every reason why no request can be made.
    pub refusals: Vec<RenderError>,
    /// What is signed, where the request is.
    pub signed: Option<SignedText>,
}

/// One part of a request: a parameter, a header, a member of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it stands.
    pub place: PartPlace,
    /// Its name, as the receiver reads it.
    pub name: String,
    /// Its value, as the receiver reads it; `None` where it is not sent.
    pub value: Option<String>,
    /// The template that it came from; `None` for fixed text.
    pub template: Option<String>,
    /// Whether it goes out.
    pub fate: PartFate,
}

/// Where a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartPlace {
    /// The URL's path.
    Path,
    /// The URL's query.
    Query,
    /// The headers.
    Header,
    /// The body.
    Body,
}

impl PartPlace {
    /// Its name for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Body => "body",
        }
    }
}

/// Whether a part goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartFate {
    /// It does.
    Sent,
    /// It is empty, and left out.
    Omitted,
    /// It refuses the whole request.
    Refused(RenderError),
}

/// What is signed, with every secret in it masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedText {
    /// The scheme in words, such as `custom, hmac-sha256 in hex, secret "acme-hmac"`.
    pub scheme: String,
    /// The text that goes into the signature.
    pub text: String,
}

impl RequestTemplate {
    /// Tells what the template makes of an event, without sending anything.
    pub fn explain(&self, scope: &Scope<'_>) -> Explanation {
        let environment = Environment::new(scope, View::Record);
        let mut parts = Vec::new();
        self.explain_url(&environment, &mut parts);
        for header in &self.headers {
            let mut text = String::new();
            let rendered = header.value.render(&environment, Place::Header, &mut text);
            let outcome = rendered.and_then(|found| fate(&header.name, header.on_empty, &found));
            parts.push(part(PartPlace::Header, &header.name, text, &header.value, outcome));
        }
        explain_body(&self.body, &environment, &mut parts);
        let request = self.render(scope);
        self.explain_signature(request.as_ref().ok(), &mut parts);
        let mut refusals: Vec<_> = parts.iter().filter_map(Part::refusal).cloned().collect();
        refusals.extend(request.as_ref().err().filter(|error| !refusals.contains(error)).cloned());
        let signed = request.is_ok().then(|| self.signed(&environment)).flatten();
        Explanation { request, parts, refusals, signed }
    }

    fn explain_url<'t>(&'t self, environment: &Environment<'t>, parts: &mut Vec<Part>) {
        let path = &self.url.path;
        if !path.is_literal() {
            let mut text = String::new();
            let outcome = path.render(environment, Place::Path, &mut text).and_then(|found| match found.first {
                Some(empty) => {
                    Err(RenderError::Empty { parameter: "url path".into(), expression: empty.text().into() })
                }
                None => Ok(Fate::Keep),
            });
            parts.push(part(PartPlace::Path, "", text, path, outcome));
        }
        for parameter in &self.url.parameters {
            explain_parameter(parameter, (PartPlace::Query, Place::Query), environment, parts);
        }
    }

    /// What the signature adds stands behind what it signs.
    fn explain_signature(&self, request: Option<&PreparedRequest>, parts: &mut Vec<Part>) {
        let Some(signature) = &self.signature else { return };
        let signed = |place, name: &str, value: Option<String>| Part {
            place,
            name: name.into(),
            value,
            template: Some("the signature".into()),
            fate: PartFate::Sent,
        };
        if let Some(name) = signature.query_parameter() {
            parts.push(signed(PartPlace::Query, name, Some(MASK.into())));
        }
        for name in signature.headers() {
            let headers = request.map(|request| request.record.headers.as_slice()).unwrap_or_default();
            let value = headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
            parts.push(signed(PartPlace::Header, name, value));
        }
    }

    fn signed(&self, environment: &Environment<'_>) -> Option<SignedText> {
        let signature = self.signature.as_ref()?;
        let draft = self.unsigned(environment).ok()?;
        let unsigned = Unsigned { method: &self.method, url: &draft.url, body: &draft.body };
        let text = signature.message(unsigned, environment).ok()?;
        Some(SignedText { scheme: signature.describe(), text })
    }
}

impl Part {
    /// Why it refuses the request, where it does.
    pub fn refusal(&self) -> Option<&RenderError> {
        match &self.fate {
            PartFate::Refused(error) => Some(error),
            PartFate::Sent | PartFate::Omitted => None,
        }
    }
}

fn part(place: PartPlace, name: &str, value: String, template: &Template, rendered: Result<Fate, RenderError>) -> Part {
    let (value, fate) = match rendered {
        Ok(Fate::Keep) => (Some(value), PartFate::Sent),
        Ok(Fate::Omit) => (None, PartFate::Omitted),
        Err(error) => (None, PartFate::Refused(error)),
    };
    let template = (!template.is_literal()).then(|| template.label());
    Part { place, name: name.into(), value, template, fate }
}

/// Explains a parameter as the receiver decodes it; one written with `|raw` may turn out to be several.
fn explain_parameter<'t>(
    parameter: &'t Parameter,
    (place, encoding): (PartPlace, Place),
    environment: &Environment<'t>,
    parts: &mut Vec<Part>,
) {
    let mut text = String::new();
    let rendered = parameter.render(environment, encoding, &mut text);
    let own = parameter.value.as_ref().unwrap_or(&parameter.key);
    let template = if own.is_literal() { &parameter.key } else { own };
    if !matches!(rendered, Ok(Fate::Keep)) {
        parts.push(part(place, &parameter.name, String::new(), template, rendered));
        return;
    }
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        parts.push(part(place, &name, value.into_owned(), template, Ok(Fate::Keep)));
    }
}

fn explain_body<'t>(body: &'t BodyTemplate, environment: &Environment<'t>, parts: &mut Vec<Part>) {
    match body {
        BodyTemplate::None => {}
        BodyTemplate::Form(parameters) => {
            for parameter in parameters {
                explain_parameter(parameter, (PartPlace::Body, Place::Form), environment, parts);
            }
        }
        BodyTemplate::Json(node) => explain_node(node, environment, parts),
        BodyTemplate::Text { place, text: template, .. } => {
            let mut text = String::new();
            let rendered = template.render(environment, *place, &mut text);
            let outcome = rendered.and_then(|found| fate("body", None, &found));
            parts.push(part(PartPlace::Body, "", text, template, outcome));
        }
    }
}

fn explain_node<'t>(node: &'t Node, environment: &Environment<'t>, parts: &mut Vec<Part>) {
    match node {
        Node::Literal(_) => {}
        Node::Value { name, template, .. } | Node::Text { name, template, .. } => {
            let mut text = String::new();
            let rendered = node.render(environment, &mut text);
            parts.push(part(PartPlace::Body, name, text, template, rendered));
        }
        Node::List(nodes) => nodes.iter().for_each(|node| explain_node(node, environment, parts)),
        Node::Object(members) => members.iter().for_each(|(_, node)| explain_node(node, environment, parts)),
    }
}
