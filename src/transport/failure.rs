//! Why an exchange ended early, and whose fault that was.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::client::SendFailure;
use super::phases::Phases;
use super::resolver::LookUpError;
use crate::domain::outcome::Failure;

/// Why an exchange ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The egress policy forbids it.
    Forbidden(String),
    /// It cannot be written as HTTP.
    Invalid(String),
    /// A deadline passed.
    Deadline(Duration),
    /// The HTTP client failed before there was an answer.
    Request(hyper_util::client::legacy::Error),
    /// The body of the answer broke off.
    Body(hyper::Error),
}

/// What this machine was out of when nothing could be opened: descriptors, memory, or local ports.
const LOCAL: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];

/// Whether this machine, and not the network or the receiver, is at fault.
pub(super) fn is_local(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| LOCAL.contains(&errno))
}

/// What an exchange was made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means {
    /// The connect deadline.
    pub(super) connect: Duration,
    /// Whether this machine trusts any certificate.
    pub(super) trusts: bool,
}

/// Judges how far an exchange got.
pub(super) fn failure(stop: Stop, phases: &Phases, means: Means) -> SendFailure {
    let failed = |failure, error| SendFailure { failure, error, partial: None };
    if let Some(forbidden) = &phases.forbidden {
        return failed(Failure::Blocked, forbidden.to_string());
    }
    let unsent = match phases.tls_started {
        Some(_) => Failure::Tls,
        None => Failure::Unreachable,
    };
    match stop {
        Stop::Forbidden(error) => failed(Failure::Blocked, error),
        Stop::Invalid(error) => failed(Failure::Unrenderable, error),
        Stop::Deadline(after) if phases.given_up => failed(unsent, format!("no connection within {after:?}")),
        Stop::Deadline(after) => failed(Failure::Lost, format!("no whole answer within {after:?}")),
        Stop::Body(error) => failed(Failure::Lost, chain(&error)),
        Stop::Request(error) if error.is_connect() && (phases.given_up || causes(&error).any(is_deadline)) => {
            failed(unsent, format!("no connection within {:?}", means.connect))
        }
        Stop::Request(error) => {
            let failure = if !error.is_connect() {
                Failure::Lost
            } else if unsent == Failure::Unreachable && causes(&error).any(cause_is_local) {
                Failure::Local
            } else if !means.trusts && causes(&error).any(is_unknown_issuer) {
                Failure::OwnTls
            } else {
                unsent
            };
            failed(failure, chain(&error))
        }
    }
}

/// The error and its causes. An IO error that wraps another does not call it its source, and is looked into.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
        Some(cause)
    })
}

fn cause_is_local(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(is_local)
        || cause.downcast_ref::<LookUpError>().is_some_and(|error| error.local)
}

/// Whether the client's own deadline passed; the system's carries a number.
fn is_deadline(cause: &(dyn Error + 'static)) -> bool {
    let error = cause.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none())
}

fn is_unknown_issuer(cause: &(dyn Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)))
}

/// An error with its causes; none of them names the URL, which may hold secrets.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts = causes(error).map(ToString::to_string);
    let mut text = texts.next().unwrap_or_default();
    for cause in texts {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
