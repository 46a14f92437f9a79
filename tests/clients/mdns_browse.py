"""mdns_browse.py NAME FILE: what python-zeroconf, another implementation of mDNS, finds of the gateway NAME: its services, and that they are
gone when it says goodbye. Makes FILE when they are found."""
import json
import sys
import threading

from zeroconf import IPVersion, ServiceBrowser, Zeroconf

name, mark = sys.argv[1:]
types = ["_http._tcp.local.", "_https._tcp.local.", "_portico._tcp.local."]
changed = threading.Condition()
found, gone = {}, set()


class Listener:
    def add_service(self, zeroconf, kind, full_name):
        info = zeroconf.get_service_info(kind, full_name, timeout=10000)
        with changed:
            found[full_name] = info
            changed.notify_all()

    update_service = add_service

    def remove_service(self, zeroconf, kind, full_name):
        with changed:
            gone.add(full_name)
            changed.notify_all()


def wait(what, done):
    with changed:
        if not changed.wait_for(done, timeout=60):
            sys.exit(f"{what}: found {sorted(found)}, gone {sorted(gone)}")


zeroconf = Zeroconf(ip_version=IPVersion.V4Only)
browser = ServiceBrowser(zeroconf, types, Listener())
ours = lambda: {full: info for full, info in found.items() if full.startswith(name + ".") and info}
wait("two services", lambda: len(ours()) == 2)
services = {
    info.type: {
        "port": info.port,
        "server": info.server,
        "addresses": info.parsed_addresses(),
        "properties": {key.decode(): (value or b"").decode() for key, value in info.properties.items()},
    }
    for info in ours().values()
}
open(mark, "w").close()
wait("their goodbye", lambda: len([full for full in gone if full.startswith(name + ".")]) == 2)
zeroconf.close()
print(json.dumps({"services": services}))
