"""webrtcbin_play.py WHEP_URL: plays a stream with GStreamer's webrtcbin, whose SRTP is AES_CM only; counts decoded frames."""
import json
import sys
import threading
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

Gst.init(None)
url = sys.argv[1]
loop = GLib.MainLoop()
counts = {"video": 0, "audio": 0}
pipe = Gst.Pipeline.new("player")
webrtc = Gst.ElementFactory.make("webrtcbin", "webrtc")
webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
pipe.add(webrtc)
done = {}


def finish(**facts):
    done.update(facts)
    loop.quit()


def on_pad(_, pad):
    if pad.direction != Gst.PadDirection.SRC:
        return
    kind = "video" if "video" in pad.get_current_caps().to_string() else "audio"
    chain = "decodebin name=d ! fakesink name=sink sync=false signal-handoffs=true"
    bin_ = Gst.parse_bin_from_description(f"queue ! {chain}", True)
    pipe.add(bin_)
    bin_.get_by_name("sink").connect("handoff", lambda *_: on_frame(kind))
    bin_.sync_state_with_parent()
    pad.link(bin_.get_static_pad("sink"))


def on_frame(kind):
    counts[kind] += 1
    if counts["video"] >= 30 and counts["audio"] >= 30:
        GLib.idle_add(finish)


def on_offer(promise):
    offer = promise.get_reply().get_value("offer")
    webrtc.emit("set-local-description", offer, Gst.Promise.new())


def on_gathered(*_):
    if webrtc.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE:
        return
    text = webrtc.get_property("local-description").sdp.as_text()
    threading.Thread(target=post, args=(text,)).start()


def post(text):
    try:
        request = urllib.request.Request(url, data=text.encode(), headers={"Content-Type": "application/sdp"}, method="POST")
        with urllib.request.urlopen(request) as answer:
            body = answer.read().decode()
        _, message = GstSdp.SDPMessage.new()
        GstSdp.sdp_message_parse_buffer(body.encode(), message)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        webrtc.emit("set-remote-description", answer, Gst.Promise.new())
    except Exception as error:  # noqa: BLE001 - the test wants to see any failure
        detail = error.read().decode() if hasattr(error, "read") else ""
        GLib.idle_add(lambda: finish(ok=False, error=f"{error} {detail}"))


webrtc.connect("pad-added", on_pad)
webrtc.connect("notify::ice-gathering-state", on_gathered)
webrtc.connect("on-negotiation-needed", lambda w: w.emit("create-offer", None, Gst.Promise.new_with_change_func(on_offer)))
for caps in (
    "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96,packetization-mode=(string)1,profile-level-id=(string)42e01f",
    "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=97,encoding-params=(string)2",
):
    webrtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(caps))
pipe.set_state(Gst.State.PLAYING)
GLib.timeout_add_seconds(60, lambda: finish(ok=False, error=f"not enough frames in 60 s: {counts}"))
loop.run()
pipe.set_state(Gst.State.NULL)
print(json.dumps({**counts, **done}))
sys.exit(0 if done.get("ok", True) else 1)
