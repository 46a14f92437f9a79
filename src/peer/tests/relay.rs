//! Connections that nothing but a relay of the gateway's own leads to: the far end is known by an address that only the relay can reach, and
//! knows only the relay's.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use tokio::net::UdpSocket;

use super::*;
use crate::peer::relay::tests::Server;
use crate::peer::relay::{Mint, RelayAccess};

/// What the far end looks like from the relay.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// What the relay looks like from there.
const RELAY: &str = "198.51.100.7";
const INSIDE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A TURN server with sockets. To far ends it is also the router.
struct Turn {
    address: SocketAddr,
    /// To be started anew.
    forgets: Arc<Mutex<bool>>,
    running: tokio::task::JoinHandle<()>,
}

impl Turn {
    async fn start() -> Self {
        let socket = UdpSocket::bind((INSIDE, 0)).await.unwrap();
        let (address, forgets) = (socket.local_addr().unwrap(), Arc::<Mutex<bool>>::default());
        let running = tokio::spawn(Self::run(socket, Arc::clone(&forgets)));
        Self { address, forgets, running }
    }

    async fn run(socket: UdpSocket, forgets: Arc<Mutex<bool>>) {
        let (mut server, mut client) = (Server::new(), None);
        let mut relay = UdpSocket::bind((INSIDE, 0)).await.unwrap();
        let (mut asked, mut relayed) = ([0; 2000], [0; 2000]);
        loop {
            server.relayed = SocketAddr::new(RELAY.parse().unwrap(), relay.local_addr().unwrap().port());
            tokio::select! {
                got = socket.recv_from(&mut asked) => {
                    let Ok((len, from)) = got else { continue };
                    if std::mem::take(&mut *forgets.lock().unwrap()) {
                        server.end();
                        relay = UdpSocket::bind((INSIDE, 0)).await.unwrap();
                        server.relayed = SocketAddr::new(RELAY.parse().unwrap(), relay.local_addr().unwrap().port());
                    }
                    if asked[0] & 0xc0 == 0x40 {
                        if let Some((to, content)) = server.carried_by_channel(&asked[..len]) {
                            let _ = relay.send_to(content, (INSIDE, to.port())).await;
                        }
                    } else if asked[..2] == [0, 0x16] {
                        if let Some((to, content)) = server.carried_by_indication(&mut asked[..len]) {
                            let _ = relay.send_to(content, (INSIDE, to.port())).await;
                        }
                    } else {
                        client = Some(from);
                        let _ = socket.send_to(&server.answer(&asked[..len]), from).await;
                    }
                }
                got = relay.recv_from(&mut relayed) => {
                    let (Ok((len, from)), Some(client)) = (got, client) else { continue };
                    if let Some(datagram) = server.carry(SocketAddr::new(OUTSIDE.into(), from.port()), &relayed[..len]) {
                        let _ = socket.send_to(&datagram, client).await;
                    }
                }
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn gateway(for_all: bool) -> Gateway {
    let mint = Mint::new(|_| ("1700000000:portico".into(), "good".into()));
    let place = Place { relay: Some(RelayAccess { mint, for_all }), ..Place::default() };
    Gateway::placed(vec![INSIDE.into()], 2, Suite::Gcm, place)
}

async fn holds(gateway: &Gateway, relays: u64) {
    let wait = async {
        while gateway.shards.relays().held != relays {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{:?}", gateway.shards.relays()));
    // the other threads are told in the same turn
    gateway.shards.ping().await;
}

/// A description with its relayed candidates alone, as the far end reaches them.
fn relayed_alone(sdp: Sdp) -> Sdp {
    let keeps = |line: &&str| !line.starts_with("a=candidate:") || line.contains(" typ relay raddr 0.0.0.0 rport 0");
    let text: String = sdp.text.lines().filter(keeps).map(|line| line.replace(RELAY, "127.0.0.1") + "\r\n").collect();
    assert!(text.contains("a=candidate:"), "{}", sdp.text);
    Sdp { text, ..sdp }
}

/// One whose UDP candidates are as they look from outside, and no others.
fn outside(sdp: Sdp) -> Sdp {
    let keeps = |line: &&str| !line.starts_with("a=candidate:") || (line.contains(" udp ") && line.contains(" 127.0.0.1 "));
    let text: String = sdp.text.lines().filter(keeps).map(|line| line.replace(" 127.0.0.1 ", " 203.0.113.9 ") + "\r\n").collect();
    Sdp { text, ..sdp }
}

/// A player at a relayed connection of the gateway's, and its peer here.
async fn played(gateway: &mut Gateway, own_port: bool, layer: &Arc<Layer>) -> (OutgoingPlayer, PeerId) {
    let peer = gateway.open(PeerSpec { own_port, ..spec(None, &[Arc::clone(layer)]) });
    let offer = relayed_alone(gateway.description(peer).await);
    let (player, answer) = OutgoingPlayer::answer(&OutgoingConfig::default(), &offer).await.unwrap();
    gateway.shards.send(PeerCommand::Describe { peer, sdp: outside(answer) });
    gateway.up(peer).await;
    attached(layer).await;
    (player, peer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_of_any_thread_goes_by_the_relay_of_all_and_a_server_by_one_of_its_own() {
    for own_port in [false, true] {
        let turn = Turn::start().await;
        let mut gateway = gateway(!own_port);
        gateway.shards.set_turn_servers(vec![turn.address]);
        if !own_port {
            holds(&gateway, 1).await;
        }
        let layer = video_layer(&Requests::default());
        // nobody publishes, so that it is on the thread that does not read the sockets
        let (mut player, peer) = played(&mut gateway, own_port, &layer).await;
        for n in 0..20 {
            layer.write(frame(&layer, n, n == 0));
        }
        for n in 0..60 {
            assert_eq!(number(&next(&mut player).await), n);
        }
        let figures = gateway.figures(peer).await;
        assert!(figures.relayed && figures.remote.is_some_and(|remote| remote.ip() == IpAddr::from(OUTSIDE)), "{figures:?}");
        gateway.shards.send(PeerCommand::Close { peer });
        holds(&gateway, u64::from(!own_port)).await;
        gateway.shards.stop();
        holds(&gateway, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_on_by_the_address_that_a_server_gives_after_it_was_started_anew() {
    let turn = Turn::start().await;
    let mut gateway = gateway(true);
    gateway.shards.set_turn_servers(vec![turn.address]);
    holds(&gateway, 1).await;
    let layer = video_layer(&Requests::default());
    let (mut player, peer) = played(&mut gateway, false, &layer).await;
    layer.write(frame(&layer, 0, true));
    assert_eq!(number(&next(&mut player).await), 0);
    *turn.forgets.lock().unwrap() = true;
    // asked at once, and not when it is time
    gateway.shards.set_addresses(&[INSIDE.into()]);
    let mut n = 1;
    let again = async {
        loop {
            layer.write(frame(&layer, n, true));
            n += 1;
            if let Ok(packet) = timeout(Duration::from_millis(50), player.next_packet()).await {
                // the first are those that had left
                if number(&packet.unwrap()) > 3 * 5 {
                    break;
                }
            }
        }
    };
    timeout(PATIENCE, again).await.expect("it goes on");
    assert!(gateway.figures(peer).await.relayed);
    gateway.shards.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_holds_a_bridge_up_for_a_moment_and_nobody_else() {
    let silent = UdpSocket::bind((INSIDE, 0)).await.unwrap();
    let mut gateway = gateway(true);
    gateway.shards.set_turn_servers(vec![silent.local_addr().unwrap()]);
    for own_port in [false, true] {
        let peer = gateway.open(PeerSpec { own_port, ..spec(None, &[video_layer(&Requests::default())]) });
        let offer = gateway.description(peer).await;
        assert!(offer.text.contains(" typ host") && !offer.text.contains(" typ relay"), "{}", offer.text);
        gateway.shards.send(PeerCommand::Close { peer });
    }
    timeout(PATIENCE, async { while gateway.shards.demux_entries() > 0 {} }).await.expect("nothing stays");
}
