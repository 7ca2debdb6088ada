//! The only place that prints: data to standard output, words to standard error, questions to a person.
//!
//! Text that others wrote (receivers' answers, names) is stripped of control characters before a terminal
//! sees it. A reader that has gone ends the command quietly.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table, Width};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::exit::{Exit, Failure};

/// Columns of free text, which may wrap.
const FREE_TEXT: [&str; 8] = ["reason", "error", "rule", "paused", "events", "affiliates", "name", "figure"];
/// The least that free text is wrapped to, in characters.
const NARROWEST_TEXT: u16 = 20;
/// Blanks behind each column.
const PADDING: u16 = 2;

/// In which form data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Tables and texts.
    People,
    /// One JSON document.
    Json,
    /// A JSON document a line.
    Ndjson,
}

/// Who answers questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Person {
    /// Somebody at a terminal.
    AtTerminal,
    /// Nobody: standard input is no terminal.
    Absent,
    /// Somebody who says this.
    #[cfg(test)]
    Says(&'static str),
}

/// Where everything is printed.
pub(super) struct Output {
    form: Form,
    colour: bool,
    terminal: bool,
    person: Person,
    data: Mutex<Box<dyn Write + Send>>,
    words: Mutex<Box<dyn Write + Send>>,
    bar: Mutex<ProgressBar>,
    shows_progress: bool,
}

/// The rows of a table.
#[derive(Debug)]
pub(super) struct Rows {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    /// No rows yet.
    pub(super) fn new(header: Vec<&'static str>) -> Self {
        Self { header, rows: Vec::new() }
    }

    /// Adds a row; it has a cell for each column of the header.
    pub(super) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Output {
    /// Standard output and standard error of this process.
    pub(super) fn new(form: Form, no_colour: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            form,
            colour: terminal && !no_colour && form == Form::People,
            terminal,
            person: if io::stdin().is_terminal() { Person::AtTerminal } else { Person::Absent },
            data: Mutex::new(Box::new(io::BufWriter::new(io::stdout()))),
            words: Mutex::new(Box::new(io::stderr())),
            bar: Mutex::new(ProgressBar::hidden()),
            shows_progress: io::stderr().is_terminal(),
        }
    }

    /// Prints into memory; for tests.
    #[cfg(test)]
    pub(super) fn captured(form: Form, person: Person) -> (Self, Captured) {
        let captured = Captured::default();
        let output = Self {
            form,
            colour: false,
            terminal: false,
            person,
            data: Mutex::new(Box::new(captured.data.clone())),
            words: Mutex::new(Box::new(captured.words.clone())),
            bar: Mutex::new(ProgressBar::hidden()),
            shows_progress: false,
        };
        (output, captured)
    }

    /// The same as a terminal would show it; for tests.
    #[cfg(test)]
    pub(super) fn at_terminal(self) -> Self {
        Self { terminal: true, ..self }
    }

    /// The form that was asked for.
    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// Prints a text for people; what is no printable character in it is escaped, line ends stay.
    pub(super) fn text(&self, text: &str) -> Result<(), Failure> {
        let lines: Vec<String> = text.split('\n').map(printable).collect();
        self.raw(format!("{}\n", lines.join("\n")).as_bytes())
    }

    /// Prints a line at once, in a colour where there are colours; what is no printable character in it is escaped.
    pub(super) fn line(&self, text: &str, colour: Color) -> Result<(), Failure> {
        let text = printable(text);
        let code = match colour {
            Color::Green => Some("32"),
            Color::Yellow => Some("33"),
            Color::Red => Some("31"),
            _ => None,
        };
        let line = match code.filter(|_| self.colour) {
            Some(code) => format!("\u{1b}[{code}m{text}\u{1b}[0m\n"),
            None => format!("{text}\n"),
        };
        self.raw(line.as_bytes())?;
        self.flush()
    }

    /// Clears the terminal, where there is one.
    pub(super) fn clear(&self) -> Result<(), Failure> {
        if self.terminal { self.raw(b"\x1b[H\x1b[2J") } else { Ok(()) }
    }

    /// Whether a terminal shows what is printed.
    pub(super) fn is_at_terminal(&self) -> bool {
        self.terminal
    }

    /// Prints data for programs, whole characters of it: as they are, but on a terminal without what it would obey.
    pub(super) fn data(&self, bytes: &[u8]) -> Result<(), Failure> {
        if !self.terminal {
            return self.raw(bytes);
        }
        let lines = String::from_utf8_lossy(bytes);
        let lines: Vec<String> = lines.split('\n').map(|line| escaped(line, as_json)).collect();
        self.raw(lines.join("\n").as_bytes())
    }

    /// Prints bytes as they are: for scripts that we made ourselves.
    pub(super) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut data = lock(&self.data);
        let bar = self.bar();
        bar.suspend(|| data.write_all(bytes)).map_err(|error| unwritten(&error))
    }

    /// Prints a JSON document: on one line for [`Form::Ndjson`], else indented.
    pub(super) fn document(&self, document: &impl Serialize) -> Result<(), Failure> {
        let made = match self.form {
            Form::Ndjson => serde_json::to_vec(document),
            Form::People | Form::Json => serde_json::to_vec_pretty(document),
        };
        let mut bytes = made.map_err(|error| Failure::new(Exit::Error, "writing JSON", error, ""))?;
        bytes.push(b'\n');
        self.data(&bytes)
    }

    /// Prints a table. On a terminal that is too narrow free text wraps within its column; ids, names and
    /// times never do, so that they can be copied, and the terminal wraps the line.
    pub(super) fn table(&self, rows: Rows) -> Result<(), Failure> {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        let width = table.width();
        if !self.colour {
            table.force_no_tty();
        }
        match width.filter(|_| self.terminal) {
            Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        let widths = constraints(&rows);
        let heading = |name: &&str| Cell::new(name.replace('_', " ").to_uppercase()).add_attribute(Attribute::Bold);
        table.set_header(rows.header.iter().map(heading));
        let states = positions(&rows.header, |name| name == "state");
        for row in rows.rows {
            table.add_row(row.into_iter().enumerate().map(|(at, text)| {
                let cell = Cell::new(printable(&text));
                match state_colour(&text) {
                    Some(colour) if states.contains(&at) => cell.fg(colour),
                    _ => cell,
                }
            }));
        }
        for (column, width) in table.column_iter_mut().zip(widths) {
            // Flush left, two blanks between columns.
            column.set_padding((0, PADDING)).set_constraint(width);
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        self.raw(text.as_bytes())
    }

    /// Says something that is no data.
    pub(super) fn say(&self, words: &str) {
        let lines: Vec<String> = words.split('\n').map(printable).collect();
        // Data before words, as they came; that data cannot be written is found out with the next data.
        let _ = lock(&self.data).flush();
        let mut to = lock(&self.words);
        // Nobody can be told that words cannot be said.
        let _ = self.bar().suspend(|| to.write_all(format!("{}\n", lines.join("\n")).as_bytes()));
    }

    /// Tells of a failure.
    pub(super) fn fail(&self, failure: &Failure) {
        if !failure.is_quiet() {
            self.say(&format!("postbackd: {failure}"));
        }
    }

    /// Asks a person to agree.
    ///
    /// # Errors
    /// When nobody is there to ask.
    pub(super) fn ask(&self, question: &str) -> Result<bool, Failure> {
        let answer = match &self.person {
            Person::Absent => {
                return Err(Failure::new(
                    Exit::Usage,
                    "this needs a confirmation",
                    "standard input is not a terminal, so nobody can be asked",
                    "look with --dry-run, then repeat with --yes",
                ));
            }
            Person::AtTerminal => {
                self.flush()?;
                let mut words = lock(&self.words);
                let _ = write!(words, "{} [y/N] ", printable(question));
                let _ = words.flush();
                let mut answer = String::new();
                let read = io::stdin().lock().read_line(&mut answer);
                read.map_err(|error| Failure::new(Exit::Error, "reading the answer", error, "repeat with --yes"))?;
                answer
            }
            #[cfg(test)]
            Person::Says(answer) => {
                self.say(question);
                (*answer).to_owned()
            }
        };
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Begins a progress bar of `total` steps, or of unknown length; seen on terminals only.
    pub(super) fn begin(&self, total: Option<u64>, unit: Unit) {
        if !self.shows_progress {
            return;
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match (total, unit) {
            (Some(_), Unit::Bytes) => "{bar:30} {bytes}/{total_bytes} {msg} ({eta})",
            (Some(_), Unit::Deliveries) => "{bar:30} {pos}/{len} {msg} ({eta})",
            (Some(_), Unit::Time) => "{bar:30} {percent} % {msg} ({eta})",
            (None, Unit::Bytes) => "{spinner} {bytes} {msg}",
            (None, Unit::Deliveries | Unit::Time) => "{spinner} {pos} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        *lock(&self.bar) = bar;
    }

    /// Whether a progress bar is seen.
    pub(super) fn shows_progress(&self) -> bool {
        self.shows_progress
    }

    /// Moves the progress bar.
    pub(super) fn proceed(&self, position: u64, message: String) {
        let bar = self.bar();
        bar.set_position(position);
        bar.set_message(message);
    }

    /// Removes the progress bar.
    pub(super) fn end(&self) {
        self.bar().finish_and_clear();
        *lock(&self.bar) = ProgressBar::hidden();
    }

    /// Writes out what is buffered.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        lock(&self.data).flush().map_err(|error| unwritten(&error))
    }

    fn bar(&self) -> ProgressBar {
        lock(&self.bar).clone()
    }
}

/// What a progress bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bytes read.
    Bytes,
    /// Deliveries handled.
    Deliveries,
    /// Time covered.
    Time,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unwritten(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::nobody_reads(),
        _ => Failure::new(Exit::Error, "writing to standard output", error, "check where the output goes"),
    }
}

/// How narrow each column may become.
fn constraints(rows: &Rows) -> Vec<ColumnConstraint> {
    let constraint = |(at, name): (usize, &&str)| {
        if !FREE_TEXT.contains(name) {
            return ColumnConstraint::ContentWidth;
        }
        let cells = rows.rows.iter().filter_map(|row| row.get(at)).map(|text| text.chars().count());
        let widest = cells.chain([name.len()]).max().unwrap_or_default();
        let least = u16::try_from(widest).unwrap_or(NARROWEST_TEXT).min(NARROWEST_TEXT);
        ColumnConstraint::LowerBoundary(Width::Fixed(least + PADDING))
    };
    rows.header.iter().enumerate().map(constraint).collect()
}

fn positions(header: &[&'static str], wanted: impl Fn(&str) -> bool) -> Vec<usize> {
    header.iter().enumerate().filter(|(_, name)| wanted(name)).map(|(at, _)| at).collect()
}

fn state_colour(state: &str) -> Option<Color> {
    match state {
        "delivered" => Some(Color::Green),
        "dead" => Some(Color::Red),
        "held" => Some(Color::Yellow),
        "in_flight" => Some(Color::Cyan),
        _ => None,
    }
}

/// A text without characters that a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    escaped(text, |c| c.escape_default().to_string())
}

/// A character as JSON writes it, so that a document that is shown stays one: all that is obeyed has four digits.
fn as_json(c: char) -> String {
    format!("\\u{:04x}", u32::from(c))
}

fn escaped(text: &str, escape: fn(char) -> String) -> String {
    let obeyed =
        |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(obeyed) {
        return text.to_owned();
    }
    text.chars().map(|c| if obeyed(c) { escape(c) } else { c.to_string() }).collect()
}

/// What was printed; for tests.
#[cfg(test)]
#[derive(Clone, Default)]
pub(super) struct Captured {
    data: SharedBuffer,
    words: SharedBuffer,
}

#[cfg(test)]
impl Captured {
    /// What went to standard output.
    pub(super) fn data(&self) -> String {
        self.data.text()
    }

    /// What went to standard error.
    pub(super) fn words(&self) -> String {
        self.words.text()
    }
}

#[cfg(test)]
#[derive(Clone, Default)]
struct SharedBuffer(std::sync::Arc<Mutex<Vec<u8>>>);

#[cfg(test)]
impl SharedBuffer {
    fn text(&self) -> String {
        String::from_utf8(lock(&self.0).clone()).unwrap()
    }
}

#[cfg(test)]
impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("plain é\t"), "plain é\t");
        let (output, captured) = Output::captured(Form::People, Person::Absent);
        let mut rows = Rows::new(vec!["delivery_id", "state"]);
        rows.push(vec!["dlv_1".into(), "\u{1b}]0;x\u{7}".into()]);
        output.table(rows).unwrap();
        assert!(!captured.data().contains('\u{1b}'), "{}", captured.data());
        assert!(captured.data().contains("DELIVERY ID"), "{}", captured.data());
    }

    #[test]
    fn a_terminal_obeys_nothing_in_data_and_files_get_it_as_it_is() {
        let document = serde_json::json!({ "said": "\u{1b}[2J \u{9b}2J \u{202e}é\n" });
        for form in [Form::Json, Form::Ndjson] {
            let (output, exact) = Output::captured(form, Person::Absent);
            output.document(&document).unwrap();
            let (output, shown) = Output::captured(form, Person::Absent);
            output.at_terminal().document(&document).unwrap();
            assert!(exact.data().contains("\u{9b}2J \u{202e}é"), "{}", exact.data());
            assert!(shown.data().contains("\\u009b2J \\u202eé"), "{}", shown.data());
            for printed in [exact.data(), shown.data()] {
                assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), document);
            }
        }
    }

    #[test]
    fn nobody_at_the_terminal_is_a_usage_error() {
        let (output, _) = Output::captured(Form::People, Person::Absent);
        assert_eq!(output.ask("sure?").unwrap_err().exit(), Exit::Usage);
        for (answer, agreed) in [("y\n", true), ("YES", true), ("", false), ("no", false), ("yup", false)] {
            let (output, _) = Output::captured(Form::People, Person::Says(answer));
            assert_eq!(output.ask("sure?").unwrap(), agreed, "{answer:?}");
        }
    }

    #[test]
    fn a_reader_that_has_gone_ends_quietly_and_well() {
        let failure = unwritten(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit(), failure.is_quiet()), (Exit::Ok, true));
        assert_eq!(unwritten(&io::Error::from(io::ErrorKind::StorageFull)).exit(), Exit::Error);
    }
}
