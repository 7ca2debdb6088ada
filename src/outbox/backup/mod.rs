//! Backups: a whole copy of a store as it stood at one moment, taken while it is in use, and put back.
//!
//! An engine has no snapshots, so a backup is a walk over all pairs together with everything that was written since the
//! walk began. What was written is told behind whatever the walk had found by then, and in its order: whichever side of a
//! write the walk saw, the two together are the store at the end of the walk. The commit thread itself draws both lines,
//! between two groups, so that no group is ever in a backup by half.
//!
//! Knows nothing of files or of HTTP: bytes go out through a closure, and come in through `Read`.

mod frame;
mod restore;
mod take;
mod tap;

pub use frame::BackupError;
pub use restore::{RestoreError, RestoreObserver, Restored, restore};
pub(super) use take::take_in_use;
pub use take::{BackupCheck, TakeError, Taken, take_at_rest};
pub(super) use tap::{Tap, TapHolder, Ticket};
