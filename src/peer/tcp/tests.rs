use super::*;
use proptest::prelude::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn check(ufrag: &str) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    bytes.extend([7; 12]);
    bytes.extend([0, 6]);
    let name = format!("{ufrag}:theirs");
    bytes.extend((name.len() as u16).to_be_bytes());
    bytes.extend(name.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn framed(datagram: &[u8]) -> Vec<u8> {
    [&(datagram.len() as u16).to_be_bytes(), datagram].concat()
}

fn streams() -> (Streams, SocketAddr) {
    let (listeners, port) = bind(&["127.0.0.1:0".parse().unwrap()], false).unwrap();
    (Streams::new(listeners, 4000), SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Lets in who knocks, until `done`. Whose user fragment is "ours" is peer 1.
fn welcome(streams: &mut Streams, now: impl Fn() -> Instant, done: impl Fn(&Streams) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done(streams) {
        assert!(Instant::now() < end, "{streams:?}");
        streams.welcome(now(), |ufrag, _| (ufrag == "ours").then_some(PeerId(1)));
        std::thread::yield_now();
    }
}

proptest! {
    #[test]
    fn datagrams_survive_any_cutting(
        datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
        cut in 1usize..50,
    ) {
        let wire: Vec<u8> = datagrams.iter().flat_map(|datagram| framed(datagram)).collect();
        let (mut deframer, mut got) = (Deframer::default(), Vec::new());
        for piece in wire.chunks(cut) {
            deframer.add(piece);
            while let Some(datagram) = deframer.peek().unwrap() {
                let length = datagram.len();
                got.push(datagram.to_vec());
                deframer.skip(length);
            }
        }
        prop_assert_eq!(got, datagrams);
        prop_assert_eq!(deframer.at, deframer.bytes.len());
    }

    #[test]
    fn no_bytes_grow_without_bound(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let mut deframer = Deframer::default();
        for piece in bytes.chunks(100) {
            deframer.add(piece);
            loop {
                let length = match deframer.peek() {
                    Ok(Some(datagram)) => datagram.len(),
                    Ok(None) => break,
                    Err(TooLarge) => return Ok(()),
                };
                deframer.skip(length);
            }
            prop_assert!(deframer.bytes.len() <= LARGEST + 2 + 100);
        }
    }
}

#[test]
fn a_stream_belongs_to_whom_its_first_check_names() {
    let (mut streams, address) = streams();
    let mut far = TcpStream::connect(address).unwrap();
    far.write_all(&[framed(&check("ours")), framed(b"more")].concat()).unwrap();
    welcome(&mut streams, Instant::now, |streams| streams.len() == 1);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        streams.read(|peer, local, from, datagram| {
            assert_eq!((peer, local), (PeerId(1), "127.0.0.1:4000".parse().unwrap()));
            assert_eq!(from, far.local_addr().unwrap());
            heard.push(datagram.to_vec());
        });
    }
    assert_eq!(heard, [check("ours"), b"more".to_vec()]);
    assert!(streams.to(PeerId(2), far.local_addr().unwrap()).is_none(), "another's datagrams go by UDP");
    assert!(streams.to(PeerId(1), far.local_addr().unwrap()).unwrap().push(&[9; 1200]));
    streams.flush();
    let mut answer = [0; 1202];
    far.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..3], [0x04, 0xb0, 9]);
    streams.forget(PeerId(1));
    assert!(streams.is_empty());
    assert_eq!(far.read(&mut answer).unwrap(), 0, "closed");
}

#[test]
fn who_is_no_peer_is_let_go() {
    let (mut streams, address) = streams();
    // garbage, a check for nobody, a length of nothing real, a request of another protocol
    for words in [framed(&[0x80; 40]), framed(&check("nobody")), vec![0xff, 0xff, 0], b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let mut far = TcpStream::connect(address).unwrap();
        far.write_all(&words).unwrap();
        far.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "{words:?}");
            streams.welcome(Instant::now(), |ufrag, _| (ufrag == "ours").then_some(PeerId(1)));
            match far.read(&mut [0; 10]) {
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                _ => {}
            }
        }
    }
    assert!(streams.is_empty() && streams.strangers.is_empty());
}

#[test]
fn strangers_are_few_and_do_not_stay() {
    let (mut streams, address) = streams();
    let silent: Vec<TcpStream> = (0..STRANGERS + 10).map(|_| TcpStream::connect(address).unwrap()).collect();
    let now = Instant::now();
    // connections arrive in order, so the last one there is the last one made
    let last = silent.last().unwrap().local_addr().unwrap();
    welcome(&mut streams, || now, |streams| streams.strangers.last().is_some_and(|stranger| stranger.from == last));
    assert_eq!(streams.strangers.len(), STRANGERS);
    assert_eq!(streams.next_timeout(), Some(now + STRANGER_LIMIT));
    streams.welcome(now + 2 * STRANGER_LIMIT, |_, _| None);
    assert!(streams.strangers.is_empty());
}

#[test]
fn one_peer_has_a_few_and_a_slow_one_loses_the_newest() {
    let (mut streams, address) = streams();
    let far: Vec<TcpStream> = (0..PER_PEER + 3)
        .map(|_| {
            let mut far = TcpStream::connect(address).unwrap();
            far.write_all(&framed(&check("ours"))).unwrap();
            far
        })
        .collect();
    let last = far.last().unwrap().local_addr().unwrap();
    welcome(&mut streams, Instant::now, |streams| streams.known.contains_key(&last));
    assert_eq!(streams.len(), PER_PEER);
    let stream = streams.to(PeerId(1), last).unwrap();
    let taken = (0..10_000).take_while(|_| stream.push(&[1; 1000])).count();
    assert_eq!(taken, WAITING / 1002);
    streams.flush();
    // one that is over takes anything, and keeps nothing
    drop(far);
    let end = Instant::now() + PATIENCE;
    while streams.to(PeerId(1), last).unwrap().socket.is_some() {
        assert!(Instant::now() < end);
        streams.read(|_, _, _, _| ());
        streams.flush();
    }
    assert!(streams.to(PeerId(1), last).unwrap().push(&[1; 1000]));
    assert_eq!(streams.fds().count(), 1 + streams.known.values().filter(|(_, stream)| stream.socket.is_some()).count());
}

#[test]
fn a_listener_that_cannot_accept_rests_and_comes_back() {
    for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::Interrupted] {
        assert!(concerns_one(&kind.into()));
    }
    // EMFILE and ENFILE: the listener stays readable, and asking again at once would be a busy loop
    for code in [24, 23] {
        assert!(!concerns_one(&io::Error::from_raw_os_error(code)));
    }
    let (mut streams, address) = streams();
    let now = Instant::now();
    streams.resting = Some(now + REST);
    let _waiting = TcpStream::connect(address).unwrap();
    streams.welcome(now, |_, _| None);
    assert_eq!((streams.fds().count(), streams.strangers.len()), (0, 0));
    assert_eq!(streams.next_timeout(), Some(now + REST));
    welcome(&mut streams, || now + REST, |streams| streams.strangers.len() == 1);
    assert_eq!(streams.fds().count(), 2);
}
