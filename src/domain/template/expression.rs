//! Expressions: a path and its filters.

use super::encode::{self, Place};
use super::error::{RenderError, TemplateError};
use super::filter::{Filter, Operand};
use super::path::{Part, Path, Vocabulary, is_name};
use super::scope::{Environment, MASK};
use super::value::{Kind, Value};
use super::{MAX_ARGUMENTS, MAX_EXPRESSION_BYTES, MAX_FILTERS, foreign};

/// A compiled expression: where its value comes from, and what is done to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: String,
    path: Path,
    filters: Vec<Filter>,
    raw: bool,
}

/// One argument of a filter as written: `value` or `key=value`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Argument {
    /// The text before `=`, where there is one.
    pub(super) key: Option<Word>,
    /// The argument, or its value.
    pub(super) value: Word,
}

/// A bare word or a quoted text.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Word {
    /// The text without quotes.
    pub(super) text: String,
    /// Whether it stood in quotes.
    pub(super) quoted: bool,
}

impl Expression {
    /// Reads an expression.
    pub(super) fn parse(text: &str, vocabulary: Vocabulary) -> Result<Self, TemplateError> {
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(TemplateError::TooLong { length: text.len(), limit: MAX_EXPRESSION_BYTES });
        }
        let (name, filters) = text.split_once('|').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let name = name.trim();
        if !is_name(name) {
            return Err(TemplateError::Expression {
                expression: text.trim().into(),
                problem: "a macro begins with a name of letters, digits, \"_\", \"-\" and \".\"",
            });
        }
        let path = Path::resolve(name, vocabulary)?;
        let bare = Self { text: name.into(), path, filters: Vec::new(), raw: false };
        match filters {
            Some(filters) => bare.filtered(filters, text),
            None => Ok(bare),
        }
    }

    /// The expression with more filters behind it; `text` is the whole as written.
    pub(super) fn filtered(mut self, filters: &str, text: &str) -> Result<Self, TemplateError> {
        self.text = text.trim().into();
        let mut reader = Reader { text, rest: filters };
        loop {
            let (name, arguments) = reader.filter()?;
            if self.raw {
                return Err(TemplateError::Argument { filter: "raw", problem: "must be the last filter".into() });
            }
            if name == "raw" {
                if !arguments.is_empty() {
                    return Err(TemplateError::Argument { filter: "raw", problem: "takes no arguments".into() });
                }
                self.raw = true;
            } else {
                let filter = Filter::compile(&name, &arguments)?;
                filter.check(self.kind())?;
                self.filters.push(filter);
            }
            if self.filters.len() > MAX_FILTERS {
                return Err(TemplateError::TooMany { what: "filters", limit: MAX_FILTERS });
            }
            if !reader.more()? {
                return Ok(self);
            }
        }
    }

    fn kind(&self) -> Kind {
        self.filters.iter().fold(self.path.kind(), |kind, filter| filter.result(kind))
    }

    /// The expression in our own names, without delimiters; a partner's token is what it stands for.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of the parameter (`params.X`) that it reads, so that it can be checked against the dictionary.
    pub fn param(&self) -> Option<&str> {
        match &self.path {
            Path::Event(Part::Param(name)) | Path::Original(Part::Param(name)) => Some(name),
            _ => None,
        }
    }

    /// The name of the secret (`secret.X`) that it reads.
    pub fn secret(&self) -> Option<&str> {
        match &self.path {
            Path::Secret(name) => Some(name),
            _ => None,
        }
    }

    /// The name of the affiliate's marker (`sub_ids.X`) that it reads.
    pub fn sub_id(&self) -> Option<&str> {
        match &self.path {
            Path::Event(Part::SubId(name)) | Path::Original(Part::SubId(name)) => Some(name),
            _ => None,
        }
    }

    /// Whether it reads a click: the event's, its original's, or one that the affiliate passes in a marker.
    pub fn reads_click(&self) -> bool {
        matches!(
            self.path,
            Path::Event(Part::ClickId | Part::SubIds | Part::SubId(_))
                | Path::Original(Part::ClickId | Part::SubIds | Part::SubId(_))
        )
    }

    /// Whether it reads the event that this one reverses.
    pub fn reads_original(&self) -> bool {
        matches!(self.path, Path::Original(_))
    }

    /// Whether it reads the click or the transaction, without which a receiver cannot tell what it is told.
    pub fn identifies(&self) -> bool {
        matches!(self.path, Path::Event(Part::ClickId | Part::TransactionId))
            || matches!(self.path, Path::Original(Part::ClickId | Part::TransactionId))
    }

    /// Whether it reads a secret or a signature.
    pub(crate) fn is_confidential(&self) -> bool {
        self.path.is_confidential()
    }

    /// Whether it reads the signature.
    pub(crate) fn is_signature(&self) -> bool {
        self.path == Path::Signature
    }

    /// Whether it reads the signature's own secret.
    pub(crate) fn is_own_secret(&self) -> bool {
        self.path == Path::OwnSecret
    }

    /// The value for one attempt.
    pub(crate) fn evaluate<'a>(&'a self, environment: &Environment<'a>) -> Result<Value<'a>, RenderError> {
        let mut value = self.path.value(environment)?;
        if self.path.is_foreign() {
            let unfilled = match &value {
                Value::Text(text) => foreign::unfilled(text),
                Value::SubIds(_) | Value::Params(_) => value.texts().iter().find_map(|text| foreign::unfilled(text)),
                Value::Missing
                | Value::Number(_)
                | Value::Bool(_)
                | Value::Time(_)
                | Value::Seconds(_)
                | Value::Masked => None,
            };
            if let Some(what) = unfilled {
                return Err(RenderError::Unresolved { expression: self.text.clone(), what });
            }
        }
        if value == Value::Masked {
            return Ok(value);
        }
        for filter in &self.filters {
            let operand = Operand { value, currency: self.path.currency(environment) };
            value = filter.apply(operand).map_err(|problem| RenderError::Filter {
                expression: self.text.clone(),
                filter: filter.name(),
                problem,
            })?;
        }
        if self.is_confidential() {
            environment.note(&value.text());
        }
        Ok(value)
    }

    /// Appends a value of this expression in the encoding of its place.
    pub(crate) fn push(&self, value: &Value<'_>, place: Place, out: &mut String) -> Result<(), RenderError> {
        if *value == Value::Masked {
            out.push_str(MASK);
            return Ok(());
        }
        encode::push(&value.text(), place, self.raw, out).map_err(|encode::Unwritable| match place {
            Place::Xml => RenderError::XmlValue { expression: self.text.clone() },
            _ => RenderError::HeaderValue { expression: self.text.clone() },
        })
    }
}

/// Reads filters from left to right.
struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
}

impl Reader<'_> {
    fn fail<T>(&self, problem: &'static str) -> Result<T, TemplateError> {
        Err(TemplateError::Expression { expression: self.text.trim().into(), problem })
    }

    fn eat(&mut self, c: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes text up to a character that ends it.
    fn until(&mut self, ends: &[char]) -> &str {
        let at = self.rest.find(ends).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(at);
        self.rest = rest;
        taken.trim()
    }

    fn filter(&mut self) -> Result<(String, Vec<Argument>), TemplateError> {
        let name = self.until(&['|', '(', ')']).to_owned();
        if name.is_empty() {
            return self.fail("a filter's name is missing behind \"|\"");
        }
        let arguments = if self.eat('(') { self.arguments()? } else { Vec::new() };
        Ok((name, arguments))
    }

    /// Whether another filter follows.
    fn more(&mut self) -> Result<bool, TemplateError> {
        if self.eat('|') {
            return Ok(true);
        }
        if self.rest.trim().is_empty() { Ok(false) } else { self.fail("a filter is followed by \"|\" or nothing") }
    }

    fn arguments(&mut self) -> Result<Vec<Argument>, TemplateError> {
        let mut arguments = Vec::new();
        if self.eat(')') {
            return Ok(arguments);
        }
        loop {
            let word = self.word()?;
            let argument = if self.eat('=') {
                Argument { key: Some(word), value: self.word()? }
            } else {
                Argument { key: None, value: word }
            };
            arguments.push(argument);
            if arguments.len() > MAX_ARGUMENTS {
                return Err(TemplateError::TooMany { what: "arguments", limit: MAX_ARGUMENTS });
            }
            if self.eat(')') {
                return Ok(arguments);
            }
            if !self.eat(',') {
                return self.fail("arguments stand between \"(\" and \")\", separated by \",\"");
            }
        }
    }

    fn word(&mut self) -> Result<Word, TemplateError> {
        for quote in ['"', '\''] {
            if self.eat(quote) {
                return self.quoted(quote);
            }
        }
        let text = self.until(&[',', ')', '=']).to_owned();
        Ok(Word { text, quoted: false })
    }

    fn quoted(&mut self, quote: char) -> Result<Word, TemplateError> {
        let mut text = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => text.extend(chars.next()),
                c if c == quote => {
                    self.rest = chars.as_str();
                    return Ok(Word { text, quoted: true });
                }
                c => text.push(c),
            }
        }
        self.fail("a quoted text is not closed")
    }
}
