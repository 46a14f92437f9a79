//! A far end's UDP socket: as a browser's, without receive offload, and with the kernel's arrival times.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::SockRef;

use super::wall_clock;

/// Room for what a far end is sent while its thread serves the others: a second of 16 Mbit/s, where the kernel allows it.
const KERNEL_BUFFER: usize = 2 << 20;
/// Datagrams read with one call.
const READS: usize = 32;
/// Largest datagram.
const DATAGRAM: usize = 2048;

pub(super) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    pub(super) address: SocketAddr,
    loss: Option<Loss>,
}

/// A bad line.
struct Loss {
    /// Of 2^32.
    part: u32,
    state: Cell<u64>,
}

impl Loss {
    /// Whether the next datagram is lost: xorshift, which is random enough for a bad line and costs nothing.
    fn strikes(&self) -> bool {
        let mut state = self.state.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.state.set(state);
        ((state >> 32) as u32) < self.part
    }
}

impl Socket {
    /// On a free port of loopback.
    pub(super) fn bind() -> io::Result<Self> {
        Self::bind_at(Ipv4Addr::LOCALHOST.into())
    }

    /// On a free port of an address of this machine.
    pub(super) fn bind_at(address: IpAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((address, 0))?;
        // less is what the kernel allows; losses are counted
        let _ = SockRef::from(&socket).set_recv_buffer_size(KERNEL_BUFFER);
        let state = UdpSocketState::new((&socket).into())?;
        // a receiver that takes whole trains spares the sender the cutting, which no browser or network does
        setsockopt(&socket, sockopt::UdpGroSegment, &false)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, state, address, loss: None })
    }

    /// Loses this part (0 to 1) of all datagrams from here on, in both directions.
    pub(super) fn lose(&mut self, part: f64) {
        let part = (part.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
        self.loss = Some(Loss { part, state: Cell::new(rand::random::<u64>() | 1) });
    }

    fn is_lost(&self) -> bool {
        self.loss.as_ref().is_some_and(Loss::strikes)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends one datagram, or a train of them. What the kernel has no room for is lost.
    pub(super) fn send(&self, to: SocketAddr, contents: &[u8], segment_size: Option<usize>) {
        if self.is_lost() {
            return;
        }
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
        let _ = self.state.try_send((&self.socket).into(), &transmit);
    }

    /// Datagrams in a train at most.
    pub(super) fn train(&self) -> usize {
        self.state.max_gso_segments().max(1)
    }
}

/// Buffers to read into.
pub(super) struct Inbox {
    buffers: Vec<Vec<u8>>,
    metas: Vec<RecvMeta>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { buffers: vec![vec![0; DATAGRAM]; READS], metas: vec![RecvMeta::default(); READS] }
    }

    /// Reads all there is; `each` gets `(from, arrival by the wall clock, datagram)`.
    pub(super) fn read_all(&mut self, socket: &Socket, mut each: impl FnMut(SocketAddr, Duration, &[u8])) {
        loop {
            let mut slices: Vec<IoSliceMut<'_>> = self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            // an error is an empty socket, or an ICMP message of an earlier send, which the next wait tells again
            let Ok(count) = socket.state.recv((&socket.socket).into(), &mut slices, &mut self.metas) else { return };
            for (meta, buffer) in self.metas.iter().zip(&self.buffers).take(count) {
                if socket.is_lost() {
                    continue;
                }
                each(meta.addr, meta.timestamp.unwrap_or_else(wall_clock), &buffer[..meta.len]);
            }
            if count < READS {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_loses_the_part_it_was_told_to() {
        let loss = Loss { part: u32::MAX / 50, state: Cell::new(7) };
        let lost = (0..100_000).filter(|_| loss.strikes()).count();
        assert!((1_800..2_200).contains(&lost), "{lost} of 2000");
    }
}
