//! Cuts a text into literals and macros.

use super::encode::starts_with_hex_pair;
use super::error::TemplateError;
use super::expression::Expression;
use super::path::{Path, Vocabulary, is_name};
use super::{Delimiters, MAX_EXPRESSION_BYTES, MAX_EXPRESSIONS, MAX_TEMPLATE_BYTES, Piece, Syntax};

/// What follows an opening delimiter.
enum Token<'t> {
    /// A macro: the text between the delimiters, and the text behind it.
    Macro(&'t str, &'t str),
    /// Nothing special: the opening is literal text.
    Literal,
    /// A macro that never ends.
    Unclosed,
}

/// Cuts a text into its parts.
pub(super) fn pieces(text: &str, syntax: &Syntax, vocabulary: Vocabulary) -> Result<Vec<Piece>, Vec<TemplateError>> {
    if text.len() > MAX_TEMPLATE_BYTES {
        return Err(vec![TemplateError::TooLong { length: text.len(), limit: MAX_TEMPLATE_BYTES }]);
    }
    let mut lexer = Lexer { syntax, vocabulary, pieces: Vec::new(), literal: String::new(), errors: Vec::new() };
    lexer.run(text);
    let count = lexer.pieces.iter().filter(|piece| matches!(piece, Piece::Expression(_))).count();
    if count > MAX_EXPRESSIONS {
        lexer.errors.push(TemplateError::TooMany { what: "macros", limit: MAX_EXPRESSIONS });
    }
    if lexer.errors.is_empty() { Ok(lexer.pieces) } else { Err(lexer.errors) }
}

struct Lexer<'s> {
    syntax: &'s Syntax,
    vocabulary: Vocabulary,
    pieces: Vec<Piece>,
    literal: String,
    errors: Vec<TemplateError>,
}

impl Lexer<'_> {
    fn run(&mut self, text: &str) {
        let style = self.syntax.delimiters;
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once(style.open()) {
            self.literal.push_str(before);
            let opened = rest.get(before.len()..).unwrap_or_default();
            rest = match self.token(inside) {
                Token::Macro(source, after) => {
                    self.check_nesting(source, after);
                    self.end_literal();
                    self.take_macro(source);
                    after
                }
                Token::Literal => self.step(opened),
                Token::Unclosed => {
                    let start = opened.chars().take(40).collect();
                    self.errors.push(TemplateError::Unclosed { start, close: style.close() });
                    self.step(opened)
                }
            };
        }
        self.literal.push_str(rest);
        self.end_literal();
    }

    /// Takes one character as literal text; a longer opening may begin with the next one.
    fn step<'t>(&mut self, opened: &'t str) -> &'t str {
        let mut chars = opened.chars();
        self.literal.extend(chars.next());
        chars.as_str()
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            self.pieces.push(Piece::Literal(std::mem::take(&mut self.literal)));
        }
    }

    fn take_macro(&mut self, source: &str) {
        match self.expression(source) {
            Ok(expression) => self.pieces.push(Piece::Expression(expression)),
            Err(error) => self.errors.push(error),
        }
    }

    /// Reads a macro; what stands before its filters may be a partner's token.
    fn expression(&self, source: &str) -> Result<Expression, TemplateError> {
        let (head, filters) = source.split_once('|').map_or((source, None), |(head, rest)| (head, Some(rest)));
        let Some((token, meaning)) = self.syntax.macros.get_key_value(head.trim()) else {
            return Expression::parse(source, self.vocabulary).map_err(|error| self.with_aliases(error));
        };
        let meant = Expression::parse(meaning, self.vocabulary)
            .map_err(|error| TemplateError::Macro { token: token.clone(), problem: error.to_string() })?;
        match filters {
            Some(filters) => meant.filtered(filters, &format!("{meaning}|{filters}")),
            None => Ok(meant),
        }
    }

    /// Puts a partner's token that is like the unknown name into the hint.
    fn with_aliases(&self, error: TemplateError) -> TemplateError {
        let TemplateError::UnknownName { name, hint } = error else { return error };
        let tokens = self.syntax.macros.keys().map(String::as_str);
        let hint = match crate::domain::nearest::nearest(&name, tokens) {
            Some(near) if !hint.contains("did you mean") => format!("; did you mean {near:?}?"),
            _ => hint,
        };
        TemplateError::UnknownName { name, hint }
    }

    /// Refuses `{{x}}` and `${x}` where `{x}` is expected: the outer characters would be sent.
    fn check_nesting(&mut self, source: &str, after: &str) {
        let style = self.syntax.delimiters;
        let wrapped = self.literal.ends_with(style.open()) && after.starts_with(style.close());
        let dollar = style == Delimiters::Brace && self.literal.ends_with('$');
        if wrapped || dollar {
            let (before, behind) = if dollar { ("$", "") } else { (style.open(), style.close()) };
            let found = format!("{before}{}{source}{}{behind}", style.open(), style.close());
            self.errors.push(TemplateError::OtherStyle { found, delimiters: style.name() });
        }
    }

    fn token<'t>(&self, inside: &'t str) -> Token<'t> {
        let style = self.syntax.delimiters;
        let looks_like_name = inside.trim_start().starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let Some((source, after)) = split_at_close(inside, style.close()) else {
            return if looks_like_name && !is_lenient(style) { Token::Unclosed } else { Token::Literal };
        };
        let head = source.split('|').next().unwrap_or_default().trim();
        let known = self.syntax.macros.contains_key(head) || Path::resolve(head, self.vocabulary).is_ok();
        if known {
            return Token::Macro(source, after);
        }
        let percent_encoded = style == Delimiters::Percent && starts_with_hex_pair(inside);
        if !looks_like_name || percent_encoded || (is_lenient(style) && !is_name(head)) {
            return Token::Literal;
        }
        Token::Macro(source, after)
    }
}

/// Styles whose delimiters are common in literal text, so that only what is well formed is a macro.
fn is_lenient(style: Delimiters) -> bool {
    match style {
        Delimiters::Bracket | Delimiters::Hash | Delimiters::Percent | Delimiters::Angle => true,
        Delimiters::Brace
        | Delimiters::DoubleBrace
        | Delimiters::DollarBrace
        | Delimiters::DoubleHash
        | Delimiters::TripleBracket => false,
    }
}

/// Splits at the closing delimiter; inside of a filter's parentheses, quoted text does not close.
fn split_at_close<'t>(inside: &'t str, close: &str) -> Option<(&'t str, &'t str)> {
    let mut quote = None;
    let mut escaped = false;
    let mut in_arguments = false;
    for (at, c) in inside.char_indices().take_while(|(at, _)| *at <= MAX_EXPRESSION_BYTES) {
        let tail = inside.get(at..)?;
        match quote {
            None if tail.starts_with(close) => return inside.get(..at).zip(tail.strip_prefix(close)),
            None if in_arguments && matches!(c, '"' | '\'') => quote = Some(c),
            None if c == '(' => in_arguments = true,
            None if c == ')' => in_arguments = false,
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            None | Some(_) => {}
        }
    }
    None
}
