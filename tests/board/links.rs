//! A viewer at the end of a bad line: the kernel's `netem` on the loopback device of the test VM, and a picture in three sizes that was encoded
//! before, so that the emulated processor has nothing to encode.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portico::forward::MediaPacket;
use portico::peer::outgoing::{OutgoingConfig, OutgoingPlayer, OutgoingPublisher};
use portico::vocab::{MediaKind, Sdp, TrackFormat};

use crate::only_user;
use crate::support::{Gateway, PATIENCE};
use crate::whep::{get, request};

/// What the viewer has of the loopback device for itself.
const VIEWER: [u8; 4] = [127, 0, 0, 2];
/// From one picture to the next.
const FRAME: Duration = Duration::from_millis(66);
/// bit/s of the sizes.
const RATES: [usize; 3] = [100_000, 400_000, 1_600_000];
/// A picture whose packets are not all there so long after its first is lost.
const LATE: Duration = Duration::from_secs(2);

/// `tc` on the loopback device: what goes to the viewer and comes from it passes `netem`, the rest does not. Clear again when dropped.
struct Netem;

fn tc(args: &str) {
    let done = Command::new("tc").args(args.split(' ')).output().expect("tc runs");
    assert!(done.status.success(), "tc {args}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Netem {
    fn new() -> Self {
        let netem = Self;
        tc("qdisc add dev lo root handle 1: prio bands 4 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0");
        tc("qdisc add dev lo parent 1:3 handle 30: netem limit 1000");
        tc("qdisc add dev lo parent 1:4 handle 40: netem limit 1000");
        tc("filter add dev lo parent 1: protocol ip u32 match ip dst 127.0.0.2/32 flowid 1:3");
        tc("filter add dev lo parent 1: protocol ip u32 match ip src 127.0.0.2/32 flowid 1:4");
        netem
    }

    /// What it does there, and back.
    fn set(&self, there: &str, back: &str) {
        tc(&format!("qdisc change dev lo parent 1:3 handle 30: netem {there}"));
        tc(&format!("qdisc change dev lo parent 1:4 handle 40: netem {back}"));
    }
}

impl Drop for Netem {
    fn drop(&mut self) {
        let _ = Command::new("tc").args(["qdisc", "del", "dev", "lo", "root"]).output();
    }
}

/// The packets of a picture: NAL units of one packet each, the first of a key picture an IDR slice. Their second byte names the size.
fn picture(size: usize, number: u32, sequence: &mut u16, key: bool) -> Vec<MediaPacket> {
    let bytes = RATES[size] * FRAME.as_millis() as usize / 8000 * if key { 2 } else { 1 };
    let count = bytes.div_ceil(1100);
    let packet = |n: usize| {
        *sequence = sequence.wrapping_add(1);
        let mut payload = vec![size as u8; bytes / count];
        payload[0] = if key { 0x65 } else { 0x41 };
        MediaPacket {
            sequence: *sequence,
            timestamp: number * 90 * FRAME.as_millis() as u32,
            marker: n + 1 == count,
            payload: payload.into(),
        }
    };
    (0..count).map(packet).collect()
}

fn exchange(base: &str, path: &str, offer: &Sdp) -> Sdp {
    let answer = request("POST", base, path, "application/sdp", &offer.text);
    assert_eq!(answer.status, 201, "{path}: {}", answer.body);
    Sdp::answer(answer.body)
}

#[derive(Default)]
struct Arriving {
    sequences: BTreeSet<u16>,
    last: Option<u16>,
    size: u8,
    first: Option<Instant>,
    whole: Option<Instant>,
}

/// What the viewer has, by RTP time.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<u32, Arriving>>>);

impl Seen {
    fn take(&self, packet: &MediaPacket) {
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap();
        let arriving = seen.entry(packet.timestamp).or_default();
        arriving.first.get_or_insert(now);
        arriving.sequences.insert(packet.sequence);
        arriving.size = packet.payload.get(1).copied().unwrap_or_default();
        if packet.marker {
            arriving.last = Some(packet.sequence);
        }
        // the packets of a picture follow each other, and the last of them has the mark
        if let (None, Some(last), Some(first)) = (arriving.whole, arriving.last, arriving.sequences.first()) {
            let wanted = RATES[usize::from(arriving.size).min(2)] * FRAME.as_millis() as usize / 8000;
            let enough = arriving.sequences.len() >= wanted.div_ceil(1100);
            if enough && usize::from(last.wrapping_sub(*first)) + 1 == arriving.sequences.len() {
                arriving.whole = Some(now);
            }
        }
    }

    /// Of the pictures that began to arrive in the last so many seconds, but for the newest: how many there were, the part of them that are whole,
    /// and the size of the newest whole one.
    fn lately(&self, time: Duration) -> (usize, f64, Option<u8>) {
        let seen = self.0.lock().unwrap();
        let (now, mut all, mut whole, mut size) = (Instant::now(), 0, 0, None);
        for arriving in seen.values() {
            let Some(first) = arriving.first.filter(|first| now - *first < time && now - *first >= LATE) else { continue };
            all += 1;
            if arriving.whole.is_some_and(|at| at - first <= LATE) {
                (whole, size) = (whole + 1, Some(arriving.size));
            }
        }
        (all, f64::from(whole) / all.max(1) as f64, size)
    }
}

/// Sends all three sizes until it is dropped, with key pictures when they are asked for.
async fn publish(publisher: OutgoingPublisher) {
    let (mut sequences, mut asked) = ([0u16, 20_000, 40_000], 0);
    let mut clock = tokio::time::interval(FRAME);
    for number in 0.. {
        clock.tick().await;
        let now = publisher.figures().key_requests;
        let key = number == 0 || now != std::mem::replace(&mut asked, now);
        for (size, sequence) in sequences.iter_mut().enumerate() {
            for packet in picture(size, number, sequence, key) {
                publisher.send_encoding(MediaKind::Video, size, &packet).await.expect("sent");
            }
        }
    }
}

fn estimate(base: &str) -> Option<u64> {
    let peers = get(base, "/api/v1/peers").json();
    peers.as_array()?.iter().find_map(|peer| peer["estimate_bps"].as_u64())
}

/// Waits until it is so, and gives what was seen last.
async fn until<T: std::fmt::Debug>(what: &str, look: impl Fn() -> Result<T, String>) -> (T, Duration) {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return (found, began.elapsed()),
            Err(seen) => assert!(began.elapsed() < PATIENCE, "{what}: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[test]
#[ignore = "needs netem, which the kernel of the test VM has: make test-board"]
fn a_viewer_behind_netem_gets_what_its_line_carries() {
    let _only = only_user();
    let gateway = Gateway::start("");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let formats = vec![TrackFormat::h264_baseline()];
        let rids = ["q", "h", "f"].map(str::to_owned).into();
        let config = OutgoingConfig { rids, formats: formats.clone(), ..OutgoingConfig::default() };
        let (mut publisher, offer) = OutgoingPublisher::offer(&config, "film").await.expect("an offer");
        publisher.accept(&exchange(&gateway.base, "/whip/cinema", &offer)).await.expect("the answer is taken");
        publisher.connected(PATIENCE).await.expect("the publisher connects");
        let publishing = tokio::spawn(publish(publisher));

        let config = OutgoingConfig { bind: vec![(VIEWER, 0).into()], formats, ..OutgoingConfig::default() };
        let (mut player, offer) = OutgoingPlayer::offer(&config).await.expect("an offer");
        player.accept(&exchange(&gateway.base, "/whep/cinema", &offer)).await.expect("the answer is taken");
        player.connected(PATIENCE).await.expect("the viewer connects");
        let seen = Seen::default();
        let taking = seen.clone();
        let watching = tokio::spawn(async move {
            while let Some(played) = player.next_packet().await {
                taking.take(&played.packet);
            }
        });
        let shows = |size: u8| {
            let seen = seen.clone();
            move || match seen.lately(LATE + Duration::from_secs(1)) {
                (_, _, Some(now)) if now == size => Ok(now),
                other => Err(format!("{other:?}")),
            }
        };
        let (_, took) = until("the largest over a good line", shows(2)).await;
        println!("the largest after {took:?}");

        let netem = Netem::new();
        netem.set("limit 40 rate 1mbit delay 25ms", "delay 25ms");
        let (_, took) = until("the middle size, which fits", shows(1)).await;
        println!("the size that fits after {took:?}");
        tokio::time::sleep(Duration::from_secs(9)).await;
        let mut estimates = Vec::new();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            estimates.extend(estimate(&gateway.base));
        }
        let mean = estimates.iter().sum::<u64>() / estimates.len().max(1) as u64;
        println!("a bottleneck of 1 Mbit/s is taken for {mean}: {estimates:?}");
        // the emulated processor is late now and then
        assert!((700_000..=1_300_000).contains(&mean), "{estimates:?}");
        // a rate that is not named would stay
        netem.set("limit 1000 rate 1gbit delay 25ms", "delay 25ms");
        let (_, took) = until("the largest when the bottleneck is gone", shows(2)).await;
        println!("the largest {took:?} after it went");

        for (loss, least) in [(5, 0.9), (15, 0.6)] {
            let way = format!("limit 1000 rate 1gbit delay 100ms 30ms loss {loss}%");
            netem.set(&way, &way);
            tokio::time::sleep(Duration::from_secs(9)).await;
            let (all, whole, size) = seen.lately(Duration::from_secs(8));
            println!(
                "{loss} % lost: {all} pictures, {whole:.3} of them whole, size {size:?}, estimate {:?}",
                estimate(&gateway.base)
            );
            assert!(all >= 30, "{loss} %: the picture stands still, {all} in six seconds");
            assert!(whole >= least, "{loss} %: {whole} of {all} pictures are whole");
        }
        publishing.abort();
        watching.abort();
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
}
