//! Whether the secrets that the configuration refers to can be read, by their owner alone.

use super::{About, Finding, counted, first_few};

/// The check.
pub const ABOUT: About = About {
    name: "secrets",
    looks_at: "each secret that a postback uses: fails where one cannot be read, is empty, or its file can be read by others",
    remedy: "the finding names the reference; `chmod 600` the file, set the variable, or add LoadCredential= to the unit",
};

/// Judges what reading the secrets came to: how many postbacks have theirs, and what is wrong with the others.
pub fn judge(postbacks: usize, faults: &[String]) -> Finding {
    if faults.is_empty() {
        let found = match postbacks {
            0 => "no postback uses any".to_owned(),
            _ => format!("{} can be read", counted(postbacks, "postback's secrets", "postbacks' secrets")),
        };
        return Finding::ok(ABOUT.name, found);
    }
    let found = format!("{}: {}", counted(faults.len(), "fault", "faults"), first_few(faults));
    Finding::failure(
        ABOUT.name,
        found,
        "see each fault for its remedy; look as the daemon's user, with its credentials",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Level;

    #[test]
    fn one_that_cannot_be_read_fails() {
        assert_eq!(judge(0, &[]).level, Level::Ok);
        assert_eq!(judge(2, &[]).found, "2 postbacks' secrets can be read");
        let finding = judge(2, &["acme.toml:3: secrets.key: has mode 0644".into()]);
        assert!(finding.level == Level::Failure && finding.found.contains("mode 0644"), "{finding:?}");
    }
}
