//! Whether the hosts of all postbacks have addresses, and whether requests may go there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use url::{Host, Url};

use super::{About, Finding, counted, first_few};
use crate::domain::plan::Affiliates;
use crate::ops::clock::monotonic;
use crate::transport::{EgressPolicy, Forbidden, Transport};

/// Whether names are resolved.
pub const ABOUT_NAMES: About = About {
    name: "DNS",
    looks_at: "each host of a postback, by the resolver and within the connect deadline that attempts have: fails where it has no address, \
               warns where that takes more than a second",
    remedy: "see /etc/resolv.conf and the name server; ask the affiliate whether the name is still theirs",
};

/// Whether requests may go there.
pub const ABOUT_EGRESS: About = About {
    name: "egress",
    looks_at: "each address and port of a postback against `[egress]`: fails where nothing would be sent",
    remedy: "where it is meant, permit it by the line that the finding shows; else tell the affiliate: public names must not lead to private addresses",
};

/// Names that are looked up at once.
const AT_ONCE: usize = 16;
/// Longer than this is slow.
const SLOW: Duration = Duration::from_secs(1);

/// Where postbacks go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Scheme, host and port.
    pub origin: Url,
    /// The postbacks that go there.
    pub postbacks: Vec<String>,
    /// The longest connect deadline that they have.
    pub deadline: Duration,
}

/// What looking a receiver up came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The receiver.
    pub receiver: Receiver,
    /// Its addresses, or why there are none.
    pub addresses: Result<Vec<IpAddr>, String>,
    /// How long it took.
    pub took: Duration,
}

/// Where the postbacks of all affiliates go, each receiver once.
pub fn receivers(affiliates: &Affiliates) -> Vec<Receiver> {
    let mut found: BTreeMap<String, Receiver> = BTreeMap::new();
    for postback in affiliates.values().flat_map(|affiliate| &affiliate.postbacks) {
        let origin = postback.request.origin();
        let Ok(url) = Url::parse(origin) else { continue };
        let new = || Receiver { origin: url, postbacks: Vec::new(), deadline: Duration::ZERO };
        let receiver = found.entry(origin.to_owned()).or_insert_with(new);
        receiver.postbacks.push(postback.reference().to_string());
        receiver.deadline = receiver.deadline.max(postback.timeouts.connect);
    }
    found.into_values().collect()
}

/// Looks receivers up, some at once.
pub async fn measure(receivers: Vec<Receiver>, transport: &Transport) -> Vec<Looked> {
    let looked = futures_util::stream::iter(receivers).map(|receiver| look_up(receiver, transport));
    looked.buffered(AT_ONCE).collect().await
}

async fn look_up(receiver: Receiver, transport: &Transport) -> Looked {
    let began = monotonic();
    let addresses = match receiver.origin.host() {
        Some(Host::Ipv4(address)) => Ok(vec![address.into()]),
        Some(Host::Ipv6(address)) => Ok(vec![address.into()]),
        Some(Host::Domain(name)) => {
            let found = tokio::time::timeout(receiver.deadline, transport.addresses(name)).await;
            found.unwrap_or_else(|_| Err(format!("no answer within {} ms", receiver.deadline.as_millis())))
        }
        None => Err("the URL has no host".into()),
    };
    Looked { receiver, addresses, took: monotonic().duration_since(began) }
}

/// Judges whether names are resolved.
pub fn judge_names(looked: &[Looked]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Looked { receiver, addresses, took } in looked {
        let name = receiver.origin.host_str().unwrap_or_default();
        let (millis, postbacks) = (took.as_millis(), first_few(&receiver.postbacks));
        match addresses {
            Err(why) => findings.push(Finding::failure(
                ABOUT_NAMES.name,
                format!("{name} has no address, after {millis} ms: {why}; needed by {postbacks}"),
                format!(
                    "see `getent hosts {name}` and /etc/resolv.conf; ask the affiliate whether the name is still theirs"
                ),
            )),
            Ok(addresses) if addresses.is_empty() => findings.push(Finding::failure(
                ABOUT_NAMES.name,
                format!("{name} has no address; needed by {postbacks}"),
                "ask the affiliate whether the name is still theirs",
            )),
            Ok(_) if *took > SLOW => findings.push(Finding::warning(
                ABOUT_NAMES.name,
                format!("{name} took {millis} ms; needed by {postbacks}"),
                "see to the name server, or run a caching one on this machine",
            )),
            Ok(_) => {}
        }
    }
    if findings.is_empty() {
        let slowest = looked.iter().map(|looked| looked.took).max().unwrap_or_default().as_millis();
        let hosts = counted(looked.len(), "receiver has an address", "receivers have addresses");
        findings.push(Finding::ok(ABOUT_NAMES.name, format!("{hosts}, the slowest after {slowest} ms")));
    }
    findings
}

/// Judges whether requests may go there.
pub fn judge_egress(looked: &[Looked], policy: &EgressPolicy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Looked { receiver, addresses, .. } in looked {
        let origin = receiver.origin.as_str().trim_end_matches('/');
        let postbacks = first_few(&receiver.postbacks);
        let addresses = addresses.iter().flatten().map(|address| policy.check_address(*address));
        // A literal address is in both.
        let mut refused: Vec<Forbidden> =
            std::iter::once(policy.check_url(&receiver.origin)).chain(addresses).filter_map(Result::err).collect();
        refused.dedup();
        for forbidden in refused {
            let remedy = format!("if it is meant: {}", permitting(&forbidden, policy));
            let found = format!("{origin}: {}; {postbacks} would not be sent", reason(&forbidden));
            findings.push(Finding::failure(ABOUT_EGRESS.name, found, remedy));
        }
    }
    if findings.is_empty() {
        let unknown = looked.iter().filter(|looked| looked.addresses.is_err()).count();
        let found = match unknown {
            0 => "all receivers may be sent to".to_owned(),
            _ => format!("all receivers that have an address may be sent to, {unknown} have none"),
        };
        findings.push(Finding::ok(ABOUT_EGRESS.name, found));
    }
    findings
}

fn reason(forbidden: &Forbidden) -> String {
    match forbidden {
        Forbidden::Address { address, range } => format!("{address} is not public ({range})"),
        Forbidden::Own(address) => format!("{address} is this machine's own"),
        Forbidden::Port(port) => format!("port {port} is not allowed"),
        Forbidden::Url => forbidden.to_string(),
    }
}

/// The line of the configuration that would permit what is forbidden.
fn permitting(forbidden: &Forbidden, policy: &EgressPolicy) -> String {
    match forbidden {
        Forbidden::Address { address, .. } | Forbidden::Own(address) => {
            let known = policy.allow.iter().map(ToString::to_string).chain([address.to_string()]);
            let list: Vec<String> = known.map(|net| format!("\"{net}\"")).collect();
            format!("[egress] allow = [{}]", list.join(", "))
        }
        Forbidden::Port(port) => {
            let list: Vec<String> = policy.ports.iter().chain([port]).map(ToString::to_string).collect();
            format!("[egress] ports = [{}]", list.join(", "))
        }
        Forbidden::Url => "write an http or https URL".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Level;

    fn looked(origin: &str, addresses: Result<&[&str], &str>, millis: u64) -> Looked {
        let receiver = Receiver {
            origin: Url::parse(origin).unwrap(),
            postbacks: vec!["acme/conversion".into()],
            deadline: Duration::from_secs(5),
        };
        let addresses = addresses.map(|all| all.iter().map(|ip| ip.parse().unwrap()).collect());
        Looked { receiver, addresses: addresses.map_err(Into::into), took: Duration::from_millis(millis) }
    }

    #[test]
    fn a_name_without_an_address_fails_and_a_slow_one_warns() {
        let table = [
            (looked("https://a.example", Ok(&["8.8.8.8"]), 3), Level::Ok, "after 3 ms"),
            (looked("https://a.example", Ok(&["8.8.8.8"]), 1_001), Level::Warning, "took 1001 ms"),
            (looked("https://a.example", Ok(&[]), 3), Level::Failure, "acme/conversion"),
            (
                looked("https://a.example", Err("unknown"), 3),
                Level::Failure,
                "a.example has no address, after 3 ms: unknown",
            ),
        ];
        for (looked, level, words) in table {
            let findings = judge_names(&[looked]);
            assert!(findings[0].level == level && findings[0].found.contains(words), "{findings:?}");
        }
    }

    #[test]
    fn what_would_permit_an_address_or_a_port_is_shown() {
        let policy = EgressPolicy { allow: vec!["10.20.0.0/16".parse().unwrap()], ports: vec![80, 443] };
        let table = [
            (looked("https://a.example", Ok(&["8.8.8.8", "10.20.0.9"]), 0), None),
            (looked("https://a.example", Err("unknown"), 0), None),
            (
                looked("https://a.example", Ok(&["8.8.8.8", "10.30.0.9"]), 0),
                Some("[egress] allow = [\"10.20.0.0/16\", \"10.30.0.9\"]"),
            ),
            (looked("http://127.0.0.1", Ok(&["127.0.0.1"]), 0), Some("\"127.0.0.1\"]")),
            (looked("https://a.example:8443", Ok(&["8.8.8.8"]), 0), Some("[egress] ports = [80, 443, 8443]")),
        ];
        for (looked, permitting) in table {
            let findings = judge_egress(&[looked], &policy);
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert_eq!(findings[0].level == Level::Failure, permitting.is_some(), "{findings:?}");
            assert!(findings[0].remedy.contains(permitting.unwrap_or_default()), "{findings:?}");
        }
    }
}
