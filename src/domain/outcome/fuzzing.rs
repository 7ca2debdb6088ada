//! Answers of any content, read as rules read them, for fuzzing.

use super::Response;
use super::body::Answer;

/// Reads an answer as JSON and XML; neither takes more room than the answer.
pub(crate) fn read(response: &Response<'_>) {
    let answer = Answer::new(response);
    let elements = answer.xml().unwrap_or_default();
    let text: usize = elements.iter().map(|element| element.text.len()).sum();
    assert!(text <= response.body.len(), "{text} bytes of text in {} bytes", response.body.len());
    assert!(elements.len() <= response.body.len(), "{} elements", elements.len());
    if let Some(document) = answer.json() {
        assert_eq!(document.pointer(""), Some(document), "the whole document");
        assert!(elements.is_empty(), "JSON and XML at once");
    }
}
