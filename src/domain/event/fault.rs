//! What can be wrong with an event, and where.

use serde::{Serialize, Serializer};

/// One thing wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// JSON pointer (RFC 6901) of the place in the event.
    pub pointer: String,
    /// A stable name of the kind of fault.
    pub code: FaultCode,
    /// What is wrong and how to put it right.
    pub detail: String,
}

/// Kinds of faults, stable for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultCode {
    /// The event, or a part of it, has the wrong JSON type.
    WrongType,
    /// A field that must be there is not.
    Missing,
    /// A field that events do not have.
    UnknownField,
    /// A type that the dictionary does not have.
    UnknownType,
    /// An affiliate that the configuration does not have.
    UnknownAffiliate,
    /// Not an ISO 4217 currency.
    UnknownCurrency,
    /// A parameter that the dictionary does not allow for the type.
    UnknownParameter,
    /// A value out of its bounds or form.
    InvalidValue,
    /// More text or entries than an event may hold.
    TooLarge,
    /// A value that looks like personal data.
    PersonalData,
    /// `reverses` where the type reverses nothing.
    NotAReversal,
}

impl FaultCode {
    /// The code's name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::WrongType => "wrong-type",
            Self::Missing => "missing",
            Self::UnknownField => "unknown-field",
            Self::UnknownType => "unknown-type",
            Self::UnknownAffiliate => "unknown-affiliate",
            Self::UnknownCurrency => "unknown-currency",
            Self::UnknownParameter => "unknown-parameter",
            Self::InvalidValue => "invalid-value",
            Self::TooLarge => "too-large",
            Self::PersonalData => "personal-data",
            Self::NotAReversal => "not-a-reversal",
        }
    }
}

impl Serialize for FaultCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A JSON pointer of RFC 6901 to the place named by its steps.
pub fn pointer(steps: &[&str]) -> String {
    let mut pointer = String::with_capacity(steps.iter().map(|step| 1 + step.len()).sum());
    for step in steps {
        pointer.push('/');
        if step.contains(['~', '/']) {
            pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        } else {
            pointer.push_str(step);
        }
    }
    pointer
}
