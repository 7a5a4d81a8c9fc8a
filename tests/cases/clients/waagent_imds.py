"""The instance metadata client of Azure's Linux agent: its check of the service, and the machine."""

import json

from azurelinuxagent.common.protocol.imds import ImdsClient

client = ImdsClient("168.63.129.16")
is_valid, fault = client.validate()
compute = client.get_compute()
fields = ("name", "vmId", "vmSize", "location", "resourceGroupName", "subscriptionId", "osType")
print(
    json.dumps(
        {
            "valid": is_valid,
            "fault": fault,
            "compute": {field: getattr(compute, field) for field in fields},
        }
    )
)
