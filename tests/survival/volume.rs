//! What a store stands on: our disk as a file system of its own, or ext4 on a block device that is our disk's only file.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, Fate, Image, Mount};
use crate::partition::Partition;

/// MiB of an ext4 file system.
const SIZE: u64 = 96;

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Our disk's: what no sync has asked for is not durable.
    Ours,
    /// ext4, whose writes and flushes our disk sees.
    Ext4,
}

/// A mounted file system; unmounted when dropped, the upper one first.
pub(crate) struct Volume {
    _partition: Option<Partition>,
    _disk: Mount,
}

impl Format {
    /// A disk with nothing but an empty file system.
    pub(crate) fn empty(self, at: &Path) -> Result<Image, String> {
        let disk = Disk::on(Image::empty(), Fate::default());
        if self == Self::Ext4 {
            let device = Mount::new(&disk, &device(at)).map_err(|error| error.to_string())?;
            Partition::make(&file(&device), at, SIZE)?;
        }
        Ok(disk.survivor())
    }

    /// Mounts a disk's file system; where it needs a place beside that, the name is longer.
    pub(crate) fn mount(self, disk: &Disk, at: &Path) -> Result<Volume, String> {
        let mount = |at: &Path| Mount::new(disk, at).map_err(|error| error.to_string());
        if self == Self::Ours {
            return Ok(Volume { _partition: None, _disk: mount(at)? });
        }
        let device = mount(&device(at))?;
        let partition = Partition::mount(&file(&device), at)?;
        Ok(Volume { _partition: Some(partition), _disk: device })
    }
}

fn device(at: &Path) -> PathBuf {
    at.with_extension("device")
}

fn file(device: &Mount) -> PathBuf {
    device.path().join("ext4")
}
