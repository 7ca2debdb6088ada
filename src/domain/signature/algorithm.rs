//! Algorithms, the encodings of their keys and of what they give.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::digest::Digest;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// How a signature is made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
    /// HMAC with SHA-1.
    HmacSha1,
    /// HMAC with MD5.
    HmacMd5,
    /// SHA-256 of a message that holds the secret.
    Sha256,
    /// SHA-1 of a message that holds the secret.
    Sha1,
    /// MD5 of a message that holds the secret.
    Md5,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 7] =
        [Self::HmacSha256, Self::HmacSha512, Self::HmacSha1, Self::HmacMd5, Self::Sha256, Self::Sha1, Self::Md5];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha512 => "hmac-sha512",
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacMd5 => "hmac-md5",
            Self::Sha256 => "sha256",
            Self::Sha1 => "sha1",
            Self::Md5 => "md5",
        }
    }

    /// Finds an algorithm by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether it takes a key; the others hash a message that holds the secret.
    pub(super) fn is_keyed(self) -> bool {
        match self {
            Self::HmacSha256 | Self::HmacSha512 | Self::HmacSha1 | Self::HmacMd5 => true,
            Self::Sha256 | Self::Sha1 | Self::Md5 => false,
        }
    }

    /// The signature's bytes; the key counts only for algorithms that take one.
    pub(super) fn digest(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            Self::HmacSha256 => mac::<Hmac<Sha256>>(key, message),
            Self::HmacSha512 => mac::<Hmac<Sha512>>(key, message),
            Self::HmacSha1 => mac::<Hmac<Sha1>>(key, message),
            Self::HmacMd5 => mac::<Hmac<Md5>>(key, message),
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha1 => Sha1::digest(message).to_vec(),
            Self::Md5 => Md5::digest(message).to_vec(),
        }
    }
}

/// The tag of a message; an HMAC takes keys of every length, so that no key is refused.
fn mac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    <M as KeyInit>::new_from_slice(key)
        .map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

/// How a secret's text stands for a key's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecretEncoding {
    /// The bytes of the text.
    #[default]
    Utf8,
    /// Hexadecimal digits.
    Hex,
    /// Base64 of either alphabet, with or without padding.
    Base64,
    /// Base64 behind `whsec_`; the prefix may be missing.
    Whsec,
}

impl SecretEncoding {
    /// Every encoding.
    pub const ALL: [Self; 4] = [Self::Utf8, Self::Hex, Self::Base64, Self::Whsec];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Whsec => "whsec",
        }
    }

    /// Finds an encoding by its name; `whsec_` counts as `whsec`.
    pub fn parse(name: &str) -> Option<Self> {
        let name = if name == "whsec_" { "whsec" } else { name };
        Self::ALL.into_iter().find(|encoding| encoding.name() == name)
    }

    /// The key's bytes; `None` where the text is not in this encoding or stands for no bytes.
    pub(super) fn key(self, text: &str) -> Option<Vec<u8>> {
        let key = match self {
            Self::Utf8 => Some(text.as_bytes().to_vec()),
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => decode_base64(text),
            Self::Whsec => decode_base64(text.strip_prefix("whsec_").unwrap_or(text)),
        };
        key.filter(|key| !key.is_empty())
    }
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let standard = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    let url_safe = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    standard.decode(text).or_else(|_| url_safe.decode(text)).ok()
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// Hexadecimal digits in lower case.
    #[default]
    Hex,
    /// Hexadecimal digits in upper case.
    UpperHex,
    /// Base64 with padding.
    Base64,
    /// Base64 of the URL alphabet, without padding.
    Base64Url,
}

impl Output {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Hex, Self::UpperHex, Self::Base64, Self::Base64Url];

    /// Its name in the configuration; `hex` and `HEX` differ.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::UpperHex => "HEX",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
        }
    }

    /// Finds a way by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|output| output.name() == name)
    }

    /// Writes the bytes.
    pub(super) fn write(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::UpperHex => hex::encode_upper(bytes),
            Self::Base64 => base64::engine::general_purpose::STANDARD.encode(bytes),
            Self::Base64Url => base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes),
        }
    }
}
