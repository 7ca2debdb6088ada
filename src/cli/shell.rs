//! `completions`, `man` and `openapi`: what shells, readers of manuals and programs need, made from the program itself.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};

/// The name of the program.
const PROGRAM: &str = "postbackd";

/// For which shell.
#[derive(Debug, Clone, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Where manual pages go.
#[derive(Debug, Clone, Args)]
pub(super) struct ManArgs {
    /// Write a page for every command into this directory instead of printing the main one
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

/// Prints the completions of a shell.
pub(super) fn completions(context: &Context, mut command: Command, args: &CompletionsArgs) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, PROGRAM, &mut script);
    context.output.raw(&script)?;
    Ok(Exit::Ok)
}

/// Prints the description of the API.
pub(super) fn openapi(context: &Context) -> Ended {
    context.output.raw(format!("{}\n", crate::api::document()).as_bytes())?;
    Ok(Exit::Ok)
}

/// Prints or writes manual pages.
pub(super) fn man(context: &Context, command: Command, args: ManArgs) -> Ended {
    let failed = |error: std::io::Error| Failure::new(Exit::Error, "writing manual pages", error, "name another --out");
    if let Some(directory) = args.out {
        std::fs::create_dir_all(&directory).map_err(failed)?;
        clap_mangen::generate_to(command, &directory).map_err(failed)?;
        context.output.say(&format!("manual pages are in {}", directory.display()));
        return Ok(Exit::Ok);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(failed)?;
    context.output.raw(&page)?;
    Ok(Exit::Ok)
}
