//! Their report as a file: its encoding, its delimiter, its header, and its rows in two passes.
//!
//! The first pass hears every cell that can be read in two ways; the second reads. So nothing is guessed from the first
//! rows, and nothing of the report is held in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _};
use std::path::Path;

use csv::{ByteRecord, Reader, ReaderBuilder};

use crate::cli::exit::{Exit, Failure};
use crate::domain::money::Currency;
use crate::domain::nearest::nearest;
use crate::domain::reconcile::amount::{self, DecimalSign};
use crate::domain::reconcile::moment::{self, Calendar, DayOrder};
use crate::domain::reconcile::{Clues, Statuses, Theirs, Types, Undecided};

/// Delimiters that are recognised.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Most bytes of the header that are looked at for the delimiter.
const LOOKED_AT: usize = 64 << 10;
/// Most characters of a header that are shown.
const SHOWN_HEADER: usize = 400;

/// What a column of theirs is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Transaction,
    Click,
    Amount,
    Currency,
    Status,
    Time,
    Type,
}

/// In which encoding cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Encoding {
    /// UTF-8, with or without a byte order mark
    #[default]
    #[value(name = "utf-8", alias = "utf8")]
    Utf8,
    /// Latin-1 as Windows writes it (windows-1252)
    #[value(name = "latin1", alias = "windows-1252")]
    Latin1,
}

/// How a report is to be read, as far as that was said.
#[derive(Debug, Clone)]
pub(super) struct Notation {
    pub(super) map: BTreeMap<Field, String>,
    pub(super) delimiter: Option<u8>,
    pub(super) encoding: Encoding,
    pub(super) decimal: Option<DecimalSign>,
    pub(super) minor: bool,
    pub(super) currency: Option<Currency>,
    pub(super) calendar: Calendar,
    pub(super) statuses: Statuses,
    pub(super) types: Types,
}

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct BadRow {
    /// The line it begins on.
    pub(super) line: u64,
    /// What is wrong with it.
    pub(super) why: String,
}

/// The rows of a report, once it is known how to read them.
pub(super) struct Report {
    rows: Reader<File>,
    cells: Cells,
    sign: DecimalSign,
    notation: Notation,
}

/// Where the cells that matter stand.
struct Cells {
    at: BTreeMap<Field, usize>,
    width: usize,
    encoding: Encoding,
}

impl Field {
    /// Every field, with the names it goes by.
    const NAMES: [(&'static str, Self); 12] = [
        ("transaction_id", Self::Transaction),
        ("transaction", Self::Transaction),
        ("click_id", Self::Click),
        ("click", Self::Click),
        ("amount", Self::Amount),
        ("payout", Self::Amount),
        ("currency", Self::Currency),
        ("status", Self::Status),
        ("time", Self::Time),
        ("at", Self::Time),
        ("type", Self::Type),
        ("goal", Self::Type),
    ];
}

/// Reads `transaction_id=txid,amount=payout`.
///
/// # Errors
/// When it is not in the notation, names nothing of ours, or nothing that a row could be matched by.
pub(super) fn parse_map(parts: &[String]) -> Result<BTreeMap<Field, String>, String> {
    let mut map = BTreeMap::new();
    for part in parts {
        let (ours, theirs) =
            part.split_once('=').ok_or_else(|| format!("{part:?}: write ours=theirs, such as click_id=cid"))?;
        let known = Field::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(ours.trim()));
        let (name, field) = known.ok_or_else(|| {
            let known = "transaction_id, click_id, amount, currency, status, time, type";
            format!("{ours:?} is nothing that rows are compared by; use {known}")
        })?;
        if map.insert(*field, theirs.trim().to_owned()).is_some() {
            return Err(format!("{name} is mapped twice"));
        }
    }
    if !map.contains_key(&Field::Transaction) && !map.contains_key(&Field::Click) {
        return Err("map transaction_id, click_id or both: rows are matched by them".into());
    }
    Ok(map)
}

impl Report {
    /// Opens a report and hears all of it once.
    ///
    /// # Errors
    /// When it cannot be read, or not in one way only.
    pub(super) fn open(path: &Path, directory: &Path, notation: Notation) -> Result<Self, Failure> {
        let mut file = seekable(path, directory).map_err(|error| {
            Failure::new(
                Exit::Usage,
                format!("reading the report {}", path.display()),
                error,
                "name a CSV file with --report",
            )
        })?;
        let delimiter = notation.delimiter.map_or_else(|| sniff(&mut file), Ok);
        let delimiter = delimiter.map_err(|error| unread(&error))?;
        let mut rows = reader(file, delimiter);
        let header = rows.byte_headers().map_err(|error| unread(&error))?.clone();
        let cells = Cells::of(&header, &notation)?;
        let mut report = Self { rows, cells, sign: DecimalSign::Point, notation };
        report.hear()?;
        report.rewind(delimiter)?;
        Ok(report)
    }

    /// Whether a column stands for this.
    pub(super) fn has(&self, field: Field) -> bool {
        self.cells.at.contains_key(&field)
    }

    /// The first pass: how amounts and dates are written, and whether the encoding is what was said.
    fn hear(&mut self) -> Result<(), Failure> {
        let (mut signs, mut orders) = (Clues::default(), Clues::default());
        let mut record = ByteRecord::new();
        while self.rows.read_byte_record(&mut record).map_err(|error| unread(&error))? {
            let line = line_of(&self.rows, &record);
            for (number, cell) in record.iter().enumerate() {
                if self.cells.encoding == Encoding::Utf8 && std::str::from_utf8(cell).is_err() {
                    let why = format!("line {line}, column {}: not UTF-8", number + 1);
                    return Err(Failure::new(Exit::Usage, "reading the report", why, "repeat with --encoding latin1"));
                }
            }
            if let Some(cell) = self.cells.get(&record, Field::Amount) {
                signs.hear(amount::clue(&cell), line, &cell);
            }
            if let Some(cell) = self.cells.get(&record, Field::Time) {
                orders.hear(moment::clue(&cell), line, &cell);
            }
        }
        let undecided = |what: &str, why: Undecided, next: &str| Err(Failure::new(Exit::Usage, what, why, next));
        self.sign = match self.notation.decimal.map_or_else(|| signs.decide(DecimalSign::Point), Ok) {
            Ok(sign) => sign,
            Err(why) => return undecided("reading amounts", why, "say --decimal point or --decimal comma"),
        };
        if self.notation.calendar.format.is_none() {
            match orders.decide(DayOrder::Day) {
                Ok(order) => self.notation.calendar.order = order,
                Err(why) => return undecided("reading dates", why, "say --date-format, such as '%d/%m/%Y %H:%M'"),
            }
        }
        Ok(())
    }

    fn rewind(&mut self, delimiter: u8) -> Result<(), Failure> {
        let mut file = self.rows.get_ref().try_clone().map_err(|error| unread(&error))?;
        file.rewind().map_err(|error| unread(&error))?;
        self.rows = reader(file, delimiter);
        self.rows.byte_headers().map_err(|error| unread(&error))?;
        Ok(())
    }

    /// The second pass: the next row that is not blank.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<Result<Theirs, BadRow>>, Failure> {
        let mut record = ByteRecord::new();
        while self.rows.read_byte_record(&mut record).map_err(|error| unread(&error))? {
            if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            let line = line_of(&self.rows, &record);
            return Ok(Some(self.row(&record, line).map_err(|why| BadRow { line, why })));
        }
        Ok(None)
    }

    fn row(&self, record: &ByteRecord, line: u64) -> Result<Theirs, String> {
        let surplus = record.iter().skip(self.cells.width);
        if record.len() < self.cells.width || surplus.into_iter().any(|cell| !cell.trim_ascii().is_empty()) {
            return Err(format!("has {} cells, the header has {}", record.len(), self.cells.width));
        }
        let cell = |field| self.cells.get(record, field);
        let (transaction, click) = (cell(Field::Transaction), cell(Field::Click));
        if transaction.is_none() && click.is_none() {
            return Err("has neither a transaction id nor a click, so that nothing can be matched with it".into());
        }
        let written = cell(Field::Amount).map(|cell| amount::parse(&cell, self.sign)).transpose()?;
        let named = cell(Field::Currency).map(|code| Currency::parse(&code.to_ascii_uppercase())).transpose();
        let named = named.map_err(|error| error.to_string())?;
        let beside = written.and_then(|written| written.currency);
        if let (Some(named), Some(beside)) = (named, beside)
            && named != beside
        {
            return Err(format!("has the currency {named} in one column and {beside} beside the amount"));
        }
        let currency = named.or(beside).or(self.notation.currency);
        let mut amount = written.map(|written| written.amount);
        if let (true, Some(minor)) = (self.notation.minor, amount) {
            let currency = currency.ok_or("has minor units of no currency; map one, or say --currency")?;
            amount = Some(amount::of_minor(minor, currency)?);
        }
        let moment = cell(Field::Time).map(|cell| moment::parse(&cell, &self.notation.calendar)).transpose()?;
        Ok(Theirs {
            line,
            transaction,
            click,
            amount,
            currency,
            status: cell(Field::Status).map(|word| self.notation.statuses.meaning(&word)).transpose()?,
            kind: cell(Field::Type).map(|word| self.notation.types.meaning(&word)),
            at: moment.map(|moment| moment.at),
            day_only: moment.is_some_and(|moment| moment.day_only),
        })
    }
}

impl Cells {
    fn of(header: &ByteRecord, notation: &Notation) -> Result<Self, Failure> {
        let encoding = notation.encoding;
        let names: Vec<String> = header.iter().map(|cell| decoded(cell, encoding)).collect();
        let names: Vec<&str> = names.iter().map(|name| name.trim_start_matches('\u{feff}').trim()).collect();
        let mut at = BTreeMap::new();
        for (field, wanted) in &notation.map {
            let mut found = names
                .iter()
                .enumerate()
                .filter(|(_, name)| name.eq_ignore_ascii_case(wanted) || name.to_lowercase() == wanted.to_lowercase());
            let why = match (found.next(), found.next()) {
                (Some((number, _)), None) => {
                    at.insert(*field, number);
                    continue;
                }
                (Some(_), Some(_)) => format!("two columns are called {wanted:?}"),
                (None, _) => {
                    let meant = nearest(wanted, names.iter().copied());
                    let meant = meant.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
                    let header: String = names.join(", ").chars().take(SHOWN_HEADER).collect();
                    format!("no column is called {wanted:?}{meant} There are: {header}")
                }
            };
            return Err(Failure::new(Exit::Usage, "the report's header", why, "check --map, and --delimiter"));
        }
        Ok(Self { at, width: names.len(), encoding })
    }

    /// A cell that is not empty.
    fn get(&self, record: &ByteRecord, field: Field) -> Option<String> {
        let cell = record.get(*self.at.get(&field)?)?;
        let text = decoded(cell, self.encoding);
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

fn reader(file: File, delimiter: u8) -> Reader<File> {
    // A line ends with LF; a CR before it is trimmed with the cell, and does not put the count of lines out.
    let end = csv::Terminator::Any(b'\n');
    ReaderBuilder::new().flexible(true).delimiter(delimiter).terminator(end).from_reader(file)
}

/// The line that a record begins on: where its reading began, or behind the blank lines that were skipped then.
fn line_of(rows: &Reader<File>, record: &ByteRecord) -> u64 {
    let began = record.position().map_or(0, csv::Position::line);
    let within = record.as_slice().split(|byte| *byte == b'\n').skip(1).count() as u64;
    began.max(rows.position().line().saturating_sub(1 + within))
}

/// The file itself, or what standard input gives in a file without a name, since it is read twice.
fn seekable(path: &Path, directory: &Path) -> io::Result<File> {
    let mut file = if path == Path::new("-") {
        let mut spooled = tempfile::tempfile_in(directory)?;
        io::copy(&mut io::stdin().lock(), &mut spooled)?;
        spooled
    } else {
        File::open(path)?
    };
    file.rewind()?;
    let mut buffered = BufReader::new(file);
    let start = buffered.fill_buf()?;
    if start.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is UTF-16; save it as CSV in UTF-8"));
    }
    let mut file = buffered.into_inner();
    file.rewind()?;
    Ok(file)
}

/// The delimiter that the header has most of, outside of quotes.
fn sniff(file: &mut File) -> io::Result<u8> {
    let mut start = Vec::new();
    (&mut *file).take(LOOKED_AT as u64).read_to_end(&mut start)?;
    file.rewind()?;
    let mut counts = DELIMITERS.map(|delimiter| (delimiter, 0_usize));
    let mut quoted = false;
    for byte in start {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if quoted => {}
            _ => counts.iter_mut().filter(|(delimiter, _)| *delimiter == byte).for_each(|(_, count)| *count += 1),
        }
    }
    // Of as many the first: a comma.
    let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
    Ok(most.map_or(b',', |(delimiter, _)| delimiter))
}

fn decoded(cell: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Utf8 => String::from_utf8_lossy(cell).into_owned(),
        Encoding::Latin1 => cell.iter().map(|byte| windows_1252(*byte)).collect(),
    }
}

/// The character of a byte, by <https://encoding.spec.whatwg.org/#windows-1252>.
fn windows_1252(byte: u8) -> char {
    const FROM: u8 = 0x80;
    const MOVED: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    let moved = byte.checked_sub(FROM).and_then(|at| MOVED.get(usize::from(at)));
    moved.copied().unwrap_or(char::from(byte))
}

fn unread(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, "reading the report", error, "check the file")
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn notation(map: &str) -> Notation {
        let parts: Vec<String> = map.split(',').map(ToOwned::to_owned).collect();
        Notation {
            map: parse_map(&parts).unwrap(),
            delimiter: None,
            encoding: Encoding::Utf8,
            decimal: None,
            minor: false,
            currency: None,
            calendar: Calendar { zone: TimeZone::UTC, order: DayOrder::Day, format: None },
            statuses: Statuses::default(),
            types: Types::default(),
        }
    }

    fn rows(text: &[u8], notation: Notation) -> Result<Vec<Result<Theirs, BadRow>>, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("their.csv");
        std::fs::write(&path, text).unwrap();
        let mut report = Report::open(&path, directory.path(), notation)?;
        let mut rows = Vec::new();
        while let Some(row) = report.next()? {
            rows.push(row);
        }
        Ok(rows)
    }

    fn shown(row: &Theirs) -> String {
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let amount = row.amount.map(|amount| amount.to_string());
        let currency = row.currency.map(|currency| currency.to_string());
        format!(
            "{} {} {} {} {}",
            row.line,
            text(row.transaction.clone()),
            text(row.click.clone()),
            text(amount),
            text(currency)
        )
    }

    const MAP: &str = "transaction_id=TxID,click_id=cid,amount=Payout,currency=cur";

    #[test]
    fn every_delimiter_and_quoting_gives_the_same_rows() {
        for delimiter in [",", ";", "\t", "|"] {
            let text =
                "\u{feff}\"txid\"~CID~payout~Cur\r\n\r\nd-1~\"a~\"\"b\"~\"1,234.50\"~eur\r\n~c-2~7~EUR~\r\n~~~\r\n"
                    .replace('~', delimiter);
            let found = rows(text.as_bytes(), notation(MAP)).unwrap();
            let found: Vec<_> = found.iter().map(|row| shown(row.as_ref().unwrap())).collect();
            assert_eq!(
                found,
                [format!("3 d-1 a{delimiter}\"b 1234.50 EUR"), "4 - c-2 7 EUR".to_owned()],
                "{delimiter:?}"
            );
        }
    }

    #[test]
    fn lines_are_counted_over_blank_ones_and_within_quotes() {
        let text = b"txid,cid,payout,cur\n\n\na,\"two\nlines\",1,EUR\n\nb,,x,EUR\nc,,x,EUR";
        let found = rows(text, notation(MAP)).unwrap();
        let lines: Vec<_> = found.iter().map(|row| row.as_ref().map_or_else(|bad| bad.line, |row| row.line)).collect();
        assert_eq!(lines, [4, 7, 8]);
    }

    #[test]
    fn what_is_not_utf_8_is_refused_with_its_line_and_read_as_latin_1_when_told() {
        let text = b"txid;cid;payout;cur\nd-1;caf\xe9;12,50 \x80;\n";
        let failure = rows(text, notation(MAP)).unwrap_err().to_string();
        assert!(failure.contains("line 2") && failure.contains("--encoding latin1"), "{failure}");
        let found = rows(text, Notation { encoding: Encoding::Latin1, ..notation(MAP) }).unwrap();
        assert_eq!(shown(found[0].as_ref().unwrap()), "2 d-1 café 12.50 EUR");
        let wide = rows(b"\xff\xfet\0x\0", notation(MAP)).unwrap_err().to_string();
        assert!(wide.contains("UTF-16"), "{wide}");
    }

    #[test]
    fn one_row_decides_how_all_are_read_and_none_is_guessed() {
        let decided = rows(b"txid,cid,payout,cur\na,,\"1,234\",EUR\nb,,0.50,EUR\n", notation(MAP)).unwrap();
        assert_eq!(shown(decided[0].as_ref().unwrap()), "2 a - 1234 EUR");
        let open = b"txid,cid,payout,cur\na,,12,EUR\nb,,\"1,234\",EUR\n";
        let failure = rows(open, notation(MAP)).unwrap_err().to_string();
        assert!(failure.contains("line 3") && failure.contains("--decimal"), "{failure}");
        let told = rows(open, Notation { decimal: Some(DecimalSign::Comma), ..notation(MAP) }).unwrap();
        assert_eq!(shown(told[1].as_ref().unwrap()), "3 b - 1.234 EUR");
        let dates = "transaction_id=txid,time=when";
        let failure = rows(b"txid,when\na,03/04/2026\n", notation(dates)).unwrap_err().to_string();
        assert!(failure.contains("line 2") && failure.contains("--date-format"), "{failure}");
        let both = rows(b"txid,when\na,13/04/2026\nb,04/13/2026\n", notation(dates)).unwrap_err().to_string();
        assert!(both.contains("line 2") && both.contains("line 3"), "{both}");
    }

    #[test]
    fn bad_rows_are_told_by_line_and_the_rest_is_read() {
        let text = b"txid,cid,payout,cur\na,,1.00,EUR\nb,,free,EUR\n,,2.00,EUR\nc,,3.00\nd,,4.00,XXQ\ne,,\xe2\x82\xac5.00,USD\nf,,6.00,EUR\n";
        let found = rows(text, notation(MAP)).unwrap();
        let lines: Vec<_> = found.iter().filter_map(|row| row.as_ref().err()).map(|bad| bad.line).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7]);
        assert_eq!(found.iter().filter(|row| row.is_ok()).count(), 2);
    }

    #[test]
    fn minor_units_need_a_currency() {
        let minor = |currency| Notation { minor: true, currency, ..notation("transaction_id=txid,amount=payout") };
        let text = b"txid,payout\na,12050\n";
        let euro = rows(text, minor(Some(Currency::parse("EUR").unwrap()))).unwrap();
        assert_eq!(shown(euro[0].as_ref().unwrap()), "2 a - 120.50 EUR");
        assert!(rows(text, minor(None)).unwrap()[0].as_ref().unwrap_err().why.contains("--currency"));
    }

    #[test]
    fn a_column_that_is_not_there_is_named_with_what_is() {
        let failure = rows(b"tx_id,cid\na,b\n", notation("transaction_id=txid,click_id=cid")).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(failure.to_string().contains("did you mean \"tx_id\"?"), "{failure}");
        assert!(rows(b"cid,CID\na,b\n", notation("click_id=cid")).unwrap_err().to_string().contains("two columns"));
        assert!(rows(b"", notation("click_id=cid")).is_err());
        for wrong in ["amount=payout", "click=a,click_id=b", "nonsense=a", "click_id"] {
            assert!(parse_map(&wrong.split(',').map(ToOwned::to_owned).collect::<Vec<_>>()).is_err(), "{wrong}");
        }
    }
}
