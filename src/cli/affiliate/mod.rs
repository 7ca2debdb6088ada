//! `affiliate`: the affiliates that the daemon knows, paused and resumed, and their postbacks looked at and tried.

mod listing;
mod pause;
mod render;
mod subject;
mod test;

use clap::Subcommand;

use super::context::Context;
use super::exit::Ended;
use crate::domain::id::{AffiliateId, PostbackName};

/// What to do with affiliates.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum AffiliateCommand {
    /// List affiliates and their postbacks with how they stand
    #[command(after_help = "Examples:\n  postbackd affiliate list\n  postbackd affiliate list --ndjson")]
    List,
    /// Show an affiliate: its limits, its postbacks, their rules and backlog
    Show(listing::ShowArgs),
    /// Send nothing more; deliveries wait
    Pause(pause::PauseArgs),
    /// Send again
    Resume(pause::PauseArgs),
    /// Show the exact request that an event would become; nothing is sent
    Render(render::RenderArgs),
    /// Send one marked conversion to an affiliate, and show what comes of it
    Test(test::TestArgs),
}

/// An affiliate or one of its postbacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    affiliate: AffiliateId,
    postback: Option<PostbackName>,
}

pub(super) fn parse_target(text: &str) -> Result<Target, String> {
    let (affiliate, postback) = match text.split_once('/') {
        Some((affiliate, postback)) => (affiliate, Some(postback)),
        None => (text, None),
    };
    let affiliate = affiliate.parse().map_err(|invalid| format!("the affiliate {invalid}"))?;
    let postback = postback.map(str::parse).transpose().map_err(|invalid| format!("the postback {invalid}"))?;
    Ok(Target { affiliate, postback })
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.postback {
            Some(postback) => write!(f, "{}/{postback}", self.affiliate),
            None => write!(f, "{}", self.affiliate),
        }
    }
}

/// Lists, shows, pauses, resumes, renders or tests affiliates.
pub(super) async fn affiliate(context: &Context, command: AffiliateCommand) -> Ended {
    match command {
        AffiliateCommand::List => listing::list(context).await,
        AffiliateCommand::Show(args) => listing::show(context, args).await,
        AffiliateCommand::Pause(args) => pause::change(context, args, "pause").await,
        AffiliateCommand::Resume(args) => pause::change(context, args, "resume").await,
        AffiliateCommand::Render(args) => render::render(context, args).await,
        AffiliateCommand::Test(args) => test::test(context, args).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_affiliate_or_one_of_its_postbacks() {
        assert_eq!(parse_target("acme").unwrap().to_string(), "acme");
        assert_eq!(parse_target("acme/conversion").unwrap().to_string(), "acme/conversion");
        assert!(parse_target("acme/").is_err());
        assert!(parse_target("/x").is_err());
    }
}
