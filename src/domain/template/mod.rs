//! Templates: text with macros over an event, compiled once and rendered for every attempt.
//!
//! A macro is an expression between [`Delimiters`]: a path (`click_id`, `sub_ids.sub1`,
//! `original.transaction_id`, `secret.NAME`, `timestamp`), then filters (`payout|fixed(2)`). Everything
//! that can be known early is an error early: unknown names, unknown filters and wrong arguments do
//! not compile.
//!
//! # What is a macro and what is literal text
//!
//! Between the delimiters must stand a name (`[A-Za-z_]` first), or a token that
//! [`Syntax::macros`] knows. Anything else is literal: `bd[0]` under `[ ]`, `%20` under `% %`, the
//! braces of a JSON document under `{ }`. What looks like a macro and is not known is an error.
//!
//! # Types
//!
//! Values are typed: text, exact numbers, booleans, times and objects (`sub_ids`, `params`).
//! Arithmetic filters (`fixed`, `minor`, `int`, `abs`, `neg`, `unix`, `unix_ms`) give numbers; `json`,
//! `upper`, `lower`, `trim`, `iso`, `date`, `join`, `sha256`, `md5` and `urlencode` give text. An argument of
//! `default` or `map` is a number, `true` or `false` where it stands bare, and text where it is quoted.
//! A value that is missing or empty passes through every filter but `default` as it is.
//!
//! # Rounding
//!
//! `fixed(n)` and `minor` round half to even; `int` cuts towards zero.
//!
//! This module refuses to know what a request is; [`super::request`] decides where templates stand.

pub(crate) mod encode;
mod error;
mod expression;
mod filter;
pub(crate) mod foreign;
mod lexer;
mod path;
mod scope;
mod value;

pub use error::{RenderError, TemplateError};
pub use expression::Expression;
pub use scope::{Scope, Secrets};

#[cfg(test)]
pub(crate) use filter::NAMES as FILTERS;
pub(crate) use path::{RequestPart, Vocabulary};
#[cfg(test)]
pub(crate) use path::{event_names, message_names};
pub(crate) use scope::{Environment, MASK, View};
pub(crate) use value::Value;

use std::collections::BTreeMap;

use encode::Place;

/// Most bytes of one template's text.
pub const MAX_TEMPLATE_BYTES: usize = 8 * 1024;
/// Most bytes of one expression.
pub const MAX_EXPRESSION_BYTES: usize = 1024;
/// Most expressions in one template.
pub const MAX_EXPRESSIONS: usize = 128;
/// Most filters of one expression.
pub const MAX_FILTERS: usize = 8;
/// Most arguments of one filter.
pub const MAX_ARGUMENTS: usize = 64;

/// What stands around a macro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delimiters {
    /// `{click_id}`
    #[default]
    Brace,
    /// `{{click_id}}`
    DoubleBrace,
    /// `${click_id}`
    DollarBrace,
    /// `[click_id]`
    Bracket,
    /// `#click_id#`
    Hash,
    /// `##click_id##`
    DoubleHash,
    /// `%click_id%`
    Percent,
    /// `[[[click_id]]]`
    TripleBracket,
    /// `<click_id>`
    Angle,
}

impl Delimiters {
    /// Every style.
    pub const ALL: [Self; 9] = [
        Self::Brace,
        Self::DoubleBrace,
        Self::DollarBrace,
        Self::Bracket,
        Self::Hash,
        Self::DoubleHash,
        Self::Percent,
        Self::TripleBracket,
        Self::Angle,
    ];

    /// Reads a style as it stands in the configuration: opening, a space, closing; the space may be left out.
    pub fn parse(text: &str) -> Option<Self> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        Self::ALL.into_iter().find(|style| {
            compact.strip_prefix(style.open()).and_then(|rest| rest.strip_suffix(style.close())) == Some("")
        })
    }

    /// The style as it stands in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brace => "{ }",
            Self::DoubleBrace => "{{ }}",
            Self::DollarBrace => "${ }",
            Self::Bracket => "[ ]",
            Self::Hash => "# #",
            Self::DoubleHash => "## ##",
            Self::Percent => "% %",
            Self::TripleBracket => "[[[ ]]]",
            Self::Angle => "< >",
        }
    }

    /// What opens a macro.
    pub fn open(self) -> &'static str {
        self.name().split_once(' ').map_or("", |(open, _)| open)
    }

    /// What closes a macro.
    pub fn close(self) -> &'static str {
        self.name().split_once(' ').map_or("", |(_, close)| close)
    }
}

/// How the macros of a template are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Syntax {
    /// What stands around a macro.
    pub delimiters: Delimiters,
    /// A partner's name of a token, and the expression of ours that it stands for.
    pub macros: BTreeMap<String, String>,
}

impl Syntax {
    /// Checks every expression that a partner's token stands for, used or not.
    pub fn faults(&self) -> Vec<(&str, TemplateError)> {
        self.macros
            .iter()
            .filter_map(|(token, text)| {
                Expression::parse(text, Vocabulary::Request).err().map(|error| (token.as_str(), error))
            })
            .collect()
    }
}

/// A compiled text: literals and expressions.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// Text that goes out as it stands.
    Literal(String),
    /// A value to be looked up.
    Expression(Expression),
}

/// Which of a template's expressions came out empty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Emptiness<'t> {
    /// Expressions in the template.
    pub(crate) expressions: usize,
    /// Those without a value.
    pub(crate) empty: usize,
    /// The first without a value.
    pub(crate) first: Option<&'t Expression>,
    /// The first without a value that names the click or the transaction.
    pub(crate) first_identifying: Option<&'t Expression>,
}

impl Template {
    /// Compiles a text in which every name of [`Scope`] may stand.
    ///
    /// # Errors
    /// Every fault of the text.
    pub fn compile(text: &str, syntax: &Syntax) -> Result<Self, Vec<TemplateError>> {
        Self::compile_with(text, syntax, Vocabulary::Request)
    }

    /// Compiles a text with the names of its surroundings.
    pub(crate) fn compile_with(
        text: &str,
        syntax: &Syntax,
        vocabulary: Vocabulary,
    ) -> Result<Self, Vec<TemplateError>> {
        lexer::pieces(text, syntax, vocabulary).map(Self::from_pieces)
    }

    /// Makes a template of parts.
    pub(crate) fn from_pieces(pieces: Vec<Piece>) -> Self {
        Self { pieces }
    }

    /// Its parts in order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Its parts in order, given away.
    pub(crate) fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    /// The template with each literal put into the form in which it goes out.
    #[must_use]
    pub(crate) fn with_literals(mut self, form: impl Fn(&str) -> String) -> Self {
        for piece in &mut self.pieces {
            if let Piece::Literal(text) = piece {
                *text = form(text);
            }
        }
        self
    }

    /// Its expressions in order.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Expression(expression) => Some(expression),
            Piece::Literal(_) => None,
        })
    }

    /// Its literals in order.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(text.as_str()),
            Piece::Expression(_) => None,
        })
    }

    /// Whether it holds no expression.
    pub fn is_literal(&self) -> bool {
        self.expressions().next().is_none()
    }

    /// The expression, where the whole template is exactly one.
    pub(crate) fn single(&self) -> Option<&Expression> {
        match self.pieces.as_slice() {
            [Piece::Expression(expression)] => Some(expression),
            _ => None,
        }
    }

    /// Its text again, for people: macros in `{ }`, a partner's tokens as what they stand for.
    pub(crate) fn label(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => text.clone(),
                Piece::Expression(expression) => format!("{{{}}}", expression.text()),
            })
            .collect()
    }

    /// Appends the text with every value encoded for its place.
    pub(crate) fn render<'t>(
        &'t self,
        environment: &Environment<'t>,
        place: Place,
        out: &mut String,
    ) -> Result<Emptiness<'t>, RenderError> {
        let mut emptiness = Emptiness::default();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Expression(expression) => {
                    let value = expression.evaluate(environment)?;
                    emptiness.count(expression, &value);
                    expression.push(&value, place, out)?;
                }
            }
        }
        Ok(emptiness)
    }
}

impl<'t> Emptiness<'t> {
    /// Takes note of one expression's value.
    pub(crate) fn count(&mut self, expression: &'t Expression, value: &Value<'_>) {
        self.expressions += 1;
        if value.is_empty() {
            self.empty += 1;
            self.first = self.first.or(Some(expression));
            if expression.identifies() {
                self.first_identifying = self.first_identifying.or(Some(expression));
            }
        }
    }

    /// Whether there are expressions, and none of them has a value.
    pub(crate) fn is_total(&self) -> bool {
        self.expressions > 0 && self.empty == self.expressions
    }
}

#[cfg(test)]
mod tests;
