//! What is done with each line: written to the files that were asked for, counted, and the first of each kind kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::asked::ReconcileArgs;
use super::line::{Line, explaining};
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Form;
use crate::domain::delivery::StateKind;
use crate::domain::reconcile::{Finding, Period, Tally, Told, Verdict};

/// Most lines of a kind that are kept for the page.
pub(super) const KEPT: usize = 1_000;

/// The files that were asked for.
pub(super) struct Files {
    csv: Option<Csv>,
    missing: Option<Missing>,
}

struct Csv {
    path: PathBuf,
    writer: csv::Writer<File>,
}

struct Missing {
    path: PathBuf,
    writer: BufWriter<File>,
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
pub(super) struct Results {
    files: Files,
    period: Period,
    /// The counts.
    pub(super) tally: Tally,
    /// The first lines of each kind, but for those that agree.
    pub(super) kept: BTreeMap<Verdict, Vec<Line>>,
    /// What can be sent again.
    pub(super) again: Again,
}

impl Files {
    /// Makes the files, so that a name that cannot be written is told before the work.
    ///
    /// # Errors
    /// When one cannot be made.
    pub(super) fn create(args: &ReconcileArgs) -> Result<Self, Failure> {
        apart(args)?;
        let csv = args.csv.as_ref().map(|path| {
            let writer = csv::Writer::from_writer(create(path)?);
            Ok(Csv { path: path.clone(), writer })
        });
        let missing =
            args.missing.as_ref().map(|path| Ok(Missing { path: path.clone(), writer: BufWriter::new(create(path)?) }));
        if let Some(path) = &args.html {
            create(path)?;
        }
        Ok(Self { csv: csv.transpose()?, missing: missing.transpose()? })
    }
}

impl Results {
    /// Nothing is found yet.
    pub(super) fn begin(files: Files, period: Period) -> Self {
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

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if let Some(csv) = &mut self.files.csv {
            csv.writer.flush().map_err(|error| unwritten(&csv.path, &error))?;
        }
        if let Some(missing) = &mut self.files.missing {
            missing.writer.flush().map_err(|error| unwritten(&missing.path, &error))?;
        }
        Ok(())
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

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| unwritten(path, &error))
}

/// A file cannot be written.
pub(super) fn unwritten(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, format!("writing {}", path.display()), error, "name another file")
}

/// Writes a whole file.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written: io::Result<()> = std::fs::write(path, text);
    written.map_err(|error| unwritten(path, &error))
}
