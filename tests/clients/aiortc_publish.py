"""aiortc_publish.py BASE ROOM: publishes a moving picture and a tone by WHIP, plays it back by WHEP from a second connection."""
import asyncio
import fractions
import json
import math
import sys
from urllib.parse import urljoin

import aiohttp
import numpy
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from av import AudioFrame, VideoFrame


class Bars(VideoStreamTrack):
    """A bright bar that wanders."""

    async def recv(self):
        pts, base = await self.next_timestamp()
        picture = numpy.zeros((240, 320, 3), dtype=numpy.uint8)
        at = (pts // 3000 * 8) % 300
        picture[:, at : at + 20] = 255
        frame = VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts, frame.time_base = pts, base
        return frame


class Tone(MediaStreamTrack):
    """440 Hz in packets of 20 ms."""

    kind = "audio"
    sent = 0
    start = None

    async def recv(self):
        loop = asyncio.get_event_loop()
        self.start = self.start or loop.time()
        await asyncio.sleep(max(0, self.start + self.sent / 48000 - loop.time()))
        samples = numpy.array([[int(9000 * math.sin(2 * math.pi * 440 * (self.sent + i) / 48000)) for i in range(960)]], dtype=numpy.int16)
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self.sent, fractions.Fraction(1, 48000)
        self.sent += 960
        return frame


async def exchange(http, pc, url):
    await pc.setLocalDescription(await pc.createOffer())
    async with http.post(url, data=pc.localDescription.sdp, headers={"Content-Type": "application/sdp"}) as answer:
        body = await answer.text()
        assert answer.status == 201, f"{url}: {answer.status} {body}"
        resource = urljoin(url, answer.headers["Location"])
    await pc.setRemoteDescription(RTCSessionDescription(body, "answer"))
    return resource


async def main(base, room):
    sender, viewer = RTCPeerConnection(), RTCPeerConnection()
    sender.addTrack(Bars())
    sender.addTrack(Tone())
    viewer.addTransceiver("video", direction="recvonly")
    viewer.addTransceiver("audio", direction="recvonly")
    up, enough = asyncio.Event(), asyncio.Event()
    seen = {"video": 0, "audio": 0, "size": None, "brightest": 0}

    async def drain(track):
        while True:
            frame = await track.recv()
            seen[track.kind] += 1
            if track.kind == "video":
                seen["size"] = [frame.width, frame.height]
                seen["brightest"] = max(seen["brightest"], max(bytes(frame.planes[0])))
            if seen["video"] >= 20 and seen["audio"] >= 20:
                enough.set()

    tasks = []
    viewer.on("track", lambda track: tasks.append(asyncio.ensure_future(drain(track))))
    sender.on("connectionstatechange", lambda: sender.connectionState == "connected" and up.set())
    async with aiohttp.ClientSession() as http:
        resource = await exchange(http, sender, f"{base}/whip/{room}")
        await asyncio.wait_for(up.wait(), 60)
        await exchange(http, viewer, f"{base}/whep/{room}")
        await asyncio.wait_for(enough.wait(), 60)
        async with http.delete(resource) as answer:
            seen["deleted"] = answer.status
    for task in tasks:
        task.cancel()
    await asyncio.gather(sender.close(), viewer.close())
    print(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
