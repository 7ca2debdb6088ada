//! The composition root: the only place that sees everything.
//!
//! Puts store, wire, dispatcher and API together, keeps them in step with the configuration, and takes them
//! down in the order that loses nothing: no new events, no new sends, what is in flight, the store.

mod watchdog;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::api::{self, ReloadReport, ReloadRequest, ServeError};
use crate::config::{self, Problem, Retain, Settings, UnknownAffiliate};
use crate::dispatch::{self, BulkOrders, Dispatch, Intake, IntakeRules, Routing};
use crate::domain::retention::{Pressure, RetentionPolicy};
use crate::ops::clock::{SharedClock, SystemClock, monotonic};
use crate::ops::metrics::Metrics;
use crate::ops::systemd::{self, Inherited};
use crate::ops::traces::{Traces, TracesError};
use crate::ops::{descriptors, telemetry};
use crate::outbox::{Engine, EngineError, Options, Outbox, OutboxError, open_engine, retention};
use crate::transport::{EgressPolicy, Transport, TransportError, TransportOptions};

/// Why the daemon cannot run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The store cannot be opened.
    #[error("opening the outbox")]
    Engine(#[from] EngineError),
    /// The store is damaged, or it stopped.
    #[error("the outbox failed")]
    Outbox(#[from] OutboxError),
    /// The wire cannot be set up.
    #[error("setting up the transport")]
    Transport(#[from] TransportError),
    /// The exporter of traces cannot be set up.
    #[error("setting up traces")]
    Traces(#[from] TracesError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Signals cannot be received.
    #[error("listening for signals")]
    Signals(#[source] std::io::Error),
}

/// How long a store is waited for that another process has open: somebody may be looking at it while the daemon is
/// down, and must not keep it down.
const STORE_PATIENCE: Duration = Duration::from_mins(1);
/// What a stop takes beside what is in flight: the last commits, and the store's closing.
const STOP_MARGIN: Duration = Duration::from_secs(15);
/// How often it is asked for meanwhile; the engine itself waits for a second each time.
const STORE_PAUSE: Duration = Duration::from_millis(200);

/// Opens the store, waiting for whoever only looks at it; another daemon is not waited for.
async fn open_patiently(settings: &Settings, socket_is_ours: bool) -> Result<Arc<dyn Engine>, EngineError> {
    let (path, cache) = (&settings.outbox.path, settings.outbox.cache);
    let until = monotonic() + STORE_PATIENCE;
    let mut said = false;
    loop {
        match open_engine(settings.outbox.engine, path, cache) {
            Err(EngineError::InUse { path }) if monotonic() < until && (socket_is_ours || !is_running(settings)) => {
                if !std::mem::replace(&mut said, true) {
                    let what = "another process has the store open, such as a list or an export; it is waited for";
                    tracing::warn!(path = %path.display(), seconds = STORE_PATIENCE.as_secs(), what, "outbox.in_use");
                }
                tokio::time::sleep(STORE_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// Whether a daemon of this configuration answers.
fn is_running(settings: &Settings) -> bool {
    settings.api.socket.as_ref().is_some_and(|socket| std::os::unix::net::UnixStream::connect(socket).is_ok())
}

/// A running daemon.
#[allow(missing_debug_implementations, reason = "parts of it have nothing to show")]
pub struct Daemon {
    outbox: Outbox,
    dispatch: Dispatch,
    address: Option<SocketAddr>,
    live: Live,
    reloads: mpsc::Receiver<ReloadRequest>,
    ingest_stop: CancellationToken,
    dispatch_stop: CancellationToken,
    serving: JoinHandle<()>,
    dispatching: JoinHandle<()>,
    traces: Traces,
}

/// The configuration in use, and who is told when it changes.
struct Live {
    path: Option<PathBuf>,
    settings: watch::Sender<Arc<Settings>>,
    rules: watch::Sender<Arc<IntakeRules>>,
    routing: watch::Sender<Arc<Routing>>,
}

fn routing(settings: &Settings) -> Result<Arc<Routing>, TransportError> {
    let egress = EgressPolicy { allow: settings.egress.allow.clone(), ports: settings.egress.ports.clone() };
    let response_cap = usize::try_from(settings.dispatch.response_cap).unwrap_or(usize::MAX);
    let wire = Arc::new(Transport::new(&TransportOptions { egress, response_cap })?);
    Ok(Arc::new(Routing { affiliates: settings.affiliates.clone(), slots: settings.dispatch.in_flight, wire }))
}

fn intake_rules(settings: &Settings, routing: &Arc<Routing>) -> Arc<IntakeRules> {
    Arc::new(IntakeRules {
        dictionary: Arc::clone(&settings.dictionary),
        accept_unknown_affiliates: settings.ingest.unknown_affiliate == UnknownAffiliate::Accept,
        routing: Arc::clone(routing),
    })
}

impl Daemon {
    /// Starts a daemon. `path` is where its configuration is read anew from; without it, it cannot be.
    ///
    /// # Errors
    /// When the store cannot be opened, the wire set up or a listener bound. Nothing is left running then.
    pub async fn start(settings: Settings, path: Option<PathBuf>) -> Result<Self, AppError> {
        Self::start_on(settings, path, Inherited::default()).await
    }

    /// As [`Daemon::start`], on listeners that systemd holds.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub async fn start_on(settings: Settings, path: Option<PathBuf>, inherited: Inherited) -> Result<Self, AppError> {
        let engine = open_patiently(&settings, inherited.socket.is_some()).await?;
        Self::start_over(engine, settings, path, inherited).await
    }

    /// As [`Daemon::start_on`], over an engine that is open already, whatever the configuration says of it.
    ///
    /// # Errors
    /// When the store is damaged, the wire cannot be set up or a listener bound.
    pub async fn start_over(
        engine: Arc<dyn Engine>,
        settings: Settings,
        path: Option<PathBuf>,
        inherited: Inherited,
    ) -> Result<Self, AppError> {
        let clock: SharedClock = Arc::new(SystemClock);
        let keep_free = Some((settings.outbox.path.clone(), settings.outbox.keep_free));
        let metrics = Arc::new(Metrics::default());
        let traces = Traces::start(&settings.telemetry)?;
        let feed = Arc::new(dispatch::Feed::new(Arc::clone(&clock)));
        let options = Options { clock: Arc::clone(&clock), keep_free, observer: Some(Arc::clone(&metrics) as Arc<_>) };
        let outbox = Outbox::open(engine, options)?;
        let listeners = api::bind(&settings, inherited).await?;
        let address = listeners.address();
        let admission = api::Admission::new(&settings.ingest);
        let routing = routing(&settings)?;
        let rules = intake_rules(&settings, &routing);
        let settings = Arc::new(settings);
        let live = Live {
            path,
            settings: watch::Sender::new(settings),
            rules: watch::Sender::new(rules),
            routing: watch::Sender::new(routing),
        };
        let (ingest_stop, dispatch_stop) = (CancellationToken::new(), CancellationToken::new());
        let (dispatch, dispatching) = dispatch::start(dispatch::Parts {
            outbox: outbox.clone(),
            clock: Arc::clone(&clock),
            routing: live.routing.subscribe(),
            stop: dispatch_stop.clone(),
            observers: vec![Arc::clone(&metrics) as Arc<_>, Arc::clone(&feed) as Arc<_>, Arc::new(traces.clone())],
            window: dispatch::WINDOW,
        });
        let (reload, reloads) = mpsc::channel(4);
        let state = api::State::from(api::Parts {
            outbox: outbox.clone(),
            intake: Intake::new(outbox.clone(), Arc::clone(&clock)),
            dispatch: dispatch.clone(),
            bulk: BulkOrders::start(outbox.clone(), Arc::clone(&clock), live.rules.subscribe(), ingest_stop.clone()),
            settings: live.settings.subscribe(),
            rules: live.rules.subscribe(),
            reload,
            clock: Arc::clone(&clock),
            admission,
            orders: api::room_for_orders(),
            reads: api::Reads::default(),
            metrics,
            scrapes: api::Reads::for_scrapes(),
            streams: api::Streams::new(feed, ingest_stop.clone()),
            traces: traces.clone(),
        });
        let (watched, marked) = (live.settings.subscribe(), outbox.reader().clone());
        let policy = move || {
            let retain = watched.borrow().outbox.retain.clone();
            let exported = marked.exported_by(&retain.until_exported);
            let Retain { delivered, dead, sizes, .. } = retain;
            RetentionPolicy { delivered, dead, exported, sizes, pressure: Pressure::default() }
        };
        tokio::spawn(retention::run(outbox.clone(), clock, policy, ingest_stop.clone()));
        let serving = tokio::spawn(api::serve(listeners, state, ingest_stop.clone()));
        Ok(Self { outbox, dispatch, address, live, reloads, ingest_stop, dispatch_stop, serving, dispatching, traces })
    }

    /// The TCP address it listens on.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Its store.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Its dispatcher.
    pub fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// Takes the daemon down: no new events, no new sends, what is in flight within the deadline, the store.
    pub async fn stop(self) {
        let deadline = self.live.settings.borrow().dispatch.shutdown;
        self.ingest_stop.cancel();
        self.dispatch_stop.cancel();
        let (serving, dispatching) = (self.serving, self.dispatching);
        let ended = async {
            let _ = serving.await;
            let _ = dispatching.await;
        };
        if tokio::time::timeout(deadline, ended).await.is_err() {
            tracing::warn!(?deadline, "attempts are still in flight; they are sent again after the next start");
        }
        self.outbox.close().await;
        self.traces.close().await;
    }
}

impl Live {
    /// Reads the configuration anew, and takes it over whole or not at all.
    fn reload(&self) -> ReloadReport {
        let Some(path) = &self.path else { return Err(vec!["this daemon was not started from a file".into()]) };
        let loaded = config::load(path).map_err(|problems| shown(&problems.0))?;
        let mut warnings = shown(&loaded.warnings);
        let old = self.settings.borrow().clone();
        let fixed = [
            ("[outbox]", old.outbox.without_retain() != loaded.settings.outbox.without_retain()),
            ("[api] listen", old.api.listen != loaded.settings.api.listen),
            ("[api] socket", old.api.socket != loaded.settings.api.socket),
            (
                "[[api.socket_user]], the first or the last of them,",
                old.api.socket_users.is_empty() != loaded.settings.api.socket_users.is_empty(),
            ),
            ("[api] max_connections", old.api.max_connections != loaded.settings.api.max_connections),
            ("[api] stalled_after", old.api.stalled_after != loaded.settings.api.stalled_after),
            ("[ingest] max_buffered", old.ingest.max_buffered != loaded.settings.ingest.max_buffered),
            ("[telemetry]", old.telemetry != loaded.settings.telemetry),
            ("[log] format", old.log.format != loaded.settings.log.format),
        ];
        let changed = fixed.into_iter().filter(|(_, changed)| *changed);
        warnings.extend(changed.map(|(key, _)| format!("{key} has changed: that needs a restart")));
        let routing = routing(&loaded.settings).map_err(|error| vec![error.to_string()])?;
        // The dispatcher first: no event may be planned for a postback that it does not know.
        let rules = intake_rules(&loaded.settings, &routing);
        self.routing.send_replace(routing);
        self.rules.send_replace(rules);
        telemetry::configure(&loaded.settings.log.level);
        self.settings.send_replace(Arc::new(loaded.settings));
        Ok(warnings)
    }
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// Runs the daemon until a signal or a failure ends it.
///
/// # Errors
/// When it cannot start, or its store fails.
pub async fn run(settings: Settings, path: &Path, inherited: Inherited) -> Result<(), AppError> {
    descriptors::raise();
    let mut signals = Signals::new().map_err(AppError::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(AppError::Signals)?;
    let mut ended = Signals::new().map_err(AppError::Signals)?;
    let opening = watchdog::ask_for_patience(async move { ended.stop().await });
    let mut daemon = Daemon::start_on(settings, Some(path.to_path_buf()), inherited).await?;
    drop(opening);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = daemon.address.map(|address| address.to_string()),
        socket = daemon.live.settings.borrow().api.socket.as_ref().map(|path| path.display().to_string()),
        "daemon.ready"
    );
    systemd::ready();
    let _watchdog = systemd::watchdog().map(|limit| {
        let probes = watchdog::Probes::new(&daemon.outbox, &daemon.dispatch, &daemon.dispatch_stop);
        AbortOnDropHandle::new(tokio::spawn(watchdog::run(probes, watchdog::Pace::of(limit), systemd::alive)))
    });
    let outbox = daemon.outbox.clone();
    let failed = outbox.failed();
    tokio::pin!(failed);
    let failure = loop {
        tokio::select! {
            error = &mut failed => break Some(error),
            () = signals.stop() => break None,
            _ = &mut daemon.dispatching => {
                break Some(OutboxError::Stopped("the dispatcher has ended; its panic is in the log".into()));
            }
            _ = &mut daemon.serving => {
                break Some(OutboxError::Stopped("the listeners have ended; why is in the log".into()));
            }
            _ = hangup.recv() => log_reload(&daemon.live.reload()),
            Some(answer) = daemon.reloads.recv() => {
                let report = daemon.live.reload();
                log_reload(&report);
                let _ = answer.send(report);
            }
        }
    };
    systemd::stopping(daemon.live.settings.borrow().dispatch.shutdown + STOP_MARGIN);
    if let Some(error) = failure {
        tracing::error!(%error, "the outbox has failed: nothing is acknowledged any more, the daemon ends");
        daemon.ingest_stop.cancel();
        daemon.dispatch_stop.cancel();
        // Requests under way are told; what is in flight is found scheduled at the next start.
        if !daemon.serving.is_finished() {
            let _ = tokio::time::timeout(Duration::from_secs(2), daemon.serving).await;
        }
        return Err(error.into());
    }
    tracing::info!("daemon.stopping");
    tokio::select! {
        () = daemon.stop() => tracing::info!("daemon.stopped"),
        () = signals.stop() => tracing::warn!("daemon.stopped at once, by a second signal"),
    }
    Ok(())
}

fn log_reload(report: &ReloadReport) {
    match report {
        Ok(warnings) => tracing::info!(?warnings, "configuration.reloaded"),
        Err(errors) => tracing::error!(?errors, "configuration.refused; the one in use stays"),
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
