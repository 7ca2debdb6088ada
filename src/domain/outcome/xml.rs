//! Reads XML for its tags and their texts.
//!
//! Nothing is fetched and no entity is expanded beyond the five of XML itself and characters by number, so that a
//! document takes no more room than its bytes. Several roots are allowed, as some receivers answer.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

/// Deepest nesting of a document; what is deeper counts as no XML.
const MAX_DEPTH: usize = 64;

/// A tag and the text that stands directly in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    pub(super) text: String,
}

impl Element {
    /// Whether it has this name; a name without a prefix fits every prefix.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name == name || self.name.split_once(':').is_some_and(|(_, local)| local == name)
    }
}

/// The elements of a document in the order of their beginnings; `None` for what is no XML, and for HTML.
pub(super) fn elements(body: &[u8]) -> Option<Vec<Element>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().check_end_names = true;
    let mut document = Document { elements: Vec::new(), open: Vec::new() };
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                let index = document.add(&tag)?;
                document.open.push(index);
                if document.open.len() > MAX_DEPTH {
                    return None;
                }
            }
            Event::Empty(tag) => drop(document.add(&tag)?),
            // The reader has checked that it closes what was opened last.
            Event::End(_) => drop(document.open.pop()),
            Event::Text(text) => document.write(&text.xml10_content())?,
            Event::CData(text) => document.write(&text.xml10_content())?,
            Event::GeneralRef(reference) => document.write(&resolved(&reference))?,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => break,
        }
    }
    let whole = document.open.is_empty() && !document.elements.is_empty();
    whole.then_some(document.elements)
}

struct Document {
    elements: Vec<Element>,
    /// The indices of the elements that are not closed.
    open: Vec<usize>,
}

impl Document {
    /// Takes an element; gives its index, or nothing where it makes the document an HTML page.
    fn add(&mut self, tag: &BytesStart<'_>) -> Option<usize> {
        let element = Element { name: tag.name().as_ref().to_owned(), text: String::new() };
        if self.open.is_empty() && element.name.eq_ignore_ascii_case("html") {
            return None;
        }
        self.elements.push(element);
        Some(self.elements.len() - 1)
    }

    /// Takes text of the element that is open; outside of all elements, there can be only spaces.
    fn write(&mut self, text: &str) -> Option<()> {
        match self.open.last().and_then(|index| self.elements.get_mut(*index)) {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return None,
        }
        Some(())
    }
}

/// What a reference stands for; one that the document defines itself stays as it is written.
fn resolved(reference: &BytesRef<'_>) -> String {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return character.into();
    }
    let name = reference.xml10_content();
    resolve_xml_entity(&name).map_or_else(|| format!("&{name};"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(body: &str) -> Option<Vec<String>> {
        let shown = |element: Element| format!("{}={}", element.name, element.text);
        elements(body.as_bytes()).map(|elements| elements.into_iter().map(shown).collect())
    }

    #[test]
    fn texts_stand_with_their_tags() {
        let table = [
            ("<a>1<b>2</b>3</a>", vec!["a=13", "b=2"]),
            ("\u{feff}<?xml version=\"1.0\"?>\n<!-- x --><a x='>'><b/></a>\n", vec!["a=", "b="]),
            ("<a>&lt;&amp;&#65;&#x42;<![CDATA[<c>]]></a>", vec!["a=<&AB<c>"]),
            ("<good>1</good><bad>0</bad>", vec!["good=1", "bad=0"]),
        ];
        for (body, expected) in table {
            assert_eq!(texts(body), Some(expected.into_iter().map(str::to_owned).collect()), "{body}");
        }
    }

    #[test]
    fn what_is_no_xml_has_no_elements() {
        let deep = format!("{}{}", "<a>".repeat(MAX_DEPTH + 1), "</a>".repeat(MAX_DEPTH + 1));
        for body in ["", "OK", "<a>", "<a></b>", "</a>", "x<a/>", "{\"a\":1}", "<HTML></HTML>", "<a><b</a>", &deep] {
            assert_eq!(texts(body), None, "{body}");
        }
        assert_eq!(elements(b"<a>\xff</a>"), None);
    }

    #[test]
    fn entities_of_a_document_are_not_expanded() {
        let body = "<!DOCTYPE a [<!ENTITY x \"lol\"><!ENTITY y \"&x;&x;\">]><a>&y;</a>";
        assert_eq!(texts(body), Some(vec!["a=&y;".to_owned()]));
        let file = "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>";
        assert_eq!(texts(file), Some(vec!["a=&x;".to_owned()]));
    }

    /// Pieces of documents, whole and broken.
    fn pieces() -> impl Strategy<Value = String> {
        let pieces = [
            "<a>",
            "</a>",
            "<b x='1'>",
            "</b>",
            "<c/>",
            "<",
            ">",
            "&amp;",
            "&#65;",
            "&#x110000;",
            "&y;",
            "&",
            "<![CDATA[",
            "]]>",
            "<!--",
            "-->",
            "<?p",
            "?>",
            "<!DOCTYPE a [",
            "<!ENTITY y \"&y;&y;\">",
            "]>",
            "text",
            " ",
            "\r\n",
            "\0",
            "ü",
        ];
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.concat())
    }

    fn texts_of_one_element() -> impl Strategy<Value = String> {
        let texts = ["&amp;", "&#65;", "&y;", "&lt;", "<![CDATA[<]]>", "<!-- x -->", "<c/>", "text", "\r\n", "ü"];
        let texts = proptest::collection::vec(proptest::sample::select(texts.to_vec()), 0..12);
        texts.prop_map(|texts| format!("<a>{}</a>", texts.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_comes_is_read_within_its_own_length(body in prop_oneof![
            pieces().prop_map(String::into_bytes),
            texts_of_one_element().prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..64),
        ]) {
            let found = elements(&body).unwrap_or_default();
            let length: usize = found.iter().map(|element| element.name.len() + element.text.len()).sum();
            prop_assert!(length <= body.len(), "{:?}", found);
        }
    }
}
