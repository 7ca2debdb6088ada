//! What was asked for on the command line: by a person, or by `cargo test` with its own words.

use postbackd::domain::engine_kind::EngineKind;

/// Words of the usual harness that have a value behind them.
const WITH_VALUE: [&str; 6] = ["--test-threads", "--skip", "--format", "--color", "--logfile", "-Z"];

/// What to run, and how large.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Campaigns whose name contains this.
    pub(crate) filter: String,
    /// What all chance comes from.
    pub(crate) seed: u64,
    /// Whether a person asked: larger figures, and words on the way.
    pub(crate) by_hand: bool,
    /// Whether only the names are asked for.
    pub(crate) list: bool,
    /// The engine of the stores.
    pub(crate) engine: Option<EngineKind>,
    /// The campaigns that must be run: names divided by commas, or `all`.
    pub(crate) required: String,
    skip: Vec<String>,
    sizes: Vec<(String, u64)>,
}

impl Asked {
    /// Reads the command line.
    ///
    /// # Errors
    /// Names an option of ours whose value is no number.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self { seed: 1, ..Self::default() };
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let (name, mut value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.clone(), None),
            };
            match name.as_str() {
                "--list" => asked.list = true,
                "--full" => asked.by_hand = true,
                "--seed" | "--cuts" | "--events" | "--kills" | "--eio" | "--enospc" | "--points" | "--past"
                | "--lanes" | "--lane" => {
                    let value = value.take().or_else(|| words.next()).unwrap_or_default();
                    let number = value.parse().map_err(|_| format!("{name} {value:?}: a number is needed"))?;
                    if name == "--seed" {
                        asked.seed = number;
                    } else {
                        asked.sizes.push((name, number));
                    }
                    asked.by_hand = true;
                }
                "--engine" => {
                    let value = value.take().or_else(|| words.next()).unwrap_or_default();
                    let engine =
                        EngineKind::named(&value).ok_or_else(|| format!("--engine {value:?}: sled or fjall"))?;
                    asked.engine = Some(engine);
                }
                name if WITH_VALUE.contains(&name) => {
                    let value = value.take().or_else(|| words.next()).unwrap_or_default();
                    if name == "--skip" {
                        asked.skip.push(value);
                    }
                }
                name if name.starts_with('-') => {}
                name => name.clone_into(&mut asked.filter),
            }
        }
        Ok(asked)
    }

    /// Whether a campaign must be run, so that what it lacks is a failure.
    pub(crate) fn requires(&self, campaign: &str) -> bool {
        self.required.split(',').any(|name| name.trim() == campaign || name == "all")
    }

    /// Whether a campaign is meant.
    pub(crate) fn wants(&self, campaign: &str) -> bool {
        campaign.contains(&self.filter) && !self.skip.iter().any(|skip| campaign.contains(skip))
    }

    /// A size: as asked for, else the one of runs by hand or by `cargo test`.
    pub(crate) fn size(&self, name: &str, small: u64, large: u64) -> u64 {
        let asked = self.sizes.iter().rev().find(|(known, _)| known == name).map(|(_, number)| *number);
        asked.unwrap_or(if self.by_hand { large } else { small })
    }

    /// Tells a person how far it is.
    pub(crate) fn say(&self, words: &str) {
        if self.by_hand {
            eprintln!("{words}");
        }
    }
}
