//! Addresses and names of this machine.

use std::net::IpAddr;

/// Whether only this machine can reach such an address: 127.0.0.0/8, ::1, and the former written as IPv6.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
