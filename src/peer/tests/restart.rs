//! ICE restarts by the far end.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ice_restart_by_the_far_end_keeps_media() {
    // with the engine first built, and with the one that takes its place
    for srtp in [SrtpChoice::Any, SrtpChoice::CmOnly] {
        restarts(OutgoingConfig { srtp, ..OutgoingConfig::default() }).await;
    }
}

fn credentials(sdp: &Sdp) -> [String; 2] {
    ["a=ice-ufrag:", "a=ice-pwd:"].map(|name| {
        let values: std::collections::BTreeSet<&str> = sdp.text.lines().filter_map(|line| line.strip_prefix(name)).collect();
        assert_eq!(values.len(), 1, "one {name} for all sections: {}", sdp.text);
        values.first().unwrap().to_string()
    })
}

async fn restarts(config: OutgoingConfig) {
    let mut gateway = Gateway::start();
    let layer = video_layer(&Requests::default());
    layer.write(frame(&layer, 0, true));
    let (mut player, offer) = OutgoingPlayer::offer(&config).await.unwrap();
    let peer = gateway.open(spec(Some(offer), &[Arc::clone(&layer)]));
    let answer = gateway.description(peer).await;
    player.accept(&answer).await.unwrap();
    assert_eq!(number(&next(&mut player).await), 0);
    let profile = gateway.figures(peer).await.srtp_profile;
    let entries = gateway.shards.demux_entries();
    let mut told = vec![credentials(&answer)];
    let mut newest = None;
    for round in 1..=3u16 {
        let offer = player.restart_ice().await.unwrap();
        newest = Some(offer.clone());
        gateway.shards.send(PeerCommand::Describe { peer, sdp: offer });
        let answer = gateway.description(peer).await;
        let fresh = credentials(&answer);
        for old in &told {
            assert!(old[0] != fresh[0] && old[1] != fresh[1], "RFC 8839 §4.4.1.1.1");
        }
        told.push(fresh);
        player.accept(&answer).await.unwrap();
        // media goes on, over whichever pair is in use
        let mut n = round * 100;
        let wanted = (n + 1) * 3;
        timeout(PATIENCE, async {
            loop {
                layer.write(frame(&layer, n, true));
                n += 1;
                let wait = timeout(Duration::from_millis(50), player.next_packet());
                if let Ok(Some(packet)) = wait.await
                    && number(&packet) >= wanted
                {
                    break;
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("media after restart {round}"));
        assert_eq!(gateway.figures(peer).await.srtp_profile, profile, "DTLS is not done again");
    }
    assert_eq!(gateway.shards.demux_entries(), entries, "old fragments are forgotten");
    gateway.shards.send(PeerCommand::Describe { peer, sdp: newest.unwrap() });
    let answer = gateway.description(peer).await;
    assert_eq!(Some(&credentials(&answer)), told.last(), "an offer with the same credentials restarts nothing");
    gateway.shards.send(PeerCommand::Close { peer });
    assert_eq!(gateway.shards.demux_entries(), 0);
    gateway.shards.stop();
}
