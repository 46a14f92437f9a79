//! Facts about rosters, links, gathering and who may meet.

use std::time::{Duration, Instant};

use super::*;
use crate::room::{
    BrokerIds, Command, DialectName, EndReason, Facts, Framing, Meeting, MemberView, Notice, Refusal, Topology, Welcome,
};
use crate::vocab::{Candidate, MediaKind, MemberId, NewChannel, RequestId, RoomId, Sdp};

const MEDIA_OFFER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendrecv\r\n";
const DATA_OFFER: &str = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n";

fn room() -> RoomId {
    RoomId::new("kitchen").unwrap()
}

fn view(n: u8, dialect: DialectName) -> MemberView {
    MemberView {
        member: MemberId([n; 16]),
        user_id: if dialect == DialectName::Peerjs { format!("user{n}") } else { String::new() },
        dialect,
        facts: Facts::default(),
        streams: Vec::new(),
    }
}

fn roster(own: DialectName, topology: Topology, others: Vec<MemberView>) -> Roster {
    let welcome = Welcome { req: RequestId(1), member: MemberId([0; 16]), room: room(), topology, size: 1, others };
    Roster::new(own, &welcome)
}

fn joined(view: MemberView) -> Notice {
    Notice::MemberJoined { member: view, size: 2 }
}

fn left(n: u8) -> Notice {
    Notice::MemberLeft { member: MemberId([n; 16]), user_id: String::new(), size: 1, reason: EndReason::Left }
}

// ---- roster ----

#[test]
fn in_a_mesh_clients_are_reached_directly_and_portico_is_one_more() {
    use DialectName::*;
    let all = [Algorea, Peerjs, Vamp, Tribe, Page, Whip, Source, Sigver, Star].iter().zip(1..).map(|(d, n)| view(n, *d));
    let all: Vec<_> = all.collect();
    let mesh: Vec<_> = shown(Topology::Mesh, &room(), &all).into_iter().map(|s| (s.member, s.reach, s.with())).collect();
    let direct = |n: u8| (MemberId([n; 16]), Reach::Direct, Some(MemberId([n; 16])));
    assert_eq!(mesh, [direct(1), direct(2), direct(3), direct(4), (room_member(&room()), Reach::Portico, None)]);
    let sfu = shown(Topology::Sfu, &room(), &all);
    assert_eq!(sfu.len(), 8, "all but webrtc-star, and no room");
    assert!(sfu.iter().all(|s| s.reach == Reach::Portico && s.with() == Some(s.member)));
    assert!(shown(Topology::Mesh, &room(), &all[..3]).iter().all(|s| s.reach == Reach::Direct));
    assert!(shown(Topology::Mesh, &room(), &all[8..]).is_empty());
}

#[test]
fn portico_comes_with_the_first_who_needs_it_and_goes_with_the_last() {
    let mut roster = roster(DialectName::Vamp, Topology::Mesh, vec![view(1, DialectName::Vamp)]);
    let the_room = room_member(&room());
    let came = roster.handle_notice(&joined(view(2, DialectName::Source)));
    assert!(matches!(&came[..], [Change::Came(shown)] if shown.member == the_room && shown.view.is_none()));
    assert_eq!(roster.handle_notice(&joined(view(3, DialectName::Page))), []);
    assert_eq!((roster.reach(the_room), roster.reach(MemberId([1; 16]))), (Some(Reach::Portico), Some(Reach::Direct)));
    assert_eq!(roster.reach(MemberId([2; 16])), None, "not as itself");
    assert_eq!(roster.handle_notice(&left(2)), []);
    assert_eq!(roster.handle_notice(&left(3)), [Change::Gone(the_room)]);
    assert_eq!(roster.reach(the_room), None);
    assert_eq!(roster.handle_notice(&left(1)), [Change::Gone(MemberId([1; 16]))]);
    assert_eq!(roster.handle_notice(&joined(view(4, DialectName::Star))), []);
    assert!(roster.shown().is_empty());
}

#[test]
fn who_hears_text_by_signalling_only_is_there_itself_and_by_the_room() {
    let mut roster = roster(DialectName::Vamp, Topology::Mesh, Vec::new());
    let (tribe, the_room) = (MemberId([1; 16]), room_member(&room()));
    let came = roster.handle_notice(&joined(view(1, DialectName::Tribe)));
    let came = came.iter().map(|change| match change {
        Change::Came(shown) => (shown.member, shown.reach),
        Change::Gone(_) => panic!("{change:?}"),
    });
    assert_eq!(came.collect::<Vec<_>>(), [(tribe, Reach::Direct), (the_room, Reach::Portico)]);
    assert_eq!(roster.handle_notice(&joined(view(2, DialectName::Tribe))).len(), 1, "the room is there already");
    assert_eq!(roster.handle_notice(&left(2)), [Change::Gone(MemberId([2; 16]))]);
    assert_eq!(roster.handle_notice(&left(1)), [Change::Gone(tribe), Change::Gone(the_room)]);
    assert_eq!(roster.handle_notice(&left(1)), []);
}

#[test]
fn portico_may_be_there_for_what_it_keeps() {
    let welcome = Welcome {
        req: RequestId(1),
        member: MemberId([0; 16]),
        room: room(),
        topology: Topology::Mesh,
        size: 1,
        others: Vec::new(),
    };
    let mut roster = Roster::new(DialectName::Vamp, &welcome).with_portico();
    assert_eq!(roster.shown().len(), 1);
    assert_eq!(roster.handle_notice(&joined(view(2, DialectName::Source))), []);
    assert_eq!(roster.handle_notice(&left(2)), []);
    assert_eq!(roster.shown()[0].member, room_member(&room()));
}

#[test]
fn names_read_back_and_differ_by_dialect() {
    let others = vec![view(1, DialectName::Vamp), view(2, DialectName::Peerjs), view(3, DialectName::Page)];
    for (own, form) in [
        (DialectName::Peerjs, IdForm::Hex),
        (DialectName::Vamp, IdForm::Base64Url20),
        (DialectName::Algorea, IdForm::Base64Url22),
        (DialectName::Tribe, IdForm::UpperHex),
    ] {
        let roster = roster(own, Topology::Mesh, others.clone());
        let shown = roster.shown();
        assert_eq!(shown.len(), 3, "two directly, and the room for the page");
        for one in shown {
            let name = roster.name_of(&one, form);
            let own_name = one.view.as_ref().is_some_and(|view| view.dialect == own && !view.user_id.is_empty());
            assert!(own_name || name.len() == form.chars());
            assert_eq!(roster.find(&name, form), Some(one));
        }
        assert_eq!(roster.find("", form), None);
        assert_eq!(roster.find(&form.write(MemberId([3; 16])), form), None, "who is not shown is not found");
    }
    assert_ne!(room_member(&room()), room_member(&RoomId::new("yard").unwrap()));
}

// ---- who may meet ----

#[test]
fn every_pair_of_plain_dialects_is_decided_once() {
    use DialectName::*;
    let dialects = [Algorea, Vamp, Peerjs, Tribe];
    let offers = [
        (Algorea, Framing::OwnChannels),
        (Vamp, Framing::Plain),
        (Peerjs, Framing::Plain),
        (Peerjs, Framing::Json),
        (Peerjs, Framing::BinaryPack),
        (Peerjs, Framing::None),
        (Tribe, Framing::Free),
    ];
    for offer in offers {
        for answerer in dialects {
            let rows = MEETINGS.iter().filter(|row| (row.offerer, row.framing, row.answerer) == (offer.0, offer.1, answerer));
            assert_eq!(rows.count(), 1, "{offer:?} to {answerer:?}");
        }
        assert_eq!(meet_directly(offer, offer.0), Ok(offer.1), "a dialect meets itself");
        for answerer in [Page, Source, Sigver, Star, Whip] {
            assert_eq!(meet_directly(offer, answerer), Err("not-direct"));
        }
    }
    assert_eq!(MEETINGS.len(), offers.len() * dialects.len());
    assert_eq!(meet_directly((Vamp, Framing::Plain), Peerjs), Ok(Framing::Plain));
    assert_eq!(meet_directly((Peerjs, Framing::Json), Vamp), Err("messages-differ"));
    assert_eq!(meet_directly((Algorea, Framing::OwnChannels), Vamp), Err("channels-differ"));
}

// ---- links ----

fn links(again: Again) -> Links {
    Links::new(&room(), Rules { again, outlasts: false, spares: false })
}

fn key(n: u8) -> LinkKey {
    LinkKey::one(MemberId([n; 16]))
}

/// The meeting asked for, which must be the next command.
fn meeting(links: &mut Links) -> (RequestId, Meeting) {
    match links.poll_command() {
        Some((req, Command::Meet(meeting))) => (req, *meeting),
        other => panic!("no meeting: {other:?}"),
    }
}

fn offer(links: &mut Links, key: LinkKey, sdp: &str) -> (RequestId, Meeting) {
    links.offered(key, Sdp::offer(sdp), true, Framing::Plain).unwrap();
    meeting(links)
}

#[test]
fn an_offer_becomes_a_meeting_and_its_description_an_answer() {
    let mut links = links(Again::Replace);
    let (_, meeting) = offer(&mut links, key(1), MEDIA_OFFER);
    assert_eq!((meeting.with, meeting.play), (Some(key(1).who), true));
    assert_eq!(meeting.publish.unwrap().as_str(), "main");
    let peer = meeting.peer;
    let event = links.handle_notice(&Notice::Description { peer, sdp: Sdp::answer("a") });
    assert_eq!(event, Some(LinkEvent::Answer { key: key(1), sdp: Sdp::answer("a") }));
    assert_eq!(links.handle_notice(&Notice::PeerUp { peer }), Some(LinkEvent::Up { key: key(1) }));
    let down = links.handle_notice(&Notice::PeerDown { peer, reason: EndReason::Left });
    assert_eq!(down, Some(LinkEvent::Down { key: key(1), reason: EndReason::Left }));
    assert!(!links.has(&key(1)) && links.handle_notice(&Notice::PeerUp { peer }).is_none());
}

#[test]
fn requests_are_answered_where_both_ends_have_names() {
    let mut links = links(Again::Replace);
    let ids = BrokerIds { own: "n1".into(), far: "c1".into() };
    links.offered_with_requests(key(1), Sdp::offer(DATA_OFFER), Framing::Plain, ids.clone()).unwrap();
    let meeting = meeting(&mut links).1;
    assert_eq!((meeting.broker, meeting.play), (Some(ids), true));
    assert_eq!(offer(&mut links, key(2), DATA_OFFER).1.broker, None);
}

#[test]
fn the_room_is_met_as_nobody_else() {
    let mut links = links(Again::Replace);
    let (_, meeting) = offer(&mut links, LinkKey::one(room_member(&room())), DATA_OFFER);
    assert_eq!((meeting.with, meeting.publish), (None, None));
}

#[test]
fn the_first_connection_with_media_publishes_until_it_ends() {
    let mut links = links(Again::Replace);
    assert!(offer(&mut links, key(1), DATA_OFFER).1.publish.is_none());
    let first = offer(&mut links, key(2), MEDIA_OFFER).1;
    assert!(first.publish.is_some());
    assert!(offer(&mut links, key(3), MEDIA_OFFER).1.publish.is_none());
    let _ = links.handle_notice(&Notice::PeerDown { peer: first.peer, reason: EndReason::Lost });
    assert!(offer(&mut links, key(4), MEDIA_OFFER).1.publish.is_some());
}

#[test]
fn portico_offers_once() {
    let mut links = links(Again::Replace);
    let call = || Call {
        play: true,
        expects: vec![MediaKind::Audio],
        framing: Framing::Plain,
        channels: vec![NewChannel::labelled("x")],
    };
    links.call(key(1), call()).unwrap();
    let first = meeting(&mut links).1;
    assert!(first.offer.is_none() && first.channels.len() == 1 && first.expects.len() == 1);
    links.call(key(1), call()).unwrap();
    assert!(links.poll_command().is_none(), "a connection that is there stays");
    let event = links.handle_notice(&Notice::Description { peer: first.peer, sdp: Sdp::offer("o") });
    assert_eq!(event, Some(LinkEvent::Offer { key: key(1), sdp: Sdp::offer("o") }));
    assert!(links.answered(&key(1), Sdp::answer(MEDIA_OFFER)));
    assert!(matches!(links.poll_command(), Some((_, Command::Describe { peer, .. })) if peer == first.peer));
    assert!(!links.answered(&key(2), Sdp::answer(DATA_OFFER)));
}

#[test]
fn porticos_first_offer_takes_the_clients_media_where_it_has_sections_for_it() {
    let mut links = links(Again::Replace);
    let call = |expects: &[MediaKind]| Call {
        play: true,
        expects: expects.to_vec(),
        framing: Framing::Plain,
        channels: vec![NewChannel::labelled("x")],
    };
    links.call(key(1), call(&[])).unwrap();
    assert!(meeting(&mut links).1.publish.is_none(), "it only sends");
    links.call(key(2), call(&[MediaKind::Audio])).unwrap();
    assert!(meeting(&mut links).1.publish.is_some());
    assert_eq!(links.publishes_with(), Some(key(2).who));
    links.call(key(3), call(&[MediaKind::Audio])).unwrap();
    assert!(meeting(&mut links).1.publish.is_none(), "the rest only send");
    assert!(offer(&mut links, key(4), MEDIA_OFFER).1.publish.is_none());
    assert!(links.answered(&key(2), Sdp::answer(MEDIA_OFFER)));
    assert_eq!(links.publishes_with(), Some(key(2).who));
    links.stop(&key(2));
    // an answer without media leaves the place to another
    links.call(key(5), call(&[MediaKind::Audio])).unwrap();
    assert!(links.answered(&key(5), Sdp::answer(DATA_OFFER)));
    assert_eq!(links.publishes_with(), None);
    while links.poll_command().is_some() {}
    assert!(offer(&mut links, key(6), MEDIA_OFFER).1.publish.is_some());
}

#[test]
fn a_second_offer_replaces_or_renegotiates() {
    let mut links = links(Again::Replace);
    let named = LinkKey::named(key(1).who, "dc_1").unwrap();
    let first = offer(&mut links, named.clone(), MEDIA_OFFER).1;
    links.offered(named, Sdp::offer(MEDIA_OFFER), true, Framing::Plain).unwrap();
    assert!(matches!(links.poll_command(), Some((_, Command::Stop { peer })) if peer == first.peer));
    let second = meeting(&mut links).1;
    assert!(second.peer != first.peer && second.publish.is_some());

    let mut links = self::links(Again::Renegotiate);
    let first = offer(&mut links, key(1), MEDIA_OFFER).1;
    let _ = links.handle_notice(&Notice::Description { peer: first.peer, sdp: Sdp::answer("a") });
    links.offered(key(1), Sdp::offer(MEDIA_OFFER), true, Framing::Plain).unwrap();
    let Some((req, Command::Describe { peer, .. })) = links.poll_command() else { panic!("not negotiated again") };
    assert_eq!(peer, first.peer);
    let refused = links.handle_notice(&Notice::Refused { req, why: Refusal::BadDescription });
    assert_eq!(refused, Some(LinkEvent::Refused { key: key(1), why: Refusal::BadDescription, over: false }));
    assert!(links.has(&key(1)));
}

#[test]
fn a_refused_meeting_is_over() {
    let mut links = links(Again::Replace);
    let (req, _) = offer(&mut links, key(1), MEDIA_OFFER);
    let refused = links.handle_notice(&Notice::Refused { req, why: Refusal::UnknownMember });
    assert_eq!(refused, Some(LinkEvent::Refused { key: key(1), why: Refusal::UnknownMember, over: true }));
    assert!(!links.has(&key(1)));
    assert!(links.handle_notice(&Notice::Refused { req, why: Refusal::UnknownMember }).is_none());
    assert!(offer(&mut links, key(1), MEDIA_OFFER).1.publish.is_some(), "the uplink is free again");
}

fn candidate(text: &str) -> Candidate {
    Candidate { candidate: text.into(), sdp_mid: Some("0".into()), sdp_mline_index: Some(0), username_fragment: None }
}

#[test]
fn candidates_before_their_offer_are_kept_within_bounds() {
    let mut links = links(Again::Replace);
    for n in 0..100 {
        links.candidate(&key(1), candidate(&format!("candidate:{n}")));
    }
    links.candidate(&key(1), candidate(&"c".repeat(10_000)));
    let peer = offer(&mut links, key(1), MEDIA_OFFER).1.peer;
    let mut count = 0;
    while let Some((_, Command::Candidate { peer: to, .. })) = links.poll_command() {
        assert_eq!(to, peer);
        count += 1;
    }
    assert_eq!(count, 64);
    links.candidate(&key(1), candidate("candidate:late"));
    assert!(matches!(links.poll_command(), Some((_, Command::Candidate { .. }))));
    for n in 0..1000u16 {
        links.candidate(&LinkKey::named(key(2).who, &n.to_string()).unwrap(), candidate("candidate:1"));
    }
    assert!(links.poll_command().is_none());
    assert_eq!(offer(&mut links, LinkKey::named(key(2).who, "0").unwrap(), MEDIA_OFFER).1.with, Some(key(2).who));
    assert!(links.poll_command().is_none(), "the oldest went");
    assert!(LinkKey::named(key(1).who, &"x".repeat(257)).is_none());
}

#[test]
fn links_are_bounded_and_ended_together() {
    let mut links = links(Again::Replace);
    let named = |n: usize| LinkKey::named(key(1).who, &n.to_string()).unwrap();
    for n in 0..256 {
        links.offered(named(n), Sdp::offer(DATA_OFFER), true, Framing::Plain).unwrap();
    }
    assert_eq!(links.offered(named(256), Sdp::offer(DATA_OFFER), true, Framing::Plain), Err(TooMany));
    while links.poll_command().is_some() {}
    links.stop_all(key(1).who);
    let stops = std::iter::from_fn(|| links.poll_command()).filter(|(_, command)| matches!(command, Command::Stop { .. }));
    assert_eq!(stops.count(), 256);
    assert_eq!(links.keys().count(), 0);
}

// ---- gathering ----

const TWO_SECTIONS: &str =
    "v=0\r\na=group:BUNDLE 0 1\r\na=ice-options:trickle\r\nm=audio 9 x 111\r\na=mid:0\r\nm=application 9 y z\r\na=mid:1\r\n";

fn on(mid: Option<&str>, index: Option<u16>, text: &str) -> Candidate {
    Candidate { candidate: text.into(), sdp_mid: mid.map(Into::into), sdp_mline_index: index, username_fragment: None }
}

#[test]
fn candidates_are_put_into_their_sections_and_the_end_said() {
    let mut gathering = Gathering::default();
    let now = Instant::now();
    gathering.candidate(now, &key(1), on(Some("1"), None, "candidate:early"));
    gathering.hold(now, key(1), Sdp::offer(TWO_SECTIONS), false);
    gathering.candidate(now, &key(1), on(None, Some(0), "candidate:a"));
    gathering.candidate(now, &key(1), on(None, None, "candidate:b"));
    gathering.candidate(now, &key(1), on(None, None, "candidate:c\r\na=evil"));
    gathering.candidate(now, &key(1), on(None, None, "evil"));
    assert!(gathering.poll().is_none());
    gathering.candidate(now, &key(1), on(None, None, ""));
    let (from, sdp) = gathering.poll().unwrap();
    assert_eq!(from, key(1));
    assert_eq!(
        sdp.text,
        "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 x 111\r\na=mid:0\r\na=candidate:a\r\na=candidate:b\r\na=end-of-candidates\r\n\
         m=application 9 y z\r\na=mid:1\r\na=candidate:early\r\na=end-of-candidates\r\n"
    );
    gathering.candidate(now, &key(1), on(None, None, "candidate:late"));
    assert!(gathering.poll().is_none() && gathering.next_timeout().is_none());
}

#[test]
fn a_description_goes_after_five_seconds_or_one_of_quiet() {
    let mut gathering = Gathering::default();
    let start = Instant::now();
    let after = |ms| start + Duration::from_millis(ms);
    gathering.hold(start, key(1), Sdp::offer(TWO_SECTIONS), false);
    gathering.hold(start, key(2), Sdp::offer(TWO_SECTIONS), false);
    gathering.candidate(after(100), &key(2), on(None, None, "candidate:a"));
    gathering.handle_timeout(after(1099));
    assert!(gathering.poll().is_none());
    assert_eq!(gathering.next_timeout(), Some(after(1100)));
    gathering.handle_timeout(after(1100));
    assert_eq!(gathering.poll().unwrap().0, key(2));
    gathering.handle_timeout(after(4999));
    assert!(gathering.poll().is_none());
    gathering.handle_timeout(after(5000));
    assert_eq!(gathering.poll().unwrap().0, key(1));
    assert_eq!(gathering.next_timeout(), None);
}

#[test]
fn a_trickle_of_candidates_does_not_hold_longer_than_five_seconds() {
    let mut gathering = Gathering::default();
    let start = Instant::now();
    gathering.hold(start, key(1), Sdp::offer(TWO_SECTIONS), false);
    for n in 0..10u64 {
        gathering.candidate(start + Duration::from_millis(500 * n), &key(1), on(None, None, &format!("candidate:{n}")));
    }
    assert_eq!(gathering.next_timeout(), Some(start + Duration::from_secs(5)));
}

#[test]
fn what_is_complete_goes_at_once_and_what_is_too_much_goes_early() {
    let mut gathering = Gathering::default();
    let now = Instant::now();
    gathering.hold(now, key(1), Sdp::offer(TWO_SECTIONS), true);
    assert!(gathering.poll().is_some());
    gathering.hold(now, key(1), Sdp::answer(format!("{TWO_SECTIONS}a=end-of-candidates\r\n")), false);
    assert!(gathering.poll().is_some_and(|(_, sdp)| sdp.text.matches("end-of-candidates").count() == 2));
    for n in 0..33 {
        gathering.hold(now, key(n), Sdp::offer(TWO_SECTIONS), false);
    }
    assert_eq!(gathering.poll().map(|(from, _)| from), Some(key(0)));
    assert!(gathering.poll().is_none());
    gathering.forget(key(1).who);
    gathering.handle_timeout(now + Duration::from_secs(9));
    assert_eq!(std::iter::from_fn(|| gathering.poll()).count(), 31);
}
