//! Templates: any text in any style, anywhere in a request.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::leaving::{SECRET, leaves_whole, secrets, sent};
use super::{event, get, post};
use crate::domain::request::{BodySource, PreparedRequest, RequestSource, RequestTemplate};
use crate::domain::signature::{
    Algorithm, CustomSource, Output, ParameterForm, PlaceSource, SecretEncoding, SignatureScheme, SignatureSource,
};
use crate::domain::template::Delimiters;
use crate::fuzzing::Pieces;

/// Names that stand between delimiters in a template, and between none in a request.
const NAMES: [&str; 6] = ["click_id", "transaction_id", "sub_ids.a", "payout", "secret.token", "cid"];
/// Delimiters that are not common in data.
const DELIMITERS: [(&str, &str); 3] = [("{", "}"), ("[[[", "]]]"), ("##", "##")];
/// Filters that write a text of their own.
const WRITING: [&str; 4] = ["default", "map", "join", "date"];

/// The first piece is a digit for the style and a letter for the place, the second the text, the others the values.
pub(crate) fn template(input: &[u8]) {
    let pieces = Pieces::of(input);
    let mut choice = pieces.text(0).chars().collect::<Vec<_>>().into_iter();
    let style = choice.next().and_then(|digit| digit.to_digit(10)).unwrap_or_default();
    let style = Delimiters::ALL.get(style as usize).copied().unwrap_or_default();
    let text = pieces.text(1);
    let place = choice.next().unwrap_or('q');
    let source = RequestSource { delimiters: style, macros: macros(), ..source(place, &text) };
    let signature = (place == 's').then(|| SignatureScheme::compile(&signature(&text), &macros()));
    let Ok(signature) = signature.transpose() else { return };
    let compiled = RequestTemplate::compile(&source, signature.clone());
    match (&compiled, RequestTemplate::compile(&source, signature)) {
        (Ok(first), Ok(again)) => assert_eq!(*first, again, "compiled again"),
        (Err(first), Err(again)) => assert!(*first == again && !first.is_empty(), "{first:?}, {again:?}"),
        (first, again) => panic!("{first:?}, {again:?}"),
    }
    let (Ok(request), Some(event)) = (compiled, event(&pieces, 2)) else { return };
    let Ok(sent) = sent(&request, &event, None, &secrets()) else { return };
    leaves_whole(&sent, request.origin());
    documents(&sent, place, text.contains("raw"));
    if !holds(input, &[SECRET]) {
        assert!(!format!("{:?}", sent.record).contains(SECRET), "a secret is recorded: {:?}", sent.record);
    }
    let values: Vec<_> = (2..9).map(|index| pieces.text(index)).collect();
    let writes = holds(text.as_bytes(), &WRITING);
    if !writes && !values.iter().any(|value| NAMES.iter().any(|name| value.contains(name))) {
        resolved(&sent, place);
    }
}

fn macros() -> BTreeMap<String, String> {
    let meanings = [("cid", "click_id|lower"), ("lead.Sub1", "sub_ids.a"), ("1", "type")];
    meanings.into_iter().map(|(token, meaning)| (token.to_owned(), meaning.to_owned())).collect()
}

fn source(place: char, text: &str) -> RequestSource {
    let body = |content_type: &str, text: String| post(BodySource::Text { content_type: content_type.into(), text });
    match place {
        'u' => get(text),
        'p' => get(&format!("https://track.example/x/{text}/y")),
        'h' => RequestSource { headers: vec![("X-Test".into(), text.into())], ..get("https://track.example/?") },
        'f' => post(BodySource::Form(vec![("x".into(), text.into()), (text.into(), "1".into())])),
        'j' => post(BodySource::Json(json!({ "x": text, "n": { "y": [text, 1, true, null] }, "z": "{click_id}" }))),
        'd' => post(BodySource::Json(serde_json::from_str(text).unwrap_or_default())),
        't' => body("text/plain", text.into()),
        'n' => body("application/json", text.into()),
        'm' => body("text/xml", format!("<a b=\"{text}\">{text}</a>")),
        _ => get(&format!("https://track.example/p?x={text}&{text}=1&y=1")),
    }
}

/// A signature over a message; a letter of it chooses the algorithm.
fn signature(message: &str) -> SignatureSource {
    let algorithm = Algorithm::ALL.get(message.len() % Algorithm::ALL.len()).copied();
    SignatureSource::Custom(CustomSource {
        algorithm: algorithm.unwrap_or(Algorithm::ALL[0]),
        secret: "hmac".into(),
        secret_encoding: SecretEncoding::Utf8,
        message: message.into(),
        joiner: None,
        parameters: ParameterForm::AsSent,
        output: Output::Hex,
        place: PlaceSource::Query("sig".into()),
    })
}

fn holds(text: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| text.windows(word.len()).any(|window| window == word.as_bytes()))
}

/// A body is a document of its kind, whatever stands in it; only `raw` leaves a form's own syntax to the value.
fn documents(sent: &PreparedRequest, place: char, raw: bool) {
    if matches!(place, 'j' | 'd') {
        let read = serde_json::from_slice::<Value>(&sent.body);
        assert!(read.is_ok(), "{read:?}: {}", sent.body.escape_ascii());
        if place == 'j' {
            let members = read.ok().and_then(|value| value.as_object().map(serde_json::Map::len)).unwrap_or_default();
            assert!(members <= 3, "a value became a member: {}", sent.body.escape_ascii());
        }
    }
    if place == 'f' && !raw {
        let pairs = ::url::form_urlencoded::parse(&sent.body).count();
        assert!(pairs <= 2, "a value became a parameter: {}", sent.body.escape_ascii());
    }
}

/// No macro is left in the URL, in a header or in a form.
fn resolved(sent: &PreparedRequest, place: char) {
    let url = percent_decode_str(&sent.url).decode_utf8_lossy();
    let headers = sent.headers.iter().map(|(_, value)| value.as_str());
    let form = if place == 'f' { String::from_utf8_lossy(&sent.body).into_owned() } else { String::new() };
    let form = percent_decode_str(&form).decode_utf8_lossy();
    for text in headers.chain([&*url, &*form]) {
        for name in NAMES {
            let left = DELIMITERS.iter().find(|(open, close)| text.contains(&format!("{open}{name}{close}")));
            assert!(left.is_none(), "{name} is left in {text:?}");
        }
    }
}
