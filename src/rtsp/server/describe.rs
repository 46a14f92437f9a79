//! PURE. Descriptions: what the hub is told that a viewer takes, and what a viewer is told of a stream (RFC 2326 appendix C).

use std::fmt::Write as _;
use std::net::IpAddr;

use super::parameters::ParameterSets;
use super::target::TRACK;
use crate::vocab::{Codec, MediaKind, TrackFormat};

/// The payload type of the first track; each has its own.
const FIRST_TYPE: u8 = 96;

/// Video that is asked of a source, best first. What is encoded for somebody already comes before all; H.264 is what every player and
/// recorder takes, and passing H.265 on is better than encoding anew.
const VIDEO: [Codec; 5] = [Codec::H264, Codec::H265, Codec::VP8, Codec::VP9, Codec::AV1];

/// The payload type of a track.
pub fn payload_type(track: usize) -> u8 {
    FIRST_TYPE.saturating_add(u8::try_from(track).unwrap_or(31)).min(127)
}

/// A viewer by RTSP cannot say what it takes, so this is said in its name, in the form in which other viewers say it. Nothing of it is
/// connected to: the transport in it is of no use.
pub fn offer() -> String {
    let mut text = String::from(
        "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:rtsp\r\na=ice-pwd:rtsprtsprtsprtsprtsprtsp\r\n\
         a=fingerprint:sha-256 00\r\na=setup:actpass\r\n",
    );
    let mut section = |kind: MediaKind, codecs: &[Codec]| {
        let types: Vec<String> = (0..codecs.len()).map(|index| payload_type(index).to_string()).collect();
        let _ = write!(
            text,
            "m={kind} 9 UDP/TLS/RTP/SAVPF {}\r\nc=IN IP4 0.0.0.0\r\na=mid:{kind}\r\na=recvonly\r\n",
            types.join(" ")
        );
        for (index, codec) in codecs.iter().enumerate() {
            let _ = write!(text, "a=rtpmap:{} {}\r\n", payload_type(index), encoding(*codec));
        }
    };
    section(MediaKind::Video, &VIDEO);
    section(MediaKind::Audio, &[Codec::Opus]);
    text
}

/// What a viewer is told of one track.
#[derive(Debug)]
pub struct Described {
    /// How it is encoded.
    pub format: TrackFormat,
    /// What is known of it beyond that.
    pub sets: ParameterSets,
}

/// The answer to DESCRIBE. The tracks' addresses are below that of the stream, which the answer's head tells.
pub fn sdp(local: IpAddr, number: u32, name: &str, tracks: &[Described]) -> String {
    let family = if local.to_canonical().is_ipv4() { "IP4" } else { "IP6" };
    let (local, any) = (local.to_canonical(), if family == "IP4" { "0.0.0.0" } else { "::" });
    let mut text = format!(
        "v=0\r\no=- {number} 1 IN {family} {local}\r\ns={name}\r\nc=IN {family} {any}\r\nt=0 0\r\na=tool:Portico\r\na=type:broadcast\r\n\
         a=control:*\r\na=range:npt=now-\r\n"
    );
    for (index, track) in tracks.iter().enumerate() {
        let (kind, codec, pt) = (track.format.codec.kind(), track.format.codec, payload_type(index));
        let _ = write!(text, "m={kind} 0 RTP/AVP {pt}\r\na=rtpmap:{pt} {}\r\n", encoding(codec));
        let fmtp = fmtp(track);
        if !fmtp.is_empty() {
            let _ = write!(text, "a=fmtp:{pt} {}\r\n", fmtp.join(";"));
        }
        let _ = write!(text, "a=control:{TRACK}{index}\r\n");
    }
    text
}

/// `a=rtpmap` of a codec, without the number.
fn encoding(codec: Codec) -> String {
    let channels = if codec == Codec::Opus { "/2" } else { "" };
    format!("{}/{}{channels}", codec.name(), codec.clock_rate())
}

/// What a decoder must know. What only two ends that negotiate say to each other is left out.
fn fmtp(track: &Described) -> Vec<String> {
    let Described { format, sets } = track;
    let own = |keys: &[&str]| {
        let pair = |key: &&str| format.parameter(key).map(|value| format!("{key}={}", clean(value)));
        keys.iter().filter_map(pair).collect::<Vec<_>>()
    };
    let mut said = match format.codec {
        Codec::H264 => {
            let profile = sets.profile_level_id().or_else(|| format.parameter("profile-level-id").map(clean));
            let profile = profile.map(|profile| format!("profile-level-id={profile}"));
            std::iter::once("packetization-mode=1".to_owned()).chain(profile).collect()
        }
        Codec::Opus => vec!["sprop-stereo=1".to_owned()],
        Codec::VP9 => own(&["profile-id"]),
        Codec::AV1 => own(&["profile", "level-idx", "tier"]),
        Codec::VP8 | Codec::H265 => Vec::new(),
    };
    said.extend(sets.fmtp(format.codec));
    said
}

/// A publisher wrote it.
fn clean(value: &str) -> String {
    value.chars().filter(|c| c.is_ascii_alphanumeric()).take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::negotiate;

    #[test]
    fn what_is_said_in_a_viewers_name_is_understood() {
        let summary = negotiate::summarise(&offer()).unwrap();
        let codecs = |kind| -> Vec<Codec> {
            let sections = summary.sections.iter().filter(|section| section.kind == kind && section.receives && !section.sends);
            sections.flat_map(|section| section.formats.iter().map(|format| format.codec)).collect()
        };
        assert_eq!(codecs(MediaKind::Video), VIDEO);
        assert_eq!(codecs(MediaKind::Audio), [Codec::Opus]);
    }

    #[test]
    fn a_description_tells_each_track_with_its_address() {
        let track = |format| Described { format, sets: ParameterSets::default() };
        let odd = TrackFormat { codec: Codec::H264, fmtp: "profile-level-id=4d\r\n001f;x=y".into() };
        let text =
            sdp("::ffff:192.0.2.1".parse().unwrap(), 7, "main/door", &[track(odd), track(TrackFormat::plain(Codec::Opus))]);
        assert_eq!(
            text,
            "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=main/door\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=tool:Portico\r\na=type:broadcast\r\n\
             a=control:*\r\na=range:npt=now-\r\n\
             m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=4d001f\r\n\
             a=control:trackID=0\r\n\
             m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\na=fmtp:97 sprop-stereo=1\r\na=control:trackID=1\r\n"
        );
    }
}
