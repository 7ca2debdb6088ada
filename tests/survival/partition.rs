//! An ext4 file system in an image file, mounted over a loop device.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The exit code of fsck below which a file system is good again.
const REPAIRED: i32 = 4;

/// A mounted image; unmounted when dropped, which gives its loop device back, too.
pub(crate) struct Partition {
    image: PathBuf,
    place: PathBuf,
}

/// Runs a program quietly; what it said where it failed.
fn run(program: &str, arguments: &[&str]) -> Result<i32, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.code() {
        Some(0) => Ok(0),
        Some(code) if program == "fsck.ext4" && code < REPAIRED => Ok(code),
        code => Err(format!("{program} ended with {code:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Whether this machine lets us mount images.
pub(crate) fn usable() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root mounts images".into());
    }
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    Partition::make(&directory.path().join("image"), &directory.path().join("mounted"), 16).map(drop)
}

impl Partition {
    /// Makes an image of so many MiB, and mounts it.
    pub(crate) fn make(image: &Path, place: &Path, mebibytes: u64) -> Result<Self, String> {
        let file = std::fs::File::create(image).map_err(|error| error.to_string())?;
        file.set_len(mebibytes << 20).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", text(image)])?;
        Self::mount(image, place)
    }

    /// Mounts an image.
    pub(crate) fn mount(image: &Path, place: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(place).map_err(|error| error.to_string())?;
        run("mount", &["-o", "loop", text(image), text(place)])?;
        Ok(Self { image: image.to_owned(), place: place.to_owned() })
    }

    /// Repairs an image that is not mounted.
    pub(crate) fn repair(image: &Path) -> Result<(), String> {
        run("fsck.ext4", &["-f", "-y", text(image)]).map(drop)
    }

    /// Copies the image as it is, without a sync: what the file system has not written yet is not in it. A copy into
    /// which the kernel wrote meanwhile is no state that a disk was ever in, and is made anew.
    pub(crate) fn copy(&self, to: &Path) -> Result<(), String> {
        for _ in 0..20 {
            let before = written(&self.image).map_err(|error| error.to_string())?;
            run("cp", &["--sparse=always", text(&self.image), text(to)])?;
            if written(&self.image).map_err(|error| error.to_string())? == before {
                return Ok(());
            }
        }
        Err("the image changes all the time".into())
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        if run("umount", &[text(&self.place)]).is_err() {
            let _ = run("umount", &["--lazy", text(&self.place)]);
        }
    }
}

fn written(path: &Path) -> io::Result<std::time::SystemTime> {
    std::fs::metadata(path)?.modified()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
