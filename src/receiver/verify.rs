//! Checks the signatures of incoming requests, as a careful affiliate would.
//!
//! Independent of the code that signs, so that one cannot hide the other's mistake.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use super::wire::Request;
use crate::ops::clock::SharedClock;

/// How requests must be signed.
#[derive(Debug)]
pub struct Verify(Scheme);

#[derive(Debug)]
enum Scheme {
    StandardWebhooks { secrets: Vec<SecretSlice<u8>>, tolerance: Duration, clock: SharedClock },
    QueryHmac { secret: SecretSlice<u8>, parameter: String },
}

/// Why secrets cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// No secret was given.
    #[error("there is no secret")]
    Missing,
    /// A standard-webhooks secret is not base64.
    #[error("secret {0} is not base64 behind whsec_")]
    Encoding(usize),
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureFault {
    #[error("the {0} header is missing")]
    MissingHeader(&'static str),
    #[error("the signature parameter is missing")]
    MissingParameter,
    #[error("webhook-timestamp is not a number of seconds")]
    Timestamp,
    #[error("webhook-timestamp is outside the tolerance")]
    Stale,
    #[error("no signature matches")]
    Mismatch,
}

impl Verify {
    /// Requires the headers of the Standard Webhooks specification, signed with one of the secrets, at
    /// most `tolerance` away from now.
    ///
    /// # Errors
    /// When there is no secret, or one is not base64 (with or without `whsec_`).
    pub fn standard_webhooks(
        secrets: &[impl AsRef<str>],
        tolerance: Duration,
        clock: SharedClock,
    ) -> Result<Self, SecretError> {
        let decode = |(at, secret): (usize, &_)| {
            let secret: &str = AsRef::<str>::as_ref(secret);
            let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
            let key = STANDARD.decode(encoded).ok().filter(|key| !key.is_empty());
            key.map(SecretSlice::from).ok_or(SecretError::Encoding(at + 1))
        };
        let secrets: Vec<_> = secrets.iter().enumerate().map(decode).collect::<Result<_, _>>()?;
        if secrets.is_empty() {
            return Err(SecretError::Missing);
        }
        Ok(Self(Scheme::StandardWebhooks { secrets, tolerance, clock }))
    }

    /// Requires a query parameter with the HMAC-SHA256, in hex, of the path and query without it.
    ///
    /// # Errors
    /// When the secret is empty.
    pub fn query_hmac(secret: &str, parameter: &str) -> Result<Self, SecretError> {
        if secret.is_empty() {
            return Err(SecretError::Missing);
        }
        let secret = SecretSlice::from(secret.as_bytes().to_vec());
        Ok(Self(Scheme::QueryHmac { secret, parameter: parameter.to_owned() }))
    }

    /// Checks one request.
    pub(super) fn check(&self, request: &Request) -> Result<(), SignatureFault> {
        match &self.0 {
            Scheme::StandardWebhooks { secrets, tolerance, clock } => {
                let now = clock.now().as_second();
                check_standard_webhooks(request, secrets, *tolerance, now)
            }
            Scheme::QueryHmac { secret, parameter } => check_query_hmac(request, secret, parameter),
        }
    }
}

fn check_standard_webhooks(
    request: &Request,
    secrets: &[SecretSlice<u8>],
    tolerance: Duration,
    now: i64,
) -> Result<(), SignatureFault> {
    let field = |name| request.field(name).ok_or(SignatureFault::MissingHeader(name));
    let (id, timestamp, signatures) = (field("webhook-id")?, field("webhook-timestamp")?, field("webhook-signature")?);
    let sent: i64 = timestamp.parse().map_err(|_| SignatureFault::Timestamp)?;
    if now.abs_diff(sent) > tolerance.as_secs() {
        return Err(SignatureFault::Stale);
    }
    let candidates: Vec<Vec<u8>> =
        signatures.split(' ').filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok()).collect();
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &request.body];
    let good = secrets.iter().any(|secret| candidates.iter().any(|candidate| matches(secret, &parts, candidate)));
    if good { Ok(()) } else { Err(SignatureFault::Mismatch) }
}

fn check_query_hmac(request: &Request, secret: &SecretSlice<u8>, parameter: &str) -> Result<(), SignatureFault> {
    let names_it = |pair: &&str| pair.split_once('=').map_or(*pair, |(name, _)| name) == parameter;
    let signature = request.query().split('&').find(names_it).ok_or(SignatureFault::MissingParameter)?;
    let signature = signature.split_once('=').map_or("", |(_, value)| value);
    let signature = hex::decode(signature).map_err(|_| SignatureFault::Mismatch)?;
    let rest: Vec<&str> = request.query().split('&').filter(|pair| !names_it(pair)).collect();
    let mut message = request.path().to_owned();
    if !rest.is_empty() {
        message.push('?');
        message.push_str(&rest.join("&"));
    }
    if matches(secret, &[message.as_bytes()], &signature) { Ok(()) } else { Err(SignatureFault::Mismatch) }
}

/// Compares in constant time.
fn matches(secret: &SecretSlice<u8>, parts: &[&[u8]], candidate: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret()) else { return false };
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(candidate).is_ok()
}
