//! Which origins were looked at: most requests go where others went before, and need no parser to say whether they may.
//!
//! Knows what the egress policy says of a URL; where a connection is made, every address is asked about all the same.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use url::Url;

use super::egress::{EgressPolicy, Forbidden};
use crate::domain::request::is_plain;

/// Most origins that are remembered: more than there are receivers.
const MOST: usize = 4_096;

/// Why a URL is not sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not one.
    Url,
    /// A parser would write it differently.
    NotNormal,
    /// The policy forbids it.
    Forbidden(Forbidden),
}

/// What the policy said of the origins of URLs in normal form.
#[derive(Debug, Default)]
pub(super) struct Origins(RwLock<HashMap<String, Result<(), Forbidden>>>);

impl Origins {
    /// Whether a URL is in normal form and may be sent to.
    pub(super) fn check(&self, url: &str, policy: &EgressPolicy) -> Result<(), Refused> {
        let origin = origin_of(url);
        let known =
            origin.and_then(|origin| self.0.read().unwrap_or_else(PoisonError::into_inner).get(origin).cloned());
        if let Some(known) = known {
            return known.map_err(Refused::Forbidden);
        }
        let parsed = Url::parse(url).map_err(|_| Refused::Url)?;
        if parsed.as_str() != url {
            return Err(Refused::NotNormal);
        }
        let said = policy.check_url(&parsed);
        if let Some(origin) = origin {
            let mut origins = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if origins.len() >= MOST {
                origins.clear();
            }
            origins.insert(origin.to_owned(), said.clone());
        }
        said.map_err(Refused::Forbidden)
    }
}

/// Scheme, host and port, where nothing behind them can change what a parser makes of the URL.
fn origin_of(url: &str) -> Option<&str> {
    let (scheme, behind) = url.split_once("://")?;
    let at = scheme.len() + "://".len() + behind.find('/')?;
    let (origin, rest) = url.split_at_checked(at)?;
    is_plain(rest).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_an_origin_holds_for_its_other_urls_and_for_no_other_origin() {
        let policy = EgressPolicy { allow: Vec::new(), ports: vec![443] };
        let origins = Origins::default();
        let check = |url: &str| origins.check(url, &policy);
        for _ in 0..2 {
            assert_eq!(check("https://a.example/p?c=1"), Ok(()));
            assert_eq!(check("https://a.example/q?c=2"), Ok(()));
            assert_eq!(check("https://a.example:444/p"), Err(Refused::Forbidden(Forbidden::Port(444))));
            assert!(matches!(check("https://10.0.0.1/p"), Err(Refused::Forbidden(Forbidden::Address { .. }))));
            assert!(matches!(check("https://[::1]/p"), Err(Refused::Forbidden(Forbidden::Address { .. }))));
            for url in [
                "https://a.example/p/../q",
                "https://a.example/p q",
                "https://a.example",
                "https://0x7f.1/",
                "https://A.example/",
            ] {
                assert_eq!(check(url), Err(Refused::NotNormal), "{url}");
            }
            assert_eq!(check("a.example/p"), Err(Refused::Url));
        }
        assert_eq!(origins.0.read().unwrap().len(), 4);
    }
}
