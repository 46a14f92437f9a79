"""aiortc_play.py WHEP_URL: plays a stream by WHEP with aiortc; prints what it decoded."""
import asyncio
import json
import sys
from urllib.parse import urljoin

import aiohttp
from aiortc import RTCPeerConnection, RTCSessionDescription


async def main(url):
    pc = RTCPeerConnection()
    pc.addTransceiver("video", direction="recvonly")
    pc.addTransceiver("audio", direction="recvonly")
    seen = {"video": 0, "audio": 0, "size": None, "changes": 0, "loudest": 0}
    enough = asyncio.Event()

    async def drain(track):
        last = None
        while True:
            frame = await track.recv()
            seen[track.kind] += 1
            if track.kind == "video":
                seen["size"] = [frame.width, frame.height]
                luma = bytes(frame.planes[0])
                seen["changes"] += luma != last
                last = luma
            else:
                seen["loudest"] = max(seen["loudest"], int(abs(frame.to_ndarray()).max()))
            if seen["video"] >= 30 and seen["audio"] >= 30:
                enough.set()

    tasks = []
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(drain(track))))
    await pc.setLocalDescription(await pc.createOffer())
    async with aiohttp.ClientSession() as http:
        async with http.post(url, data=pc.localDescription.sdp, headers={"Content-Type": "application/sdp"}) as answer:
            body = await answer.text()
            assert answer.status == 201, f"{answer.status} {body}"
            resource = urljoin(url, answer.headers["Location"])
        await pc.setRemoteDescription(RTCSessionDescription(body, "answer"))
        await asyncio.wait_for(enough.wait(), 60)
        async with http.delete(resource) as answer:
            seen["deleted"] = answer.status
    for task in tasks:
        task.cancel()
    await pc.close()
    print(json.dumps(seen))


asyncio.run(main(sys.argv[1]))
