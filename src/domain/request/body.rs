//! Bodies: none, a form, a JSON document, or text.

use serde_json::Value as Json;

use super::parameter::{self, Fate, Parameter, fate};
use super::{BodySource, OnEmpty, RequestFault};
use crate::domain::template::encode::{self, Place};
use crate::domain::template::{
    Delimiters, Emptiness, Environment, Expression, RenderError, Syntax, Template, TemplateError, foreign,
};

/// Deepest nesting of a JSON document.
const MAX_DEPTH: usize = 32;

/// A compiled body.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum BodyTemplate {
    None,
    Form(Vec<Parameter>),
    Json(Node),
    Text { content_type: String, place: Place, text: Template },
}

/// A part of a JSON document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// A value without macros, as JSON.
    Literal(String),
    /// A string that is exactly one expression: takes the JSON type of its value.
    Value {
        name: String,
        on_empty: Option<OnEmpty>,
        template: Template,
    },
    /// A string with expressions in it.
    Text {
        name: String,
        on_empty: Option<OnEmpty>,
        template: Template,
    },
    List(Vec<Node>),
    /// Members; each name as JSON.
    Object(Vec<(String, Node)>),
}

impl BodyTemplate {
    /// Compiles a body; faults carry keys such as `body.click_id`.
    pub(super) fn compile(source: &BodySource, syntax: &Syntax) -> Result<Self, Vec<RequestFault>> {
        let mut faults = Vec::new();
        let body = match source {
            BodySource::None => Self::None,
            BodySource::Form(pairs) => {
                Self::Form(pairs.iter().filter_map(|pair| form_parameter(pair, syntax, &mut faults)).collect())
            }
            BodySource::Json(document) => {
                let mut compiler = JsonCompiler { syntax, faults: &mut faults };
                let mut node = compiler.node(document, "", 0);
                node.insist();
                Self::Json(node)
            }
            BodySource::Text { content_type, text } => {
                if !content_type.contains('/') || !content_type.bytes().all(|b| matches!(b, b' '..=b'~')) {
                    let detail = "is not a content type such as text/xml";
                    faults.push(RequestFault::new("body.content_type", detail));
                }
                let text = compile("body.text", text, syntax, &mut faults).unwrap_or_else(empty);
                Self::Text { content_type: content_type.clone(), place: place_in(content_type), text }
            }
        };
        if faults.is_empty() { Ok(body) } else { Err(faults) }
    }

    /// The content type that goes with it.
    pub(super) fn content_type(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Form(_) => Some("application/x-www-form-urlencoded"),
            Self::Json(_) => Some("application/json"),
            Self::Text { content_type, .. } => Some(content_type),
        }
    }

    /// All templates in it.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let mut found = Vec::new();
        match self {
            Self::None => {}
            Self::Form(parameters) => {
                found.extend(parameters.iter().flat_map(|p| [Some(&p.key), p.value.as_ref()]).flatten());
            }
            Self::Json(node) => node.templates(&mut found),
            Self::Text { text, .. } => found.push(text),
        }
        found
    }

    /// Each parameter's name and its setting.
    pub(super) fn on_empty(&mut self) -> Vec<(&str, &mut Option<OnEmpty>)> {
        let mut found = Vec::new();
        match self {
            Self::None | Self::Text { .. } => {}
            Self::Form(parameters) => {
                found.extend(parameters.iter_mut().map(|p| (p.name.as_str(), &mut p.on_empty)));
            }
            Self::Json(node) => node.on_empty(&mut found),
        }
        found
    }

    /// The body for one attempt.
    pub(super) fn render<'t>(&'t self, environment: &Environment<'t>) -> Result<String, RenderError> {
        let mut body = String::new();
        match self {
            Self::None => {}
            Self::Form(parameters) => parameter::render_all(parameters, environment, Place::Form, "", &mut body)?,
            Self::Json(node) => {
                node.render(environment, &mut body)?;
            }
            Self::Text { place, text, .. } => {
                let found = text.render(environment, *place, &mut body)?;
                // Only an empty click or transaction counts here: text has no parameters that could be left out.
                fate("body", None, &found)?;
            }
        }
        Ok(body)
    }
}

/// Compiles a text, collecting faults under a key.
pub(super) fn compile(key: &str, text: &str, syntax: &Syntax, faults: &mut Vec<RequestFault>) -> Option<Template> {
    match Template::compile(text, syntax) {
        Ok(template) => Some(template),
        Err(errors) => {
            // A partner's token that stands for nothing sensible is reported once, under its own key.
            let own = errors.iter().filter(|error| !matches!(error, TemplateError::Macro { .. }));
            faults.extend(own.map(|error| RequestFault::new(key, error.to_string())));
            None
        }
    }
}

fn empty() -> Template {
    Template::from_pieces(Vec::new())
}

/// The fault of literal text that is a macro in another style.
pub(super) fn other_style(key: &str, template: &Template, delimiters: Delimiters) -> Option<RequestFault> {
    let (text, what) = template.literals().find_map(|text| foreign::unfilled(text).map(|what| (text, what)))?;
    let detail = format!(
        "holds {text:?}, which looks like {what} and would be sent as it stands; macros are written {} here: set `delimiters` to match, or fill it in",
        delimiters.name()
    );
    Some(RequestFault::new(key, detail))
}

fn form_parameter(
    (name, value): &(String, String),
    syntax: &Syntax,
    faults: &mut Vec<RequestFault>,
) -> Option<Parameter> {
    let at = format!("body.{name}");
    let key = compile(&at, name, syntax, faults);
    let value = compile(&at, value, syntax, faults);
    let (key, value) = (key?, value?);
    faults.extend(other_style(&at, &value, syntax.delimiters));
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    Some(Parameter {
        name: name.clone(),
        key: key.with_literals(encoded),
        value: Some(value.with_literals(encoded)),
        on_empty: None,
    })
}

/// How values are written in text of a content type.
fn place_in(content_type: &str) -> Place {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is = |name: &str| essence.ends_with(&format!("/{name}")) || essence.ends_with(&format!("+{name}"));
    if is("json") || essence.ends_with("ndjson") {
        Place::Json
    } else if is("xml") || is("html") {
        Place::Xml
    } else if is("x-www-form-urlencoded") {
        Place::Form
    } else {
        Place::Plain
    }
}

struct JsonCompiler<'c> {
    syntax: &'c Syntax,
    faults: &'c mut Vec<RequestFault>,
}

impl JsonCompiler<'_> {
    fn node(&mut self, document: &Json, name: &str, depth: usize) -> Node {
        if depth > MAX_DEPTH {
            let detail = format!("is nested deeper than {MAX_DEPTH} levels");
            self.faults.push(RequestFault::new(key_of(name), detail));
            return Node::Literal(String::new());
        }
        match document {
            Json::Null | Json::Bool(_) | Json::Number(_) => Node::Literal(document.to_string()),
            Json::String(text) => self.text(text, name),
            Json::Array(entries) => Node::List(entries.iter().map(|entry| self.node(entry, name, depth + 1)).collect()),
            Json::Object(members) => Node::Object(
                members
                    .iter()
                    .map(|(key, value)| {
                        let inner = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                        self.check_member(key, &inner);
                        (quoted(key), self.node(value, &inner, depth + 1))
                    })
                    .collect(),
            ),
        }
    }

    fn check_member(&mut self, key: &str, name: &str) {
        let literal = Template::compile(key, self.syntax).is_ok_and(|template| template.is_literal());
        if !literal {
            let detail = "the name of a member cannot hold a macro";
            self.faults.push(RequestFault::new(key_of(name), detail));
        }
    }

    fn text(&mut self, text: &str, name: &str) -> Node {
        let key = key_of(name);
        let Some(template) = compile(&key, text, self.syntax, self.faults) else {
            return Node::Literal(String::new());
        };
        self.faults.extend(other_style(&key, &template, self.syntax.delimiters));
        let name = name.to_owned();
        if template.is_literal() {
            return Node::Literal(quoted(text));
        }
        if template.single().is_some() {
            return Node::Value { name, on_empty: None, template };
        }
        let escaped = |text: &str| {
            let mut out = String::new();
            encode::push_json(text, &mut out);
            out
        };
        Node::Text { name, on_empty: None, template: template.with_literals(escaped) }
    }
}

fn key_of(name: &str) -> String {
    if name.is_empty() { "body".into() } else { format!("body.{name}") }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    encode::push_json(text, &mut out);
    out.push('"');
    out
}

impl Node {
    /// Refuses an empty value where it is the whole document: there is nothing it could be left out of.
    fn insist(&mut self) {
        match self {
            Self::Value { name, on_empty, .. } | Self::Text { name, on_empty, .. } => {
                "body".clone_into(name);
                *on_empty = Some(OnEmpty::Refuse);
            }
            Self::Literal(_) | Self::List(_) | Self::Object(_) => {}
        }
    }

    fn templates<'n>(&'n self, found: &mut Vec<&'n Template>) {
        match self {
            Self::Literal(_) => {}
            Self::Value { template, .. } | Self::Text { template, .. } => found.push(template),
            Self::List(nodes) => nodes.iter().for_each(|node| node.templates(found)),
            Self::Object(members) => members.iter().for_each(|(_, node)| node.templates(found)),
        }
    }

    fn on_empty<'n>(&'n mut self, found: &mut Vec<(&'n str, &'n mut Option<OnEmpty>)>) {
        match self {
            Self::Literal(_) => {}
            Self::Value { name, on_empty, .. } | Self::Text { name, on_empty, .. } => found.push((name, on_empty)),
            Self::List(nodes) => nodes.iter_mut().for_each(|node| node.on_empty(found)),
            Self::Object(members) => members.iter_mut().for_each(|(_, node)| node.on_empty(found)),
        }
    }

    /// Appends the JSON; says whether it may stay.
    pub(super) fn render<'t>(&'t self, environment: &Environment<'t>, out: &mut String) -> Result<Fate, RenderError> {
        match self {
            Self::Literal(json) => {
                out.push_str(json);
                Ok(Fate::Keep)
            }
            Self::Value { name, on_empty, template } => {
                let Some(expression) = template.single() else { return Ok(Fate::Omit) };
                render_value(expression, name, *on_empty, environment, out)
            }
            Self::Text { name, on_empty, template } => {
                out.push('"');
                let found = template.render(environment, Place::JsonDocument, out)?;
                out.push('"');
                fate(name, *on_empty, &found)
            }
            Self::List(nodes) => {
                let entries = nodes.iter().map(|node| ("", node));
                render_entries(entries, ['[', ']'], environment, out)?;
                Ok(Fate::Keep)
            }
            Self::Object(members) => {
                let entries = members.iter().map(|(key, node)| (key.as_str(), node));
                render_entries(entries, ['{', '}'], environment, out)?;
                Ok(Fate::Keep)
            }
        }
    }
}

fn render_value<'t>(
    expression: &'t Expression,
    name: &str,
    on_empty: Option<OnEmpty>,
    environment: &Environment<'t>,
    out: &mut String,
) -> Result<Fate, RenderError> {
    let value = expression.evaluate(environment)?;
    let mut found = Emptiness::default();
    found.count(expression, &value);
    value.push_json(out);
    fate(name, on_empty, &found)
}

fn render_entries<'t>(
    entries: impl Iterator<Item = (&'t str, &'t Node)>,
    [open, close]: [char; 2],
    environment: &Environment<'t>,
    out: &mut String,
) -> Result<(), RenderError> {
    out.push(open);
    let mut first = true;
    for (key, node) in entries {
        let mark = out.len();
        if !first {
            out.push(',');
        }
        if !key.is_empty() {
            out.push_str(key);
            out.push(':');
        }
        match node.render(environment, out)? {
            Fate::Keep => first = false,
            Fate::Omit => out.truncate(mark),
        }
    }
    out.push(close);
    Ok(())
}
