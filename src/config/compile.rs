//! Compiling a request: faults of the domain are reported where their keys stand, and secrets are gathered.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;
use serde_json::Value;

use super::affiliate::Surroundings;
use super::problem::Weight;
use super::request::Draft;
use super::secrets::{Declared, Secret};
use super::section::Section;
use super::signature;
use crate::domain::nearest::nearest;
use crate::domain::request::{BodySource, RequestFault, RequestSource, RequestTemplate};
use crate::domain::signature::{SignatureScheme, SignatureSource};
use crate::domain::template::{Expression, Secrets, Syntax, Template};

/// What to do about faults that do not say it themselves.
const LOOK_UP: &str = "see the comments of config/affiliates/acme.toml";

/// What compiling needs beside the draft.
pub(super) struct Place<'p, 'a> {
    pub(super) section: &'p Section<'a>,
    pub(super) declared: &'p Declared<'a>,
    /// Whether the postback is switched on, so that its secrets must be there.
    pub(super) enabled: bool,
    pub(super) surroundings: Surroundings<'a, 'p>,
}

/// A compiled request with what it needs.
pub(super) struct Compiled {
    pub(super) request: RequestTemplate,
    pub(super) secrets: Secrets,
    pub(super) source: RequestSource,
    /// Whether its signature names the delivery, as Standard Webhooks do.
    pub(super) names_delivery: bool,
}

/// Compiles a draft; every fault is reported at the key it is about.
pub(super) fn compile(draft: Draft<'_>, place: &Place<'_, '_>) -> Option<Compiled> {
    let Draft { source, signature, whole } = draft;
    let scheme = match &signature {
        signature::Read::None => Ok(None),
        signature::Read::Faulty => Err(()),
        signature::Read::Source { source: signature, .. } => SignatureScheme::compile(signature, &source.macros)
            .map(Some)
            .map_err(|faults| add_faults(place.section, Weight::Error, faults)),
    };
    let sound = whole && scheme.is_ok();
    let request = RequestTemplate::compile(&source, scheme.unwrap_or_default())
        .map_err(|faults| add_faults(place.section, Weight::Error, faults));
    let names = match &request {
        Ok(request) => Names::read(request.expressions()),
        Err(()) => Names::read(templates(&source).iter().flat_map(Template::expressions)),
    };
    check_params(&names.params, place);
    let secrets = secrets(names.secrets, &signature, place);
    let (request, secrets) = (request.ok().filter(|_| sound)?, secrets?);
    add_faults(place.section, Weight::Warning, request.lints());
    if place.enabled {
        add_faults(place.section, Weight::Error, request.check_secrets(&secrets));
    }
    let names_delivery = match &signature {
        signature::Read::Source { source: SignatureSource::StandardWebhooks { .. }, .. } => true,
        signature::Read::Source { source: SignatureSource::Custom(_), .. }
        | signature::Read::None
        | signature::Read::Faulty => false,
    };
    Some(Compiled { request, secrets, source, names_delivery })
}

/// The names that a request reads and that are defined elsewhere in the configuration.
struct Names {
    params: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Names {
    fn read<'e>(expressions: impl Iterator<Item = &'e Expression>) -> Self {
        let mut names = Self { params: BTreeSet::new(), secrets: BTreeSet::new() };
        for expression in expressions {
            names.params.extend(expression.param().map(str::to_owned));
            names.secrets.extend(expression.secret().map(str::to_owned));
        }
        names
    }
}

/// The templates of a request that compile although others of it do not.
fn templates(source: &RequestSource) -> Vec<Template> {
    let syntax = Syntax { delimiters: source.delimiters, macros: source.macros.clone() };
    let mut texts = vec![source.url.as_str()];
    texts.extend(source.headers.iter().map(|(_, text)| text.as_str()));
    match &source.body {
        BodySource::None => {}
        BodySource::Form(pairs) => texts.extend(pairs.iter().flat_map(|(name, text)| [name.as_str(), text])),
        BodySource::Json(document) => json_texts(document, &mut texts),
        BodySource::Text { text, .. } => texts.push(text),
    }
    texts.into_iter().filter_map(|text| Template::compile(text, &syntax).ok()).collect()
}

fn json_texts<'j>(document: &'j Value, texts: &mut Vec<&'j str>) {
    match document {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => texts.push(text),
        Value::Array(entries) => entries.iter().for_each(|entry| json_texts(entry, texts)),
        Value::Object(members) => members.values().for_each(|member| json_texts(member, texts)),
    }
}

/// Reports faults of the domain where their keys stand.
fn add_faults(section: &Section<'_>, weight: Weight, faults: Vec<RequestFault>) {
    for fault in faults {
        let (message, remedy) = split_remedy(&fault.detail);
        section.locate(&fault.key).add(weight, message, remedy.unwrap_or(LOOK_UP));
    }
}

/// Cuts what to do off what is wrong: they are joined by the first semicolon outside of quotes.
fn split_remedy(detail: &str) -> (&str, Option<&str>) {
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
fn check_params(params: &BTreeSet<String>, place: &Place<'_, '_>) {
    if !place.surroundings.knows_types {
        return;
    }
    let types = &place.surroundings.dictionary.types;
    let known: BTreeSet<&str> = types.values().flat_map(|rule| rule.params.keys()).map(String::as_str).collect();
    for name in params.iter().filter(|name| !known.contains(name.as_str())) {
        let remedy = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean {:?}?", format!("params.{near}")),
            None => "allow it for an event type in the event dictionary".into(),
        };
        let message = format!("{:?} is a parameter that no event type has", format!("params.{name}"));
        place.section.locate_text(&format!("params.{name}")).add(Weight::Error, message, remedy);
    }
}

/// Gathers the secrets that the request names, and only these; `None` where one is not to be had.
fn secrets(mut named: BTreeSet<String>, signature: &signature::Read<'_>, place: &Place<'_, '_>) -> Option<Secrets> {
    let mut values = BTreeMap::new();
    let mut complete = true;
    if let signature::Read::Source { source, own } = signature {
        let name = signature::secret_name(source);
        match own {
            Some(secret) => complete &= take(name, secret, place, &mut values),
            None if place.declared.contains_key(name) => drop(named.insert(name.into())),
            None => {
                // It may be a secret that was pasted: it is never repeated.
                let own = "name one of [secrets], or write a reference such as { file = \"path\" }; never the secret";
                let near = nearest(name, place.declared.keys().map(String::as_str));
                let remedy = near.map_or(own.into(), |near| format!("did you mean {near:?}?"));
                let spot = place.section.locate("signature.secret");
                spot.add(Weight::Error, "is not the name of one of [secrets]", remedy);
                complete = false;
            }
        }
    }
    for name in named {
        complete &= match place.declared.get(&name) {
            Some(Some(secret)) => take(&name, secret, place, &mut values),
            // Its fault has been reported.
            Some(None) => false,
            None => {
                let near = nearest(&name, place.declared.keys().map(String::as_str));
                let remedy = match near {
                    Some(near) => format!("did you mean {:?}?", format!("secret.{near}")),
                    None => format!("add {name} to [secrets]"),
                };
                let message = format!("names the secret {name:?}, which [secrets] does not have");
                place.section.locate_text(&format!("secret.{name}")).add(Weight::Error, message, remedy);
                false
            }
        };
    }
    complete.then(|| Secrets::new(values))
}

/// Takes a secret's values, where they are needed; says whether they could be read.
fn take(
    name: &str,
    secret: &Secret<'_>,
    place: &Place<'_, '_>,
    values: &mut BTreeMap<String, Vec<SecretString>>,
) -> bool {
    secret.mark_used();
    if !place.enabled {
        return true;
    }
    let found = secret.values(place.surroundings.variables);
    if let Some(found) = found {
        values.insert(name.into(), found.to_vec());
    }
    found.is_some()
}

#[cfg(test)]
mod tests {
    use super::split_remedy;

    #[test]
    fn a_remedy_is_what_stands_behind_the_first_semicolon_outside_of_quotes() {
        assert_eq!(split_remedy("is wrong; do this; or that"), ("is wrong", Some("do this; or that")));
        assert_eq!(split_remedy(r#"holds "a;\";b"; fix it"#), (r#"holds "a;\";b""#, Some("fix it")));
        assert_eq!(split_remedy("is wrong"), ("is wrong", None));
    }
}
