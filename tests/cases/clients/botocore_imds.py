"""botocore's own fetchers of the region and of a role's credentials, as an SDK starts with."""

import json

from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher

print(
    json.dumps(
        {
            "region": InstanceMetadataRegionFetcher(num_attempts=1).retrieve_region(),
            "credentials": InstanceMetadataFetcher(num_attempts=1).retrieve_iam_role_credentials(),
        }
    )
)
