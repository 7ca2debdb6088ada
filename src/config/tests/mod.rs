//! What an operator sees of a configuration: that the shipped one is sound, and that every fault is found.

mod defaults;
mod dictionary_page;
mod documentation;
mod faults;
mod lints;
mod platforms;
mod samples;
mod secrets;
mod shipped;
mod signing;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Loaded, Problem, Problems, load_with};
use crate::domain::affiliate::Affiliate;
use crate::domain::id::AffiliateId;
use crate::domain::postback::Postback;

/// A daemon's file with nothing but what must be there.
const DAEMON: &str = "[api]\nsocket = \"s\"\n";
/// A dictionary with a conversion and its reversal.
const EVENTS: &str = r#"
[ftd]
description = "First deposit."
params.country = { type = "text" }

[ftd_reversed]
description = "First deposit undone."
reverses = "must"
"#;

/// A configuration in a directory that vanishes with its test.
struct Shop {
    directory: TempDir,
    variables: BTreeMap<String, String>,
}

impl Shop {
    /// A sound daemon's file and dictionary, and no affiliate.
    fn new() -> Self {
        let shop = Self { directory: TempDir::new().unwrap(), variables: BTreeMap::new() };
        shop.file("postbackd.toml", DAEMON).file("events.toml", EVENTS).file("affiliates/.keep", "")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A file with a mode, such as 0o600.
    fn private(self, name: &str, text: &str, mode: u32) -> Self {
        let shop = self.file(name, text);
        fs::set_permissions(shop.path(name), fs::Permissions::from_mode(mode)).unwrap();
        shop
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load_with(&self.path("postbackd.toml"), &|name| self.variables.get(name).cloned())
    }

    /// Loads what must be sound.
    fn sound(&self) -> Loaded {
        self.load().unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// Each error as `file:line: key: message; remedy`, with files named from the directory on.
    fn errors(&self) -> Vec<String> {
        let problems = self.load().expect_err("the configuration is broken").0;
        problems.iter().map(|problem| self.shown(problem)).collect()
    }

    fn warnings(&self) -> Vec<String> {
        self.sound().warnings.iter().map(|problem| self.shown(problem)).collect()
    }

    fn shown(&self, problem: &Problem) -> String {
        let directory = format!("{}/", self.directory.path().display());
        problem.to_string().replace(&directory, "")
    }
}

/// An affiliate's file with one postback and further lines in it.
fn affiliate_with(lines: &str) -> String {
    format!(
        "id = \"acme\"\nname = \"Acme\"\n[[postback]]\nname = \"p\"\nevents = [\"ftd\"]\nmethod = \"GET\"\nurl = \
         \"https://t.example/p?c={{click_id}}&t={{transaction_id}}\"\n{lines}"
    )
}

fn affiliate<'l>(loaded: &'l Loaded, id: &str) -> &'l Affiliate {
    &loaded.settings.affiliates[&AffiliateId::parse(id).unwrap()]
}

fn postback<'l>(loaded: &'l Loaded, id: &str, name: &str) -> &'l Postback {
    let postbacks = &affiliate(loaded, id).postbacks;
    postbacks.iter().find(|postback| postback.name.as_str() == name).expect("a postback that is switched on")
}

/// The repository's own configuration.
fn shipped_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}
