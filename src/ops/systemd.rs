//! Tells systemd how the daemon stands. Does nothing where systemd did not start it.

use sd_notify::NotifyState;

/// The daemon takes events and sends deliveries.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The daemon takes no more events and finishes what is in flight.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told how the daemon stands");
    }
}
