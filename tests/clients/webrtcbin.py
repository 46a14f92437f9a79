"""One WHIP or WHEP session with GStreamer's webrtcbin, whose SRTP is AES_CM only. Shared by the webrtcbin_*.py scenarios."""
import json
import sys
import threading
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

Gst.init(None)


class Session:
    """Offers once all candidates are known, takes the answer, runs until `finish`."""

    def __init__(self, pipe, webrtc, url):
        self.pipe, self.webrtc, self.url = pipe, webrtc, url
        self.loop, self.facts, self.resource, self.posted = GLib.MainLoop(), {}, None, False
        webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        # libnice passes loopback over, and ties what it gathers elsewhere to that interface. The agent comes with a floating
        # reference, which Python takes for its own: it must be kept as long as webrtcbin lives
        self.ice = webrtc.get_property("ice-agent")
        self.ice.emit("add-local-ip-address", "127.0.0.1")
        webrtc.connect("on-negotiation-needed", self._negotiate)
        webrtc.connect("notify::ice-gathering-state", self._gathered)

    def _negotiate(self, webrtc):
        webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self._offered))

    def _offered(self, promise):
        # the description lives in the reply: without a name of its own the reply is freed before webrtcbin copies it
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.webrtc.emit("set-local-description", offer, None)

    def _gathered(self, webrtc, _):
        complete = webrtc.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE
        if complete and not self.posted:
            self.posted = True
            description = webrtc.get_property("local-description")
            threading.Thread(target=self._post, args=(description.sdp.as_text(),), daemon=True).start()

    def _post(self, text):
        try:
            headers = {"Content-Type": "application/sdp"}
            request = urllib.request.Request(self.url, data=text.encode(), headers=headers, method="POST")
            with urllib.request.urlopen(request, timeout=30) as answer:
                self.resource = urllib.parse.urljoin(self.url, answer.headers["Location"])
                body = answer.read().decode()
            result, message = GstSdp.SDPMessage.new_from_text(body)
            assert result == GstSdp.SDPResult.OK, body
            description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
            self.webrtc.emit("set-remote-description", description, None)
        except Exception as error:  # noqa: BLE001 - the test wants to see any failure
            detail = error.read().decode() if hasattr(error, "read") else ""
            self.finish(ok=False, error=f"{error} {detail}")

    def finish(self, **facts):
        """Ends `run`; from any thread."""
        def end():
            self.facts.update(facts)
            self.loop.quit()
        GLib.idle_add(end)

    def run(self, limit, late):
        """Runs for at most so many seconds, then prints what is known; `late()` says what is missing."""
        GLib.timeout_add_seconds(limit, lambda: self.finish(ok=False, error=f"after {limit} s: {late()}"))
        bus = self.pipe.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, message: self.finish(ok=False, error=str(message.parse_error())))
        self.pipe.set_state(Gst.State.PLAYING)
        self.loop.run()
        if self.resource:
            with urllib.request.urlopen(urllib.request.Request(self.resource, method="DELETE"), timeout=30) as answer:
                self.facts["deleted"] = answer.status
        self.pipe.set_state(Gst.State.NULL)
        print(json.dumps(self.facts))
        sys.exit(0 if self.facts.get("ok", True) else 1)
