//! Examples in the help of every command.
//!
//! Most commands carry theirs beside their options; here are those of the others. A test sees to it that no command is
//! without, and that each example can be typed as it stands.

use clap::Command;

/// Commands by their path, with lines that can be typed.
const EXAMPLES: [(&str, &[&str]); 25] = [
    ("run", &["postbackd run", "postbackd --config /etc/postbackd/postbackd.toml run"]),
    ("reload", &["postbackd check && postbackd reload"]),
    (
        "enqueue",
        &[
            "postbackd enqueue events.ndjson",
            "postbackd enqueue - --format csv < conversions.csv",
            "postbackd enqueue events.json --json",
        ],
    ),
    (
        "outbox",
        &["postbackd outbox backup /backup/tonight", "sudo -u postbackd postbackd outbox restore /backup/tonight"],
    ),
    ("export", &["postbackd export deliveries --since 2026-10-01 --until 2026-11-01 --out october.csv"]),
    ("export marks", &["postbackd export marks", "postbackd export marks --json"]),
    ("dead", &["postbackd dead list --group", "postbackd dead replay --affiliate acme --reason 'they are back'"]),
    (
        "dead replay",
        &[
            "postbackd dead replay --affiliate acme --dry-run",
            "postbackd dead replay --affiliate acme --since 6h --rate 50/s --reason 'their outage, INC-88'",
            "postbackd dead replay --http-status 503 --limit 100 --reason 'try some first' --yes",
        ],
    ),
    (
        "dead discard",
        &[
            "postbackd dead discard --affiliate acme --state-reason rejected --until 30d --reason 'looked at, ticket 4711'",
        ],
    ),
    (
        "replay",
        &[
            "postbackd replay dlv_00361eqg9sac0000 --reason 'they ask for it'",
            "postbackd replay --affiliate acme --since 2h --rate 20/s --limit 500 --reason 'after the repair'",
            "postbackd replay --ids missing.ndjson --affiliate acme --force --reason 'lost on their side'",
            "postbackd replay --unrouted --type ftd --reason 'a postback wants them now'",
        ],
    ),
    ("discard", &["postbackd discard dlv_00361eqg9sac0000 --reason 'settled by hand'"]),
    ("orders", &["postbackd orders list", "postbackd orders watch ord_001k0sgyqymf9"]),
    ("orders list", &["postbackd orders list", "postbackd orders list --ndjson"]),
    ("orders show", &["postbackd orders show ord_001k0sgyqymf9"]),
    ("orders watch", &["postbackd orders watch ord_001k0sgyqymf9"]),
    ("orders pause", &["postbackd orders pause ord_001k0sgyqymf9"]),
    ("orders resume", &["postbackd orders resume ord_001k0sgyqymf9"]),
    ("orders stop", &["postbackd orders stop ord_001k0sgyqymf9"]),
    ("affiliate", &["postbackd affiliate list", "postbackd affiliate render acme --type ftd"]),
    (
        "receiver",
        &[
            "postbackd receiver --listen 127.0.0.1:9107",
            "postbackd receiver --listen 127.0.0.1:9107 --answer '500*2,200'",
        ],
    ),
    ("demo", &["postbackd demo", "postbackd demo --events 100000 --seed 5"]),
    (
        "bench",
        &[
            "postbackd bench --directory /var/lib/postbackd",
            "postbackd bench --only accept,cycle --turns 5 --json",
            "postbackd bench --backlog 2000000",
            "postbackd bench --latency",
            "postbackd bench --isolation",
            "postbackd bench --looking 1000000 --rate 2000",
            "postbackd bench --churn 1000000 --live 100000 --json",
        ],
    ),
    ("openapi", &["postbackd openapi > openapi.json"]),
    ("completions", &["postbackd completions bash > /etc/bash_completion.d/postbackd"]),
    ("man", &["postbackd man | man -l -"]),
];

/// A command with examples in the help of everything below it.
pub(super) fn with_examples(command: Command) -> Command {
    below(command, "")
}

fn below(command: Command, path: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command.mut_subcommand(name, |found| below(shown(found, &path), &path))
    })
}

fn shown(command: Command, path: &str) -> Command {
    let known = EXAMPLES.iter().find(|(named, _)| *named == path);
    match known {
        Some((_, lines)) if command.get_after_help().is_none() => {
            command.after_help(format!("Examples:\n  {}", lines.join("\n  ")))
        }
        _ => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(command: &Command, path: &str, found: &mut Vec<(String, String)>) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let path = format!("{path} {}", below.get_name());
            let help = below.get_after_help().map(ToString::to_string).unwrap_or_default();
            all(below, &path, found);
            found.push((path, help));
        }
    }

    /// The words of a line as a shell makes them, up to whatever is no longer the command's.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (number, part) in line.split('\'').enumerate() {
            if number % 2 == 1 {
                words.push(part.to_owned());
                continue;
            }
            for word in part.split_whitespace() {
                if ["|", ">", "<", "&&", ";"].contains(&word) {
                    return words;
                }
                words.push(word.to_owned());
            }
        }
        words
    }

    #[test]
    fn every_command_has_examples_and_each_can_be_typed_as_it_stands() {
        let command = with_examples(crate::cli::command_line());
        let mut found = Vec::new();
        all(&command, "postbackd", &mut found);
        assert!(found.len() > 40, "{}", found.len());
        for (path, help) in found {
            let examples: Vec<&str> = help.lines().filter_map(|line| line.trim().strip_prefix("postbackd ")).collect();
            assert!(help.contains("Example") && !examples.is_empty(), "{path} has no example");
            for example in examples {
                let typed = words(&format!("postbackd {}", example.trim_end_matches('\\')));
                command.clone().try_get_matches_from(&typed).unwrap_or_else(|error| panic!("{example}: {error}"));
            }
        }
        for (path, lines) in EXAMPLES {
            let mut at = &command;
            for name in path.split(' ') {
                at = at.find_subcommand(name).unwrap_or_else(|| panic!("there is no command {path}"));
            }
            let help = at.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(lines.iter().all(|line| help.contains(line)), "{path} has examples beside its options already");
        }
    }
}
