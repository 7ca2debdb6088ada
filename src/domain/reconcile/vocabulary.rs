//! Their words and ours: statuses and types, as the operator says that they correspond.
//!
//! Written `approved=A|paid,rejected=D`: ours first, then every word of theirs that means it. Letters' case does not count.

use std::collections::BTreeMap;

use crate::domain::event::Status;

/// Which of their words mean which of our statuses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statuses(BTreeMap<String, Status>);

/// Which of their words mean which of our types of event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Types(BTreeMap<String, String>);

impl Statuses {
    /// Reads what was typed.
    ///
    /// # Errors
    /// When it is not in the notation, or names a status that we do not have.
    pub fn parse(text: &str) -> Result<Self, String> {
        let status = |name: &str| {
            let found = Status::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(name));
            found.ok_or_else(|| format!("{name:?} is no status of ours: use pending, approved or rejected"))
        };
        words(text, status).map(Self)
    }

    /// What a word of theirs means; our own words mean themselves.
    ///
    /// # Errors
    /// When nobody said what it means.
    pub fn meaning(&self, word: &str) -> Result<Status, String> {
        let word = word.trim().to_lowercase();
        let own = || Status::ALL.into_iter().find(|status| status.name() == word);
        self.0.get(&word).copied().or_else(own).ok_or_else(|| {
            format!("status {word:?}: say what it means with --statuses approved={word} (or pending, rejected)")
        })
    }
}

impl Types {
    /// Reads what was typed.
    ///
    /// # Errors
    /// When it is not in the notation.
    pub fn parse(text: &str) -> Result<Self, String> {
        words(text, |name| Ok(name.to_lowercase())).map(Self)
    }

    /// What a word of theirs means; a word that nobody explained means itself.
    pub fn meaning(&self, word: &str) -> String {
        let word = word.trim().to_lowercase();
        self.0.get(&word).cloned().unwrap_or(word)
    }
}

fn words<T: PartialEq>(text: &str, ours: impl Fn(&str) -> Result<T, String>) -> Result<BTreeMap<String, T>, String> {
    let mut words: BTreeMap<String, T> = BTreeMap::new();
    for part in text.split(',') {
        let wrong = || format!("{part:?}: write ours=theirs, such as approved=A|paid");
        let (our, their) = part.split_once('=').ok_or_else(wrong)?;
        for word in their.split('|') {
            let word = word.trim().to_lowercase();
            if word.is_empty() {
                return Err(wrong());
            }
            let meaning = ours(our.trim())?;
            if words.get(&word).is_some_and(|known| *known != meaning) {
                return Err(format!("{word:?} is given two meanings"));
            }
            words.insert(word, meaning);
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_was_said_whatever_their_case() {
        let statuses = Statuses::parse("approved=A|Paid,rejected=D|3").unwrap();
        let cases = [
            ("a", Status::Approved),
            ("PAID", Status::Approved),
            ("3", Status::Rejected),
            ("Pending", Status::Pending),
        ];
        for (word, status) in cases {
            assert_eq!(statuses.meaning(word), Ok(status), "{word}");
        }
        assert!(statuses.meaning("hold").unwrap_err().contains("--statuses"));
        let types = Types::parse("ftd=Deposit|2").unwrap();
        assert_eq!(
            (types.meaning("2"), types.meaning("DEPOSIT"), types.meaning("FTD")),
            ("ftd".into(), "ftd".into(), "ftd".into())
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["", "approved", "approved=", "approved=a||b", "paid=approved", "approved=a,rejected=A"] {
            assert!(Statuses::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn our_own_words_can_be_given_another_meaning() {
        assert_eq!(Statuses::parse("pending=approved").unwrap().meaning("approved"), Ok(Status::Pending));
    }
}
