//! Events that a postback wants and that its template refuses: each of them would end as a dead letter.
//!
//! The least event of each type is rendered: what the dictionary does not require may be missing on any day.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Subject;
use crate::domain::event::Status;
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::request::Explanation;
use crate::domain::sample::{Extent, Sample, Wish, sample};
use crate::domain::template::{RenderError, Scope};

/// Reports the types whose least event is refused.
pub(super) fn check(subject: &Subject<'_, '_>) {
    let mut types: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    let wants = &subject.postback.wants;
    let wanted = |kind| wants.events.as_ref().is_none_or(|events| events.contains(kind));
    for kind in subject.dictionary.types.keys().filter(|kind| wanted(kind)) {
        let wish = Wish {
            kind,
            affiliate: &subject.postback.affiliate,
            status: wants.statuses.as_ref().and_then(|all| all.last().copied()).unwrap_or(Status::Approved),
            offer: wants.offers.as_ref().and_then(|offers| offers.first()),
            sub_ids: &[],
            now: Timestamp::UNIX_EPOCH,
            extent: Extent::Least,
        };
        // What has no sample is no fault of the postback.
        let Ok(sample) = sample(subject.dictionary, wish) else { continue };
        for refusal in explain(subject, &sample).refusals {
            let RenderError::Empty { parameter, expression } = refusal else { continue };
            if by_default(subject, &parameter) {
                types.entry((parameter, expression)).or_default().push(kind.as_str());
            }
        }
    }
    for ((parameter, expression), kinds) in types {
        let kinds = kinds.join(", ");
        let message = format!(
            "wants {kinds}, whose events may come without {expression}; they would be refused for want of \
             {parameter:?} and end as dead letters"
        );
        subject.warn("events", message, "leave such types out, give the macro a default(…), or set on_empty");
    }
}

/// Whether nobody asked for the refusal: what says `refuse` is meant so.
fn by_default(subject: &Subject<'_, '_>, parameter: &str) -> bool {
    !subject.source.on_empty.keys().any(|name| name == parameter || parameter.ends_with(&format!(".{name}")))
}

fn explain(subject: &Subject<'_, '_>, sample: &Sample) -> Explanation {
    let event_id = EventId::MIN;
    subject.postback.request.explain(&Scope {
        event: &sample.event,
        event_id,
        delivery_id: DeliveryId { event: event_id, ordinal: 0 },
        attempt: 1,
        timestamp: Timestamp::UNIX_EPOCH,
        nonce: "",
        original: sample.original.as_ref(),
        secrets: &subject.postback.secrets,
    })
}
