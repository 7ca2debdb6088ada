//! Parameters: a name, a value, and what happens when the value is empty.

use super::OnEmpty;
use crate::domain::template::encode::Place;
use crate::domain::template::{Emptiness, Environment, RenderError, Template};

/// A parameter of a query or a form.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameter {
    /// The name for people and for `on_empty`.
    pub(super) name: String,
    /// The name as it is sent.
    pub(super) key: Template,
    /// The value; `None` where not even `=` stands behind the name.
    pub(super) value: Option<Template>,
    /// What the configuration says about an empty value.
    pub(super) on_empty: Option<OnEmpty>,
}

/// Whether a parameter goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    Omit,
}

/// Decides what becomes of a parameter, given which of its expressions are empty.
///
/// Without a word in the configuration, an empty `click_id` or `transaction_id` refuses the request, and a parameter
/// that is empty altogether is omitted. With `refuse`, one empty expression refuses; with `omit`, the parameter
/// goes when all of its expressions are empty; with `send`, it goes out as it is.
pub(super) fn fate(name: &str, on_empty: Option<OnEmpty>, found: &Emptiness<'_>) -> Result<Fate, RenderError> {
    let refused = match on_empty {
        None => found.first_identifying,
        Some(OnEmpty::Refuse) => found.first,
        Some(OnEmpty::Omit | OnEmpty::Send) => None,
    };
    if let Some(expression) = refused {
        return Err(RenderError::Empty { parameter: name.into(), expression: expression.text().into() });
    }
    match on_empty {
        None | Some(OnEmpty::Omit | OnEmpty::Refuse) if found.is_total() => Ok(Fate::Omit),
        None | Some(OnEmpty::Omit | OnEmpty::Refuse | OnEmpty::Send) => Ok(Fate::Keep),
    }
}

impl Parameter {
    /// Appends `key=value`; says whether it may stay.
    pub(super) fn render<'t>(
        &'t self,
        environment: &Environment<'t>,
        place: Place,
        out: &mut String,
    ) -> Result<Fate, RenderError> {
        let key = self.key.render(environment, place, out)?;
        if key.empty > 0 {
            // A parameter without its name would say something else; it is never sent half.
            let on_empty = if self.on_empty == Some(OnEmpty::Send) { Some(OnEmpty::Refuse) } else { self.on_empty };
            fate(&self.name, on_empty, &key)?;
            return Ok(Fate::Omit);
        }
        let Some(value) = &self.value else { return Ok(Fate::Keep) };
        out.push('=');
        let found = value.render(environment, place, out)?;
        fate(&self.name, self.on_empty, &found)
    }
}

/// Appends parameters with `&` between them, and `lead` before the first one that stays.
pub(super) fn render_all<'t>(
    parameters: &'t [Parameter],
    environment: &Environment<'t>,
    place: Place,
    lead: &str,
    out: &mut String,
) -> Result<(), RenderError> {
    let mut separator = lead;
    for parameter in parameters {
        let mark = out.len();
        out.push_str(separator);
        match parameter.render(environment, place, out)? {
            Fate::Keep => separator = "&",
            Fate::Omit => out.truncate(mark),
        }
    }
    Ok(())
}
