//! `[postback.signature]`.

use super::item::Item;
use super::secrets::Secret;
use super::section::Section;
use crate::domain::id::PostbackName;
use crate::domain::signature::{
    Algorithm, CustomSource, Output, ParameterForm, PlaceSource, SecretEncoding, SignatureSource,
};

/// What the table says.
pub(super) enum Read<'a> {
    /// There is none.
    None,
    /// It is wrong, which has been reported.
    Faulty,
    /// A signature.
    Source {
        /// How it is made.
        source: SignatureSource,
        /// Its secret, where that is not one of `[secrets]`.
        own: Option<Box<Secret<'a>>>,
    },
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Custom,
    StandardWebhooks,
}

/// The name of a signature's secret.
pub(super) fn secret_name(source: &SignatureSource) -> &str {
    match source {
        SignatureSource::StandardWebhooks { secret } => secret,
        SignatureSource::Custom(custom) => &custom.secret,
    }
}

/// Reads the signature of a postback.
pub(super) fn read<'a>(postback: &mut Section<'a>, name: Option<&PostbackName>) -> Read<'a> {
    let Some(item) = postback.get("signature") else { return Read::None };
    let Some(mut section) = item.section() else { return Read::Faulty };
    let kinds = [("custom", Kind::Custom), ("standard-webhooks", Kind::StandardWebhooks)];
    let kind =
        section.require("scheme", "use \"standard-webhooks\" or \"custom\"").and_then(|item| item.choose(&kinds));
    let secret = section.require("secret", "name one of [secrets], or write a reference such as { file = \"path\" }");
    let secret = secret.and_then(|item| self::secret(&item, name));
    let source = match (kind, secret) {
        (Some(Kind::StandardWebhooks), secret) => {
            for key in CUSTOM_KEYS {
                if let Some(item) = section.get(key) {
                    item.fault("does not go with scheme = \"standard-webhooks\", which settles it", "remove it");
                }
            }
            secret.map(|(secret, own)| (SignatureSource::StandardWebhooks { secret }, own))
        }
        (Some(Kind::Custom), secret) => custom(&mut section, secret),
        (None, _) => {
            for key in CUSTOM_KEYS {
                section.accept(key);
            }
            None
        }
    };
    section.finish();
    source.map_or(Read::Faulty, |(source, own)| Read::Source { source, own })
}

const CUSTOM_KEYS: [&str; 6] = ["algorithm", "secret_encoding", "message", "joiner", "parameters", "place"];

/// A name of `[secrets]`, or a secret of its own under a name that no macro can hold.
fn secret<'a>(item: &Item<'a>, postback: Option<&PostbackName>) -> Option<(String, Option<Box<Secret<'a>>>)> {
    if item.value.get_ref().is_str() {
        return Some((item.filled_text()?.into(), None));
    }
    let secret = Secret::read(item)?;
    let name = postback.map_or("signature".into(), |postback| format!("signature of {postback}"));
    Some((name, Some(Box::new(secret))))
}

fn custom<'a>(
    section: &mut Section<'a>,
    secret: Option<(String, Option<Box<Secret<'a>>>)>,
) -> Option<(SignatureSource, Option<Box<Secret<'a>>>)> {
    let algorithms = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    let algorithm = section.require("algorithm", "write it, such as \"hmac-sha256\"");
    let algorithm = algorithm.and_then(|item| item.choose(&algorithms));
    let encodings = SecretEncoding::ALL.map(|encoding| (encoding.name(), encoding));
    let secret_encoding = section.read("secret_encoding", |item| {
        let known = item.value.get_ref().as_str().and_then(SecretEncoding::parse);
        known.or_else(|| item.choose(&encodings))
    });
    let message = section.require("message", "write what is signed, such as \"{timestamp}.{body}\"");
    let message = message.and_then(|item| item.filled_text());
    let joiner = section.read("joiner", Item::text);
    let forms = ParameterForm::ALL.map(|form| (form.name(), form));
    let parameters = section.read("parameters", |item| item.choose(&forms));
    let place =
        section.require("place", "say where it goes, such as { query = \"sig\" } or { header = \"X-Signature\" }");
    let place = place.and_then(|item| self::place(&item));
    let (place, output) = place?;
    let (secret, own) = secret?;
    let source = CustomSource {
        algorithm: algorithm?,
        secret,
        secret_encoding: secret_encoding.unwrap_or_default(),
        message: message?.into(),
        joiner: joiner.map(str::to_owned),
        parameters: parameters.unwrap_or_default(),
        output,
        place,
    };
    Some((SignatureSource::Custom(source), own))
}

fn place(item: &Item<'_>) -> Option<(PlaceSource, Output)> {
    let mut section = item.section()?;
    let query = section.get("query");
    let header = section.get("header");
    let template = section.get("template");
    let repeat = section.get("repeat");
    let outputs = Output::ALL.map(|output| (output.name(), output));
    let output = section.read("encoding", |item| item.choose(&outputs)).unwrap_or_default();
    section.finish();
    let place = match (query, header) {
        (Some(query), None) => {
            for item in [template, repeat].into_iter().flatten() {
                item.fault("goes only with a header", "remove it");
            }
            PlaceSource::Query(query.filled_text()?.into())
        }
        (None, Some(header)) => {
            let text = |item: Option<Item<'_>>| match item.map(|item| item.filled_text().map(str::to_owned)) {
                Some(text) => text.map(Some),
                None => Some(None),
            };
            PlaceSource::Header { name: header.filled_text()?.into(), value: text(template)?, repeat: text(repeat)? }
        }
        (Some(_), Some(_)) => {
            item.fault("names both query and header", "keep one of them");
            return None;
        }
        (None, None) => {
            item.fault("names neither query nor header", "write { query = \"sig\" } or { header = \"X-Signature\" }");
            return None;
        }
    };
    Some((place, output))
}
