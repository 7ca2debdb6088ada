//! Whether certificates of receivers can be checked at all.

use super::{About, Finding, counted, first_few};
use crate::transport::Trust;

/// The check.
pub const ABOUT: About = About {
    name: "CA",
    looks_at: "the system's trust store, or what SSL_CERT_FILE and SSL_CERT_DIR name: fails where no root certificate is in it, \
               warns where some cannot be read",
    remedy: "install ca-certificates; correct SSL_CERT_FILE in the daemon's environment",
};

/// Judges a trust store; `named` is what the environment names instead of the system's.
pub fn judge(trust: &Trust, named: Option<&str>) -> Finding {
    let from = named.map_or_else(|| "the system".to_owned(), |path| format!("SSL_CERT_FILE ({path})"));
    let found = format!("{} from {from}", counted(trust.roots, "root certificate", "root certificates"));
    match (trust.roots, &trust.faults[..]) {
        (0, faults) => {
            let found = format!("{found}: no https postback will arrive {}", first_few(faults));
            Finding::failure(ABOUT.name, found.trim_end(), ABOUT.remedy)
        }
        (_, []) => Finding::ok(ABOUT.name, found),
        (_, faults) => {
            let found = format!("{found}, {}: {}", counted(faults.len(), "fault", "faults"), first_few(faults));
            Finding::warning(ABOUT.name, found, "remove or renew the files that the faults name")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Level;

    #[test]
    fn no_roots_fail_and_some_that_cannot_be_read_warn() {
        let trust = |roots, faults: &[&str]| Trust { roots, faults: faults.iter().map(ToString::to_string).collect() };
        let table = [
            (trust(140, &[]), None, Level::Ok, "140 root certificates from the system"),
            (trust(1, &["x.pem"]), Some("/x"), Level::Warning, "SSL_CERT_FILE (/x), 1 fault: x.pem"),
            (trust(0, &[]), None, Level::Failure, "no https postback"),
        ];
        for (trust, named, level, words) in table {
            let finding = judge(&trust, named);
            assert!(finding.level == level && finding.found.contains(words), "{finding:?}");
        }
    }
}
