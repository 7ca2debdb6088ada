//! The URL: an origin that never varies, a path and parameters that may.

use super::parameter::{self, Parameter};
use super::{MAX_URL_BYTES, RequestFault, body};
use crate::domain::template::encode::{Place, starts_with_hex_pair, url_literal};
use crate::domain::template::{Delimiters, Environment, Piece, RenderError, Template};

/// A compiled URL.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UrlTemplate {
    pub(super) origin: Origin,
    pub(super) path: Template,
    pub(super) parameters: Vec<Parameter>,
}

/// Where a URL's receiver is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Origin {
    /// Scheme, host and port, without a slash behind them.
    text: String,
    /// Whether a URL parser leaves it as it is.
    is_normal: bool,
}

/// A URL cut into the parts that are compiled apart.
struct Parts {
    origin: String,
    path: Vec<Piece>,
    query: Option<Vec<Piece>>,
}

impl Origin {
    /// Takes scheme, host and port as they are; a slash behind them is left out.
    pub(super) fn new(text: &str) -> Self {
        let text = text.trim_end_matches('/');
        let parsed = url::Url::parse(text);
        let is_normal = parsed.is_ok_and(|parsed| parsed.as_str().strip_suffix('/') == Some(text));
        Self { text: text.to_owned(), is_normal }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl UrlTemplate {
    /// Compiles a URL that has been cut into pieces.
    pub(super) fn compile(
        template: Template,
        delimiters: Delimiters,
        insecure_http: bool,
    ) -> Result<Self, Vec<RequestFault>> {
        let fault = |detail: String| RequestFault::new("url", detail);
        let mut faults: Vec<_> =
            template.literals().filter_map(|text| literal_problem(text, delimiters)).map(fault).collect();
        let parts = match split(template.into_pieces(), insecure_http) {
            Ok(parts) if faults.is_empty() => parts,
            Ok(_) => return Err(faults),
            Err(problem) => {
                faults.push(fault(problem));
                return Err(faults);
            }
        };
        let path = Template::from_pieces(parts.path).with_literals(|text| url_literal(text, Place::Path));
        faults.extend(path_problem(&path).map(|problem| fault(problem.into())));
        let parameters: Vec<_> = parts.query.map(|query| split_pieces(query, '&')).unwrap_or_default();
        let parameters: Vec<_> = parameters.into_iter().map(parameter).collect();
        let compiled = Self { origin: Origin::new(&parts.origin), path, parameters };
        let unfilled = compiled.templates().filter_map(|template| body::other_style("url", template, delimiters));
        faults.extend(unfilled);
        if faults.is_empty() { Ok(compiled) } else { Err(faults) }
    }

    /// All templates in order.
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        let parameters = self.parameters.iter().flat_map(|parameter| [Some(&parameter.key), parameter.value.as_ref()]);
        std::iter::once(&self.path).chain(parameters.flatten())
    }

    /// The URL for one attempt.
    pub(super) fn render<'t>(&'t self, environment: &Environment<'t>) -> Result<String, RenderError> {
        let mut url = String::with_capacity(256);
        url.push_str(&self.origin.text);
        let found = self.path.render(environment, Place::Path, &mut url)?;
        if let Some(expression) = found.first {
            return Err(RenderError::Empty { parameter: "url path".into(), expression: expression.text().into() });
        }
        parameter::render_all(&self.parameters, environment, Place::Query, "?", &mut url)?;
        Ok(url)
    }
}

/// Checks that a URL rendered for an origin is one that every parser reads as it stands.
pub(super) fn check(url: &str, origin: &Origin) -> Result<(), RenderError> {
    if url.len() > MAX_URL_BYTES {
        return Err(RenderError::TooLarge { what: "the url".into(), length: url.len(), limit: MAX_URL_BYTES });
    }
    let rest = url.strip_prefix(origin.as_str()).filter(|_| origin.is_normal);
    if rest.is_some_and(is_plain) {
        return Ok(());
    }
    match url::Url::parse(url) {
        Ok(parsed) if parsed.as_str() == url => Ok(()),
        Ok(_) | Err(_) => Err(RenderError::PathSegment),
    }
}

/// Whether a path with its query is so plain that a URL parser leaves it as it is behind any origin in normal form. What is
/// not may be so all the same: that takes a parser.
pub(crate) fn is_plain(path_and_query: &str) -> bool {
    let path = path_and_query.split('?').next().unwrap_or_default();
    // A segment of dots, which may be percent-encoded, is taken out.
    let dots = || path.contains("/.") || path.contains("%2e") || path.contains("%2E");
    path.starts_with('/') && path_and_query.bytes().all(is_plain_byte) && !dots()
}

/// Whether a URL parser leaves a byte alone in a path or, with the question mark, in a query.
fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'$' | b'%' | b'&' | b'('..=b'/' | b':' | b';' | b'=' | b'?' | b'@' | b'_' | b'~')
}

/// What is wrong with literal text of a URL.
fn literal_problem(text: &str, delimiters: Delimiters) -> Option<String> {
    let style = delimiters.name();
    let other = format!("a macro is written {style} here; set `delimiters` if the partner writes it otherwise");
    for (at, c) in text.char_indices() {
        let problem = match c {
            '#' => format!("holds \"#\": a fragment is never sent to a server; {other}"),
            '{' | '}' | '<' | '>' => format!("holds {c:?} outside of a macro; {other}"),
            ' ' | '"' | '\\' | '`' => format!("holds {c:?}, which a URL must not hold; write it percent-encoded"),
            '%' if !text.get(at + 1..).is_some_and(starts_with_hex_pair) => {
                format!("holds \"%\" without two hexadecimal digits behind it; write %25, and {other}")
            }
            c if c.is_control() => "holds a control character".to_owned(),
            _ => continue,
        };
        return Some(problem);
    }
    None
}

/// Cuts a URL into origin, path and query.
fn split(pieces: Vec<Piece>, insecure_http: bool) -> Result<Parts, String> {
    const NO_MACRO: &str = "scheme, host and port cannot hold a macro; write them out, up to the first \"/\"";
    let mut pieces = pieces.into_iter();
    let first = match pieces.next() {
        Some(Piece::Literal(text)) => text,
        Some(Piece::Expression(_)) => return Err(NO_MACRO.into()),
        None => return Err("is empty".into()),
    };
    let templated = pieces.len() > 0;
    let Some((scheme, behind)) = first.split_once("://") else {
        let absolute = "is not an absolute URL such as https://track.example/postback?cid={click_id}";
        return Err(if templated && !first.contains('/') { NO_MACRO } else { absolute }.into());
    };
    let Some(end) = behind.find(['/', '?']) else {
        let no_path = "has nothing behind its host; a path such as /postback, or a query, is needed";
        return Err(if templated { NO_MACRO } else { no_path }.into());
    };
    let (authority, rest) = behind.split_at(end);
    let origin = origin(scheme, authority, insecure_http)?;
    let rest = if rest.starts_with('?') { format!("/{rest}") } else { rest.to_owned() };
    let rest: Vec<Piece> = std::iter::once(Piece::Literal(rest)).chain(pieces).collect();
    let (path, query) = split_once(rest, '?');
    Ok(Parts { origin, path, query })
}

/// Checks scheme, host and port, and writes them as a URL parser would.
fn origin(scheme: &str, authority: &str, insecure_http: bool) -> Result<String, String> {
    match (scheme.to_ascii_lowercase().as_str(), insecure_http) {
        ("https", _) | ("http", true) => {}
        ("http", false) => return Err("is plain http; use https, or set insecure_http = true".into()),
        (other, _) => {
            return Err(format!("has the scheme {other:?}; only https, and http with insecure_http, is sent"));
        }
    }
    if authority.contains('@') {
        return Err("holds a user name or password before the host; use an Authorization header with a secret".into());
    }
    let parsed = url::Url::parse(&format!("{scheme}://{authority}/"))
        .map_err(|error| format!("has a faulty host {authority:?}: {error}"))?;
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

fn path_problem(path: &Template) -> Option<&'static str> {
    let text: String = path
        .pieces()
        .iter()
        .map(|piece| match piece {
            Piece::Literal(text) => text.to_ascii_lowercase().replace("%2e", "."),
            Piece::Expression(_) => "x".into(),
        })
        .collect();
    let dots = text.split('/').any(|segment| segment == "." || segment == "..");
    dots.then_some("holds a path segment \".\" or \"..\"; write the path that is meant")
}

fn parameter(pieces: Vec<Piece>) -> Parameter {
    let (key, value) = split_once(pieces, '=');
    let in_query =
        |pieces: Vec<Piece>| Template::from_pieces(pieces).with_literals(|text| url_literal(text, Place::Query));
    let label = Template::from_pieces(key.clone()).label();
    let name = percent_encoding::percent_decode_str(&label).decode_utf8_lossy().into_owned();
    Parameter { name, key: in_query(key), value: value.map(in_query), on_empty: None }
}

/// Splits at the first such character of a literal; what is inside of a macro does not count.
fn split_once(pieces: Vec<Piece>, separator: char) -> (Vec<Piece>, Option<Vec<Piece>>) {
    let mut before = Vec::new();
    let mut behind: Option<Vec<Piece>> = None;
    for piece in pieces {
        match (&mut behind, piece) {
            (Some(behind), piece) => behind.push(piece),
            (None, Piece::Literal(text)) => match text.split_once(separator) {
                Some((left, right)) => {
                    push_literal(&mut before, left);
                    let mut rest = Vec::new();
                    push_literal(&mut rest, right);
                    behind = Some(rest);
                }
                None => before.push(Piece::Literal(text)),
            },
            (None, piece @ Piece::Expression(_)) => before.push(piece),
        }
    }
    (before, behind)
}

/// Splits at every such character of a literal.
fn split_pieces(pieces: Vec<Piece>, separator: char) -> Vec<Vec<Piece>> {
    let mut parts = Vec::new();
    let mut rest = Some(pieces);
    while let Some(pieces) = rest {
        let (part, behind) = split_once(pieces, separator);
        parts.push(part);
        rest = behind;
    }
    parts
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Literal(text.into()));
    }
}
