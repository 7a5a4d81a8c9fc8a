"""What cloud-init finds at a boot: its own stages, without the modules that would change the machine.

    cloud_init_boot.py SOURCE

Prints the user-data, and how cloud-init says that it came by its source.
"""

import json
import os
import shutil
import sys

from cloudinit.stages import Init

os.makedirs("/etc/cloud/cloud.cfg.d", exist_ok=True)
with open("/etc/cloud/cloud.cfg.d/99_source.cfg", "w") as file:
    json.dump({"datasource_list": [sys.argv[1]]}, file)
# It lies in memory on a machine: a reboot takes it away.
shutil.rmtree("/run/cloud-init", ignore_errors=True)

init = Init()
init.read_cfg()
init.initialize()
init.fetch(existing="check")
init.instancify()
init.update()
print(
    json.dumps(
        {
            "user_data": init.datasource.get_userdata_raw().decode(),
            "is_stored": init.ds_restored,
            "is_new": init.is_new_instance(),
        }
    ),
    flush=True,
)
# EC2's source asks over both families at once; a thread may still wait for the slower one.
os._exit(0)
