//! The sockets of the listeners: bound here, or taken over from systemd (`portico.socket`), which keeps callers waiting while
//! Portico starts.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use tracing::warn;

use super::StartError;
use crate::config::Config;

/// Sockets that somebody bound for this process, and that no listener has taken yet.
pub(super) struct Sockets {
    given: Vec<(SocketAddr, TcpListener)>,
}

impl Sockets {
    /// What systemd handed over; nothing where it did not start us, or has no `portico.socket`.
    pub fn handed_over() -> Self {
        let mut all = ListenFd::from_env();
        let mut given = Vec::new();
        for index in 0..all.len() {
            let socket = all.take_tcp_listener(index).and_then(|socket| match socket {
                Some(socket) => Ok(Some((socket.local_addr()?, socket))),
                None => Ok(None),
            });
            match socket {
                Ok(socket) => given.extend(socket),
                Err(error) => warn!(%error, "a socket of systemd is not one for TCP; it is not used"),
            }
        }
        Self { given }
    }

    /// The configuration with the addresses of these sockets in place of its own: what reaches others by the socket is not local,
    /// whatever the configuration says.
    pub fn applied(&self, config: &Config) -> Config {
        let mut config = config.clone();
        let addresses: Vec<SocketAddr> = self.given.iter().map(|(address, _)| *address).collect();
        let places = places(&addresses, &config.addresses());
        for (address, place) in addresses.iter().zip(places) {
            match place {
                Some(0) => config.http.listen = *address,
                Some(place) => match config.listener.get_mut(place - 1) {
                    Some(listener) => listener.listen = Some(*address),
                    None => config.rtsp.listen = Some(*address),
                },
                None => warn!(listen = %address, "no listener is configured for this socket of systemd; it is not used"),
            }
        }
        config
    }

    /// A listener for an address of the [`Self::applied`] configuration. Says on which port where the system chose one.
    pub fn listen(&mut self, address: SocketAddr, key: &str) -> Result<(TcpListener, SocketAddr), StartError> {
        if let Some(index) = self.given.iter().position(|(given, _)| *given == address) {
            let (address, socket) = self.given.swap_remove(index);
            return Ok((socket, address));
        }
        let failed = |source| StartError::Listen { address, key: key.into(), source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let listen = listener.local_addr().map_err(failed)?;
        Ok((listener, listen))
    }
}

/// Which of the configured addresses each socket stands for: that of its port, whatever the interface; the first socket of no
/// configured port stands for the first address, which is the main listener's.
fn places(given: &[SocketAddr], configured: &[SocketAddr]) -> Vec<Option<usize>> {
    let mut taken = vec![false; configured.len()];
    let mut places: Vec<Option<usize>> = given
        .iter()
        .map(|socket| {
            let place = configured.iter().zip(&taken).position(|(address, taken)| !taken && address.port() == socket.port())?;
            taken[place] = true;
            Some(place)
        })
        .collect();
    if taken.first() == Some(&false)
        && let Some(place) = places.iter_mut().find(|place| place.is_none())
    {
        *place = Some(0);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_stand_for_the_listeners_of_their_ports() {
        let all = |list: &[&str]| list.iter().map(|address| address.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let configured = all(&["127.0.0.1:8780", "127.0.0.1:9000"]);
        let places = |given: &[&str]| super::places(&all(given), &configured);
        assert_eq!(places(&[]), []);
        assert_eq!(places(&["[::]:8780"]), [Some(0)]);
        assert_eq!(places(&["[::]:9000", "[::]:80"]), [Some(1), Some(0)]);
        assert_eq!(places(&["[::]:80", "[::]:8780"]), [None, Some(0)]);
        assert_eq!(places(&["[::]:80", "[::]:81", "[::]:9000"]), [Some(0), None, Some(1)]);
    }

    #[test]
    fn a_socket_that_others_reach_is_not_local_whatever_the_configuration_says() {
        let socket = TcpListener::bind("0.0.0.0:0").unwrap();
        let mut sockets = Sockets { given: vec![(socket.local_addr().unwrap(), socket)] };
        let config = Config::default();
        assert!(config.is_local());
        let applied = sockets.applied(&config);
        assert!(!applied.is_local());
        let (_, listen) = sockets.listen(applied.http.listen, "http.listen").unwrap();
        assert_eq!(listen, applied.http.listen);
        assert!(sockets.given.is_empty());
    }
}
