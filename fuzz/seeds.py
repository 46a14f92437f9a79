#!/usr/bin/env python3
"""Writes the seeds of fuzz/corpus: real conversations and descriptions as the targets read them. Run after a change of either."""
import json
import pathlib
import struct

root = pathlib.Path(__file__).parent.parent
corpus = root / "fuzz" / "corpus"


def seed(target, name, data):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def step(session, kind, content=b"", length=None):
    """As `fuzz::world::Step`: 0 text, 1 bytes, 2 wait (length x 10 ms), 3 reconnect."""
    return bytes([session & 3 | kind << 2]) + struct.pack("<H", len(content) if length is None else length) + content


def talk(*lines):
    """Steps of (session, frame or seconds or bytes)."""
    out = b""
    for session, what in lines:
        if isinstance(what, bytes):
            out += step(session, 1, what)
        elif isinstance(what, (int, float)):
            out += step(session, 2, length=int(what * 100))
        elif what is None:
            out += step(session, 3)
        else:
            text = what if isinstance(what, str) else json.dumps(what, separators=(",", ":"))
            out += step(session, 0, text.encode())
    return out


def session_of(letter):
    return "ABCD".index(letter)


OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n"
    "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 " + ":".join(["00"] * 32) + "\r\n"
    "a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\n"
    "a=ssrc:1 cname:x\r\n"
)
CANDIDATE = {"candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host", "sdpMid": "0", "sdpMLineIndex": 0}


def transcript(dialect):
    """The clients' side of every recorded conversation of a dialect."""
    for path in sorted((root / "tests" / "transcripts" / dialect).glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        said = [(session_of(it["from"]), it["frame"]) for it in lines if it.get("from") in ("A", "B", "C", "D") and "frame" in it]
        text = lambda frame: json.dumps(frame, separators=(",", ":")) if not isinstance(frame, str) else frame
        swap = lambda text: text.replace("@offer", json.dumps(OFFER)[1:-1]).replace("@answer", json.dumps(OFFER)[1:-1])
        named = [(who, swap(text(frame)).replace("@A", "@0").replace("@B", "@1").replace("@C", "@2")) for who, frame in said]
        yield path.stem, talk(*named)


for dialect in ("tribe", "algorea", "peerjs"):
    for name, data in transcript(dialect):
        seed(dialect, name, data)

for path in sorted((root / "tests" / "transcripts" / "sigver").glob("*.jsonl")):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    said = [(session_of(it["from"]), bytes.fromhex(it["hex"])) for it in lines if "from" in it]
    waits = [(3, it["wait"]) for it in lines if "wait" in it]
    seed("sigver", path.stem, talk(*said, *waits))

seed("page", "meet", talk(
    (0, {"type": "join", "room": "r", "name": "Ann"}), (1, {"type": "join", "room": "r", "name": "Ben"}),
    (0, {"type": "publish", "stream": "main", "sdp": OFFER}), (1, {"type": "play", "member": "@0", "sdp": OFFER}),
    (0, {"type": "candidate", "peer": 1, "candidate": CANDIDATE}), (0, "not json"), (0, b"\x00"), (1, 40), (1, None),
))
seed("sdp", "video", OFFER.encode())
for path in sorted((root / "tests" / "transcripts" / "whip").glob("*.http")):
    body = path.read_text().split("\n\n", 1)[-1].split("<<<")[0].strip().replace("\n", "\r\n") + "\r\n"
    seed("sdp", path.stem, body.encode())
FRAGMENT = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
seed("whip", "restart", (FRAGMENT + "\0" + OFFER).encode())
USERNAME = b"abcd:efgh"
ATTRIBUTE = struct.pack(">HH", 6, len(USERNAME)) + USERNAME + b"\0" * (-len(USERNAME) % 4)
seed("datagram", "stun", struct.pack(">HHI", 1, len(ATTRIBUTE), 0x2112A442) + b"0" * 12 + ATTRIBUTE)
seed("datagram", "rtp", bytes([0x80, 96]) + struct.pack(">HII", 1, 2, 3) + b"payload")


def events(transcript):
    """The events of a transcript's clients as a talk: who connects first is session 0."""
    names, lines = [], []
    for line in (root / "tests" / "transcripts" / transcript).read_text().splitlines():
        record = json.loads(line)
        if record.get("after_ms"):
            lines.append((0, record["after_ms"] / 1000))
        who = record.get("from")
        if who:
            names.append(who) if who not in names else None
            text = record["event"]
            for index, name in enumerate(names):
                text = text.replace(f'"{name}"', f'"s{index}"')
            lines.append((names.index(who), text))
    return talk(*lines)


seed("socketio", "vamp", events("vamp/conversation.jsonl"))
seed("socketio", "star", events("star/conversation.jsonl"))
seed("engineio", "v3", b"\x00" + '23:40/admin,{"token":"x"}1:24:4\U0001f6006:b4AQID29:42["join vamp","\U0001f600",[1,{}]]'.encode())
seed("engineio", "v4", b"\x01" + '40{"token":"x"}\x1e2probe\x1ebAQID\x1e42["ss-join","/a"]\x1e41'.encode())
seed("engineio", "v3_bytes", b"\x02" + b"\x00\x01\x00\xff4hello1234" + b"\x01\x04\xff\x04\x01\x02\x03" + b"\x00\x01\xff2")

# what comes over data channels: texts are JSON, bytes BinaryPack; its maps are {…, __peerData, n, data, total}
text = lambda words: bytes([0xb0 | len(words)]) + words
part = lambda index, data: (bytes([0x84]) + text(b"__peerData") + b"\x07" + text(b"n") + bytes([index]) + text(b"total") + b"\x02"
    + text(b"data") + bytes([0xa0 | len(data)]) + data)
seed("value", "chat", talk((0, '{"a":[1,-2,3.5,null,true,"\u00e9"],"b":{"c":{}}}'), (0, text(b"hello")), (0, part(0, b"\xb5he")),
    (0, part(1, b"llo")), (0, b"\x82" + text(b"url") + text(b"/x") + text(b"n") + b"\xcb" + b"\0" * 8), (0, 61), (0, None)))


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


field = lambda number, value: (bytes([number << 3]) + varint(value) if isinstance(value, int)
    else bytes([number << 3 | 2]) + varint(len(value)) + value)
envelope = lambda sender, recipient, service, content: field(1, sender) + field(2, recipient) + field(3, service) + field(4, content)
ID = 1 << 31
seed("netflux", "mesh", talk(
    # the second member says yes and offers, by the server; the first talks on its channel, in one and in two pieces
    (1, envelope(0, 0, 74, field(3, 1))), (1, envelope(0, 0, 7431, field(1, b"offer"))), (1, envelope(0, 0, 7431, field(3, field(1, b"candidate:1")))),
    (1, envelope(0, 0, 7431, b"")), (1, envelope(0, 0, 74, field(1, field(1, field(1, ID)) + field(2, field(1, ID + 1))))),
))
channel = lambda *messages: b"".join(step(0, 0, message) for message in messages)
seed("netflux", "channel", channel(
    field(1, field(1, 0) + field(2, 5) + field(3, ID) + field(4, ID) + field(5, b"doc1")), envelope(ID, 0, 0, b""),
    envelope(ID, 0, 743, field(1, 5) + field(3, b"hello")), envelope(ID, 0, 743, field(1, 6) + field(4, field(1, 9) + field(4, b"abc"))),
    envelope(ID, 0, 743, field(1, 6) + field(4, field(1, 9) + field(2, 1) + field(4, b"def"))), envelope(ID, 0, 74315, field(1, field(1, ID) + field(1, ID + 1))),
    envelope(ID, 0, 74315, field(3, field(1, ID + 2))), envelope(ID, 0, 74315, field(4, 1)), envelope(ID + 3, ID, 74, field(2, field(1, ID + 3))),
) + step(0, 2, length=900))

seed("rtsp", "player", (
    b"OPTIONS rtsp://h:8554/main/door RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: LibVLC/3.0.18\r\n\r\n"
    b"DESCRIBE rtsp://h:8554/main/door?token=a.b%2Dc RTSP/1.0\r\nCSeq: 2\r\nAuthorization: Basic dXNlcjphLmIuYw==\r\n\r\n"
    b"SETUP rtsp://h:8554/main/door/trackID=0 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast;client_port=5000-5001\r\n\r\n"
    b"SETUP rtsp://h:8554/main/door/trackID=1 RTSP/1.0\r\nCSeq: 4\r\nTransport: RTP/AVP/TCP;unicast;interleaved=2-3\r\nSession: fuzz\r\n\r\n"
    b"PLAY rtsp://h:8554/main/door/ RTSP/1.0\r\nCSeq: 5\r\nSession: fuzz\r\nRange: npt=0.000-\r\n\r\n"
    b"$\x03\x00\x08\x80\xc9\x00\x01\x00\x00\x00\x01"
    b"SET_PARAMETER rtsp://h:8554/main/door RTSP/1.0\r\nCSeq: 6\r\nContent-Length: 3\r\n\r\na:b"
    b"PAUSE rtsp://h:8554/main/door RTSP/1.0\r\nCSeq: 7\r\nSession: fuzz\r\n\r\n"
    b"TEARDOWN rtsp://h:8554/main/door RTSP/1.0\r\nCSeq: 8\r\nSession: fuzz\r\n\r\n"
))

# what a far side of a bridge says, a message a line
TRACK = {"codec": "H264", "fmtp": "packetization-mode=1", "ssrc": 7, "payload_type": 117, "repair": [118, 8]}
BRIDGE = [
    {"t": "member", "id": "m1", "user": "ann", "name": "Ann", "audio_muted": True},
    {"t": "offer", "sdp": OFFER},
    {"t": "lane", "lane": 1, "member": "m1", "stream": "main", "tracks": [TRACK]},
    {"t": "said", "from": "m1", "text": "hello"},
    {"t": "said", "from": "m1", "to": "0" * 32, "text": "to one"},
    {"t": "told", "from": "m1", "to": "0" * 32, "body": {"a": [1, 2]}},
    {"t": "reach", "nodes": ["far/r", "other/r"]},
    {"t": "lane_end", "lane": 1},
    {"t": "gone", "id": "m1"},
    {"t": "refuse", "code": "loop", "message": "a ring"},
]
seed("bridge", "talk", "\n".join(json.dumps(line, separators=(",", ":")) for line in BRIDGE).encode())
