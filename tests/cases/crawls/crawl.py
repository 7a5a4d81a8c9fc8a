"""Runs one of cloud-init's own data sources, unmodified, and prints what it found as JSON.

    crawl.py DIALECT

Nothing of cloud-init is replaced: the source is made as cloud-init makes it, crawls as it does at
boot, and is asked for what cloud-init would apply. What it logged is printed too, so that the case
sees a warning or a second try; and, from Python's own audit events, the requests in their order.
"""

import importlib
import json
import logging
import re
import sys

REQUESTS = []


def listen(event, arguments):
    """Keeps what http.client sends (the audit event `http.client.send`)."""
    if event == "http.client.send" and arguments[1]:
        REQUESTS.append(bytes(arguments[1]).decode("latin-1"))


sys.addaudithook(listen)

# Before cloud-init's modules: they take their loggers from here.
from cloudinit import distros, helpers, url_helper, util  # noqa: E402

# A line of the log with this is a complaint, whatever its level.
COMPLAINT = re.compile(r"Please wait|Calling .+ failed|Giving up|[Rr]etry|Traceback")

SOURCES = {
    "azure": ("Azure", "DataSourceAzure"),
    "cloudstack": ("CloudStack", "DataSourceCloudStack"),
    "digitalocean": ("DigitalOcean", "DataSourceDigitalOcean"),
    "ec2": ("Ec2", "DataSourceEc2"),
    "gce": ("GCE", "DataSourceGCE"),
    "hetzner": ("Hetzner", "DataSourceHetzner"),
    "nocloud": ("NoCloud", "DataSourceNoCloudNet"),
    "openstack": ("OpenStack", "DataSourceOpenStack"),
    "vultr": ("Vultr", "DataSourceVultr"),
}

# What Debian's cloud.cfg says of the default user, which GCE's keys are looked up by.
SETTINGS = {
    "system_info": {"default_user": {"name": "debian"}},
    "datasource": {
        # A card that is a tap is none of the physical ones, to which alone the source would give
        # its random link-local address. It is given one below, by the function that it calls.
        "DigitalOcean": {"use_ip4LL": False},
    },
}


class Kept(logging.Handler):
    """All that was logged."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):
        self.lines.append((record.levelno, record.levelname + " " + record.getMessage()))

    def complaints(self):
        return [
            line
            for level, line in self.lines
            if level >= logging.WARNING or COMPLAINT.search(line)
        ]


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def crawl_azure(source):
    """The part of the source that speaks to this service: its other half wants a WireServer."""
    module = sys.modules[type(source).__module__]
    found = source.get_imds_data_with_api_fallback(retries=0)
    source.metadata = {"imds": found, "instance-id": found["compute"]["vmId"]}
    source.metadata["local-hostname"] = module._hostname_from_imds(found)
    encoded = module._userdata_from_imds(found)
    source.userdata_raw = util.b64d("".join(encoded.split()))
    source._metadata_imds = found
    return True


def crawl(dialect):
    distro = distros.fetch("debian")("debian", SETTINGS, helpers.Paths({}))
    name, kind = SOURCES[dialect]
    module = importlib.import_module("cloudinit.sources.DataSource" + name)
    if dialect == "digitalocean":
        from cloudinit.sources.helpers import digitalocean

        digitalocean.assign_ipv4_link_local(distro, "eth0")
    SETTINGS["datasource_list"] = [name]
    source = getattr(module, kind)(SETTINGS, distro, helpers.Paths({}))
    found = crawl_azure(source) if dialect == "azure" else source._get_data()
    host = source.get_hostname()
    return {
        "found": found,
        "instance_id": source.get_instance_id(),
        "hostname": getattr(host, "hostname", host),
        "keys": source.get_public_ssh_keys(),
        "zone": source.availability_zone,
        "user_data": text(source.get_userdata_raw()),
        "vendor_data": text(source.get_vendordata_raw()),
        "network": source.network_config,
        "password": source.get_config_obj().get("password"),
    }


def main():
    kept = Kept()
    logging.getLogger().addHandler(kept)
    logging.getLogger().setLevel(logging.DEBUG)
    result = crawl(sys.argv[1])
    # Connections that the log of urllib3 tells of are no complaint; it has no other lines.
    result["complaints"] = kept.complaints()
    result["requests"] = REQUESTS
    json.dump(result, sys.stdout, default=text)


main()
