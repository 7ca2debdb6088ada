//! Problems: what is wrong with a configuration, where, and what to do about it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// One thing wrong, or most likely wrong, with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line in it, from 1, where the problem has one.
    pub line: Option<usize>,
    /// The key, such as `postback[0].url`; empty for the file itself.
    pub key: String,
    /// What is wrong, as the rest of a sentence that begins with the key.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// Everything wrong with a configuration, in the order of files and lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// Whether a problem keeps a configuration from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// It does.
    Error,
    /// It is only most likely a mistake.
    Warning,
}

/// Problems that were found, each with its place in the order in which they were.
type Found = RefCell<BTreeMap<Problem, usize>>;

/// Collects problems while files are read; shared by all readers.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: Found,
    warnings: Found,
}

impl Report {
    /// Takes note of a problem, once.
    pub(super) fn add(&self, weight: Weight, problem: Problem) {
        let found = match weight {
            Weight::Error => &self.errors,
            Weight::Warning => &self.warnings,
        };
        let mut found = found.borrow_mut();
        let place = found.len();
        found.entry(problem).or_insert(place);
    }

    /// Takes note of an error that has a file and no line.
    pub(super) fn file_error(&self, file: &Path, message: impl Into<String>, remedy: impl Into<String>) {
        self.file_problem(Weight::Error, file, message, remedy);
    }

    /// Takes note of a problem that has a file and no line.
    pub(super) fn file_problem(
        &self,
        weight: Weight,
        file: &Path,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (message, remedy) = (message.into(), remedy.into());
        self.add(weight, Problem { file: file.into(), line: None, key: String::new(), message, remedy });
    }

    /// Errors and warnings, each in the order of files and lines.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |found: Found| {
            let mut found: Vec<(Problem, usize)> = found.into_inner().into_iter().collect();
            found.sort_by(|(a, place), (b, other)| (&a.file, a.line, place).cmp(&(&b.file, b.line, other)));
            found.into_iter().map(|(problem, _)| problem).collect()
        };
        (sorted(self.errors), sorted(self.warnings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_stand_in_the_order_of_lines_and_then_as_they_were_found_each_once() {
        let report = Report::default();
        for (line, message) in [(7, "second"), (3, "z, found first"), (3, "a, found next"), (3, "z, found first")] {
            let (file, key, remedy) = ("postbackd.toml".into(), "key".into(), "mend it".into());
            report.add(Weight::Error, Problem { file, line: Some(line), key, message: message.into(), remedy });
        }
        let (errors, warnings) = report.into_parts();
        let told: Vec<&str> = errors.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!((told, warnings), (vec!["z, found first", "a, found next", "second"], vec![]));
    }
}
