//! Resolves the names of receivers: each name once at a time, a bounded number of names at once.
//!
//! The system's resolver blocks its thread, for as long as it likes. Whoever waits for a name shares one lookup of
//! it, so that a dead name server holds one thread and not one for each attempt; an attempt that gives up leaves
//! the lookup, and its place, to those behind it. Forbidden addresses are kept from the connector here.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::{Semaphore, watch};
use tower::Service;

use super::egress::EgressPolicy;
use super::failure::is_local;
use super::gate::admit;
use super::phases::{BoxError, note};

/// Most names that are looked up at once.
const LOOKUPS: usize = 64;
/// Most addresses of a name that are tried: each gets its share of the connect deadline.
const ADDRESSES: usize = 8;

/// What asks the system for the addresses of a name; blocks.
pub(super) type LookUp = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

type Found = Result<Arc<[IpAddr]>, LookUpError>;
type Answer = watch::Receiver<Option<Found>>;

/// Why a name has no addresses.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub(super) struct LookUpError {
    text: String,
    /// Whether this machine had nothing left to ask with.
    pub(super) local: bool,
}

impl LookUpError {
    fn new(error: &io::Error) -> Self {
        Self { text: error.to_string(), local: is_local(error) || nothing_left() }
    }

    fn unanswered() -> Self {
        Self { text: "the lookup of the name ended without an answer".into(), local: false }
    }
}

/// Resolves names for the HTTP client. Cheap to clone.
#[derive(Clone)]
pub(super) struct Resolver(Arc<Inner>);

struct Inner {
    egress: Arc<EgressPolicy>,
    look_up: LookUp,
    places: Arc<Semaphore>,
    under_way: Mutex<HashMap<String, Answer>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver that asks the system.
    pub(super) fn new(egress: Arc<EgressPolicy>) -> Self {
        Self::asking(egress, Arc::new(ask_system))
    }

    /// A resolver that asks somebody else.
    pub(super) fn asking(egress: Arc<EgressPolicy>, look_up: LookUp) -> Self {
        let places = Arc::new(Semaphore::new(LOOKUPS));
        Self(Arc::new(Inner { egress, look_up, places, under_way: Mutex::default() }))
    }

    /// What says where connections may go.
    pub(super) fn egress(&self) -> Arc<EgressPolicy> {
        Arc::clone(&self.0.egress)
    }

    /// The addresses of a name, forbidden ones among them.
    pub(super) async fn find(&self, name: &str) -> Found {
        let mut answer = self.join(name);
        let found = answer.wait_for(Option::is_some).await.map_err(|_| LookUpError::unanswered())?;
        found.clone().unwrap_or_else(|| Err(LookUpError::unanswered()))
    }

    /// The lookup of a name that is under way, or a new one.
    fn join(&self, name: &str) -> Answer {
        let mut under_way = self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let abandoned = |answer: &Answer| answer.has_changed().is_err();
        if let Some(answer) = under_way.get(name).filter(|answer| !abandoned(answer)) {
            return answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        under_way.insert(name.to_owned(), answer.clone());
        tokio::spawn(self.clone().look_up(name.to_owned(), sender));
        answer
    }

    /// Looks a name up in a task of its own: the place is given back when the system has answered, not before.
    async fn look_up(self, name: String, sender: watch::Sender<Option<Found>>) {
        let look_up = Arc::clone(&self.0.look_up);
        let asked = name.clone();
        let place = Arc::clone(&self.0.places).acquire_owned().await;
        let found = tokio::task::spawn_blocking(move || {
            let _place = place;
            look_up(&asked).map_err(|error| LookUpError::new(&error)).map(Arc::from)
        });
        let found = found.await.unwrap_or_else(|_| Err(LookUpError::unanswered()));
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        sender.send_replace(Some(found));
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// A name with any forbidden address is refused whole: it must not depend on the order of answers where a
    /// connection goes.
    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.find(name.as_str()).await?;
            for address in found.iter() {
                admit(&resolver.0.egress, *address)?;
            }
            note(|phases, now| phases.resolved = Some(now));
            let addresses: Vec<_> = found.iter().take(ADDRESSES).map(|address| SocketAddr::new(*address, 0)).collect();
            Ok(addresses.into_iter())
        })
    }
}

fn ask_system(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// Whether this machine cannot even open a socket: the system's resolver does not say that this was why it failed.
fn nothing_left() -> bool {
    use rustix::net::{AddressFamily, SocketType, socket};
    socket(AddressFamily::INET, SocketType::DGRAM, None).is_err_and(|error| is_local(&error.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn open(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Resolver {
        Resolver::asking(Arc::new(EgressPolicy { allow: Vec::new(), ports: vec![80] }), Arc::new(look_up))
    }

    #[tokio::test]
    async fn whoever_waits_for_a_name_shares_one_lookup_and_nobody_waits_for_another_name() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let (answer, dead) = mpsc::channel::<()>();
        let dead = Mutex::new(dead);
        let resolver = open(move |name| {
            counted.fetch_add(1, Ordering::SeqCst);
            if name == "dead.example" {
                let _ = dead.lock().unwrap().recv();
            }
            Ok(vec![IpAddr::from([8, 8, 8, 8])])
        });
        let waiting: Vec<_> = (0..2 * LOOKUPS)
            .map(|_| {
                let resolver = resolver.clone();
                tokio::spawn(async move { resolver.find("dead.example").await })
            })
            .collect();
        // All have joined when the last one has been polled: the runtime of this test has one thread.
        tokio::task::yield_now().await;
        let live = tokio::time::timeout(Duration::from_secs(20), resolver.find("live.example")).await;
        assert_eq!(live.unwrap().unwrap().len(), 1, "in spite of the dead name");
        drop(answer);
        for waiter in waiting {
            assert!(waiter.await.unwrap().is_ok());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert!(resolver.0.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_lookup_that_ends_badly_is_begun_anew_by_the_next() {
        let first = AtomicUsize::new(0);
        let resolver = open(move |_| match first.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("the first lookup ends in a panic"),
            1 => Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error())),
            _ => Ok(Vec::new()),
        });
        assert!(!resolver.find("a.example").await.unwrap_err().local);
        assert!(resolver.find("a.example").await.unwrap_err().local);
        assert!(resolver.find("a.example").await.is_ok());
    }
}
