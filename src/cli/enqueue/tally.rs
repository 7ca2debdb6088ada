//! Counts what became of the events, and tells of those that were not taken.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::batch::{Batch, Item, Malformed};
use super::settle::{Ids, Verdict};
use crate::cli::context::Context;
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::output::Form;
use crate::cli::problem::Problem;

/// What became of the events so far.
pub(super) struct Tally<'a> {
    context: &'a Context,
    rejects: Option<(PathBuf, BufWriter<File>)>,
    accepted: u64,
    /// Accepted ones that no postback wants.
    unrouted: u64,
    duplicates: u64,
    rejected: u64,
    /// Events that were read and have no answer.
    unsent: u64,
    /// The first line that has no answer.
    first_unsent: Option<u64>,
    /// Events of a dry run.
    read: u64,
    /// The last line that was dealt with.
    last_line: u64,
    bytes: u64,
}

impl<'a> Tally<'a> {
    /// Nothing yet; begins the file of rejects.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(super) fn new(context: &'a Context, rejects: Option<&Path>) -> Result<Self, Failure> {
        let rejects = match rejects {
            None => None,
            Some(path) => {
                let file = File::create(path).map_err(|error| unwritable(path, &error))?;
                Some((path.to_path_buf(), BufWriter::new(file)))
            }
        };
        Ok(Self {
            context,
            rejects,
            accepted: 0,
            unrouted: 0,
            duplicates: 0,
            rejected: 0,
            unsent: 0,
            first_unsent: None,
            read: 0,
            last_line: 0,
            bytes: 0,
        })
    }

    /// Counts answered events.
    pub(super) fn answered(&mut self, answered: Vec<(Item, Verdict)>) -> Result<(), Failure> {
        for (item, verdict) in answered {
            self.pass(item.line, item.bytes);
            match verdict {
                Verdict::Accepted(ids) => {
                    self.accepted += 1;
                    self.unrouted += u64::from(ids.deliveries.is_empty());
                    self.print(item.line, &ids, false)?;
                }
                Verdict::Duplicate(ids) => {
                    self.duplicates += 1;
                    self.print(item.line, &ids, true)?;
                }
                Verdict::Rejected(problem) => {
                    self.rejected += 1;
                    self.reject(item.line, &item.text, &problem)?;
                }
            }
        }
        self.proceed()
    }

    /// Counts what was no event.
    pub(super) fn malformed(&mut self, malformed: Vec<Malformed>) -> Result<(), Failure> {
        for found in malformed {
            self.pass(found.line, found.bytes);
            self.rejected += 1;
            self.reject(found.line, &found.text, &Problem::local("Not an event", &found.why))?;
        }
        self.proceed()
    }

    /// Counts a batch that is not to be sent.
    pub(super) fn read_only(&mut self, batch: Batch) -> Result<(), Failure> {
        for item in &batch.items {
            self.pass(item.line, item.bytes);
            self.read += 1;
        }
        self.malformed(batch.malformed)
    }

    /// Counts events that have no answer.
    pub(super) fn unsent(&mut self, items: Vec<Item>) {
        for item in items {
            self.unsent += 1;
            self.first_unsent = Some(self.first_unsent.map_or(item.line, |first| first.min(item.line)));
        }
    }

    /// Prints the summary and says how the command ends; `stopped` is why not everything was sent.
    pub(super) fn finish(mut self, stopped: Option<Failure>, dry_run: bool) -> Ended {
        self.proceed()?;
        let output = &self.context.output;
        if let Some(failure) = &stopped {
            output.fail(failure);
            let from = self.first_unsent.unwrap_or(self.last_line + 1);
            output.say(&format!("not everything was handed over: from line {from} on, hand it in again"));
        }
        self.summarise(stopped.is_none(), dry_run)?;
        let taken = self.accepted + self.duplicates + self.read;
        Ok(match stopped {
            None if self.rejected == 0 => Exit::Ok,
            _ if taken > 0 => Exit::Partial,
            Some(failure) => failure.exit(),
            None => Exit::Error,
        })
    }

    fn summarise(&self, complete: bool, dry_run: bool) -> Result<(), Failure> {
        let output = &self.context.output;
        let (accepted, duplicates, rejected) = (self.accepted, self.duplicates, self.rejected);
        let words = if dry_run {
            format!("{} can be read, {rejected} cannot; nothing was handed over", self.read)
        } else {
            let unrouted = match self.unrouted {
                0 => String::new(),
                count => format!(" ({count} of them wanted by no postback)"),
            };
            format!("accepted {accepted}{unrouted}, duplicates {duplicates}, rejected {rejected}")
        };
        match output.form() {
            Form::People if self.unsent > 0 => {
                output.text(&format!("{words}, not acknowledged {} or more", self.unsent))
            }
            Form::People => output.text(&words),
            Form::Json if dry_run => output.document(&json!({"read": self.read, "rejected": rejected})),
            Form::Json => output.document(&json!({
                "accepted": accepted,
                "unrouted": self.unrouted,
                "duplicates": duplicates,
                "rejected": rejected,
                "unacknowledged": self.unsent,
                "complete": complete,
            })),
            Form::Ndjson => {
                output.say(&words);
                Ok(())
            }
        }
    }

    fn print(&self, line: u64, ids: &Ids, duplicate: bool) -> Result<(), Failure> {
        if self.context.output.form() != Form::Ndjson {
            return Ok(());
        }
        let document = json!({
            "line": line, "event_id": ids.event_id, "duplicate": duplicate, "deliveries": ids.deliveries,
        });
        self.context.output.document(&document)
    }

    fn reject(&mut self, line: u64, text: &str, problem: &Problem) -> Result<(), Failure> {
        let Some((path, file)) = &mut self.rejects else {
            self.context.output.say(&format!("line {line}: {problem}"));
            return Ok(());
        };
        let event = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let entry = json!({"line": line, "event": event, "problem": problem.document});
        writeln!(file, "{entry}").map_err(|error| unwritable(path, &error))
    }

    fn pass(&mut self, line: u64, bytes: u64) {
        self.last_line = self.last_line.max(line);
        self.bytes += bytes;
    }

    /// Shows how far it is; what was rejected so far is in its file, whatever ends us.
    fn proceed(&mut self) -> Result<(), Failure> {
        if let Some((path, file)) = &mut self.rejects {
            file.flush().map_err(|error| unwritable(path, &error))?;
        }
        let message = format!("accepted {}, rejected {}", self.accepted + self.duplicates, self.rejected);
        self.context.output.proceed(self.bytes, message);
        Ok(())
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Error, format!("writing rejects to {}", path.display()), error, "name another --rejects FILE")
}
