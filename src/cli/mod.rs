//! The command line: what was typed, carried out, with an exit code that scripts can rely on.
//!
//! One file a noun. A command is handed a [`Context`] and comes to an [`Exit`] or a [`Failure`]; it never
//! prints but through [`output`]. Orders go to the daemon, over its socket or a URL; reads go there too,
//! or to the store itself while the daemon is down. Knows nothing of how anything is stored or sent.

mod affiliate;
mod bench;
mod bulk;
mod check;
mod client;
mod columns;
mod configuration;
mod context;
mod dead;
mod demo;
mod doctor;
mod enqueue;
mod examples;
mod exit;
mod export;
mod filter;
mod ids;
mod list;
mod log;
mod options;
mod orders;
mod outbox;
mod output;
mod patience;
mod problem;
mod receiver;
mod reconcile;
mod redraw;
mod run;
mod series;
mod shell;
mod show;
mod sort;
mod source;
mod stats;
mod store;
mod tail;
mod time;
mod trace;
mod watch;

#[cfg(test)]
mod fixtures;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches as _, Parser, Subcommand};

pub use bench::BenchArgs;
pub use demo::DemoArgs;
pub use exit::{Exit, Failure};
pub use run::run;

use context::Context;
use exit::Ended;
use options::Globals;
use output::Output;

use crate::ops::systemd::Inherited;

/// The variable that asks for no colours (<https://no-color.org>).
const NO_COLOUR: &str = "NO_COLOR";

/// Hands conversions to affiliates' postback URLs: durably, in order, exactly as often as needed
#[derive(Debug, Parser)]
#[command(name = "postbackd", version, propagate_version = true, max_term_width = 100, after_help = EXITS)]
#[command(arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    globals: Globals,

    #[command(subcommand)]
    command: Command,
}

/// What the exit codes mean.
const EXITS: &str = "Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 not allowed, 5 daemon unreachable, \
                     6 partly done, 7 bad configuration, 8 refused";

/// How a held delivery is decided.
const RELEASE_EXAMPLES: &str = "`postbackd show ID` says why a delivery is held, and what is known of it.\n\nExamples:\n  \
     postbackd release dlv_00361eqg9sac0000 --delivered --reason 'it is in their report'\n  \
     postbackd release dlv_00361eqg9sac0000 --resend --reason 'they have it not, ticket 4711'";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run,
    /// Tell everything that is wrong with the configuration
    Check(check::CheckArgs),
    /// Have the daemon take its configuration anew
    Reload,
    /// Show or change the level of the daemon's log while it runs
    Log(log::LogArgs),
    /// Hand over events from a file or standard input
    Enqueue(enqueue::EnqueueArgs),
    /// List deliveries
    List(list::ListArgs),
    /// Show a delivery with every attempt, or an event with its deliveries
    Show(show::ShowArgs),
    /// Export events, deliveries or attempts for finance and other programs
    #[command(subcommand)]
    Export(export::ExportCommand),
    /// Take a backup of the store, or put one back
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// Print one timeline of all that happened for a click, transaction, event or delivery
    Trace(trace::TraceArgs),
    /// Watch attempts as they are made
    Tail(tail::TailArgs),
    /// Show the state of everything
    Stats(stats::StatsArgs),
    /// Work with dead letters
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// Send deliveries again
    Replay(bulk::ReplayArgs),
    /// Put dead or held deliveries away: they are not sent, and no longer listed for a person to look at
    Discard(bulk::BulkArgs),
    /// List, watch, pause, resume and stop bulk orders
    #[command(subcommand)]
    Orders(watch::OrdersCommand),
    /// Do not send deliveries after all
    #[command(after_help = "Example:\n  postbackd cancel dlv_00361eqg9sac0000 --reason 'fraud, case 88'")]
    Cancel(bulk::BulkArgs),
    /// Let deliveries wait for a person
    #[command(after_help = "Example:\n  postbackd hold dlv_00361eqg9sac0000 --reason 'fraud check'")]
    Hold(bulk::BulkArgs),
    /// Let held deliveries go out, or note that they have arrived
    #[command(after_help = RELEASE_EXAMPLES)]
    Release(orders::ReleaseArgs),
    /// Compare an affiliate's report with what it was told
    #[command(after_help = reconcile::EXAMPLES)]
    Reconcile(Box<reconcile::ReconcileArgs>),
    /// Work with affiliates
    #[command(subcommand)]
    Affiliate(affiliate::AffiliateCommand),
    /// Stand in for an affiliate's tracker
    Receiver(crate::receiver::ReceiverArgs),
    /// Look at disk, clock, names, certificates, configuration, daemon and store, and say what to do
    Doctor(doctor::DoctorArgs),
    /// See it work on this machine alone
    Demo(DemoArgs),
    /// Measure what this machine can do
    Bench(BenchArgs),
    /// Print the API's description (OpenAPI 3.1)
    Openapi,
    /// Print completions for a shell
    Completions(shell::CompletionsArgs),
    /// Print the manual page
    Man(shell::ManArgs),
}

/// What can be typed.
fn command_line() -> clap::Command {
    examples::with_examples(Cli::command())
}

/// The whole program: parses, carries out, and ends.
pub fn main() -> ExitCode {
    crate::ops::memory::hand_out_in_small_pages();
    let parsed = command_line().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody reads is no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { Exit::Ok.code() });
        }
    };
    let no_colour = cli.globals.no_colour || crate::ops::environment::variable(NO_COLOUR).is_some();
    let output = Output::new(cli.globals.form(), no_colour);
    let context = Context { globals: cli.globals, output };
    let ended = on_runtime(&context, cli.command).and_then(|exit| context.output.flush().map(|()| exit));
    let exit = ended.unwrap_or_else(|failure| {
        // What was printed before the failure is still wanted; that it cannot be written adds nothing.
        let _ = context.output.flush();
        context.output.fail(&failure);
        failure.exit()
    });
    ExitCode::from(exit.code())
}

fn on_runtime(context: &Context, command: Command) -> Ended {
    let inherited = if matches!(command, Command::Run) { run::inherit()? } else { Inherited::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Error, "starting threads", error, "look at ulimit -u"))?;
    let ended = runtime.block_on(carry_out(context, command, inherited));
    // A thread that waits for standard input must not keep the process.
    runtime.shutdown_background();
    ended
}

async fn carry_out(context: &Context, command: Command, inherited: Inherited) -> Ended {
    match command {
        Command::Run => run(&configuration::path(&context.globals), inherited).await.map(|()| Exit::Ok),
        Command::Check(args) => check::check(context, args),
        Command::Reload => check::reload(context).await,
        Command::Log(args) => log::log(context, args).await,
        Command::Enqueue(args) => enqueue::enqueue(context, args).await,
        Command::List(args) => list::list(context, args).await,
        Command::Show(args) => show::show(context, args).await,
        Command::Outbox(command) => outbox::outbox(context, command).await,
        Command::Export(command) => export::export(context, command).await,
        Command::Trace(args) => trace::trace(context, args).await,
        Command::Tail(args) => tail::tail(context, args).await,
        Command::Stats(args) => stats::stats(context, &args).await,
        Command::Dead(command) => dead::dead(context, command).await,
        Command::Replay(args) => bulk::replay(context, args).await,
        Command::Discard(args) => bulk::discard(context, args, None).await,
        Command::Orders(command) => watch::orders(context, command).await,
        Command::Cancel(args) => orders::cancel(context, args).await,
        Command::Hold(args) => orders::hold(context, args).await,
        Command::Release(args) => orders::release(context, args).await,
        Command::Reconcile(args) => reconcile::reconcile(context, *args).await,
        Command::Affiliate(command) => affiliate::affiliate(context, command).await,
        Command::Receiver(args) => receiver::receiver(context, args).await,
        Command::Doctor(args) => doctor::doctor(context, &args).await,
        Command::Demo(args) => demo::run(context, args).await,
        Command::Bench(args) => bench::run(context, args).await,
        Command::Openapi => shell::openapi(context),
        Command::Completions(args) => shell::completions(context, command_line(), &args),
        Command::Man(args) => shell::man(context, command_line(), args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_read_as_typed() {
        for typed in [
            "postbackd list --state dead --since 2h --columns delivery_id,http_status --json",
            "postbackd --config a.toml dead list --group",
            "postbackd trace dep-88121 --requests",
            "postbackd list --text timeout --sort payout --desc --watch",
            "postbackd dead list --sort attempts --limit 5",
            "postbackd stats --watch=500ms",
            "postbackd tail --affiliate acme --outcome retry --last 20 --ndjson",
            "postbackd dead replay --affiliate acme --reason x --yes",
            "postbackd replay dlv_0000000000000000 --dry-run",
            "postbackd release dlv_0000000000000000 --delivered --reason x",
            "postbackd cancel --affiliate acme --state waiting --limit 5 --rate 10/s --reason x --yes",
            "postbackd orders pause ord_0000000000000",
            "postbackd affiliate pause acme/conversion --reason x",
            "postbackd affiliate render acme --event - --json",
            "postbackd affiliate test acme/conversion --type ftd --to http://127.0.0.1:9000 --yes",
            "postbackd check --strict --json",
            "postbackd receiver --json --listen 127.0.0.1:0",
            "postbackd enqueue - --format csv --retry-for 5s",
            "postbackd reconcile --affiliate acme --report their.csv --map click_id=cid,amount=payout --statuses approved=A|paid",
            "postbackd replay --ids missing.ndjson --force --reason x",
            "postbackd run --config a.toml",
            "postbackd export deliveries --since 2026-10-01 --until 2026-11-01 --out october.csv",
            "postbackd export attempts --affiliate acme --outcome retry --format csv --spreadsheet --out - --columns number,rule",
            "postbackd export deliveries --until 2026-11-01 --mark finance --out october.parquet --yes",
            "postbackd export marks --json",
            "postbackd openapi",
            "postbackd doctor --verify --outbox /backup --json",
            "postbackd log debug --for 10m",
            "postbackd bench --only accept,whole-way --turns 5 --engine sled",
            "postbackd bench --backlog 2000000 --directory /var/lib/postbackd --json",
        ] {
            Cli::try_parse_from(typed.split(' ')).unwrap_or_else(|error| panic!("{typed}: {error}"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for typed in [
            "postbackd replay dlv_0000000000000000",
            "postbackd release dlv_1 --resend --delivered --reason x",
            "postbackd list --columns nonsense",
            "postbackd list --json --ndjson",
            "postbackd list --desc",
            "postbackd list --sort due --cursor dlv_1",
            "postbackd list --unrouted --sort due",
            "postbackd stats --watch=1ms",
            "postbackd tail --text x",
            "postbackd reconcile --affiliate acme --report their.csv",
            "postbackd reconcile --affiliate acme --report their.csv --map click_id=cid --statuses paid=approved",
            "postbackd reconcile --affiliate acme --report their.csv --map click_id=cid --time-zone Mars/Base",
            "postbackd replay --unrouted --ids missing.ndjson --reason x",
            "postbackd list --since yesterday",
            "postbackd affiliate render acme --event - --type ftd",
            "postbackd affiliate render acme --reveal --json",
            "postbackd export events --mark finance --until 2026-11-01 --out x.csv",
            "postbackd export deliveries --mark finance --out x.csv",
            "postbackd export deliveries --force",
            "postbackd export attempts --by changed",
            "postbackd doctor --outbox /backup",
            "postbackd log --for 10m",
            "postbackd bench --backlog 2000000 --isolation",
            "postbackd bench --latency --only accept",
            "postbackd bench --engine mongodb",
        ] {
            assert!(Cli::try_parse_from(typed.split(' ')).is_err(), "{typed}");
        }
    }
}
