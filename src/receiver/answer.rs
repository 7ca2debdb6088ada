//! One scripted answer: what it is, how it is written down and read.
//!
//! Refuses to know sockets and requests: [`super::play`] acts an answer out.

use std::fmt;
use std::time::Duration;

use super::notation::{self, NotationError};

/// How many informational responses `1xx-flood` sends unless told otherwise.
const FLOOD: u32 = 1_000;
/// The longest sequence of answers in one rule.
const LONGEST_SEQUENCE: usize = 100_000;

/// What the receiver does with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How long it waits before it does anything.
    pub delay: Duration,
    /// What it does then.
    pub act: Act,
}

/// The ways to treat a request, good and bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Sends a whole response.
    Respond(Response),
    /// Sends nothing until the peer leaves or the receiver stops.
    Hang,
    /// Breaks the connection with a TCP reset instead of an answer.
    Reset,
    /// Sends the header section, then resets the connection.
    ResetAfterHeaders(Response),
    /// Closes the connection in an orderly way without an answer.
    Close,
    /// Announces a longer body than it sends, then closes.
    Half(Response),
    /// Sends bytes that are no HTTP, then closes.
    Junk,
    /// Sends a body without end.
    Endless(Response),
    /// Sends header fields without end.
    HeadersFlood(Response),
}

/// An HTTP response to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code, 200 to 999.
    pub status: u16,
    /// Header fields beyond `content-length`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
    /// Sends a byte at a time with this pause between two.
    pub drip: Option<Duration>,
    /// How many informational (103) responses go before it.
    pub informational: u32,
}

/// The body of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// `OK` for a success, else the status' reason.
    Usual,
    /// This text.
    Text(String),
    /// So many bytes of filler.
    Filler(u64),
}

/// Why a text is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Nothing is written where an answer should stand.
    #[error("an answer is empty")]
    Empty,
    /// A word that means nothing.
    #[error(
        "{0:?} is not an answer; known are a status, hang, reset, reset-after-headers, close, half, junk, endless, \
         headers-flood, drip DURATION, delay DURATION, 1xx-flood"
    )]
    UnknownWord(String),
    /// An attribute that means nothing.
    #[error("{0:?} is not an attribute; known are body, huge, type, location, retry-after, connection, header, count")]
    UnknownAttribute(String),
    /// Two words contradict each other.
    #[error("{0:?} and {1:?} do not go together")]
    Contradiction(String, String),
    /// A status outside its range.
    #[error("{0:?} is not a final status from 200 to 999")]
    Status(String),
    /// A word needs another behind it.
    #[error("{0:?} needs a duration behind it")]
    MissingDuration(&'static str),
    /// `*N` does not end in a count within bounds.
    #[error("{0:?} is not a repetition from 1 to {LONGEST_SEQUENCE}")]
    Repetition(String),
    /// A header field cannot be sent like this.
    #[error("{0:?} is not a header field \"Name: value\" on one line")]
    Header(String),
    /// A count is not a number.
    #[error("{0:?} is not a count")]
    Count(String),
    /// A word could not be read.
    #[error(transparent)]
    Notation(#[from] NotationError),
}

impl Answer {
    /// An ordinary response with this status.
    pub fn status(status: u16) -> Self {
        Self { delay: Duration::ZERO, act: Act::Respond(Response::status(status)) }
    }

    /// The same answer after a wait.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Reads one answer, such as `429 retry-after=1`.
    ///
    /// # Errors
    /// Says which word has no meaning, or which two contradict each other.
    pub fn parse(text: &str) -> Result<Self, AnswerError> {
        let words = notation::words(text)?;
        if words.is_empty() {
            return Err(AnswerError::Empty);
        }
        let mut draft = Draft::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word {
                "delay" => draft.delay = pause("delay", words.next())?,
                "drip" => draft.response("drip").drip = Some(pause("drip", words.next())?),
                "1xx-flood" => {
                    let response = draft.response("1xx-flood");
                    if response.informational == 0 {
                        response.informational = FLOOD;
                    }
                }
                _ => draft.word(word)?,
            }
        }
        draft.finish()
    }

    /// Reads answers divided by commas; `500*3` stands for three of them.
    ///
    /// # Errors
    /// Like [`Answer::parse`], and for a repetition out of bounds.
    pub fn parse_sequence(text: &str) -> Result<Vec<Self>, AnswerError> {
        let mut answers = Vec::new();
        for part in notation::split(text, |character| character == ',')? {
            let (answer, times) = match notation::split_once(part, "*")? {
                Some((answer, times)) => (answer, repetition(times)?),
                None => (part, 1),
            };
            let answer = Self::parse(answer)?;
            if answers.len() + times > LONGEST_SEQUENCE {
                return Err(AnswerError::Repetition(part.to_owned()));
            }
            answers.extend(std::iter::repeat_n(answer, times));
        }
        Ok(answers)
    }
}

impl Response {
    /// A response with the usual body and headers of this status.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Usual, drip: None, informational: 0 }
    }

    /// Whether the status claims success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the sender asks to end the connection behind this response.
    pub(super) fn closes(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("connection") && value.to_ascii_lowercase().contains("close")
        })
    }
}

fn pause(word: &'static str, next: Option<&str>) -> Result<Duration, AnswerError> {
    Ok(notation::duration(next.ok_or(AnswerError::MissingDuration(word))?)?)
}

fn repetition(times: &str) -> Result<usize, AnswerError> {
    let wrong = || AnswerError::Repetition(format!("*{times}"));
    times.parse().ok().filter(|times| (1..=LONGEST_SEQUENCE).contains(times)).ok_or_else(wrong)
}

/// An answer while its words are being read.
#[derive(Default)]
struct Draft {
    delay: Duration,
    kind: Option<String>,
    status: Option<u16>,
    response: Option<Response>,
    /// The word that first asked for a response, for the complaint.
    because: String,
}

impl Draft {
    fn response(&mut self, because: &str) -> &mut Response {
        if self.because.is_empty() {
            because.clone_into(&mut self.because);
        }
        self.response.get_or_insert_with(|| Response::status(200))
    }

    fn word(&mut self, word: &str) -> Result<(), AnswerError> {
        if word.starts_with(|first: char| first.is_ascii_digit()) && !word.contains('=') {
            return self.set_status(word);
        }
        if let Some((name, value)) = word.split_once('=') {
            return self.attribute(name, notation::unquote(value)?);
        }
        match word {
            "hang" | "reset" | "reset-after-headers" | "close" | "half" | "junk" | "endless" | "headers-flood" => {
                match self.kind.replace(word.to_owned()) {
                    Some(before) => Err(AnswerError::Contradiction(before, word.to_owned())),
                    None => Ok(()),
                }
            }
            unknown => Err(AnswerError::UnknownWord(unknown.to_owned())),
        }
    }

    fn set_status(&mut self, word: &str) -> Result<(), AnswerError> {
        let wrong = || AnswerError::Status(word.to_owned());
        let status: u16 = word.parse().ok().filter(|status| (200..1000).contains(status)).ok_or_else(wrong)?;
        if let Some(before) = self.status.replace(status) {
            return Err(AnswerError::Contradiction(before.to_string(), word.to_owned()));
        }
        self.response(word).status = status;
        Ok(())
    }

    fn attribute(&mut self, name: &str, value: String) -> Result<(), AnswerError> {
        let response = self.response(name);
        let header = match name {
            "body" | "huge" if response.body != Body::Usual => {
                return Err(AnswerError::Contradiction("body".to_owned(), "huge".to_owned()));
            }
            "body" => {
                response.body = Body::Text(value);
                return Ok(());
            }
            "huge" => {
                response.body = Body::Filler(notation::size(&value)?);
                return Ok(());
            }
            "count" => {
                response.informational = value.parse().map_err(|_| AnswerError::Count(value))?;
                return Ok(());
            }
            "type" => ("content-type".to_owned(), value),
            "location" | "retry-after" | "connection" => (name.to_owned(), value),
            "header" => {
                let Some((name, value)) = value.split_once(':') else { return Err(AnswerError::Header(value)) };
                (name.trim().to_owned(), value.trim().to_owned())
            }
            unknown => return Err(AnswerError::UnknownAttribute(unknown.to_owned())),
        };
        if !is_header_field(&header.0, &header.1) {
            return Err(AnswerError::Header(format!("{}: {}", header.0, header.1)));
        }
        response.headers.push(header);
        Ok(())
    }

    fn finish(self) -> Result<Answer, AnswerError> {
        let kind = self.kind.as_deref().unwrap_or_default();
        let response = self.response.clone().unwrap_or_else(|| Response::status(200));
        let paced = response.drip.is_some() || response.informational > 0;
        let act = match kind {
            "" if self.response.is_none() => return Err(AnswerError::Empty),
            "" => Act::Respond(response),
            "hang" | "reset" | "close" | "junk" if self.response.is_some() => {
                return Err(AnswerError::Contradiction(kind.to_owned(), self.because));
            }
            _ if paced => return Err(AnswerError::Contradiction(kind.to_owned(), "drip or 1xx-flood".to_owned())),
            "hang" => Act::Hang,
            "reset" => Act::Reset,
            "close" => Act::Close,
            "junk" => Act::Junk,
            "reset-after-headers" => Act::ResetAfterHeaders(response),
            "half" => Act::Half(response),
            "endless" => Act::Endless(response),
            _ => Act::HeadersFlood(response),
        };
        Ok(Answer { delay: self.delay, act })
    }
}

fn is_header_field(name: &str, value: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token) && !value.contains(['\r', '\n', '\0'])
}

impl fmt::Display for Answer {
    /// Writes the answer so that [`Answer::parse`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.delay.is_zero() {
            write!(f, "delay {} ", notation::show_duration(self.delay))?;
        }
        match &self.act {
            Act::Respond(response) => response.fmt(f),
            Act::Hang => f.write_str("hang"),
            Act::Reset => f.write_str("reset"),
            Act::Close => f.write_str("close"),
            Act::Junk => f.write_str("junk"),
            Act::ResetAfterHeaders(response) => write!(f, "reset-after-headers {response}"),
            Act::Half(response) => write!(f, "half {response}"),
            Act::Endless(response) => write!(f, "endless {response}"),
            Act::HeadersFlood(response) => write!(f, "headers-flood {response}"),
        }
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pause) = self.drip {
            write!(f, "drip {} ", notation::show_duration(pause))?;
        }
        if self.informational > 0 {
            write!(f, "1xx-flood count={} ", self.informational)?;
        }
        write!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            write!(f, " header={}", notation::quote(&format!("{name}: {value}")))?;
        }
        match &self.body {
            Body::Usual => Ok(()),
            Body::Text(text) => write!(f, " body={}", notation::quote(text)),
            Body::Filler(bytes) => write!(f, " huge={bytes}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in [
            "200",
            "204",
            "429 retry-after=1",
            r#"200 body="success=false; \"no\"""#,
            "hang",
            "reset",
            "reset-after-headers",
            "500 reset-after-headers",
            "close",
            "drip 10ms",
            "drip 10ms 500",
            "delay 50ms 200",
            "delay 2s hang",
            "200 huge=10MiB",
            "302 location=http://example.net/a?b=c",
            "half",
            "junk",
            r#"200 type=text/html body="<html>""#,
            "endless",
            "headers-flood",
            "1xx-flood 200",
            "1xx-flood count=3 500",
            r#"200 header="X-A: b, c" connection=close"#,
        ] {
            let answer = Answer::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(Answer::parse(&answer.to_string()).unwrap(), answer, "{text} became {answer}");
        }
    }

    #[test]
    fn the_words_mean_what_they_say() {
        let Act::Respond(response) = Answer::parse("429 retry-after=1 body=\"\"").unwrap().act else { panic!() };
        assert_eq!(response.status, 429);
        assert_eq!(response.headers, [("retry-after".to_owned(), "1".to_owned())]);
        assert_eq!(response.body, Body::Text(String::new()));
        let dripping = Answer::parse("delay 50ms drip 10ms").unwrap();
        assert_eq!(dripping.delay, Duration::from_millis(50));
        let Act::Respond(response) = dripping.act else { panic!() };
        assert_eq!((response.status, response.drip), (200, Some(Duration::from_millis(10))));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| Answer::parse(text).unwrap_err();
        assert_eq!(error(""), AnswerError::Empty);
        assert_eq!(error("delay 5ms"), AnswerError::Empty);
        assert_eq!(error("hnag"), AnswerError::UnknownWord("hnag".to_owned()));
        assert_eq!(error("200 color=red"), AnswerError::UnknownAttribute("color".to_owned()));
        assert_eq!(error("199"), AnswerError::Status("199".to_owned()));
        assert_eq!(error("20x"), AnswerError::Status("20x".to_owned()));
        assert_eq!(error("200 500"), AnswerError::Contradiction("200".to_owned(), "500".to_owned()));
        assert_eq!(error("hang reset"), AnswerError::Contradiction("hang".to_owned(), "reset".to_owned()));
        assert_eq!(error("200 hang"), AnswerError::Contradiction("hang".to_owned(), "200".to_owned()));
        assert_eq!(error("200 body=a huge=1"), AnswerError::Contradiction("body".to_owned(), "huge".to_owned()));
        assert!(matches!(error("drip 5ms half"), AnswerError::Contradiction(..)));
        assert_eq!(error("200 delay"), AnswerError::MissingDuration("delay"));
        assert_eq!(error("200 header=x"), AnswerError::Header("x".to_owned()));
        assert!(matches!(error(r#"200 type="a\nb""#), AnswerError::Header(_)));
        assert!(matches!(error("200 body=\"x"), AnswerError::Notation(NotationError::OpenQuote)));
        assert!(matches!(error("1xx-flood count=x"), AnswerError::Count(_)));
    }

    #[test]
    fn sequences_repeat() {
        let sequence = Answer::parse_sequence("500*2, 429 retry-after=1 *1,200").unwrap();
        let shown: Vec<String> = sequence.iter().map(Answer::to_string).collect();
        assert_eq!(shown, ["500", "500", "429 header=\"retry-after: 1\"", "200"]);
        assert_eq!(Answer::parse_sequence("500,").unwrap_err(), AnswerError::Empty);
        assert_eq!(Answer::parse_sequence("500*0").unwrap_err(), AnswerError::Repetition("*0".to_owned()));
        assert!(matches!(Answer::parse_sequence("500*100000,200"), Err(AnswerError::Repetition(_))));
    }
}
