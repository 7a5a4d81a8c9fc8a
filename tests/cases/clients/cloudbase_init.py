"""One of cloudbase-init's own metadata services, asked for what its plugins ask for.

    cloudbase_init.py MODULE CLASS

Its settings say which user is the administrator, and that no route is to be made: it would ask
Windows for that.
"""

import importlib
import json
import sys
import time

from cloudbaseinit import conf

SETTINGS = "/root/cloudbase-init.conf"
with open(SETTINGS, "w", encoding="utf-8") as file:
    file.write("[DEFAULT]\nusername=ada\n")
    for section in ("ec2", "openstack", "cloudstack"):
        file.write(f"[{section}]\nadd_metadata_private_ip_route=false\n")
    file.write("metadata_base_url=http://169.254.169.254/\n")
conf.CONF([], project="cloudbase-init", default_config_files=[SETTINGS])

module, kind = sys.argv[1:]
service = getattr(importlib.import_module("cloudbaseinit.metadata.services." + module), kind)()
found = {
    "loaded": service.load(),
    "instance_id": service.get_instance_id(),
    "hostname": service.get_host_name(),
    "keys": service.get_public_keys(),
    "user_data": service.get_decoded_user_data().decode(),
    "network": service.get_network_details_v2(),
    "can_post_password": service.can_post_password,
}
if service.can_post_password:
    found["password_before"] = service.is_password_set
    found["password_posted"] = service.post_password(b"c2VhbGVk" * 16)
    # The record follows what was kept. The client itself asks at its next boot only.
    end = time.monotonic() + 10
    while not service.is_password_set and time.monotonic() < end:
        time.sleep(0.02)
    found["password_after"] = service.is_password_set
if module == "cloudstack":
    # What its plugin that sets the password asks for, and asks again at the next boot.
    found["passwords"] = [service.get_admin_password(), service.get_admin_password()]
    found["password_changed"] = service.is_password_changed()
json.dump(found, sys.stdout, default=lambda value: value._asdict())
