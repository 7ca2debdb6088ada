//! The script: which answers which request gets.
//!
//! A script is an ordered list of rules and is pure data; [`super::playbook`] keeps count of what was
//! already given. Refuses to know sockets.

use std::num::NonZeroU32;

use super::answer::{Answer, AnswerError};
use super::notation::{self, NotationError};

/// The longest script text.
pub const SCRIPT_LIMIT: usize = 1 << 20;
/// The most rules of a script.
const MOST_RULES: usize = 1_000;
/// Shares are counted in millionths.
pub(super) const WHOLE: u32 = 1_000_000;

/// An ordered list of rules, of which the first that fits decides; 200 where none does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    pub(super) rules: Vec<Rule>,
}

/// Answers for the requests that meet all conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) first: Answer,
    pub(super) rest: Vec<Answer>,
    pub(super) per_key: bool,
}

/// What a request must be like for a rule to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Its path starts so.
    Path(String),
    /// It has a query parameter of this name whose first value is this.
    Parameter {
        /// The parameter's name.
        name: String,
        /// The value it must have.
        value: String,
    },
    /// It is the so-manieth request of its key, from 1.
    Nth(NonZeroU32),
    /// It is every so-manieth among the requests that meet the rule's other conditions.
    Every(NonZeroU32),
    /// Its key falls into this share of all keys, always the same for the same key and seed.
    Share {
        /// The share in millionths.
        millionths: u32,
        /// Draws another share of the same size.
        seed: u64,
    },
}

/// Why a text is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A line of the script could not be read.
    #[error("line {line} of the script, {text:?}, could not be read")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// The line.
        text: String,
        /// What is wrong with it.
        #[source]
        source: RuleError,
    },
    /// A rule stands behind one that applies to every request.
    #[error("rule {rule} is never reached: rule {before} before it applies to every request")]
    Unreachable {
        /// The rule's number, from 1.
        rule: usize,
        /// The number of the rule that hides it.
        before: usize,
    },
    /// The script is too long.
    #[error("a script has at most {MOST_RULES} rules and {SCRIPT_LIMIT} bytes")]
    TooLong,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A condition that means nothing.
    #[error("{0:?} is not a condition; known are /PATH, ?NAME=VALUE, nth=N, every=N, N%, seed=N, shared")]
    UnknownCondition(String),
    /// A condition's number is not one.
    #[error("{0:?} needs a whole number from 1")]
    Number(String),
    /// A percentage out of range.
    #[error("{0:?} is not a percentage from 0% to 100%")]
    Percentage(String),
    /// A seed without a percentage to draw.
    #[error("seed=N needs a percentage beside it")]
    LoneSeed,
    /// A word could not be read.
    #[error(transparent)]
    Notation(#[from] NotationError),
    /// An answer could not be read.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl Script {
    /// A script of these rules.
    ///
    /// # Errors
    /// When a rule can never be reached, or there are too many.
    pub fn new(rules: Vec<Rule>) -> Result<Self, ScriptError> {
        if rules.len() > MOST_RULES {
            return Err(ScriptError::TooLong);
        }
        let hiding = rules.iter().position(|rule| rule.conditions.is_empty());
        match hiding {
            Some(at) if at + 1 < rules.len() => Err(ScriptError::Unreachable { rule: at + 2, before: at + 1 }),
            _ => Ok(Self { rules }),
        }
    }

    /// A script that gives every request the same answer.
    pub fn always(answer: Answer) -> Self {
        Self { rules: vec![Rule::answering(answer)] }
    }

    /// A script that gives each key these statuses in turn, then the last for ever; 200 for none.
    pub fn statuses(statuses: &[u16]) -> Self {
        let mut answers = statuses.iter().copied().map(Answer::status);
        let rule = answers.next().map(|first| Rule { rest: answers.collect(), ..Rule::answering(first) });
        Self { rules: rule.into_iter().collect() }
    }

    /// Reads a script, one rule a line; see the [module's docs](super) for the language.
    ///
    /// # Errors
    /// Names the first line that cannot be read, and why.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        Self::new(Rule::parse_lines(text)?)
    }
}

impl Rule {
    /// A rule that gives every request this answer.
    pub fn answering(first: Answer) -> Self {
        Self { conditions: Vec::new(), first, rest: Vec::new(), per_key: true }
    }

    /// The same rule with another answer at the end of its sequence.
    #[must_use]
    pub fn then(mut self, answer: Answer) -> Self {
        self.rest.push(answer);
        self
    }

    /// The same rule under one more condition.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// The same rule with one sequence for all keys together, instead of one for each.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { per_key: false, ..self }
    }

    /// Reads rules, one a line, without looking at how they stand to each other.
    ///
    /// # Errors
    /// Names the first line that cannot be read, and why.
    pub fn parse_lines(text: &str) -> Result<Vec<Self>, ScriptError> {
        if text.len() > SCRIPT_LIMIT {
            return Err(ScriptError::TooLong);
        }
        let mut rules = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let rule = notation::without_comment(line).map_err(RuleError::from).and_then(|bare| match bare {
                "" => Ok(None),
                rule => Self::parse(rule).map(Some),
            });
            let wrong = |source| ScriptError::Line { line: at + 1, text: line.to_owned(), source };
            rules.extend(rule.map_err(wrong)?);
        }
        Ok(rules)
    }

    /// Reads one rule: `CONDITIONS => ANSWERS`, `/path=ANSWERS` or only `ANSWERS`.
    ///
    /// # Errors
    /// Says which word has no meaning.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let text = text.trim();
        let divided = match notation::split_once(text, "=>")? {
            None if text.starts_with('/') => notation::split_once(text, "=")?,
            divided => divided,
        };
        let (conditions, answers) = divided.unwrap_or(("", text));
        let mut answers = Answer::parse_sequence(answers)?.into_iter();
        let first = answers.next().ok_or(AnswerError::Empty)?;
        let mut rule = Self { rest: answers.collect(), ..Self::answering(first) };
        rule.read_conditions(conditions)?;
        Ok(rule)
    }

    fn read_conditions(&mut self, text: &str) -> Result<(), RuleError> {
        let mut drawn = None;
        for word in notation::words(text)? {
            let unknown = || RuleError::UnknownCondition(word.to_owned());
            if word == "shared" {
                self.per_key = false;
            } else if word.starts_with('/') {
                self.conditions.push(Condition::Path(word.to_owned()));
            } else if let Some(parameter) = word.strip_prefix('?') {
                let (name, value) = parameter.split_once('=').ok_or_else(unknown)?;
                let (name, value) = (name.to_owned(), notation::unquote(value)?);
                self.conditions.push(Condition::Parameter { name, value });
            } else if let Some(percentage) = word.strip_suffix('%') {
                let millionths = share(percentage).ok_or_else(|| RuleError::Percentage(word.to_owned()))?;
                self.conditions.push(Condition::Share { millionths, seed: 0 });
            } else {
                let (name, number) = word.split_once('=').ok_or_else(unknown)?;
                let wrong = |_| RuleError::Number(word.to_owned());
                match name {
                    "nth" => self.conditions.push(Condition::Nth(number.parse().map_err(wrong)?)),
                    "every" => self.conditions.push(Condition::Every(number.parse().map_err(wrong)?)),
                    "seed" => drawn = Some(number.parse().map_err(wrong)?),
                    _ => return Err(unknown()),
                }
            }
        }
        let Some(drawn) = drawn else { return Ok(()) };
        let share = self.conditions.iter_mut().find_map(|condition| match condition {
            Condition::Share { seed, .. } => Some(seed),
            Condition::Path(_) | Condition::Parameter { .. } | Condition::Nth(_) | Condition::Every(_) => None,
        });
        *share.ok_or(RuleError::LoneSeed)? = drawn;
        Ok(())
    }
}

/// Reads a percentage with up to four decimals as millionths.
fn share(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || decimals.len() > 4 || !digits(whole) || !digits(decimals) {
        return None;
    }
    let millionths: u32 = format!("{whole}{decimals:0<4}").parse().ok()?;
    (millionths <= WHOLE).then_some(millionths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_its_conditions() {
        let rule = Rule::parse(r#"/acme ?type="f t d" nth=2 every=3 0.5% seed=7 shared => 500, 200"#).unwrap();
        let number = |number| NonZeroU32::new(number).unwrap();
        let parameter = Condition::Parameter { name: "type".to_owned(), value: "f t d".to_owned() };
        let expected = Rule::answering(Answer::status(500))
            .then(Answer::status(200))
            .when(Condition::Path("/acme".to_owned()))
            .when(parameter)
            .when(Condition::Nth(number(2)))
            .when(Condition::Every(number(3)))
            .when(Condition::Share { millionths: 5_000, seed: 7 })
            .shared();
        assert_eq!(rule, expected);
        assert_eq!(Rule::parse("/acme=500").unwrap(), Rule::parse("/acme => 500").unwrap());
    }

    #[test]
    fn a_script_skips_comments_and_names_the_wrong_line() {
        let script = Script::parse("# first\n\n/a => 500,200 # then well\n204\n").unwrap();
        assert_eq!(script.rules.len(), 2);
        let error = Script::parse("200\nhnag").unwrap_err();
        let ScriptError::Line { line: 2, text, source } = error else { panic!("{error:?}") };
        assert_eq!((text.as_str(), source), ("hnag", AnswerError::UnknownWord("hnag".to_owned()).into()));
    }

    #[test]
    fn mistakes_in_rules_are_named() {
        let error = |text: &str| Rule::parse(text).unwrap_err();
        assert_eq!(error("path => 200"), RuleError::UnknownCondition("path".to_owned()));
        assert_eq!(error("n=1 => 200"), RuleError::UnknownCondition("n=1".to_owned()));
        assert_eq!(error("?type => 200"), RuleError::UnknownCondition("?type".to_owned()));
        assert_eq!(error("nth=0 => 200"), RuleError::Number("nth=0".to_owned()));
        assert_eq!(error("100.1% => 200"), RuleError::Percentage("100.1%".to_owned()));
        assert_eq!(error("seed=1 => 200"), RuleError::LoneSeed);
        assert_eq!(error("/a =>"), RuleError::Answer(AnswerError::Empty));
        assert_eq!(Script::parse("200\n/a=500").unwrap_err(), ScriptError::Unreachable { rule: 2, before: 1 });
        assert_eq!(Script::parse(&"\n".repeat(SCRIPT_LIMIT + 1)).unwrap_err(), ScriptError::TooLong);
    }

    #[test]
    fn percentages_are_read_exactly() {
        assert_eq!(share("100"), Some(WHOLE));
        assert_eq!(share("0.0001"), Some(1));
        assert_eq!(share("12.5"), Some(125_000));
        for wrong in ["", ".5", "-1", "101", "1.00001", "1e2"] {
            assert_eq!(share(wrong), None, "{wrong}");
        }
    }
}
