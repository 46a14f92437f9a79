"""webrtcbin_publish.py BASE ROOM: one webrtcbin publishes a picture and a tone by WHIP until a line comes on standard input.

Prints a line with `live` once it is connected.
"""
import sys
import threading

from webrtcbin import Gst, GstWebRTC, Session

base, room = sys.argv[1:]
pipe = Gst.parse_launch(
    "webrtcbin name=webrtc "
    "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=15/1 ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 bitrate=300 threads=1 ! "
    "video/x-h264,profile=constrained-baseline ! h264parse ! rtph264pay config-interval=-1 aggregate-mode=zero-latency pt=96 ! "
    "application/x-rtp,media=video,encoding-name=H264,payload=96 ! webrtc. "
    "audiotestsrc is-live=true wave=sine ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay pt=97 ! "
    "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,encoding-params=(string)2 ! webrtc."
)
webrtc = pipe.get_by_name("webrtc")
session = Session(pipe, webrtc, f"{base}/whip/{room}")
for index in range(2):
    webrtc.emit("get-transceiver", index).set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)


def on_state(*_):
    state = webrtc.get_property("connection-state")
    if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
        print("live", flush=True)
    elif state == GstWebRTC.WebRTCPeerConnectionState.FAILED:
        session.finish(ok=False, error="the connection failed")


def until_told():
    sys.stdin.readline()
    session.finish(ok=True)


webrtc.connect("notify::connection-state", on_state)
threading.Thread(target=until_told, daemon=True).start()
session.run(120, lambda: "nobody told me to stop")
