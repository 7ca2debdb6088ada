//! Asks a daemon that is busy again, as it says when: a walk over many pages does not end at one busy moment.

use std::time::Duration;

use reqwest::Method;

use super::client::{Answer, Client, ClientError};

/// How often a daemon that is busy is asked for the same.
const TRIES: u32 = 10;
/// Longest wait before it is asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The answer to a read; the last one where the daemon stays busy.
///
/// # Errors
/// When nobody answers.
pub(super) async fn read(client: &Client, path: &[&str], query: &[(&str, String)]) -> Result<Answer, ClientError> {
    for _ in 1..TRIES {
        let answer = client.exchange(Method::GET, path, query, None).await?;
        match wait(&answer) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Ok(answer),
        }
    }
    client.exchange(Method::GET, path, query, None).await
}

/// How long a daemon wants to be left alone before it answers.
fn wait(answer: &Answer) -> Option<Duration> {
    let seconds = answer.retry_after.as_deref()?.trim().parse().ok()?;
    (answer.status.as_u16() == 503).then(|| Duration::from_secs(seconds).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use axum::routing::get;
    use axum::{Json, Router};
    use serde_json::json;

    use crate::cli::fixtures::{self, Daemon};
    use crate::cli::output::{Form, Person};
    use crate::cli::source::Source;
    use crate::inspect::{DeliveryFilter, Direction};

    /// Asks a daemon for a page that is busy so often, and for longer than anybody waits; tells how often it was asked.
    async fn ask(busy: u32, retry_after: Option<&'static str>) -> (bool, u32) {
        let asked = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&asked);
        let page = get(move || async move {
            if seen.fetch_add(1, Ordering::SeqCst) >= busy {
                return Json(json!({"items": [fixtures::delivery("dlv_a")], "next_cursor": null})).into_response();
            }
            let problem = Json(json!({"title": "Busy"}));
            match retry_after {
                Some(after) => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", after)], problem).into_response(),
                None => (StatusCode::SERVICE_UNAVAILABLE, problem).into_response(),
            }
        });
        let daemon = Daemon::serve(Router::new().route("/v1/deliveries", page));
        let (context, _) = daemon.context(Form::Json, Person::Absent);
        let source = Source::open(&context).await.unwrap();
        let page = source.list(&DeliveryFilter::default(), Direction::Oldest, None, 10).await;
        (page.is_ok(), asked.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn a_busy_daemon_is_asked_for_the_page_again_and_not_for_ever() {
        assert_eq!(ask(3, Some("0")).await, (true, 4));
        assert_eq!(ask(u32::MAX, Some("0")).await, (false, super::TRIES));
        assert_eq!(ask(1, None).await, (false, 1), "it did not say that it will answer later");
    }
}
