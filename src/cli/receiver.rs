//! `receiver`: stands in for an affiliate's tracker until it is interrupted.

use std::fmt::Write;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

use super::context::Context;
use super::exit::{Ended, Exit, Failure, with_causes};
use super::output::Form;
use crate::receiver::{LedgerSnapshot, Receiver, ReceiverArgs, ReceiverError, Seen};

/// Runs a receiver.
pub(super) async fn receiver(context: &Context, args: ReceiverArgs) -> Ended {
    let json = args.json || context.output.form() != Form::People;
    let (quiet, ledger_file) = (args.quiet, args.ledger_file.clone());
    let receiver = Receiver::start(args.into_options().map_err(|error| unusable(&error))?).await;
    let receiver = receiver.map_err(|error| unusable(&error))?;
    let mut seen = receiver.subscribe();
    let output = &context.output;
    output.say(&format!("receiver listens on http://{}; Ctrl-C ends it", receiver.address()));
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let terminated = signal(SignalKind::terminate());
    let mut terminated = terminated.map_err(|error| Failure::new(Exit::Error, "listening for signals", error, ""))?;
    loop {
        tokio::select! {
            _ = &mut interrupted => break,
            _ = terminated.recv() => break,
            next = seen.recv() => match next {
                Ok(_) if quiet => {}
                Ok(seen) => {
                    let line = if json { seen.to_json().to_string() } else { describe(&seen) };
                    output.text(&line)?;
                    output.flush()?;
                }
                Err(RecvError::Lagged(missed)) => output.say(&format!("{missed} requests went by unprinted; the ledger has them")),
                Err(RecvError::Closed) => break,
            },
        }
    }
    let ledger = receiver.ledger();
    receiver.stop().await;
    if let Some(path) = ledger_file {
        std::fs::write(&path, format!("{}\n", ledger.to_json())).map_err(|error| {
            Failure::new(Exit::Error, format!("writing {}", path.display()), error, "name another --ledger-file")
        })?;
    }
    output.text(&if json { ledger.to_json().to_string() } else { summary(&ledger) })?;
    Ok(Exit::Ok)
}

fn unusable(error: &ReceiverError) -> Failure {
    let exit = if matches!(error, ReceiverError::Listen { .. }) { Exit::Error } else { Exit::Usage };
    Failure::new(exit, "running a receiver", with_causes(error), "postbackd receiver --help")
}

fn describe(seen: &Seen) -> String {
    let key = seen.key.as_deref().unwrap_or("-");
    let at = seen.offset.as_secs_f64();
    format!("{at:>10.3}  #{}  {} {}  key {key}  → {}", seen.sequence, seen.method, seen.path_and_query, seen.answer)
}

fn summary(ledger: &LedgerSnapshot) -> String {
    let mut text = format!(
        "requests {}  keys {}  accepted keys {}  accepted more than once {}\nanswered",
        ledger.requests, ledger.keys, ledger.accepted_keys, ledger.duplicate_keys
    );
    for (status, count) in &ledger.answered {
        let _ = write!(text, "  {status}: {count}");
    }
    let rest = [
        ("hung", ledger.hung),
        ("reset", ledger.reset),
        ("closed", ledger.closed),
        ("broken", ledger.broken),
        ("cut short", ledger.cut_short),
        ("malformed", ledger.malformed),
        ("without key", ledger.unkeyed),
        ("wrongly signed", ledger.signature_failures),
    ];
    for (name, count) in rest.into_iter().filter(|(_, count)| *count > 0) {
        let _ = write!(text, "  {name}: {count}");
    }
    text
}
