//! The parts of a finished request that a message may be made of.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::Unsigned;
use crate::domain::template::RequestPart;

/// How `{sorted_query}` and `{sorted_values}` write names and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParameterForm {
    /// As a receiver sees them once it has parsed the query: percent-decoded, `+` as a space.
    #[default]
    Decoded,
    /// As they stand in the URL.
    AsSent,
}

impl ParameterForm {
    /// Every form.
    pub const ALL: [Self; 2] = [Self::Decoded, Self::AsSent];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decoded => "decoded",
            Self::AsSent => "as-sent",
        }
    }

    /// Finds a form by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }
}

/// A finished request, taken apart on demand.
pub(super) struct Parts<'a> {
    pub(super) request: Unsigned<'a>,
    pub(super) joiner: Option<&'a str>,
    pub(super) form: ParameterForm,
}

impl<'a> Parts<'a> {
    /// One part of the request.
    pub(super) fn get(&self, part: RequestPart) -> Cow<'a, str> {
        let path_and_query = path_and_query(self.request.url);
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        match part {
            RequestPart::Method => Cow::Borrowed(self.request.method),
            RequestPart::Url => Cow::Borrowed(self.request.url),
            RequestPart::Path => Cow::Borrowed(path),
            RequestPart::PathAndQuery => Cow::Borrowed(path_and_query),
            RequestPart::Query => Cow::Borrowed(query),
            RequestPart::SortedQuery => {
                let pairs: Vec<String> =
                    self.sorted(query).iter().map(|(key, value)| format!("{key}={value}")).collect();
                Cow::Owned(pairs.join(self.joiner.unwrap_or("&")))
            }
            RequestPart::SortedValues => {
                let values: Vec<Cow<'_, str>> = self.sorted(query).into_iter().map(|(_, value)| value).collect();
                Cow::Owned(values.join(self.joiner.unwrap_or_default()))
            }
            RequestPart::Body => Cow::Borrowed(self.request.body),
            RequestPart::BodySha256 => Cow::Owned(hex::encode(Sha256::digest(self.request.body.as_bytes()))),
        }
    }

    /// The query's parameters in the order of their names' bytes; equal names keep their order.
    fn sorted<'q>(&self, query: &'q str) -> Vec<(Cow<'q, str>, Cow<'q, str>)> {
        let mut pairs: Vec<_> = match self.form {
            ParameterForm::Decoded => url::form_urlencoded::parse(query.as_bytes()).collect(),
            ParameterForm::AsSent => query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (Cow::Borrowed(key), Cow::Borrowed(value)))
                .collect(),
        };
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs
    }
}

/// What goes into the request line: the URL behind its authority.
fn path_and_query(url: &str) -> &str {
    let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    behind_scheme.find('/').and_then(|at| behind_scheme.get(at..)).unwrap_or("/")
}
