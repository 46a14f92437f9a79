//! Peers with a UDP port of their own: Portico goes to another one, several times.

use std::net::SocketAddr;

use super::*;

fn candidates(sdp: &Sdp, kind: &str) -> Vec<SocketAddr> {
    let lines = sdp.text.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    let words = lines.map(|line| line.split(' ').collect::<Vec<_>>()).filter(|words| words[7] == kind);
    let mut found: Vec<SocketAddr> = words.map(|words| format!("{}:{}", words[4], words[5]).parse().unwrap()).collect();
    found.dedup();
    found
}

/// A peer of `to` that answers the offer of one of `from`, and the layer it receives.
async fn joined(from: &mut Gateway, to: &mut Gateway, layer: &Arc<Layer>) -> ([PeerId; 2], SocketAddr, Arc<Layer>) {
    let sending = from.open(PeerSpec { own_port: true, ..spec(None, &[Arc::clone(layer)]) });
    let offer = from.description(sending).await;
    let [own] = candidates(&offer, "host")[..] else { panic!("one way: {}", offer.text) };
    let receive = Some(Receive { video: vec![Codec::H264], audio: false });
    let receiving = to.open(PeerSpec { receive, ..spec(Some(offer), &[]) });
    let received = to
        .until(|event| match event {
            PeerEvent::Tracks { tracks, .. } => Some(Arc::clone(tracks[0].layers.first())),
            _ => None,
        })
        .await;
    let answer = to.description(receiving).await;
    from.shards.send(PeerCommand::Describe { peer: sending, sdp: answer });
    from.up(sending).await;
    to.up(receiving).await;
    ([sending, receiving], own, received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_connections_between_the_same_two_are_told_apart() {
    for lite in [false, true] {
        let (mut from, mut to) = (Gateway::start(), if lite { Gateway::lite() } else { Gateway::start() });
        let layers: Vec<_> = (0..3).map(|_| video_layer(&Requests::default())).collect();
        let (mut peers, mut ports, mut received) = (Vec::new(), vec![from.shards.addresses()[0]], Vec::new());
        for layer in &layers {
            let (pair, own, layer) = joined(&mut from, &mut to, layer).await;
            assert!(!ports.contains(&own), "{own} of {ports:?}");
            ports.push(own);
            peers.push(pair);
            received.push(layer);
        }
        for layer in &layers {
            attached(layer).await;
        }
        for n in 0..30 {
            // a different number of frames for each, so that a packet of another one would be noticed
            for (index, layer) in layers.iter().enumerate().take(1 + usize::from(n) % 3) {
                layer.write(frame(layer, n, usize::from(n) == index));
            }
        }
        let arrived = async {
            while received.iter().map(|layer| layer.figures().packets).ne([90, 60, 30]) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, arrived)
            .await
            .unwrap_or_else(|_| panic!("{:?}", received.iter().map(|layer| layer.figures()).collect::<Vec<_>>()));
        for [sending, receiving] in peers {
            from.shards.send(PeerCommand::Close { peer: sending });
            assert_eq!(to.down(receiving).await, EndReason::Left, "the goodbye went by its own port");
        }
        timeout(PATIENCE, async { while from.shards.demux_entries() + to.shards.demux_entries() > 0 {} })
            .await
            .expect("nothing stays");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_may_go_to_itself() {
    let mut gateway = Gateway::start();
    let layer = video_layer(&Requests::default());
    let sending = gateway.open(PeerSpec { own_port: true, ..spec(None, &[Arc::clone(&layer)]) });
    let offer = gateway.description(sending).await;
    let receive = Some(Receive { video: vec![Codec::H264], audio: false });
    let receiving = gateway.open(PeerSpec { receive, ..spec(Some(offer), &[]) });
    let answer = gateway.description(receiving).await;
    gateway.shards.send(PeerCommand::Describe { peer: sending, sdp: answer });
    let mut up = Vec::new();
    while up.len() < 2 {
        up.push(gateway.until(|event| if let PeerEvent::Up { peer } = event { Some(peer) } else { None }).await);
    }
    assert!(up.contains(&sending) && up.contains(&receiving));
    gateway.shards.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_public_address_of_its_own_port_is_asked_for_first() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let asks = Place { asks: true, ..Place::default() };
    let mut gateway = Gateway::placed(vec![[127, 0, 0, 1].into()], 2, Suite::Gcm, asks);
    let peer = gateway.open(PeerSpec { own_port: true, ..spec(None, &[video_layer(&Requests::default())]) });
    // the name of the server is looked up meanwhile
    gateway.shards.set_stun_servers(vec![server.local_addr().unwrap()]);
    let answering = async {
        let mut asking = Vec::new();
        // of the port of all, and of its own
        while asking.len() < 2 {
            let mut request = [0; 64];
            let (len, from) = server.recv_from(&mut request).await.unwrap();
            assert_eq!(request[..2], [0, 1]);
            if !asking.contains(&from) {
                asking.push(from);
            }
            // seen as 203.0.113.7 and a port 1000 lower: XOR-MAPPED-ADDRESS (RFC 8489 §14.2)
            let [high, low] = ((from.port() - 1000) ^ 0x2112).to_be_bytes();
            let mut answer = vec![1, 1, 0, 12];
            answer.extend(&request[4..20.min(len)]);
            answer.extend([0, 0x20, 0, 8, 0, 1, high, low, 203 ^ 0x21, 0x12, 113 ^ 0xa4, 7 ^ 0x42]);
            server.send_to(&answer, from).await.unwrap();
        }
    };
    timeout(PATIENCE, answering).await.expect("both ask");
    let offer = gateway.description(peer).await;
    let own = candidates(&offer, "host")[0];
    assert_eq!(candidates(&offer, "srflx"), [SocketAddr::from(([203, 0, 113, 7], own.port() - 1000))], "{}", offer.text);
    assert_ne!(own, gateway.shards.addresses()[0]);
    gateway.shards.send(PeerCommand::Close { peer });
    timeout(PATIENCE, async { while gateway.shards.demux_entries() > 0 {} }).await.expect("nothing stays");
    // a server that says nothing holds it up for a moment
    gateway.shards.set_stun_servers(vec!["127.0.0.1:9".parse().unwrap()]);
    let peer = gateway.open(PeerSpec { own_port: true, ..spec(None, &[video_layer(&Requests::default())]) });
    assert!(candidates(&gateway.description(peer).await, "srflx").is_empty());
    // one that is closed while it waits leaves nothing
    let waiting = gateway.open(PeerSpec { own_port: true, ..spec(None, &[video_layer(&Requests::default())]) });
    [peer, waiting].into_iter().for_each(|peer| gateway.shards.send(PeerCommand::Close { peer }));
    timeout(PATIENCE, async { while gateway.shards.demux_entries() > 0 {} }).await.expect("nothing stays");
}
