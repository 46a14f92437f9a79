//! Clips in `mesh` rooms: stored, and played after their end to those who were absent at their start.

use super::*;

fn mesh() -> Seat {
    Seat { clips: ClipUse::Store, direct: true, ..seat() }
}

fn world(config: ClipsConfig) -> (World, PeerId, PeerId) {
    let mut world = World::with(config, RpcConfig::default());
    [A, B].into_iter().for_each(|member| world.join(member, mesh()));
    let [a, b] = [A, B].map(|member| world.open(member, Stands::Gateway, Framing::Plain));
    (world, a, b)
}

fn record(world: &mut World, peer: PeerId, header: &str, sound: &[u8]) {
    world.send(peer, text(header));
    sound.chunks(500).for_each(|slice| world.send(peer, binary(slice)));
}

fn header(n: usize) -> String {
    format!(r#"{{"userId":"u{n}","startTime":{n}}}"#)
}

fn sound_of(heard: &[DataMessage]) -> Vec<u8> {
    heard.iter().filter(|message| matches!(message, DataMessage::Binary(_))).flat_map(|slice| slice.bytes().to_vec()).collect()
}

#[test]
fn a_clip_is_played_after_its_end_to_who_was_absent_at_its_start() {
    let (mut world, a, b) = world(ClipsConfig::default());
    let sound: Vec<u8> = (0..200_000_u32).map(|n| (n % 253) as u8).collect();
    world.send(a, text(HEADER));
    world.send(a, binary(&sound[..1000]));
    world.join(C, mesh());
    let c = world.open(C, Stands::Gateway, Framing::Plain);
    world.send(a, binary(&sound[1000..]));
    assert!(world.heard(c).is_empty(), "not before its end");
    world.pass(Duration::from_secs(5));
    world.pass(Duration::from_secs(1));
    let heard = world.heard(c);
    assert_eq!(heard[0], text(HEADER));
    assert!(heard[1..].iter().all(|slice| slice.len() <= 16 << 10));
    assert!(sound_of(&heard) == sound);
    assert!(world.heard(b).is_empty(), "B was there");
    assert_eq!(world.desk.figures().clips_replayed, 1);
    assert_eq!(world.desk.held().1, 0, "it lies on disk now");
    // who joins after its end was absent, too; and hears it once
    let d = MemberId([4; 16]);
    world.join(d, mesh());
    let d = world.open(d, Stands::Room, Framing::Plain);
    world.pass(Duration::from_secs(10));
    assert!(sound_of(&world.heard(d)) == sound);
    world.pass(Duration::from_secs(10));
    assert!(world.heard(d).is_empty() && world.heard(c).is_empty());
}

#[test]
fn several_clips_are_played_one_after_the_other() {
    let (mut world, a, b) = world(ClipsConfig::default());
    record(&mut world, a, &header(1), &[1; 1500]);
    record(&mut world, b, &header(2), &[2; 100_000]);
    record(&mut world, a, &header(3), &[3; 700]);
    world.pass(Duration::from_secs(6));
    world.join(C, mesh());
    let c = world.open(C, Stands::Gateway, Framing::Plain);
    world.pass(Duration::from_secs(2));
    let heard = world.heard(c);
    let mut clips: Vec<(String, Vec<u8>)> = Vec::new();
    for message in &heard {
        match message {
            DataMessage::Text(text) => clips.push((text.as_str().into(), Vec::new())),
            DataMessage::Binary(bytes) => clips.last_mut().unwrap().1.extend(bytes),
        }
    }
    clips.sort();
    assert!(clips == [(header(1), vec![1; 1500]), (header(2), vec![2; 100_000]), (header(3), vec![3; 700])]);
}

#[test]
fn a_leave_ends_a_clip_cleanly_and_the_rooms_end_takes_all() {
    let (mut world, a, b) = world(ClipsConfig::default());
    record(&mut world, a, HEADER, &[1; 1500]);
    world.leave(A);
    world.join(C, mesh());
    let c = world.open(C, Stands::Gateway, Framing::Plain);
    assert_eq!(world.heard(c).len(), 2);
    assert_eq!(world.disk.len(), 1);
    world.leave(C);
    world.leave(B);
    assert!(world.disk.is_empty());
    assert_eq!(world.desk.held(), (0, 0, 0));
    assert!(!world.far.contains_key(&b));
}

#[test]
fn clips_on_disk_are_bounded_in_size_and_age() {
    let config = ClipsConfig { max_disk_bytes: 10_000, max_age: Duration::from_secs(60), ..ClipsConfig::default() };
    let (mut world, a, _) = world(config);
    for n in 0..5 {
        record(&mut world, a, &header(n), &[n as u8; 4000]);
        world.pass(Duration::from_secs(6));
        assert!(world.desk.held().2 <= 10_000);
        assert_eq!(world.disk.values().map(Vec::len).sum::<usize>() as u64, world.desk.held().2);
    }
    assert_eq!(world.disk.values().map(|clip| clip[0]).collect::<Vec<_>>(), [3, 4], "the oldest went");
    world.pass(Duration::from_secs(61));
    assert!(world.disk.is_empty());
    record(&mut world, a, &header(9), &[9; 20_000]);
    world.pass(Duration::from_secs(6));
    assert!(world.disk.is_empty());
    assert_eq!(world.desk.figures().clips_lost, 1);
}

#[test]
fn a_clip_that_is_not_whole_is_not_stored() {
    let (mut world, a, _) = world(ClipsConfig { max_clip_bytes: 65_536, ..ClipsConfig::default() });
    record(&mut world, a, HEADER, &[1; 100_000]);
    world.pass(Duration::from_secs(6));
    assert!(world.disk.is_empty());
    assert_eq!(world.desk.figures().clips_lost, 1);
}

#[test]
fn a_disk_that_fails_costs_the_clip_and_no_more() {
    let (mut world, a, _) = world(ClipsConfig::default());
    world.disk_works = false;
    record(&mut world, a, &header(1), &[1; 1500]);
    world.pass(Duration::from_secs(6));
    world.disk_works = true;
    record(&mut world, a, &header(2), &[2; 1500]);
    record(&mut world, a, &header(3), &[3; 1500]);
    world.pass(Duration::from_secs(6));
    // a file is gone behind our back
    let first = *world.disk.keys().next().unwrap();
    world.disk.remove(&first);
    world.join(C, mesh());
    let c = world.open(C, Stands::Gateway, Framing::Plain);
    world.pass(Duration::from_secs(1));
    assert_eq!(sound_of(&world.heard(c)), vec![3; 1500]);
    assert_eq!(world.desk.figures().clips_lost, 2);
    assert_eq!(world.desk.held().2, 1500);
}

#[test]
fn a_lost_connection_ends_a_replay_and_the_next_clip_goes_on_elsewhere() {
    let (mut world, a, _) = world(ClipsConfig::default());
    record(&mut world, a, &header(1), &[1; 200_000]);
    record(&mut world, a, &header(2), &[2; 1000]);
    world.pass(Duration::from_secs(6));
    world.join(C, mesh());
    let c = world.open_without_channel(connection(C, Stands::Gateway, Framing::Plain));
    world.channel_up(c);
    assert!(world.heard(c).len() < 13, "it waits for the channel");
    world.close(c);
    world.pass(Duration::from_secs(1));
    let c = world.open(C, Stands::Gateway, Framing::Plain);
    world.pass(Duration::from_secs(1));
    assert_eq!(sound_of(&world.heard(c)), vec![2; 1000], "what was heard in part is not begun again");
}

#[test]
fn mesh_rooms_store_nothing_where_that_is_switched_off() {
    let (mut world, a, b) = world(ClipsConfig { store_in_mesh: false, ..ClipsConfig::default() });
    record(&mut world, a, HEADER, &[1; 1500]);
    world.pass(Duration::from_secs(6));
    assert!(world.disk.is_empty() && world.heard(b).is_empty());
    assert_eq!(world.desk.held(), (0, 0, 0));
}
