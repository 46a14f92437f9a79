"""rtsp_play.py URL PROTOCOL FRAMES KINDS [USER PASSWORD]: plays a stream with GStreamer's rtspsrc by `tcp` or `udp` and decodes so many
frames of each of KINDS (`video,audio`). Tells the codecs, and how long the first of them was waited for; or what the server refused."""
import json
import sys
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst

Gst.init(None)
url, protocol, frames, kinds = sys.argv[1:5]
frames, kinds = int(frames), kinds.split(",")
# until the end of the stream
until_end = frames < 0
counts = {kind: 0 for kind in kinds}
codecs, sizes = {}, set()
began = time.monotonic()
first = None
loop = GLib.MainLoop()
pipe = Gst.Pipeline.new("player")
source = Gst.ElementFactory.make("rtspsrc", "source")
source.set_property("location", url)
source.set_property("protocols", protocol)
source.set_property("latency", 200)
if len(sys.argv) > 6:
    source.set_property("user-id", sys.argv[5])
    source.set_property("user-pw", sys.argv[6])
pipe.add(source)
DECODE = {
    "H264": "rtph264depay wait-for-keyframe=true ! h264parse ! avdec_h264",
    "H265": "rtph265depay ! h265parse ! avdec_h265",
    "VP8": "rtpvp8depay ! vp8dec",
    "OPUS": "rtpopusdepay ! opusdec",
}


def finish(**told):
    pipe.set_state(Gst.State.NULL)
    waited = None if first is None else round(first - began, 3)
    print(json.dumps({"ok": True, "frames": counts, "codecs": codecs, "sizes": sorted(sizes), "first": waited, **told}), flush=True)
    loop.quit()


def on_frame(kind, pad):
    global first
    first = first or time.monotonic()
    counts[kind] += 1
    if kind == "video":
        caps = pad.get_current_caps().get_structure(0)
        sizes.add(f'{caps.get_int("width")[1]}x{caps.get_int("height")[1]}')
    if counts[kind] == frames:
        print(f"{kind} {frames}", file=sys.stderr, flush=True)
    if not until_end and min(counts.values()) >= frames:
        GLib.idle_add(finish)


def on_pad(_, pad):
    caps = pad.get_current_caps().get_structure(0)
    kind, codec = caps.get_string("media"), caps.get_string("encoding-name")
    codecs[kind] = codec
    decoder = Gst.parse_bin_from_description(
        f"queue ! {DECODE[codec]} ! fakesink name=sink sync=false async=false signal-handoffs=true", True)
    pipe.add(decoder)
    decoder.get_by_name("sink").connect("handoff", lambda _, buffer, at: on_frame(kind, at))
    decoder.sync_state_with_parent()
    pad.link(decoder.get_static_pad("sink"))


def on_message(_, message):
    if message.type == Gst.MessageType.ERROR:
        error, debug = message.parse_error()
        if until_end:
            finish(end=error.message)
        else:
            finish(refused=f"{error.message} {debug}")
    elif message.type == Gst.MessageType.EOS:
        finish(end="eos")


source.connect("pad-added", on_pad)
source.connect("select-stream", lambda _, number, caps: caps.get_structure(0).get_string("media") in kinds)
bus = pipe.get_bus()
bus.add_signal_watch()
bus.connect("message", on_message)
pipe.set_state(Gst.State.PLAYING)
GLib.timeout_add_seconds(90, lambda: (print(json.dumps({"ok": False, "error": f"not enough frames: {counts} {codecs}"})), loop.quit()))
loop.run()
