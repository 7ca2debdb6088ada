//! Secrets: references in the configuration, resolved to values that never print.
//!
//! No message of this module repeats what it found where a reference or a secret was expected.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::item::Item;
use super::section::{Section, shown_key};

/// Most bytes of a secret.
const MAX_SECRET_BYTES: u64 = 64 << 10;
/// Most values of a secret that are live at once.
const MAX_LIVE: usize = 2;
const HOW: &str =
    "keep the value out of this file and write { credential = \"name\" }, { file = \"path\" } or { env = \"NAME\" }";

/// What reads environment variables.
pub(super) type Variables<'v> = dyn Fn(&str) -> Option<String> + 'v;

/// Where a secret's value is kept.
#[derive(Debug, Clone)]
enum Reference {
    /// A systemd credential.
    Credential(String),
    /// A file that only its owner can read.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

/// The live values of one secret, to be read when they are needed.
#[derive(Debug)]
pub(super) struct Secret<'a> {
    item: Item<'a>,
    references: Vec<(Reference, Item<'a>)>,
    values: OnceCell<Option<Vec<SecretString>>>,
    used: Cell<bool>,
}

/// The secrets that an affiliate's postbacks may name. `None` stands for one whose references are faulty.
pub(super) type Declared<'a> = BTreeMap<String, Option<Secret<'a>>>;

/// Reads `[secrets]`.
pub(super) fn declared<'a>(section: &Section<'a>) -> Declared<'a> {
    let mut secrets = Declared::new();
    for (name, item) in section.entries() {
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !plain {
            item.fault(
                format!("has the name {}, which no macro can hold", shown_key(name)),
                "use letters, digits, - and _",
            );
        }
        secrets.insert(name.into(), Secret::read(&item));
    }
    secrets
}

impl<'a> Secret<'a> {
    /// Reads one reference or a list of them.
    pub(super) fn read(item: &Item<'a>) -> Option<Self> {
        let entries = if item.value.get_ref().is_array() { item.filled_list()? } else { vec![item.clone()] };
        if entries.len() > MAX_LIVE {
            item.fault(
                format!("has {} values, at most {MAX_LIVE} are live at once", entries.len()),
                "remove the oldest",
            );
            return None;
        }
        let read: Vec<_> = entries.iter().map(|entry| Some((Reference::read(entry)?, entry.clone()))).collect();
        let references = read.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Self { item: item.clone(), references, values: OnceCell::new(), used: Cell::new(false) })
    }

    /// Takes note that something names the secret.
    pub(super) fn mark_used(&self) {
        self.used.set(true);
    }

    /// Warns where nothing names the secret.
    pub(super) fn warn_if_unused(&self) {
        if !self.used.get() {
            self.item.warn("is a secret that no postback uses", "remove it, or name it in a signature or a macro");
        }
    }

    /// The values, the current one first; read once, and only when asked for.
    pub(super) fn values(&self, variables: &Variables<'_>) -> Option<&[SecretString]> {
        let values = self.values.get_or_init(|| {
            let read = self.references.iter().map(|(reference, item)| reference.value(item, variables));
            read.collect::<Vec<_>>().into_iter().collect()
        });
        values.as_deref()
    }
}

impl Reference {
    fn read(item: &Item<'_>) -> Option<Self> {
        if item.value.get_ref().as_table().is_none() {
            item.fault("holds a value where a reference to a secret belongs", HOW);
            return None;
        }
        let mut section = item.section()?;
        let credential = section.get("credential").map(|item| name(&item));
        let file = section.get("file").map(|item| item.filled_text().map(|path| beside(&item, path)));
        let variable = section.get("env").map(|item| variable_name(&item));
        section.finish();
        match (credential, file, variable) {
            (Some(name), None, None) => name.map(Self::Credential),
            (None, Some(path), None) => path.map(Self::File),
            (None, None, Some(name)) => name.map(Self::Variable),
            (None, None, None) => {
                item.fault("refers to no secret", HOW);
                None
            }
            _ => {
                item.fault("refers to several places at once", "give each its own { … }, in a list");
                None
            }
        }
    }

    fn value(&self, item: &Item<'_>, variables: &Variables<'_>) -> Option<SecretString> {
        let found = match self {
            Self::Credential(name) => credential(name, variables),
            Self::File(path) => private_file(path),
            Self::Variable(name) => variables(name).ok_or_else(|| Failure {
                message: format!("refers to the environment variable {name:?}, which is unset or empty"),
                remedy: "set it for the daemon, or keep the secret in a file or a systemd credential".into(),
            }),
        };
        match found.and_then(trimmed) {
            Ok(value) => Some(SecretString::from(value)),
            Err(failure) => {
                item.fault(failure.message, failure.remedy);
                None
            }
        }
    }
}

/// Why a secret could not be read.
struct Failure {
    message: String,
    remedy: String,
}

/// A credential's name. What does not look like a name is not repeated: it might be the secret.
fn name(item: &Item<'_>) -> Option<String> {
    let text = item.filled_text()?;
    let plain = text.len() <= 255 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !plain || text.starts_with('.') {
        item.fault("is not a name of letters, digits, -, _ and .", "name where the secret is kept, not the secret");
        return None;
    }
    Some(text.into())
}

/// A variable's name. In capitals, as is the custom: few secrets look like that.
fn variable_name(item: &Item<'_>) -> Option<String> {
    let text = item.filled_text()?;
    let plain = text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !plain || text.starts_with(|c: char| c.is_ascii_digit()) {
        let message = "is not the name of an environment variable: capital letters, digits and _";
        item.fault(message, "name where the secret is kept, not the secret");
        return None;
    }
    Some(text.into())
}

/// A path beside the file that names it.
fn beside(item: &Item<'_>, path: &str) -> PathBuf {
    item.document.path().parent().unwrap_or(Path::new("")).join(path)
}

fn credential(name: &str, variables: &Variables<'_>) -> Result<String, Failure> {
    // Its name is not repeated: it might be the secret.
    let remedy = "add LoadCredential=NAME:/path/of/the/secret to the unit";
    let Some(directory) = variables("CREDENTIALS_DIRECTORY") else {
        let message = "refers to a systemd credential, but CREDENTIALS_DIRECTORY is not set".into();
        return Err(Failure { message, remedy: format!("{remedy}, or use {{ file = … }} outside of systemd") });
    };
    // Readable by the service alone: systemd sees to that, whatever the mode shows.
    let read = File::open(Path::new(&directory).join(name)).and_then(contents);
    read.map_err(|error| Failure {
        message: format!("refers to a systemd credential that cannot be read: {error}"),
        remedy: remedy.into(),
    })
}

fn private_file(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let failed = |error: std::io::Error| Failure {
        message: format!("refers to {shown}, which cannot be read: {error}"),
        remedy: "check the path, and that the daemon's user owns the file".into(),
    };
    // Before it is opened: opening a pipe would wait for its other end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        let message = format!("refers to {shown}, which is not a file");
        return Err(Failure { message, remedy: "name a file that holds the secret and nothing else".into() });
    }
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let message = format!("refers to {shown}, which has mode {mode:04o}: others than its owner can get at it");
        return Err(Failure { message, remedy: format!("run: chmod 600 {shown}") });
    }
    contents(file).map_err(failed)
}

fn contents(file: File) -> std::io::Result<String> {
    let mut text = String::new();
    file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(std::io::Error::other(format!("is longer than {MAX_SECRET_BYTES} bytes")));
    }
    Ok(text)
}

/// The text without the line break that editors put behind it.
fn trimmed(mut text: String) -> Result<String, Failure> {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.trim().is_empty() {
        let remedy = "put the secret there".into();
        return Err(Failure { message: "refers to a secret that is empty".into(), remedy });
    }
    Ok(text)
}
