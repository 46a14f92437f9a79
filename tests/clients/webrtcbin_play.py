"""webrtcbin_play.py WHEP_URL: plays a stream with GStreamer's webrtcbin; counts decoded frames."""
import sys

from webrtcbin import Gst, GstWebRTC, Session

ENOUGH = 30
DECODE = {"video": "rtph264depay ! h264parse ! avdec_h264", "audio": "rtpopusdepay ! opusdec"}
counts = {"video": 0, "audio": 0}
pipe = Gst.Pipeline.new("player")
webrtc = Gst.ElementFactory.make("webrtcbin", "webrtc")
pipe.add(webrtc)
session = Session(pipe, webrtc, sys.argv[1])


def on_pad(_, pad):
    if pad.direction != Gst.PadDirection.SRC:
        return
    kind = pad.get_current_caps().get_structure(0).get_string("media")
    decoder = Gst.parse_bin_from_description(
        f"queue ! {DECODE[kind]} ! fakesink name=sink sync=false async=false signal-handoffs=true", True)
    pipe.add(decoder)
    decoder.get_by_name("sink").connect("handoff", lambda *_: on_frame(kind))
    decoder.sync_state_with_parent()
    pad.link(decoder.get_static_pad("sink"))


def on_frame(kind):
    counts[kind] += 1
    if min(counts.values()) >= ENOUGH:
        session.finish(**counts)


webrtc.connect("pad-added", on_pad)
for caps in (
    "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96,"
    "packetization-mode=(string)1,profile-level-id=(string)42e01f",
    "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=97,encoding-params=(string)2",
):
    webrtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(caps))
session.run(60, lambda: f"not enough frames: {counts}")
