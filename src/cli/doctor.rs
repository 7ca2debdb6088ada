//! `doctor`: what whoever is on call looks at first, with what to do about it.
//!
//! Gathers facts from the configuration, the machine, the daemon and its store, and has each judged. What cannot be
//! looked at is said, and keeps nothing else from being looked at.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use comfy_table::Color;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;
use tokio::net::UnixStream;

use super::client::{Client, ClientError, Endpoint};
use super::configuration::{self, Places};
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Output, Unit};
use super::source::Source;
use super::store::{self, Store};
use crate::config::{Examined, Problem, Settings};
use crate::domain::engine_kind::EngineKind;
use crate::inspect::{DeliveryFilter, Direction, UnroutedFilter};
use crate::ops::clock::{Clock as _, SystemClock};
use crate::ops::doctor::daemon::{Answers, Daemon};
use crate::ops::doctor::store::TornSnapshot;
use crate::ops::doctor::{self, Finding, Level};
use crate::ops::environment;
use crate::outbox::{self, Damage, VerifyObserver, engine_of, store_file, torn_snapshots};
use crate::transport::{EgressPolicy, Transport, TransportOptions, trust};

/// Room kept free where the configuration does not tell.
const DEFAULT_KEEP_FREE: u64 = 512 << 20;
/// Most things found by `--verify` that are shown.
const DAMAGE_SHOWN: usize = 100;
/// How long the daemon may take to say how it stands.
const PATIENCE: Duration = Duration::from_secs(10);
/// As whom to look.
const AS_ITS_USER: &str = "look as the daemon's user: sudo -u postbackd postbackd doctor";

/// How closely to look.
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "Exits with 0 where nothing fails (warnings may be there), 1 where something does, 7 where the configuration
cannot be used. --verify needs the store for itself: while the daemon is up it is refused (8).

Examples:
  postbackd doctor
  sudo -u postbackd postbackd doctor --json | jq -r '.findings[] | select(.level != \"ok\") | .remedy'
  postbackd doctor --verify --outbox /backup/postbackd"
)]
pub(super) struct DoctorArgs {
    /// Look at every record, index entry and counter of the store, too; the daemon must be down
    #[arg(long)]
    verify: bool,

    /// With --verify, look at this copy of an outbox instead; the daemon may be up
    #[arg(long, value_name = "DIR", requires = "verify")]
    outbox: Option<PathBuf>,
}

/// Looks at everything that can be looked at.
pub(super) async fn doctor(context: &Context, args: &DoctorArgs) -> Ended {
    let path = configuration::path(&context.globals);
    let examined = configuration::examine(&path);
    let places = configuration::locate(&context.globals).ok();
    let reached = reach(context, places.as_ref()).await;
    if args.verify && args.outbox.is_none() && matches!(reached, Some((Daemon::Up(_), _))) {
        return Err(in_use());
    }
    let usable = examined.settings.is_some();
    let mut findings = configured(&path, &examined);
    let settings = examined.settings.or(examined.readable);
    findings.extend(machine(settings.as_ref(), places.as_ref(), reached.as_ref().map(|(daemon, _)| daemon)).await);
    findings.extend(running(places.as_ref(), reached).await);
    let mut damage = Vec::new();
    if args.verify {
        let directory = args.outbox.clone().or(places.map(|places| places.outbox));
        findings.push(verify(&context.output, directory.as_deref(), &mut damage)?);
    }
    let order = |finding: &Finding| doctor::CHECKS.iter().position(|about| about.name == finding.check);
    findings.sort_by_key(order);
    show(&context.output, &findings, args.verify.then_some(&damage))?;
    let worst = findings.iter().map(|finding| finding.level).max();
    Ok(match worst {
        _ if !usable => Exit::Configuration,
        Some(Level::Failure) => Exit::Error,
        Some(Level::Ok | Level::Warning) | None => Exit::Ok,
    })
}

/// What the configuration and its secrets come to.
fn configured(path: &Path, examined: &Examined) -> Vec<Finding> {
    let shown = |problems: &[Problem]| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let is_secret = |problem: &&Problem| problem.key.contains("secret");
    let faults: Vec<String> = examined.errors.iter().filter(is_secret).map(ToString::to_string).collect();
    let file = path.display().to_string();
    let mut findings = vec![doctor::configuration::judge(&file, &shown(&examined.errors), &shown(&examined.warnings))];
    let settings = examined.settings.as_ref().or(examined.readable.as_ref());
    let postbacks = settings.iter().flat_map(|settings| settings.affiliates.values());
    let postbacks = postbacks.flat_map(|affiliate| &affiliate.postbacks);
    let with_secrets = postbacks.filter(|postback| postback.secrets.names().next().is_some()).count();
    findings.push(doctor::secrets::judge(with_secrets, &faults));
    findings
}

/// What the machine grants: disk, clock, names, certificates, limits.
async fn machine(settings: Option<&Settings>, places: Option<&Places>, daemon: Option<&Daemon>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let outbox = settings.map(|settings| settings.outbox.path.as_path());
    let keep_free = settings.map_or(DEFAULT_KEEP_FREE, |settings| settings.outbox.keep_free);
    match outbox.or(places.map(|places| places.outbox.as_path())) {
        Some(outbox) => {
            let owner = owner(outbox, places.map(|places| places.socket.as_path()));
            findings.extend(disk(outbox, keep_free, owner));
        }
        None => findings.push(unlooked(doctor::directory::ABOUT.name, "the configuration does not tell where it is")),
    }
    findings.push(doctor::clock::judge(doctor::clock::measure(Path::new("/"))));
    let named = environment::variable("SSL_CERT_FILE");
    findings.push(doctor::trust::judge(&trust(), named.as_deref()));
    let Some(settings) = settings else {
        let why = "the configuration does not tell what to look at";
        findings.push(unlooked(doctor::receivers::ABOUT_NAMES.name, why));
        findings.push(unlooked(doctor::limits::ABOUT_FILES.name, why));
        return findings;
    };
    findings.extend(receivers(settings).await);
    let needs = doctor::limits::Needs {
        connections: settings.api.max_connections as u64,
        in_flight: settings.dispatch.in_flight as u64,
        cache: settings.outbox.cache,
        buffered: settings.ingest.max_buffered,
        response: settings.dispatch.response_cap,
    };
    let of_daemon = daemon.and_then(|daemon| match daemon {
        Daemon::Up(answers) => answers.max_files,
        Daemon::Stopped | Daemon::Silent(_) | Daemon::Forbidden(_) => None,
    });
    findings.push(match of_daemon {
        Some(limit) => doctor::limits::judge_files(Some(limit), "the daemon", needs),
        None => doctor::limits::judge_files(doctor::limits::measure_files(), "a program started here", needs),
    });
    findings.push(doctor::limits::judge_memory(doctor::limits::measure_memory(Path::new("/")), needs));
    findings
}

/// Whose the outbox has to be: its store's owner, or the socket's.
fn owner(outbox: &Path, socket: Option<&Path>) -> Option<u32> {
    let mut stores = EngineKind::ALL.into_iter().map(|kind| std::fs::metadata(outbox.join(store_file(kind))));
    let found = stores.find_map(Result::ok).or_else(|| std::fs::metadata(socket?).ok());
    found.map(|found| found.uid())
}

fn disk(outbox: &Path, keep_free: u64, owner: Option<u32>) -> Vec<Finding> {
    let mut findings = match doctor::directory::measure(outbox) {
        Ok(directory) => doctor::directory::judge(&directory, keep_free, owner),
        Err(error) => vec![unlooked(doctor::directory::ABOUT.name, &format!("{}: {error}", outbox.display()))],
    };
    findings.push(match doctor::durability::measure(outbox) {
        Ok(latency) => doctor::durability::judge(latency),
        Err(error) => unlooked(doctor::durability::ABOUT.name, &format!("{}: {error}", outbox.display())),
    });
    findings
}

async fn receivers(settings: &Settings) -> Vec<Finding> {
    let egress = EgressPolicy { allow: settings.egress.allow.clone(), ports: settings.egress.ports.clone() };
    let options = TransportOptions { egress: egress.clone(), response_cap: 0 };
    let transport = match Transport::new(&options) {
        Ok(transport) => transport,
        Err(error) => return vec![unlooked(doctor::receivers::ABOUT_NAMES.name, &error.to_string())],
    };
    let looked = doctor::receivers::measure(doctor::receivers::receivers(&settings.affiliates), &transport).await;
    let mut findings = doctor::receivers::judge_names(&looked);
    findings.extend(doctor::receivers::judge_egress(&looked, &egress));
    findings
}

/// The daemon, and a client of it; `None` where nothing tells where it is.
async fn reach(context: &Context, places: Option<&Places>) -> Option<(Daemon, Client)> {
    if context.globals.url.is_none() && places.is_none() {
        return None;
    }
    let client = context.client().ok()?;
    if let Endpoint::Socket(socket) = client.endpoint()
        && let Err(error) = UnixStream::connect(socket).await
    {
        let daemon = match error.kind() {
            ErrorKind::NotFound => Daemon::Stopped,
            ErrorKind::PermissionDenied => Daemon::Forbidden(error.to_string()),
            _ => Daemon::Silent(error.to_string()),
        };
        return Some((daemon, client));
    }
    let daemon = match tokio::time::timeout(PATIENCE, ask(&client)).await {
        Ok(Ok(answers)) => Daemon::Up(answers),
        Ok(Err(ClientError::Forbidden { .. })) => Daemon::Forbidden("it may not be opened by this user".into()),
        Ok(Err(error)) => Daemon::Silent(error.to_string()),
        Err(_) => Daemon::Silent(format!("it took the connection and said nothing for {} s", PATIENCE.as_secs())),
    };
    Some((daemon, client))
}

async fn ask(client: &Client) -> Result<Answers, ClientError> {
    client.exchange(Method::GET, &["healthz"], &[], None).await?;
    let mut answers = Answers::default();
    let ready = client.exchange(Method::GET, &["readyz"], &[], None).await?;
    if !ready.status.is_success() {
        answers.unready = Some(ready.problem().to_string());
    }
    let metrics = client.exchange(Method::GET, &["metrics"], &[], None).await?;
    if metrics.status.is_success() {
        answers.read_metrics(&String::from_utf8_lossy(&metrics.body));
    }
    Ok(answers)
}

/// What the daemon, or while it is down its store, tells.
async fn running(places: Option<&Places>, reached: Option<(Daemon, Client)>) -> Vec<Finding> {
    let Some((daemon, client)) = reached else {
        let why = "the configuration does not tell where it is";
        return vec![unlooked(doctor::daemon::ABOUT.name, why), unlooked(doctor::store::ABOUT.name, why)];
    };
    let endpoint = client.endpoint().to_string();
    let mut findings = doctor::daemon::judge(&daemon, &endpoint, env!("CARGO_PKG_VERSION"));
    let source = match (daemon, places) {
        (Daemon::Up(_), _) => Source::Daemon(client),
        (Daemon::Forbidden(_), _) | (Daemon::Stopped | Daemon::Silent(_), None) => return findings,
        (Daemon::Stopped | Daemon::Silent(_), Some(places)) => {
            let torn = torn_snapshots(&places.outbox).unwrap_or_default();
            let torn: Vec<TornSnapshot> =
                torn.into_iter().map(|(path, was_finished)| TornSnapshot { path, was_finished }).collect();
            findings.extend(doctor::store::judge_snapshots(&torn));
            let found = engine_of(&places.outbox).unwrap_or_default();
            findings.extend(doctor::store::judge_engine(places.engine, found));
            match Store::open(&places.outbox) {
                Ok(Some(store)) => Source::Store(Box::new(store)),
                Ok(None) => {
                    findings.push(Finding::ok(doctor::store::ABOUT.name, "there is none yet"));
                    return findings;
                }
                Err(failure) => {
                    findings.push(unreadable(&failure));
                    return findings;
                }
            }
        }
    };
    let now = SystemClock.now();
    match source.stats().await {
        Ok(stats) => findings.extend(doctor::store::judge(&stats, now)),
        Err(failure) => findings.push(unreadable(&failure)),
    }
    findings.push(match newest(&source).await {
        Ok(newest) => doctor::clock::judge_newest(newest, now),
        Err(failure) => unlooked(doctor::clock::ABOUT_STORE.name, &failure.to_string()),
    });
    findings
}

/// The time that the newest event's id tells.
async fn newest(source: &Source) -> Result<Option<Timestamp>, Failure> {
    let routed = source.list(&DeliveryFilter::default(), Direction::Newest, None, 1).await?;
    let unrouted = source.unrouted(&UnroutedFilter::default(), Direction::Newest, None, 1).await?;
    let ids = routed.items.into_iter().map(|delivery| delivery.event_id);
    let ids = ids.chain(unrouted.items.into_iter().map(|event| event.event_id));
    let numbers = ids.filter_map(|id| id.parse::<crate::domain::id::EventId>().ok());
    let newest = numbers.max().and_then(|id| i64::try_from(id.as_u64()).ok());
    Ok(newest.and_then(|micros| Timestamp::from_microsecond(micros).ok()))
}

fn unlooked(check: &'static str, why: &str) -> Finding {
    Finding::warning(check, format!("was not looked at: {why}"), AS_ITS_USER)
}

fn unreadable(failure: &Failure) -> Finding {
    let check = doctor::store::ABOUT.name;
    let (what, next) = (failure.to_string(), doctor::store::ABOUT.remedy);
    match what.split_once("\n  next: ") {
        Some((what, next)) => Finding::failure(check, what, next),
        None => Finding::failure(check, what, next),
    }
}

/// Hands what a walk finds to a progress bar and a bounded list.
struct Watching<'a> {
    output: &'a Output,
    damage: &'a mut Vec<Damage>,
}

impl VerifyObserver for Watching<'_> {
    fn damage(&mut self, damage: Damage) {
        if self.damage.len() < DAMAGE_SHOWN {
            self.damage.push(damage);
        }
    }

    fn progress(&mut self, pairs: u64) {
        self.output.proceed(pairs, "pairs".into());
    }
}

/// Looks at all of a store, and names the first things that are wrong.
///
/// # Errors
/// When somebody else has it open, or there is none.
fn verify(output: &Output, directory: Option<&Path>, damage: &mut Vec<Damage>) -> Result<Finding, Failure> {
    let what = "verifying the outbox";
    let Some(directory) = directory else {
        let why = "the configuration does not tell where it is";
        return Err(Failure::new(Exit::Configuration, what, why, "name it: --outbox DIR"));
    };
    let opened = store::open_engine(directory);
    let engine = match opened {
        Ok(Some(engine)) => engine,
        Ok(None) => {
            let why = format!("there is no store in {}", directory.display());
            return Err(Failure::new(Exit::NotFound, what, why, "name its directory: --outbox DIR"));
        }
        Err(failure) if failure.exit() == Exit::Unreachable => return Err(in_use()),
        Err(failure) if failure.exit() == Exit::Auth => return Err(failure),
        Err(failure) => {
            let why = failure.to_string();
            let why = why.lines().next().unwrap_or_default();
            return Ok(Finding::failure(doctor::store::ABOUT_VERIFY.name, why, doctor::store::ABOUT_VERIFY.remedy));
        }
    };
    output.begin(None, Unit::Deliveries);
    let verified = outbox::verify(&*engine, &mut Watching { output, damage });
    output.end();
    let named: Vec<String> =
        damage.iter().map(|damage| format!("{} {} {}", damage.space, damage.key, damage.what)).collect();
    Ok(match verified {
        Ok(verified) => doctor::store::judge_verified(&verified, &named),
        Err(error) => {
            let found = format!("the walk ended early: {error}");
            Finding::failure(doctor::store::ABOUT_VERIFY.name, found, doctor::store::ABOUT_VERIFY.remedy)
        }
    })
}

fn in_use() -> Failure {
    Failure::new(
        Exit::Refused,
        "verifying the outbox",
        "the daemon has it open, and what it writes meanwhile would look like damage",
        "stop the daemon (systemctl stop postbackd.socket postbackd.service), or verify a copy or a backup: --outbox DIR",
    )
}

fn show(output: &Output, findings: &[Finding], damage: Option<&Vec<Damage>>) -> Result<(), Failure> {
    let of = |level| findings.iter().filter(|finding| finding.level == level).count();
    let ok = of(Level::Failure) == 0;
    match output.form() {
        Form::Json => {
            output.document(&json!({ "ok": ok, "findings": findings, "damage": damage }))?;
        }
        Form::Ndjson => findings.iter().try_for_each(|finding| output.document(finding))?,
        Form::People => {
            for finding in findings {
                let (mark, colour) = match finding.level {
                    Level::Ok => ("✔", Color::Green),
                    Level::Warning => ("!", Color::Yellow),
                    Level::Failure => ("✘", Color::Red),
                };
                let mark = if output.colours() { mark.to_owned() } else { format!("{:7}", finding.level.name()) };
                output.line(&format!("{mark}  {:15}  {}", finding.check, finding.found), colour)?;
            }
            let mut told: Vec<(&str, &str)> = Vec::new();
            for finding in findings.iter().filter(|finding| !finding.remedy.is_empty()) {
                let remedy = (finding.check, finding.remedy.as_str());
                if told.is_empty() {
                    output.text("\nwhat to do")?;
                }
                if !told.contains(&remedy) {
                    output.text(&format!("  {}: {}", remedy.0, remedy.1))?;
                    told.push(remedy);
                }
            }
        }
    }
    let counted = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    output.say(&format!("{}, {}", counted(of(Level::Failure), "failure"), counted(of(Level::Warning), "warning")));
    Ok(())
}
