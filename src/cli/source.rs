//! Where reads come from: the daemon, or the store itself when the daemon is down.

use std::io::ErrorKind;
use std::path::Path;

use tokio::net::UnixStream;

use super::client::{Client, ClientError, Endpoint};
use super::configuration;
use super::context::Context;
use super::exit::{Exit, Failure};
use super::show::EventDetail;
use super::store::Store;
use crate::domain::id::{DeliveryId, EventId};
use crate::inspect::{
    AffiliateView, DeliveryDetail, DeliveryFilter, DeliverySummary, Direction, ExportKind, ExportPage, MarkView, Page,
    Stats, Trace, UnroutedEvent, UnroutedFilter,
};

/// Where reads come from.
pub(super) enum Source {
    /// The daemon.
    Daemon(Client),
    /// The store of a daemon that is down.
    Store(Box<Store>),
}

impl Source {
    /// The daemon if it answers; else, where it is not a matter of rights or a URL, the store.
    ///
    /// # Errors
    /// When neither can be read.
    pub(super) async fn open(context: &Context) -> Result<Self, Failure> {
        let client = context.client()?;
        let Endpoint::Socket(socket) = client.endpoint().clone() else { return Ok(Self::Daemon(client)) };
        let why = match UnixStream::connect(&socket).await {
            Ok(_) => return Ok(Self::Daemon(client)),
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(Self::Daemon(client));
            }
            Err(error) => error.to_string(),
        };
        let outbox = configuration::locate(&context.globals)?.outbox;
        let Some(store) = Store::open(&outbox)? else { return Err(nothing_there(client.endpoint(), &outbox, &why)) };
        let words = "the daemon is down; this is read from its store, as it was when the daemon ended";
        context.output.say(&format!("postbackd: {words} ({})", outbox.display()));
        Ok(Self::Store(Box::new(store)))
    }

    /// A page of deliveries.
    pub(super) async fn list(
        &self,
        filter: &DeliveryFilter,
        direction: Direction,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<DeliverySummary>, Failure> {
        match self {
            Self::Store(store) => store.list(filter, direction, cursor, limit),
            Self::Daemon(client) => {
                let query = paged(super::filter::query(filter), direction, cursor, limit);
                let page = client.get_patiently(&["v1", "deliveries"], &query).await;
                page.map_err(|error| error.failing("listing deliveries"))
            }
        }
    }

    /// A page of unrouted events.
    pub(super) async fn unrouted(
        &self,
        filter: &UnroutedFilter,
        direction: Direction,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<UnroutedEvent>, Failure> {
        match self {
            Self::Store(store) => store.unrouted(filter, direction, cursor, limit),
            Self::Daemon(client) => {
                let query = paged(super::filter::unrouted_query(filter), direction, cursor, limit);
                let answer = client.get(&["v1", "events", "unrouted"], &query).await;
                answer.map_err(|error| error.failing("listing unrouted events"))
            }
        }
    }

    /// A page of an export.
    pub(super) async fn export(
        &self,
        kind: ExportKind,
        filter: &DeliveryFilter,
        cursor: Option<&str>,
    ) -> Result<ExportPage, Failure> {
        match self {
            Self::Store(store) => store.export(kind, filter, cursor),
            Self::Daemon(client) => super::export::ask(client, kind, filter, cursor).await,
        }
    }

    /// How far each consumer of exports has come.
    pub(super) async fn export_marks(&self) -> Result<Vec<MarkView>, Failure> {
        match self {
            Self::Store(store) => Ok(store.export_marks()),
            Self::Daemon(client) => {
                let page = client.get::<Page<MarkView>>(&["v1", "exports", "marks"], &[]).await;
                Ok(page.map_err(|error| error.failing("listing the marks of exports"))?.items)
            }
        }
    }

    /// A delivery in detail.
    pub(super) async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryDetail>, Failure> {
        match self {
            Self::Store(store) => store.delivery(id),
            Self::Daemon(client) => found(client.get_patiently(&["v1", "deliveries", &id.to_string()], &[]).await),
        }
    }

    /// An event with its deliveries.
    pub(super) async fn event(&self, id: EventId) -> Result<Option<EventDetail>, Failure> {
        match self {
            Self::Store(store) => store.event(id),
            Self::Daemon(client) => found(client.get(&["v1", "events", &id.to_string()], &[]).await),
        }
    }

    /// The timeline of a key.
    pub(super) async fn trace(&self, key: &str, requests: bool) -> Result<Option<Trace>, Failure> {
        match self {
            Self::Store(store) => store.trace(key, requests),
            Self::Daemon(client) => {
                let query = [("key", key.to_owned()), ("requests", requests.to_string())];
                found(client.get(&["v1", "trace"], &query).await)
            }
        }
    }

    /// Every affiliate; with the daemon down, as its configuration file has it.
    pub(super) async fn affiliates(&self, context: &Context) -> Result<Vec<AffiliateView>, Failure> {
        match self {
            Self::Store(store) => {
                let loaded = configuration::load(&configuration::path(&context.globals))?;
                store.affiliates(&loaded.settings.affiliates)
            }
            Self::Daemon(client) => {
                let page = client.get::<Page<AffiliateView>>(&["v1", "affiliates"], &[]).await;
                Ok(page.map_err(|error| error.failing("listing affiliates"))?.items)
            }
        }
    }

    /// The state of everything.
    pub(super) async fn stats(&self) -> Result<Stats, Failure> {
        match self {
            Self::Store(store) => store.stats(),
            Self::Daemon(client) => {
                client.get(&["v1", "stats"], &[]).await.map_err(|error| error.failing("asking for the figures"))
            }
        }
    }
}

type Query = Vec<(&'static str, String)>;

fn paged(mut query: Query, direction: Direction, cursor: Option<&str>, limit: usize) -> Query {
    if direction == Direction::Oldest {
        query.push(("direction", "oldest".into()));
    }
    query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
    query.push(("limit", limit.to_string()));
    query
}

fn nothing_there(endpoint: &Endpoint, outbox: &Path, why: &str) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format!("reaching the daemon at {endpoint}"),
        format!("{why}; and there is no outbox in {} to read instead", outbox.display()),
        "start the daemon, or name another with --config or --url",
    )
}

fn found<T>(answer: Result<T, ClientError>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ClientError::Problem(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(error.failing("looking it up")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::Globals;
    use crate::cli::output::{Form, Output, Person};
    use crate::outbox::SledEngine;

    fn context(directory: &Path) -> (Context, crate::cli::output::Captured) {
        let config = directory.join("p.toml");
        std::fs::write(&config, "[api]\nsocket = \"p.sock\"\n[outbox]\npath = \"data\"\n").unwrap();
        let (output, captured) = Output::captured(Form::Json, Person::Absent);
        let globals = Globals { config: Some(config), ..Globals::default() };
        (Context { globals, output }, captured)
    }

    #[tokio::test]
    async fn with_neither_daemon_nor_store_nothing_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let (context, _) = context(directory.path());
        let failure = Source::open(&context).await.err().unwrap();
        assert_eq!(failure.exit(), Exit::Unreachable);
        assert!(!directory.path().join("data").exists());
    }

    #[tokio::test]
    async fn the_store_is_read_while_the_daemon_is_down_and_that_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let (context, captured) = context(directory.path());
        drop(SledEngine::open(&directory.path().join("data"), 1 << 20).unwrap());
        let source = Source::open(&context).await.unwrap();
        assert!(captured.words().contains("the daemon is down"), "{}", captured.words());
        let page = source.list(&DeliveryFilter::default(), Direction::Newest, None, 10).await.unwrap();
        assert_eq!(page.items, []);
        assert_eq!(source.stats().await.unwrap().totals.accepted, 0);
    }

    #[tokio::test]
    async fn a_store_in_use_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (context, _) = context(directory.path());
        let _held = SledEngine::open(&directory.path().join("data"), 1 << 20).unwrap();
        let failure = Source::open(&context).await.err().unwrap();
        assert_eq!(failure.exit(), Exit::Unreachable);
        assert!(failure.to_string().contains("in use"), "{failure}");
    }

    #[tokio::test]
    async fn a_store_of_somebody_else_is_left_alone() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root can give a file away.
        }
        let directory = tempfile::tempdir().unwrap();
        let (context, _) = context(directory.path());
        let data = directory.path().join("data");
        drop(SledEngine::open(&data, 1 << 20).unwrap());
        std::os::unix::fs::chown(data.join("sled").join("db"), Some(12_345), None).unwrap();
        let failure = Source::open(&context).await.err().unwrap();
        assert_eq!(failure.exit(), Exit::Auth);
        assert!(failure.to_string().contains("#12345"), "{failure}");
    }
}
