//! The one place that asks the system for file descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the number of descriptors that may be open to the most that the process may have.
///
/// Shells start programs with about a thousand, which connections of the API alone can use up; what is missing
/// then is missing to attempts, too.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::warn!(?current, "the limit of open files cannot be raised");
    }
}
