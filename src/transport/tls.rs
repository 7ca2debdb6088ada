//! TLS of outgoing connections: the system's trust store, and a session cache that notes when a handshake begins.

use std::sync::Arc;

use rustls::client::Tls13ClientSessionValue;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup, RootCertStore};

use super::phases;

/// Sessions kept for resumption.
const SESSIONS: usize = 1_024;

/// The system's trust store; certificates that cannot be read are left out with a warning.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of the system's trust store cannot be read");
    }
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(
            ignored,
            "the system has no trusted certificates; install ca-certificates, or no https postback will arrive"
        );
    }
    roots
}

/// What the system trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Root certificates that can be used.
    pub roots: usize,
    /// What could not be read.
    pub faults: Vec<String>,
}

/// Looks at the system's trust store, as the transport does when it is set up.
pub fn trust() -> Trust {
    let found = rustls_native_certs::load_native_certs();
    let mut faults: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let (roots, ignored) = RootCertStore::empty().add_parsable_certificates(found.certs);
    if ignored > 0 {
        faults.push(format!("{ignored} certificates are no roots that can be used"));
    }
    Trust { roots, faults }
}

/// The client's TLS configuration.
pub(crate) fn client_config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::store(Arc::new(ObservedSessions(ClientSessionMemoryCache::new(SESSIONS))));
    Ok(config)
}

/// A session cache that is asked first when a handshake begins, and notes the time.
#[derive(Debug)]
struct ObservedSessions(ClientSessionMemoryCache);

impl ClientSessionStore for ObservedSessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        phases::note(|phases, now| {
            phases.tls_started.get_or_insert(now);
        });
        self.0.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.0.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(&self, server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(&self, server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(server_name)
    }
}
