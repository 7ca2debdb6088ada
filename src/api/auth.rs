//! Who asks, and what he may do.

use std::collections::BTreeSet;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use crate::config::{ApiSettings, Scope};
use crate::dispatch::Producer;
use crate::domain::id::AffiliateId;

/// Who made a request.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The name of the token, or of the user of the socket.
    pub name: String,
    /// What he may do.
    pub scopes: BTreeSet<Scope>,
    /// For which affiliates; `None` for all.
    pub affiliates: Option<BTreeSet<AffiliateId>>,
}

/// Through which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The TCP listener: a token says who it is.
    Tcp,
    /// The Unix socket: the kernel says which user it is.
    Socket {
        /// The user's id; `None` when the kernel did not tell.
        uid: Option<u32>,
    },
}

impl Identity {
    /// Finds out who asks.
    ///
    /// # Errors
    /// When nobody is known: no token, an unknown one, or an unknown user of the socket.
    pub fn of(access: Access, headers: &HeaderMap, settings: &ApiSettings) -> Result<Self, Problem> {
        match access {
            Access::Tcp => Self::of_token(headers, settings),
            Access::Socket { uid } => {
                uid.and_then(|uid| Self::of_user(uid, settings)).ok_or_else(Problem::unauthenticated)
            }
        }
    }

    /// Every token is compared, each in constant time, so that timing tells nothing about any of them.
    fn of_token(headers: &HeaderMap, settings: &ApiSettings) -> Result<Self, Problem> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(Problem::unauthenticated)?;
        let digest: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
        let mut found = None;
        for token in &settings.tokens {
            if bool::from(token.sha256.ct_eq(&digest)) {
                found = Some(token);
            }
        }
        let token = found.ok_or_else(Problem::unauthenticated)?;
        Ok(Self { name: token.name.clone(), scopes: token.scopes.clone(), affiliates: token.affiliates.clone() })
    }

    fn of_user(uid: u32, settings: &ApiSettings) -> Option<Self> {
        let own = rustix::process::getuid().as_raw();
        if uid == 0 || uid == own {
            return Some(Self { name: format!("uid:{uid}"), scopes: Scope::ALL.into(), affiliates: None });
        }
        let user = settings.socket_users.iter().find(|user| user.uid == uid)?;
        Some(Self { name: user.name.clone(), scopes: user.scopes.clone(), affiliates: None })
    }

    /// Asks for a scope.
    ///
    /// # Errors
    /// When he does not have it.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let detail = format!("{:?} lacks the scope {:?}", self.name, scope.name());
        Err(Problem::forbidden(detail))
    }

    /// Asks for an affiliate.
    ///
    /// # Errors
    /// When he may not touch it.
    pub fn require_affiliate(&self, affiliate: &str) -> Result<(), Problem> {
        if self.may_see(affiliate) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("{:?} is not for affiliate {affiliate:?}", self.name)))
    }

    /// Whether he may see what belongs to an affiliate.
    pub fn may_see(&self, affiliate: &str) -> bool {
        self.affiliates.as_ref().is_none_or(|allowed| allowed.iter().any(|id| id.as_str() == affiliate))
    }

    /// Asks for all affiliates.
    ///
    /// # Errors
    /// When he is narrowed to some.
    pub fn require_all_affiliates(&self) -> Result<(), Problem> {
        match &self.affiliates {
            None => Ok(()),
            Some(_) => {
                Err(Problem::forbidden(format!("{:?} is narrowed to some affiliates; name one of them", self.name)))
            }
        }
    }

    /// He, as somebody who hands events in.
    pub fn producer(&self) -> Producer {
        Producer { name: self.name.clone(), affiliates: self.affiliates.clone() }
    }
}
