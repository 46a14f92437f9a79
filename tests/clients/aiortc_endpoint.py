"""aiortc_endpoint.py PORT [TOKEN]: a WHIP and WHEP server on aiortc. Prints its address, then runs until it is killed.

POST /whip/ANY takes a stream and decodes it; POST /whep/ANY sends a moving picture and a tone; DELETE /session/N ends one. What was
asked and seen is at GET /state. POST /redirect/KIND/ANY redirects by 307; POST /odd/NAME answers what servers in trouble do."""
import asyncio
import json
import sys

from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from aiortc_publish import Bars, Tone

SEEN = {"posts": 0, "opened": 0, "deleted": 0, "refused": 0, "tokens": [], "video": 0, "audio": 0, "size": None, "changes": 0, "loudest": 0}
SESSIONS = {}
TOKEN = sys.argv[2] if len(sys.argv) > 2 else None


async def drain(track):
    last = None
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        SEEN[track.kind] += 1
        if track.kind == "video":
            SEEN["size"] = [frame.width, frame.height]
            luma = bytes(frame.planes[0])
            SEEN["changes"] += luma != last
            last = luma
        else:
            SEEN["loudest"] = max(SEEN["loudest"], int(abs(frame.to_ndarray()).max()))


def refusal(request):
    SEEN["posts"] += 1
    given = request.headers.get("Authorization")
    SEEN["tokens"].append(given)
    if TOKEN is not None and given != f"Bearer {TOKEN}":
        SEEN["refused"] += 1
        return web.Response(status=401)
    assert request.headers["Content-Type"] == "application/sdp"
    return None


async def opened(pc):
    await pc.setLocalDescription(await pc.createAnswer())
    number = len(SESSIONS)
    SESSIONS[number] = pc
    SEEN["opened"] += 1
    headers = {"Location": f"../session/{number}", "Content-Type": "application/sdp"}
    return web.Response(status=201, body=pc.localDescription.sdp.encode(), headers=headers)


async def whip(request):
    refused = refusal(request)
    if refused:
        return refused
    offer = await request.text()
    assert "a=sendonly" in offer and "a=recvonly" not in offer and "a=setup:actpass" in offer and "a=rtcp-mux" in offer, offer
    assert "a=group:BUNDLE" in offer and "a=end-of-candidates" in offer, offer
    pc = RTCPeerConnection()
    pc.on("track", lambda track: asyncio.ensure_future(drain(track)))
    await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    return await opened(pc)


async def whep(request):
    refused = refusal(request)
    if refused:
        return refused
    offer = await request.text()
    assert "a=recvonly" in offer and "a=sendonly" not in offer and "a=setup:actpass" in offer, offer
    pc = RTCPeerConnection()
    pc.addTrack(Bars())
    pc.addTrack(Tone())
    await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    return await opened(pc)


async def redirect(request):
    SEEN["posts"] += 1
    raise web.HTTPTemporaryRedirect(f"/{request.match_info['kind']}/{request.match_info['name']}")


async def odd(request):
    SEEN["posts"] += 1
    await request.text()
    session = {"Location": "/session/0", "Content-Type": "application/sdp"}
    match request.match_info["name"]:
        case "large":
            return web.Response(status=201, body=b"v=0\r\n" + b"a=x\r\n" * 100_000, headers=session)
        case "page":
            return web.Response(status=201, text="<html>welcome</html>", headers={"Location": "/session/0"})
        case "busy":
            return web.Response(status=503, headers={"Retry-After": "300"})
        case status:
            return web.Response(status=int(status))


async def delete(request):
    SEEN["deleted"] += 1
    pc = SESSIONS.get(int(request.match_info["number"]))
    if pc:
        await pc.close()
    return web.Response()


async def main():
    app = web.Application()
    app.router.add_post("/whip/{name}", whip)
    app.router.add_post("/whep/{name}", whep)
    app.router.add_post("/redirect/{kind}/{name}", redirect)
    app.router.add_post("/odd/{name}", odd)
    app.router.add_delete("/session/{number}", delete)
    app.router.add_get("/state", lambda request: web.json_response(SEEN))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", int(sys.argv[1]))
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
