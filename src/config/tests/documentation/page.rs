//! Reads the fenced blocks of a page.

/// What a block is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'p> {
    Postback,
    Event,
    Original,
    Request,
    Response,
    Verdict,
    Error,
    /// With the delimiters behind the word.
    Render(&'p str),
}

/// A fenced block that is part of an example.
#[derive(Debug)]
pub(super) struct Block<'p> {
    /// The line of its fence, from 1.
    pub(super) line: usize,
    pub(super) kind: Kind<'p>,
    pub(super) text: &'p str,
}

/// An answer of a receiver.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// The blocks of a page that are part of examples, in order.
pub(super) fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str, usize)> = None;
    let mut offset = 0;
    for (index, line) in page.split_inclusive('\n').enumerate() {
        let fence = line.trim_end().strip_prefix("```");
        match (open, fence) {
            (None, Some(words)) => open = Some((index + 1, words, offset + line.len())),
            (Some((at, words, start)), Some("")) => {
                open = None;
                found.extend(kind(words).map(|kind| Block { line: at, kind, text: &page[start..offset] }));
            }
            (Some(_), Some(words)) => panic!("line {}: ```{words} within a block", index + 1),
            (_, None) => {}
        }
        offset += line.len();
    }
    assert_eq!(open, None, "a block is not closed");
    found
}

fn kind(words: &str) -> Option<Kind<'_>> {
    match words {
        "toml postback" => Some(Kind::Postback),
        "json event" => Some(Kind::Event),
        "json original" => Some(Kind::Original),
        "http request" => Some(Kind::Request),
        "http response" => Some(Kind::Response),
        "verdict" => Some(Kind::Verdict),
        "error" => Some(Kind::Error),
        other => other.strip_prefix("render").map(|delimiters| Kind::Render(delimiters.trim())),
    }
}

/// Reads `200 OK`, headers, an empty line and a body.
pub(super) fn answer(text: &str) -> Result<Answer, String> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').next()?.parse().ok());
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: Option<Vec<_>> = lines.map(header).collect();
    Ok(Answer {
        status: status.ok_or("the answer begins with no status")?,
        headers: headers.ok_or("a header is no header")?,
        body: body.trim_end_matches('\n').to_owned(),
    })
}

#[test]
fn blocks_are_told_by_the_words_behind_their_fences() {
    let page = "# x\n```sh\nls\n```\n```render [ ]\na → b\n```\ntext\n```http response\n200 OK\nA: b\n\nbody\n```\n";
    let found: Vec<_> = blocks(page).iter().map(|block| (block.line, block.kind, block.text)).collect();
    assert_eq!(found, [(5, Kind::Render("[ ]"), "a → b\n"), (9, Kind::Response, "200 OK\nA: b\n\nbody\n")]);
    let answer = answer(found[1].2).unwrap();
    assert_eq!((answer.status, answer.headers.len(), answer.body.as_str()), (200, 1, "body"));
}
