//! Whether the configuration can be used.

use super::{About, Finding, counted, first_few};

/// The check.
pub const ABOUT: About = About {
    name: "configuration",
    looks_at: "all files of the configuration, as `postbackd check` does: fails on errors, warns of doubts",
    remedy: "`postbackd check` names each with its file, line and key; put it right, then `postbackd reload`",
};

/// Judges what reading the configuration came to.
pub fn judge(file: &str, errors: &[String], warnings: &[String]) -> Finding {
    let remedy = format!("put it right; all of it: postbackd check --config {file}");
    let (wrong, doubtful) = (counted(errors.len(), "error", "errors"), counted(warnings.len(), "warning", "warnings"));
    match (errors, warnings) {
        ([], []) => Finding::ok(ABOUT.name, format!("{file} is good")),
        ([], _) => Finding::warning(ABOUT.name, format!("{file}: {doubtful}: {}", first_few(warnings)), remedy),
        _ => {
            let found = format!("{file} cannot be used: {wrong}, {doubtful}: {}", first_few(errors));
            Finding::failure(ABOUT.name, found, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Level;

    #[test]
    fn errors_fail_and_doubts_warn() {
        let (none, some) = (Vec::new(), vec!["a.toml:3: url: is odd".to_owned()]);
        let table = [
            (&none, &none, Level::Ok, "is good"),
            (&none, &some, Level::Warning, "1 warning: a.toml:3"),
            (&some, &some, Level::Failure, "1 error, 1 warning: a.toml:3"),
        ];
        for (errors, warnings, level, words) in table {
            let finding = judge("p.toml", errors, warnings);
            assert_eq!(finding.level, level);
            assert!(finding.found.contains(words), "{finding:?}");
        }
    }
}
