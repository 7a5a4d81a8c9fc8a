//! Many guests in the control plane, written the way an operator would: by the API.

use std::path::Path;

use anyhow::ensure;
use mezame_model::api::Apply;
use mezame_tests::http::Connection;

use crate::seed;

/// Guests in one call: a body of some megabytes.
const BATCH: u32 = 5_000;

/// Makes guests `from` to `to` (exclusive), and the project and network with the first of all.
pub fn make(socket: &Path, from: u32, to: u32) -> anyhow::Result<()> {
    if from == 0 {
        apply(socket, seed::ground())?;
    }
    let mut first = from;
    while first < to {
        let next = to.min(first + BATCH);
        apply(socket, (first..next).flat_map(seed::guest).collect())?;
        first = next;
    }
    Ok(())
}

/// Applies documents in one call.
pub fn apply(socket: &Path, documents: Vec<serde_json::Value>) -> anyhow::Result<()> {
    let body = serde_json::to_vec(&Apply { documents })?;
    let headers = [("Content-Type", "application/json")];
    let reply = Connection::local(socket)?.send("POST", "/v1/apply", &headers, &body)?;
    ensure!(reply.status == 200, "apply answered {}: {:.400}", reply.status, reply.text());
    Ok(())
}
