//! Sections: a table whose keys are taken one by one, so that what is left over is unknown.
//!
//! A section may have layers: the first that has a key decides. That is how `[defaults]` stands behind every
//! postback, and why a problem with a default names the line of the default.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Document, Place};
use super::item::{Item, quoted};
use super::problem::{Report, Weight};
use crate::domain::nearest::nearest;

/// A table, or several on top of each other.
#[derive(Debug, Clone)]
pub(super) struct Section<'a> {
    own: Layer<'a>,
    /// What counts where the section itself is silent.
    behind: Vec<Layer<'a>>,
    known: BTreeSet<&'static str>,
    /// Keys that only the tables behind it may have.
    known_behind: BTreeSet<&'static str>,
    report: &'a Report,
    /// Whether missing keys are forgiven.
    partial: bool,
}

/// One table of a section.
#[derive(Debug, Clone)]
pub(super) struct Layer<'a> {
    document: &'a Document<'a>,
    table: &'a DeTable<'a>,
    /// Where it begins.
    offset: usize,
    path: String,
}

/// A place that a dotted key leads to.
#[derive(Debug, Clone)]
pub(super) struct Spot<'a> {
    document: &'a Document<'a>,
    report: &'a Report,
    offset: usize,
    path: String,
}

impl Spot<'_> {
    /// Reports a problem at this place.
    pub(super) fn add(&self, weight: Weight, message: impl Into<String>, remedy: impl Into<String>) {
        let place = Place { offset: self.offset, key: &self.path };
        self.document.add(self.report, weight, place, message.into(), remedy.into());
    }
}

impl<'a> Layer<'a> {
    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    fn item(&self, key: &str, report: &'a Report) -> Option<Item<'a>> {
        let value = self.table.get(key)?;
        Some(Item { document: self.document, report, value, path: self.path_of(&shown_key(key)) })
    }
}

impl<'a> Section<'a> {
    /// The table that a whole file is.
    pub(super) fn root(document: &'a Document<'a>, report: &'a Report) -> Self {
        let layer = Layer { document, table: document.root(), offset: 0, path: String::new() };
        Self {
            own: layer,
            behind: Vec::new(),
            known: BTreeSet::new(),
            known_behind: BTreeSet::new(),
            report,
            partial: document.is_broken(),
        }
    }

    /// The table that a value is, if it is one.
    pub(super) fn of(item: &Item<'a>) -> Option<Self> {
        let table = item.value.get_ref().as_table()?;
        let offset = item.value.span().start;
        let layer = Layer { document: item.document, table, offset, path: item.path.clone() };
        let partial = item.document.is_broken();
        Some(Self {
            own: layer,
            behind: Vec::new(),
            known: BTreeSet::new(),
            known_behind: BTreeSet::new(),
            report: item.report,
            partial,
        })
    }

    fn layers(&self) -> impl Iterator<Item = &Layer<'a>> {
        std::iter::once(&self.own).chain(&self.behind)
    }

    /// Puts other tables behind this one: they count where it is silent.
    #[must_use]
    pub(super) fn over(mut self, defaults: Option<&Section<'a>>) -> Self {
        if let Some(defaults) = defaults {
            self.behind.extend(defaults.layers().cloned());
        }
        self
    }

    /// Forgives keys that are missing.
    #[must_use]
    pub(super) fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Takes a key that only the tables behind this one may have.
    pub(super) fn accept_behind(&mut self, key: &'static str) {
        self.known_behind.insert(key);
    }

    /// Takes a key without reading it.
    pub(super) fn accept(&mut self, key: &'static str) {
        self.known.insert(key);
    }

    /// Takes a key that may be absent.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.insert(key);
        self.layers().find_map(|layer| layer.item(key, self.report))
    }

    /// Takes a key that may be absent, and reads it.
    pub(super) fn read<T>(&mut self, key: &'static str, read: impl FnOnce(&Item<'a>) -> Option<T>) -> Option<T> {
        self.get(key).as_ref().and_then(read)
    }

    /// Takes a key that must be there; `remedy` says what to write.
    pub(super) fn require(&mut self, key: &'static str, remedy: &str) -> Option<Item<'a>> {
        let found = self.get(key);
        if found.is_none() && !self.partial {
            self.spot(key).add(Weight::Error, "is missing", remedy);
        }
        found
    }

    /// Takes a table; those of all layers are put on top of each other.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.known.insert(key);
        let items: Vec<_> = self.layers().filter_map(|layer| layer.item(key, self.report)).collect();
        let mut sections = items.iter().filter_map(Item::section);
        let first = sections.next()?;
        let merged = sections.fold(first, |merged, behind| merged.over(Some(&behind)));
        Some(Self { partial: self.partial || merged.partial, ..merged })
    }

    /// Takes an array of tables, such as `[[postback]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(item) = self.get(key) else { return Vec::new() };
        if item.value.get_ref().is_table() {
            item.fault(
                "is one table where there may be several",
                format!("write its header as [[{key}]], in two brackets"),
            );
            // Its own faults are worth knowing all the same.
            return item.section().into_iter().collect();
        }
        item.list().unwrap_or_default().iter().filter_map(Item::section).collect()
    }

    /// Takes all keys, in the order of the file; those of the first layer come first.
    pub(super) fn entries(&self) -> Vec<(&'a str, Item<'a>)> {
        self.entries_by(str::to_owned)
    }

    /// Takes all keys; one gives way to another of a layer before it whose `identity` is the same.
    pub(super) fn entries_by(&self, identity: impl Fn(&str) -> String) -> Vec<(&'a str, Item<'a>)> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for layer in self.layers() {
            let mut keys: Vec<_> = layer.table.keys().collect();
            keys.sort_by_key(|key| key.span().start);
            let before = seen.clone();
            for key in keys {
                let name: &str = key.get_ref();
                seen.insert(identity(name));
                if !before.contains(&identity(name))
                    && let Some(item) = layer.item(name, self.report)
                {
                    found.push((name, item));
                }
            }
        }
        found
    }

    /// Whether the first layer that has any of these keys has this one: a default gives way as a group.
    pub(super) fn deciding(&self, keys: &[&str]) -> Section<'a> {
        let layer = self.layers().find(|layer| keys.iter().any(|key| layer.table.contains_key(*key)));
        let own = layer.unwrap_or(&self.own).clone();
        Self {
            own,
            behind: Vec::new(),
            known: BTreeSet::new(),
            known_behind: BTreeSet::new(),
            report: self.report,
            partial: self.partial,
        }
    }

    /// Whether missing keys are forgiven.
    pub(super) fn is_partial(&self) -> bool {
        self.partial
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.layers().any(|layer| layer.table.contains_key(key))
    }

    /// Reports every key that nobody took.
    pub(super) fn finish(self) {
        for (index, layer) in self.layers().enumerate() {
            let known = |name: &str| self.known.contains(name) || (index > 0 && self.known_behind.contains(name));
            for key in layer.table.keys().filter(|key| !known(key.get_ref())) {
                let name: &str = key.get_ref();
                let remedy = match nearest(name, self.known.iter().copied()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("known here: {}", self.known.iter().copied().collect::<Vec<_>>().join(", ")),
                };
                let path = layer.path_of(&shown_key(name));
                let place = Place { offset: key.span().start, key: &path };
                layer.document.add(self.report, Weight::Error, place, "is not a known key".into(), remedy);
            }
        }
    }

    /// The section's own beginning, for a key that is not there.
    pub(super) fn spot(&self, key: &str) -> Spot<'a> {
        let layer = &self.own;
        let path = if key.is_empty() { layer.path.clone() } else { layer.path_of(key) };
        Spot { document: layer.document, report: self.report, offset: layer.offset, path }
    }

    /// The place of a dotted key such as `headers.X-Id`, or of as much of it as there is.
    pub(super) fn locate(&self, dotted: &str) -> Spot<'a> {
        self.layers()
            .find_map(|layer| {
                let (offset, path) = walk(layer.table, dotted)?;
                let path = layer.path_of(&path);
                Some(Spot { document: layer.document, report: self.report, offset, path })
            })
            .unwrap_or_else(|| self.spot(dotted))
    }

    /// The place of the first text that holds a word, such as `secret.hmac`.
    pub(super) fn locate_text(&self, word: &str) -> Spot<'a> {
        self.layers()
            .find_map(|layer| {
                let (offset, path) = table_text(layer.table, word)?;
                let path = layer.path_of(&path);
                Some(Spot { document: layer.document, report: self.report, offset, path })
            })
            .unwrap_or_else(|| self.spot(""))
    }
}

/// Follows a dotted key as far as it leads; a key may hold dots itself.
fn walk(table: &DeTable<'_>, dotted: &str) -> Option<(usize, String)> {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let rest = match dotted.strip_prefix(name) {
            Some("") => "",
            Some(rest) if rest.starts_with('.') => rest.trim_start_matches('.'),
            Some(_) | None => continue,
        };
        let here = (value.span().start, name.to_owned());
        return Some(walk_into(name, value, rest).unwrap_or(here));
    }
    None
}

fn walk_into(name: &str, value: &Spanned<DeValue<'_>>, rest: &str) -> Option<(usize, String)> {
    let step = |(offset, path)| (offset, format!("{name}.{path}"));
    match value.get_ref() {
        DeValue::Table(table) => {
            // A body's members stand one level deeper than faults name them.
            let bodies = ["form", "json"].into_iter().filter(|_| name == "body").filter_map(|kind| {
                let value = table.get(kind)?;
                walk_into(kind, value, rest).or_else(|| rest.is_empty().then(|| (value.span().start, kind.into())))
            });
            bodies.chain((!rest.is_empty()).then(|| walk(table, rest)).flatten()).next().map(step)
        }
        DeValue::Array(array) => array.iter().enumerate().find_map(|(index, value)| {
            let (offset, path) = walk(value.get_ref().as_table()?, rest)?;
            Some((offset, format!("{name}[{index}].{path}")))
        }),
        _ => None,
    }
}

fn table_text(table: &DeTable<'_>, word: &str) -> Option<(usize, String)> {
    table.iter().find_map(|(key, value)| {
        let (offset, path) = value_text(value, word)?;
        Some((offset, format!("{}{path}", key.get_ref())))
    })
}

fn value_text(value: &Spanned<DeValue<'_>>, word: &str) -> Option<(usize, String)> {
    match value.get_ref() {
        DeValue::String(text) => text.contains(word).then(|| (value.span().start, String::new())),
        DeValue::Table(table) => table_text(table, word).map(|(offset, path)| (offset, format!(".{path}"))),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(index, value)| {
            let (offset, path) = value_text(value, word)?;
            Some((offset, format!("[{index}]{path}")))
        }),
        _ => None,
    }
}

/// A key for a path: in quotes where it is not a bare key.
pub(super) fn shown_key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if bare { name.into() } else { quoted(name) }
}
