//! The request of a postback: method, URL, headers, body, macros, and the signature that goes with it.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;

use super::affiliate::Surroundings;
use super::item::Item;
use super::json;
use super::problem::Weight;
use super::secrets::{Declared, Secret};
use super::section::Section;
use super::signature;
use crate::domain::event::nearest;
use crate::domain::id::PostbackName;
use crate::domain::request::{BodySource, OnEmpty, RequestFault, RequestSource, RequestTemplate};
use crate::domain::signature::{SignatureScheme, SignatureSource};
use crate::domain::template::{Delimiters, Expression, Secrets};

/// What to do about faults that do not say it themselves.
const LOOK_UP: &str = "correct it; config/affiliates/acme.toml shows every key";

/// A request as read, before it is compiled.
pub(super) struct Draft<'a> {
    source: RequestSource,
    signature: signature::Read<'a>,
}

/// What compiling needs beside the draft.
pub(super) struct Place<'p, 'a> {
    pub(super) section: &'p Section<'a>,
    pub(super) declared: &'p Declared<'a>,
    pub(super) enabled: bool,
    pub(super) surroundings: Surroundings<'a, 'p>,
}

/// A compiled request with what it needs.
pub(super) struct Compiled {
    pub(super) request: RequestTemplate,
    pub(super) secrets: Secrets,
    /// The partner's tokens and what they stand for.
    pub(super) macros: BTreeMap<String, String>,
}

/// Reads everything of a postback that makes its request.
pub(super) fn read<'a>(section: &mut Section<'a>, name: Option<&PostbackName>) -> Option<Draft<'a>> {
    let method = section.require("method", "write \"GET\" or \"POST\"").and_then(|item| item.text());
    let url = section.require("url", "write the URL that the partner gave you");
    let url = url.and_then(|item| item.filled_text());
    let headers = section.section("headers").map(|section| pairs(&section)).unwrap_or_default();
    let body = section.get("body").map_or(Some(BodySource::None), |item| body(item.section()?));
    let delimiters = section.read("delimiters", |item| {
        let styles = Delimiters::ALL.map(Delimiters::name).map(|style| format!("{style:?}")).join(", ");
        item.parsed(|text| Delimiters::parse(text).ok_or("is not a style of macros"), format!("use one of {styles}"))
    });
    let macros = section.section("macros").map(|section| pairs(&section)).unwrap_or_default();
    let on_empty = section.section("on_empty").map(|section| on_empty(&section)).unwrap_or_default();
    let insecure_http = section.read("insecure_http", Item::boolean).unwrap_or(false);
    let signature = signature::read(section, name);
    let source = RequestSource {
        method: method?.into(),
        url: url?.into(),
        headers,
        body: body?,
        delimiters: delimiters.unwrap_or_default(),
        macros: macros.into_iter().collect(),
        on_empty,
        insecure_http,
    };
    Some(Draft { source, signature })
}

/// A table of names and texts.
fn pairs(section: &Section<'_>) -> Vec<(String, String)> {
    let pair = |(name, item): (&str, Item<'_>)| Some((name.to_owned(), item.text()?.to_owned()));
    section.entries().into_iter().filter_map(pair).collect()
}

fn on_empty(section: &Section<'_>) -> BTreeMap<String, OnEmpty> {
    let choices = [("refuse", OnEmpty::Refuse), ("omit", OnEmpty::Omit), ("send", OnEmpty::Send)];
    let setting = |(name, item): (&str, Item<'_>)| Some((name.to_owned(), item.choose(&choices)?));
    section.entries().into_iter().filter_map(setting).collect()
}

/// Reads `[postback.body]`: exactly one of its kinds.
fn body(mut section: Section<'_>) -> Option<BodySource> {
    let kinds = ["form", "json", "json_text", "text"];
    let given: Vec<_> = kinds.into_iter().filter(|kind| section.has(kind)).collect();
    let form = section.section("form").map(|form| BodySource::Form(pairs(&form)));
    let json = section.read("json", |item| json::value(item).map(BodySource::Json));
    let json_text = section.read("json_text", |item| {
        let parse = |text: &str| serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"));
        match parse(item.filled_text()?) {
            Ok(document) => Some(BodySource::Json(document)),
            Err(message) => {
                item.fault(message, "write one JSON document; macros stand inside of its texts");
                None
            }
        }
    });
    let text = section.read("text", |item| item.filled_text().map(str::to_owned));
    let content_type = section.get("content_type");
    match (&content_type, given.as_slice()) {
        (None, ["text"]) => {
            let remedy = "write it, such as \"text/xml\": it decides how values are escaped";
            section.spot("content_type").add(Weight::Error, "is missing", remedy);
        }
        (Some(item), ["form" | "json" | "json_text"]) => {
            item.fault("goes only with text", "set a content-type header instead, if the partner asks for another");
        }
        _ => {}
    }
    match given.as_slice() {
        [_] => {}
        [] => section.spot("").add(Weight::Error, "says nothing", "use one of form, json, json_text, text"),
        [..] => section.spot("").add(
            Weight::Error,
            format!("has {} at once", given.join(" and ")),
            "keep one: a request has one body",
        ),
    }
    let content_type = content_type.and_then(|item| item.filled_text());
    section.finish();
    let text = text.zip(content_type).map(|(text, kind)| BodySource::Text { content_type: kind.into(), text });
    if given.len() == 1 { form.or(json).or(json_text).or(text) } else { None }
}

/// Compiles a draft; every fault is reported at the key it is about.
pub(super) fn compile(draft: Draft<'_>, place: &Place<'_, '_>) -> Option<Compiled> {
    let Draft { source, signature } = draft;
    let scheme = match &signature {
        signature::Read::None => Some(None),
        signature::Read::Faulty => None,
        signature::Read::Source { source: signature, .. } => scheme(signature, &source.macros, place).map(Some),
    };
    let request = RequestTemplate::compile(&source, scheme.clone().flatten());
    let request = request.map_err(|faults| add_faults(place.section, Weight::Error, faults)).ok()?;
    // Without its signature the request is only good for finding the rest of its faults.
    scheme?;
    add_faults(place.section, Weight::Warning, request.lints());
    if place.surroundings.knows_types {
        check_params(&request, place);
    }
    let secrets = secrets(&request, &signature, place)?;
    if place.enabled {
        add_faults(place.section, Weight::Error, request.check_secrets(&secrets));
    }
    Some(Compiled { request, secrets, macros: source.macros })
}

fn scheme(
    source: &SignatureSource,
    macros: &BTreeMap<String, String>,
    place: &Place<'_, '_>,
) -> Option<SignatureScheme> {
    SignatureScheme::compile(source, macros).map_err(|faults| add_faults(place.section, Weight::Error, faults)).ok()
}

/// Reports faults of the domain where their keys stand.
fn add_faults(section: &Section<'_>, weight: Weight, faults: Vec<RequestFault>) {
    for fault in faults {
        let (message, remedy) = split_remedy(&fault.detail);
        section.locate(&fault.key).add(weight, message, remedy.unwrap_or(LOOK_UP));
    }
}

/// Cuts what to do off what is wrong: they are joined by the first semicolon outside of quotes.
pub(super) fn split_remedy(detail: &str) -> (&str, Option<&str>) {
    let mut inside = false;
    let mut escaped = false;
    for (at, c) in detail.char_indices() {
        match c {
            '"' if !escaped => inside = !inside,
            ';' if !inside => {
                let (message, remedy) = detail.split_at(at);
                return (message, Some(remedy.trim_start_matches([';', ' '])).filter(|remedy| !remedy.is_empty()));
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    (detail, None)
}

/// Finds parameters that no event can carry: such a macro would be empty for ever.
fn check_params(request: &RequestTemplate, place: &Place<'_, '_>) {
    let types = &place.surroundings.dictionary.types;
    let known: BTreeSet<&str> = types.values().flat_map(|rule| rule.params.keys()).map(String::as_str).collect();
    let read: BTreeSet<&str> = request.expressions().filter_map(Expression::param).collect();
    for name in read.into_iter().filter(|name| !known.contains(name)) {
        let remedy = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean {:?}?", format!("params.{near}")),
            None => "allow it for an event type in the event dictionary".into(),
        };
        let message = format!("{:?} is a parameter that no event type has", format!("params.{name}"));
        place.section.locate_text(&format!("params.{name}")).add(Weight::Error, message, remedy);
    }
}

/// Gathers the secrets that the request names, and only these.
fn secrets(request: &RequestTemplate, signature: &signature::Read<'_>, place: &Place<'_, '_>) -> Option<Secrets> {
    let mut values: BTreeMap<String, Vec<SecretString>> = BTreeMap::new();
    let mut complete = true;
    let mut take = |name: &str, secret: &Secret<'_>| {
        secret.mark_used();
        if !place.enabled {
            return;
        }
        match secret.values(place.surroundings.variables) {
            Some(found) => drop(values.insert(name.into(), found.to_vec())),
            None => complete = false,
        }
    };
    let mut unknown = false;
    let mut named: BTreeSet<&str> = request.expressions().filter_map(Expression::secret).collect();
    match signature {
        signature::Read::Source { source, own: Some(secret) } => take(signature::secret_name(source), secret),
        signature::Read::Source { source, own: None } => {
            let name = signature::secret_name(source);
            // A name that is not declared may be a secret that was pasted: it is never repeated.
            if !place.declared.contains_key(name) {
                unknown = true;
                let remedy = match nearest(name, place.declared.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "name one of [secrets], or write a reference such as { file = \"path\" }; never the \
                             secret itself"
                        .into(),
                };
                let message = "is not the name of one of [secrets]";
                place.section.locate("signature.secret").add(Weight::Error, message, remedy);
            } else {
                named.insert(name);
            }
        }
        signature::Read::None | signature::Read::Faulty => {}
    }
    for name in named {
        match place.declared.get(name) {
            Some(Some(secret)) => take(name, secret),
            Some(None) => unknown = true,
            None => {
                unknown = true;
                let remedy = match nearest(name, place.declared.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean {:?}?", format!("secret.{near}")),
                    None => format!("add {name} to [secrets]"),
                };
                let message = format!("names the secret {name:?}, which [secrets] does not have");
                place.section.locate_text(&format!("secret.{name}")).add(Weight::Error, message, remedy);
            }
        }
    }
    (complete && !unknown).then(|| Secrets::new(values))
}
