//! The request of a postback: method, URL, headers, body, macros, and the signature that goes with it.

use std::collections::BTreeMap;

use super::item::Item;
use super::json;
use super::problem::Weight;
use super::section::Section;
use super::signature;
use crate::domain::id::PostbackName;
use crate::domain::request::{BodySource, OnEmpty, RequestSource};
use crate::domain::template::Delimiters;

/// A request as read, before it is compiled.
pub(super) struct Draft<'a> {
    pub(super) source: RequestSource,
    pub(super) signature: signature::Read<'a>,
    /// Whether all of it could be read. What could not has a stand-in, so that faults of the rest are found.
    pub(super) whole: bool,
}

/// Stands in for a URL that could not be read.
const NO_URL: &str = "https://receiver.example/";

/// Reads everything of a postback that makes its request.
pub(super) fn read<'a>(section: &mut Section<'a>, name: Option<&PostbackName>) -> Option<Draft<'a>> {
    let method = section.require("method", "write \"GET\" or \"POST\"").and_then(|item| item.text());
    let url = section.require("url", "write the URL that the partner gave you");
    let url = url.and_then(|item| item.filled_text());
    let headers = section
        .section("headers")
        .map(|section| texts(section.entries_by(str::to_ascii_lowercase)))
        .unwrap_or_default();
    let body = section.get("body").map_or(Some(BodySource::None), |item| body(item.section()?));
    let delimiters = section.get("delimiters").map(|item| {
        let styles = Delimiters::ALL.map(Delimiters::name).map(|style| format!("{style:?}")).join(", ");
        item.parsed(|text| Delimiters::parse(text).ok_or("is not a style of macros"), format!("use one of {styles}"))
    });
    let macros = section.section("macros").map(|section| pairs(&section)).unwrap_or_default();
    let on_empty = section.section("on_empty").map(|section| on_empty(&section)).unwrap_or_default();
    let insecure_http = section.read("insecure_http", Item::boolean).unwrap_or(false);
    let signature = signature::read(section, name);
    let whole = method.is_some() && url.is_some() && body.is_some();
    let source = RequestSource {
        method: method.unwrap_or("POST").into(),
        url: url.unwrap_or(NO_URL).into(),
        headers,
        body: body.unwrap_or(BodySource::None),
        // Without its delimiters, nothing can be said about a template.
        delimiters: delimiters.unwrap_or(Some(Delimiters::default()))?,
        macros: macros.into_iter().collect(),
        // A setting for a parameter that could not be read would seem to be for nobody.
        on_empty: if whole { on_empty } else { BTreeMap::new() },
        insecure_http,
    };
    Some(Draft { source, signature, whole })
}

/// A table of names and texts.
fn pairs(section: &Section<'_>) -> Vec<(String, String)> {
    texts(section.entries())
}

fn texts(entries: Vec<(&str, Item<'_>)>) -> Vec<(String, String)> {
    let pair = |(name, item): (&str, Item<'_>)| Some((name.to_owned(), item.text()?.to_owned()));
    entries.into_iter().filter_map(pair).collect()
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
