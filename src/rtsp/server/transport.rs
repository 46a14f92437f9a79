//! PURE. How a client wants RTP: the header `Transport` (RFC 2326 section 12.39).

/// How one track travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Within the connection, on these channels; without, two are chosen.
    Interleaved(Option<(u8, u8)>),
    /// By UDP, to these ports of the machine that asks.
    Udp {
        /// Where RTP goes.
        rtp: u16,
        /// Where reports go, and come from.
        rtcp: u16,
    },
}

impl Transport {
    /// The first proposal that can be served.
    pub fn choose(header: &str) -> Option<Self> {
        header.split(',').find_map(Self::read)
    }

    fn read(proposal: &str) -> Option<Self> {
        let mut words = proposal.split(';').map(str::trim);
        let lower = match words.next()?.to_ascii_uppercase().as_str() {
            "RTP/AVP" | "RTP/AVP/UDP" => Lower::Udp,
            "RTP/AVP/TCP" => Lower::Tcp,
            _ => return None,
        };
        let (mut ports, mut channels) = (None, None);
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key.trim().to_ascii_lowercase().as_str() {
                "multicast" => return None,
                "mode" if !value.trim_matches('"').eq_ignore_ascii_case("play") => return None,
                "client_port" => ports = Some(pair::<u16>(value)?),
                "interleaved" => channels = Some(pair::<u8>(value)?),
                _ => {}
            }
        }
        match lower {
            Lower::Tcp => Some(Self::Interleaved(match channels {
                None => None,
                Some((rtp, rtcp)) => Some((rtp, rtcp.or(rtp.checked_add(1))?)),
            })),
            Lower::Udp => {
                let (rtp, rtcp) = ports?;
                let rtcp = rtcp.or(rtp.checked_add(1))?;
                (rtp != 0 && rtcp != 0).then_some(Self::Udp { rtp, rtcp })
            }
        }
    }
}

enum Lower {
    Udp,
    Tcp,
}

/// `A-B` or `A`.
fn pair<N: std::str::FromStr>(text: &str) -> Option<(N, Option<N>)> {
    match text.trim().split_once('-') {
        Some((first, second)) => Some((first.trim().parse().ok()?, Some(second.trim().parse().ok()?))),
        None => Some((text.trim().parse().ok()?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_proposal_that_can_be_served_is_taken() {
        let udp = Some(Transport::Udp { rtp: 4588, rtcp: 4589 });
        for (header, chosen) in [
            ("RTP/AVP;unicast;client_port=4588-4589", udp),
            ("RTP/AVP/UDP;unicast;client_port=4588", udp),
            ("RTP/AVP;multicast,RTP/AVP;unicast;client_port=4588-4589;mode=\"PLAY\"", udp),
            ("RTP/AVP/TCP;unicast;interleaved=2-3", Some(Transport::Interleaved(Some((2, 3))))),
            ("RTP/AVP/TCP;interleaved=4", Some(Transport::Interleaved(Some((4, 5))))),
            ("RTP/AVP/TCP;unicast", Some(Transport::Interleaved(None))),
            ("RTP/SAVP;unicast;client_port=1-2,RTP/AVP/TCP;interleaved=0-1", Some(Transport::Interleaved(Some((0, 1))))),
            ("RTP/AVP;unicast;client_port=4588-4589;mode=record", None),
            ("RTP/AVP;unicast", None),
            ("RTP/AVP;unicast;client_port=0-1", None),
            ("RTP/AVP;unicast;client_port=70000-70001", None),
            ("RTP/AVP/TCP;interleaved=255", None),
            ("", None),
        ] {
            assert_eq!(Transport::choose(header), chosen, "{header}");
        }
    }
}
