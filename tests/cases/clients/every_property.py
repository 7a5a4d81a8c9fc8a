"""Every property of the library ec2-metadata, of the instance and of its cards, as text."""

import json
import sys

from ec2_metadata import ec2_metadata


def properties(thing):
    """Reads all of them; one that the service has no answer for raises here."""
    names = [name for name in dir(type(thing)) if not name.startswith("_")]
    return {name: getattr(thing, name) for name in names if name != "clear_all"}


found = properties(ec2_metadata)
cards = {mac: properties(card) for mac, card in found.pop("network_interfaces").items()}
found["tags"] = dict(found["tags"])
found["public_keys"] = {name: key.openssh_key for name, key in found["public_keys"].items()}
found["user_data"] = found["user_data"].decode()
json.dump({"instance": found, "cards": cards}, sys.stdout, default=str)
