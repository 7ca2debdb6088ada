//! `enqueue`: hands events from a file or standard input to the daemon.
//!
//! Reading, sending and counting each have a file. What the daemon has not acknowledged is told and ends in
//! another exit than 0; handing the same file in again is safe, because the daemon recognises duplicates.

mod batch;
mod elements;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod lines;
mod rows;
mod send;
mod settle;
mod tally;

use std::fs::File;
use std::io::{BufReader, Read, stdin};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::Unit;
use super::time;
use batch::{Batch, BatchSize};
use format::Format;
use tally::Tally;

/// Most events in a batch: what the daemon takes.
const MAX_BATCH: u64 = 1_000;
/// Most batches in flight.
const MAX_IN_FLIGHT: u64 = 64;
/// Batches that may wait, read and not yet sent.
const READ_AHEAD: usize = 4;

/// What to hand over, and how.
#[derive(Debug, Clone, Args)]
pub(super) struct EnqueueArgs {
    /// A file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// How it is written [default: by its name or its first line]
    ///
    /// In CSV the header names the fields: `sub_ids.sub1`, `params.country`. An empty cell is absent. Cells
    /// are texts; `params.count:number` and `params.vip:boolean` make them something else.
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// What divides the cells of CSV
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = delimiter)]
    delimiter: u8,

    /// Events in a batch
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH))]
    batch: u64,

    /// Batches in flight; events of one transaction stay in order
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=MAX_IN_FLIGHT))]
    in_flight: u64,

    /// How long to try again while the daemon is busy or away
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = time::duration)]
    retry_for: Duration,

    /// Write what was rejected here, a JSON document a line, instead of to standard error
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,

    /// Only read the file
    #[arg(long)]
    dry_run: bool,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n".contains(byte) => Ok(*byte),
        _ => Err("it is one character such as , or ; or tab".into()),
    }
}

/// Hands events over.
pub(super) async fn enqueue(context: &Context, args: EnqueueArgs) -> Ended {
    let (input, bytes) = open(&args)?;
    let size = BatchSize(NonZeroUsize::new(usize::try_from(args.batch).unwrap_or(1)).unwrap_or(NonZeroUsize::MIN));
    let found =
        format::open(input, args.format, &args.file, args.delimiter).map_err(|error| unreadable(&args, &error))?;
    let client = if args.dry_run { None } else { Some(context.client()?) };
    let (batches, received) = mpsc::channel(READ_AHEAD);
    std::thread::Builder::new()
        .name("enqueue-read".into())
        .spawn(move || batch::read(found, size, &batches))
        .map_err(|error| Failure::new(Exit::Error, "starting a thread", error, "look at ulimit -u"))?;
    let mut tally = Tally::new(context, args.rejects.as_deref())?;
    context.output.begin(bytes, Unit::Bytes);
    let stopped = match client {
        Some(client) => {
            let in_flight = usize::try_from(args.in_flight).unwrap_or(1);
            send::send(client, received, in_flight, args.retry_for, &mut tally).await
        }
        None => only_read(received, &mut tally).await,
    };
    context.output.end();
    let stopped = match stopped? {
        None => None,
        Some(send::Stop::Unreadable(error)) => Some(unreadable(&args, &error)),
        Some(send::Stop::Failed(failure)) => Some(failure),
    };
    tally.finish(stopped, args.dry_run)
}

fn open(args: &EnqueueArgs) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    if args.file.as_os_str() == "-" {
        return Ok((Box::new(stdin()), None));
    }
    let opened = File::open(&args.file).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|error| unreadable(args, &error))?;
    let bytes = Some(metadata.len()).filter(|_| metadata.is_file());
    Ok((Box::new(file), bytes))
}

fn unreadable(args: &EnqueueArgs, error: &std::io::Error) -> Failure {
    let exit = match error.kind() {
        std::io::ErrorKind::InvalidInput => Exit::Usage,
        _ => Exit::Error,
    };
    Failure::new(exit, format!("reading {}", args.file.display()), error, "postbackd enqueue --help")
}

async fn only_read(
    mut batches: mpsc::Receiver<std::io::Result<Batch>>,
    tally: &mut Tally<'_>,
) -> Result<Option<send::Stop>, Failure> {
    while let Some(batch) = batches.recv().await {
        match batch {
            Ok(batch) => tally.read_only(batch)?,
            Err(error) => return Ok(Some(send::Stop::Unreadable(error))),
        }
    }
    Ok(None)
}

/// A buffered input.
type Input = BufReader<Box<dyn Read + Send>>;

#[cfg(test)]
mod tests;
