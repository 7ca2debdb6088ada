//! What is done with each line: written to the files that were asked for, counted, and the first of each kind kept.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::asked::ReconcileArgs;
use super::line::{Line, explaining};
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::export::WholeFile;
use crate::cli::output::{Form, Output};
use crate::domain::delivery::StateKind;
use crate::domain::reconcile::{Finding, Period, Tally, Told, Verdict};

/// Most lines of a kind that are kept for the page.
pub(super) const KEPT: usize = 1_000;

/// The files that were asked for. None appears before all is found: half of what they miss is not to be sent again.
#[derive(Default)]
pub(super) struct Files<'o> {
    csv: Option<Csv<'o>>,
    missing: Option<Opened<'o>>,
    html: Option<Opened<'o>>,
}

struct Csv<'o> {
    path: PathBuf,
    writer: csv::Writer<Box<dyn Write + Send + 'o>>,
    file: WholeFile<'o>,
}

struct Opened<'o> {
    path: PathBuf,
    writer: Box<dyn Write + Send + 'o>,
    file: WholeFile<'o>,
}

/// What can be sent again of what they miss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Again {
    /// Dead, or put away when it was.
    pub(super) undelivered: u64,
    /// Delivered by what they answered, and missing all the same: to send these again takes force.
    pub(super) delivered: u64,
    /// Held: a person has to decide.
    pub(super) held: u64,
    /// On its way still.
    pub(super) open: u64,
}

/// Everything that is found.
pub(super) struct Results<'o> {
    files: Files<'o>,
    period: Period,
    /// The counts.
    pub(super) tally: Tally,
    /// The first lines of each kind, but for those that agree.
    pub(super) kept: BTreeMap<Verdict, Vec<Line>>,
    /// What can be sent again.
    pub(super) again: Again,
}

impl<'o> Files<'o> {
    /// Begins the files, so that a name that cannot be written is told before the work.
    ///
    /// # Errors
    /// When one is there and may not be overwritten, or cannot be made.
    pub(super) fn begin(context: &'o Context, args: &ReconcileArgs) -> Result<Self, Failure> {
        apart(args)?;
        let open = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| Opened::begin(&context.output, path, args.yes)).transpose()
        };
        let csv = |Opened { path, writer, file }| Csv { path, writer: csv::Writer::from_writer(writer), file };
        Ok(Self { csv: open(&args.csv)?.map(csv), missing: open(&args.missing)?, html: open(&args.html)? })
    }

    /// Puts all files in their places, what can be sent again last.
    fn finish(self, page: &str) -> Result<(), Failure> {
        if let Some(mut html) = self.html {
            html.writer.write_all(page.as_bytes()).map_err(|error| unwritten(&html.path, &error))?;
            html.finish()?;
        }
        if let Some(Csv { path, mut writer, file }) = self.csv {
            writer.flush().map_err(|error| unwritten(&path, &error))?;
            drop(writer);
            file.finish()?;
        }
        self.missing.map_or(Ok(()), Opened::finish)
    }
}

impl<'o> Opened<'o> {
    fn begin(output: &'o Output, path: &Path, overwrite: bool) -> Result<Self, Failure> {
        let file = WholeFile::begin(output, path, overwrite)?;
        Ok(Self { path: path.to_path_buf(), writer: file.writer()?, file })
    }

    fn finish(self) -> Result<(), Failure> {
        let Self { path, mut writer, file } = self;
        writer.flush().map_err(|error| unwritten(&path, &error))?;
        drop(writer);
        file.finish()
    }
}

impl<'o> Results<'o> {
    /// Nothing is found yet.
    pub(super) fn begin(files: Files<'o>, period: Period) -> Self {
        Self { files, period, tally: Tally::default(), kept: BTreeMap::new(), again: Again::default() }
    }

    /// Takes a finding with its line.
    pub(super) fn take(&mut self, context: &Context, finding: &Finding, line: Line) -> Result<(), Failure> {
        self.tally.add(finding, &self.period);
        if let Some(told) = lacking(finding) {
            self.sort(told, finding.verdict)?;
        }
        if let Some(csv) = &mut self.files.csv {
            csv.writer.serialize(line.for_spreadsheet()).map_err(|error| unwritten(&csv.path, &error))?;
        }
        if context.output.form() == Form::Ndjson {
            context.output.document(&line)?;
        }
        if finding.verdict != Verdict::Matched {
            let kept = self.kept.entry(finding.verdict).or_default();
            if kept.len() < KEPT {
                kept.push(line);
            }
        }
        Ok(())
    }

    /// Counts by what can be done about it, and writes down what can be sent again.
    fn sort(&mut self, told: &Told, verdict: Verdict) -> Result<(), Failure> {
        let count = match told.state {
            StateKind::Dead | StateKind::Cancelled | StateKind::Superseded => &mut self.again.undelivered,
            StateKind::Delivered => &mut self.again.delivered,
            StateKind::Held => {
                self.again.held += 1;
                return Ok(());
            }
            StateKind::Scheduled | StateKind::Waiting | StateKind::InFlight => {
                self.again.open += 1;
                return Ok(());
            }
        };
        *count += 1;
        let Some(missing) = &mut self.files.missing else { return Ok(()) };
        let document = json!({ "delivery_id": told.delivery_id, "state": told.state, "verdict": verdict });
        writeln!(missing.writer, "{document}").map_err(|error| unwritten(&missing.path, &error))
    }

    /// Lets the files appear, the page with this text.
    ///
    /// # Errors
    /// When one cannot be written.
    pub(super) fn finish(&mut self, page: &str) -> Result<(), Failure> {
        std::mem::take(&mut self.files).finish(page)
    }
}

/// The delivery that they lack: of what is missing there, or what was to tell them another status and did not.
fn lacking(finding: &Finding) -> Option<&Told> {
    let told = explaining(finding)?;
    let untold = finding.says(Verdict::StatusDiffers) && told.state != StateKind::Delivered;
    (finding.verdict == Verdict::MissingThere || untold).then_some(told)
}

/// Refuses to write two files into one, or over their report.
fn apart(args: &ReconcileArgs) -> Result<(), Failure> {
    let written = [&args.csv, &args.html, &args.missing].into_iter().flatten();
    let all: Vec<PathBuf> =
        written.chain([&args.report]).map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
    for (number, path) in all.iter().enumerate() {
        if all.iter().skip(number + 1).any(|other| other == path) {
            let why = "it is named twice";
            return Err(Failure::new(Exit::Usage, path.display().to_string(), why, "name a file of its own for each"));
        }
    }
    Ok(())
}

/// A file cannot be written.
fn unwritten(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, format!("writing {}", path.display()), error, "name another file")
}
