//! How a command ends: its exit code, and what people are told when it failed.

use std::fmt;

/// The exit codes, stable for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok,
    /// Something failed.
    Error,
    /// The command line makes no sense.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// The daemon does not know or does not allow the caller.
    Auth,
    /// The daemon cannot be reached.
    Unreachable,
    /// Some of it was done, some was not.
    Partial,
    /// The configuration is wrong.
    Configuration,
    /// What was asked is not allowed in the state things are in.
    Refused,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Auth => 4,
            Self::Unreachable => 5,
            Self::Partial => 6,
            Self::Configuration => 7,
            Self::Refused => 8,
        }
    }

    /// How something done piece by piece ends: `failed` is what the first failure alone would end in.
    pub(super) fn of_parts(done: usize, failed: Option<Self>) -> Self {
        match failed {
            None => Self::Ok,
            Some(_) if done > 0 => Self::Partial,
            Some(exit) => exit,
        }
    }
}

/// Why a command failed: what, why, and what to try next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    what: String,
    why: String,
    next: String,
}

/// What a command comes to.
pub(super) type Ended = Result<Exit, Failure>;

impl Failure {
    /// A failure: `what` could not be done, `why`, and the `next` thing to try.
    pub(super) fn new(exit: Exit, what: impl Into<String>, why: impl fmt::Display, next: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: why.to_string(), next: next.into() }
    }

    /// The reader of our output has gone; nobody is left to be told.
    pub(super) fn nobody_reads() -> Self {
        Self { exit: Exit::Ok, what: String::new(), why: String::new(), next: String::new() }
    }

    /// Whether there is anything to tell.
    pub(super) fn is_quiet(&self) -> bool {
        self.what.is_empty()
    }

    /// The exit that it leads to.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The same failure with another exit.
    pub(super) fn ending(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.why.is_empty() {
            write!(f, ": {}", self.why)?;
        }
        if !self.next.is_empty() {
            write!(f, "\n  next: {}", self.next)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// An error with all its causes, as one text.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let all = [
            (Exit::Ok, 0),
            (Exit::Error, 1),
            (Exit::Usage, 2),
            (Exit::NotFound, 3),
            (Exit::Auth, 4),
            (Exit::Unreachable, 5),
            (Exit::Partial, 6),
            (Exit::Configuration, 7),
            (Exit::Refused, 8),
        ];
        for (exit, code) in all {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn what_is_partly_done_ends_as_partial_and_what_is_not_done_as_its_failure() {
        assert_eq!(Exit::of_parts(3, None), Exit::Ok);
        assert_eq!(Exit::of_parts(3, Some(Exit::NotFound)), Exit::Partial);
        assert_eq!(Exit::of_parts(0, Some(Exit::NotFound)), Exit::NotFound);
    }

    #[test]
    fn a_failure_tells_what_why_and_what_to_try_next() {
        let failure = Failure::new(Exit::Configuration, "reading x", "it is wrong", "postbackd check");
        assert_eq!(failure.to_string(), "reading x: it is wrong\n  next: postbackd check");
    }
}
