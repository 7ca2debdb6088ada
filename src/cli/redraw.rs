//! `--watch`: the same look again and again, until it is interrupted.

use std::time::Duration;

use clap::Args;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::source::Source;
use super::time;

/// The least time between two looks.
const LEAST: Duration = Duration::from_millis(100);

/// Whether to look again and again.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct WatchArgs {
    /// Look again every so often: redraws a terminal, and prints one document behind the other elsewhere
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s",
          value_parser = interval)]
    watch: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let every = time::duration(text)?;
    if every < LEAST { Err(format!("use at least {} ms", LEAST.as_millis())) } else { Ok(every) }
}

impl WatchArgs {
    /// Takes a look, or one after the other; a daemon that is away for a while is waited for.
    ///
    /// # Errors
    /// When a look fails, or nothing can change because the daemon is down.
    pub(super) async fn repeat(
        self,
        context: &Context,
        source: &Source,
        mut look: impl AsyncFnMut() -> Ended,
    ) -> Ended {
        let Some(every) = self.watch else { return look().await };
        if matches!(source, Source::Store(_)) {
            let why = "while the daemon is down nothing changes, and watching its store would keep it from starting";
            return Err(Failure::new(Exit::Unreachable, "watching", why, "start the daemon, or leave out --watch"));
        }
        let turns = async {
            loop {
                context.output.clear()?;
                match look().await {
                    Err(failure) if failure.exit() == Exit::Unreachable => context.output.fail(&failure),
                    ended => drop(ended?),
                }
                context.output.flush()?;
                tokio::time::sleep(every).await;
            }
        };
        tokio::select! {
            ended = turns => ended,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Ok),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;

    use super::*;
    use crate::cli::fixtures::Daemon;
    use crate::cli::output::{Form, Person};

    #[test]
    fn a_time_between_looks_is_none_that_floods_the_daemon() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert!(interval("50ms").is_err() && interval("often").is_err());
    }

    #[tokio::test]
    async fn a_look_is_repeated_while_the_daemon_is_away_and_ends_with_another_fault() {
        let daemon = Daemon::serve(Router::new());
        let (context, captured) = daemon.context(Form::Json, Person::Absent);
        let source = Source::open(&context).await.unwrap();
        let looks = Arc::new(AtomicUsize::new(0));
        let look = async || match looks.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(Exit::Ok),
            1 => Err(Failure::new(Exit::Unreachable, "looking", "the daemon is away", "")),
            _ => Err(Failure::new(Exit::Auth, "looking", "no", "")),
        };
        let once = WatchArgs { watch: None };
        assert_eq!(once.repeat(&context, &source, look).await, Ok(Exit::Ok));
        looks.store(0, Ordering::Relaxed);
        let often = WatchArgs { watch: Some(Duration::from_millis(1)) };
        assert_eq!(often.repeat(&context, &source, look).await.unwrap_err().exit(), Exit::Auth);
        assert_eq!(looks.load(Ordering::Relaxed), 3);
        assert!(captured.words().contains("the daemon is away"), "{}", captured.words());
    }
}
