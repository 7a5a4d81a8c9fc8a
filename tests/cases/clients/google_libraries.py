"""google-auth as any of Google's libraries uses it: where am I, of which project, as whom."""

import json

import google.auth
from google.auth import exceptions
from google.auth.compute_engine import _metadata
from google.auth.transport.requests import Request

request = Request()
credentials, project = google.auth.default()
try:
    credentials.refresh(request)
    token = "given"
except exceptions.RefreshError:
    token = "refused"
print(
    json.dumps(
        {
            "on_gce": _metadata.is_on_gce(request),
            "ping": _metadata.ping(request),
            "project": _metadata.get_project_id(request),
            "default_project": project,
            "account": _metadata.get_service_account_info(request),
            "instance": _metadata.get(request, "instance", recursive=True),
            "token": token,
        }
    )
)
