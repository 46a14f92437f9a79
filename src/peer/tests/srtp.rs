//! Which SRTP profile a far end ends on: the preferred one where it knows both, else the one it knows.

use super::*;

const NONE_BUT: [(SrtpChoice, Suite); 2] = [(SrtpChoice::CmOnly, Suite::Cm), (SrtpChoice::GcmOnly, Suite::Gcm)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_far_end_connects_with_the_preferred_profile_or_its_only_one() {
    for prefer in Suite::ALL {
        let mut gateway = Gateway::preferring(prefer, vec![[127, 0, 0, 1].into()]);
        let layer = video_layer(&Requests::default());
        layer.write(frame(&layer, 0, true));
        for (srtp, suite) in [(SrtpChoice::CmFirst, prefer), (SrtpChoice::Any, prefer)].into_iter().chain(NONE_BUT) {
            let config = OutgoingConfig { srtp, ..OutgoingConfig::default() };
            let began = Instant::now();
            let (mut player, peer) = gateway.play(&[Arc::clone(&layer)], &config).await;
            assert_eq!(number(&next(&mut player).await), 0);
            assert_eq!(gateway.figures(peer).await.srtp_profile, Some(suite.name()), "{srtp:?}, {prefer:?} preferred");
            assert!(began.elapsed() < Duration::from_secs(5), "not only after a second ClientHello");
        }
        gateway.shards.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn portico_is_the_dtls_client_where_the_far_end_is_the_server() {
    for prefer in Suite::ALL {
        let mut gateway = Gateway::preferring(prefer, vec![[127, 0, 0, 1].into()]);
        let layer = video_layer(&Requests::default());
        layer.write(frame(&layer, 0, true));
        for (srtp, suite) in [(SrtpChoice::Any, prefer)].into_iter().chain(NONE_BUT) {
            let config = OutgoingConfig { srtp, dtls_server: true, ..OutgoingConfig::default() };
            // our offer, answered passively
            let peer = gateway.open(spec(None, &[Arc::clone(&layer)]));
            let offer = gateway.description(peer).await;
            let (mut player, answer) = OutgoingPlayer::answer(&config, &offer).await.unwrap();
            assert!(answer.text.contains("a=setup:passive"));
            gateway.shards.send(PeerCommand::Describe { peer, sdp: answer });
            assert_eq!(number(&next(&mut player).await), 0);
            assert_eq!(gateway.figures(peer).await.srtp_profile, Some(suite.name()), "{srtp:?}, {prefer:?} preferred");
            // their offer, passive from the start
            let (mut player, offer) = OutgoingPlayer::offer(&config).await.unwrap();
            let passive = Sdp::offer(offer.text.replace("a=setup:actpass", "a=setup:passive"));
            let peer = gateway.open(spec(Some(passive), &[Arc::clone(&layer)]));
            let answer = gateway.description(peer).await;
            assert!(answer.text.contains("a=setup:active"));
            player.accept(&answer).await.unwrap();
            assert_eq!(number(&next(&mut player).await), 0);
            assert_eq!(gateway.figures(peer).await.srtp_profile, Some(suite.name()), "{srtp:?}, {prefer:?} preferred");
        }
        gateway.shards.stop();
    }
}
