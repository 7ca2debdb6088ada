//! The last question before a connection: may it go to this address?
//!
//! Asked of literal addresses and of what names resolve to alike, by whoever is about to connect.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;

use super::egress::{EgressPolicy, Forbidden};
use super::phases::{BoxError, note};

/// What says that no connection to an address is possible at all.
const NO_WAY: [Errno; 5] =
    [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::ACCESS];

/// Lets an address pass, or notes with the attempt why not.
///
/// # Errors
/// When it is forbidden, or this machine cannot tell.
pub(super) fn admit(egress: &EgressPolicy, address: IpAddr) -> Result<(), BoxError> {
    let own = || is_own(address).map_err(BoxError::from);
    let judged = match egress.check_address(address) {
        Ok(()) if !egress.names(address) && own()? => Err(Forbidden::Own(address)),
        judged => judged,
    };
    judged.map_err(|forbidden| {
        note(|phases, _| phases.forbidden = Some(forbidden.clone()));
        forbidden.into()
    })
}

/// Whether an address is one of this machine's own, public ones included.
///
/// The system is asked where it would send from: to itself it sends from the address itself. Nothing is sent.
fn is_own(address: IpAddr) -> io::Result<bool> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Any port will do, but 0.
    let from = UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| {
        socket.connect(SocketAddr::new(address, 9))?;
        socket.local_addr()
    });
    match from {
        Ok(from) => Ok(from.ip() == address),
        Err(error) if Errno::from_io_error(&error).is_some_and(|errno| NO_WAY.contains(&errno)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_this_machine_are_its_own_and_no_others() {
        let mut own = vec![IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        // Where this machine would send from to the world, if it can.
        for (any, world) in [("0.0.0.0:0", "8.8.8.8:9"), ("[::]:0", "[2a00:1450:4001::1]:9")] {
            let socket = UdpSocket::bind(any).and_then(|socket| socket.connect(world).map(|()| socket));
            own.extend(socket.and_then(|socket| socket.local_addr()).map(|from| from.ip()).ok());
        }
        for address in own {
            assert!(is_own(address).unwrap(), "{address}");
        }
        for address in ["8.8.8.8", "1.1.1.1", "2a00:1450:4001::1"] {
            assert!(!is_own(address.parse().unwrap()).unwrap(), "{address}");
        }
    }
}
