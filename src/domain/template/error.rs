//! What can be wrong with a template, and what can go wrong when one is rendered.

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// More text than a template may have.
    #[error("has {length} bytes, a template has at most {limit}")]
    TooLong {
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// More of something than allowed.
    #[error("has too many {what}: at most {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// A macro that is opened and not closed.
    #[error("opens a macro at {start:?} that is never closed with {close:?}")]
    Unclosed {
        /// The text from the opening on, cut short.
        start: String,
        /// What would close it.
        close: &'static str,
    },
    /// A macro inside the delimiters of another style.
    #[error("macro {found:?} is written in another style than delimiters = {delimiters:?}; set `delimiters` to match")]
    OtherStyle {
        /// The text that was found.
        found: String,
        /// The style that was expected.
        delimiters: &'static str,
    },
    /// A name that nothing has.
    #[error("unknown macro {name:?}{hint}")]
    UnknownName {
        /// The name.
        name: String,
        /// What may have been meant, as the end of the sentence.
        hint: String,
    },
    /// A name that exists, but not in this place.
    #[error("{name:?} cannot be used here: {reason}")]
    NotHere {
        /// The name.
        name: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// A filter that does not exist.
    #[error("unknown filter {name:?}{hint}")]
    UnknownFilter {
        /// The filter.
        name: String,
        /// What may have been meant, as the end of the sentence.
        hint: String,
    },
    /// A filter with arguments that it does not take, or after a value it cannot work on.
    #[error("filter {filter:?} {problem}")]
    Argument {
        /// The filter.
        filter: &'static str,
        /// What is wrong, as the rest of the sentence.
        problem: String,
    },
    /// Text that is not an expression.
    #[error("cannot read the expression {expression:?}: {problem}")]
    Expression {
        /// The text.
        expression: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The expression that a partner's token stands for is faulty.
    #[error("macro {token:?} stands for a faulty expression: {problem}")]
    Macro {
        /// The partner's token.
        token: String,
        /// What is wrong.
        problem: String,
    },
}

/// Why no request can be made of an event.
///
/// Never holds the value of a field or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A value that must be there is missing or empty.
    #[error(
        "parameter {parameter:?} is refused because {{{expression}}} is empty; send the field, give the macro a default(…), or set on_empty for the parameter"
    )]
    Empty {
        /// The parameter, header, member or part of the URL.
        parameter: String,
        /// The expression without a value.
        expression: String,
    },
    /// A value of the event that looks like a macro somebody forgot to fill in, or says `null`.
    #[error(
        "the value of {{{expression}}} looks like {what}; it was handed over unfilled, put it right at the tracker or the producer that sent it"
    )]
    Unresolved {
        /// The expression.
        expression: String,
        /// What it looks like.
        what: &'static str,
    },
    /// A filter that cannot work on the value it got.
    #[error("filter {filter:?} of {{{expression}}} {problem}")]
    Filter {
        /// The expression.
        expression: String,
        /// The filter.
        filter: &'static str,
        /// What is wrong, as the rest of the sentence.
        problem: &'static str,
    },
    /// A value that would break the header it stands in.
    #[error(
        "the value of {{{expression}}} holds a control character, which a header must not carry; remove it at the producer"
    )]
    HeaderValue {
        /// The expression.
        expression: String,
    },
    /// A value that cannot be written in the body's format.
    #[error("the value of {{{expression}}} holds a character that XML cannot carry; remove it at the producer")]
    XmlValue {
        /// The expression.
        expression: String,
    },
    /// A path that a URL parser would rewrite.
    #[error(
        "the path holds a segment that renders to \".\" or \"..\", which would lead elsewhere; check the macros in the path"
    )]
    PathSegment,
    /// A secret that the postback does not have.
    #[error("the postback has no secret {name:?}; add it to the postback's secrets")]
    UnknownSecret {
        /// The secret's name.
        name: String,
    },
    /// A secret whose value is not in the encoding that the signature asks for.
    #[error("secret {name:?} is not valid {encoding}; store it in that form or set the signature's secret_encoding")]
    SecretEncoding {
        /// The secret's name.
        name: String,
        /// The encoding asked for.
        encoding: &'static str,
    },
    /// The request would be larger than a receiver could be expected to take.
    #[error("{what} would have {length} bytes, at most {limit} are sent; shorten the template or the values")]
    TooLarge {
        /// The part of the request.
        what: String,
        /// Bytes it would have.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
}
