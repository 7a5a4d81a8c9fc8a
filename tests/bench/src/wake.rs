//! `wake`: from an operator's write to the answer that a waiting guest gets.
//!
//! The clock starts before the call to the operator's socket and stops when the reply to the
//! guest's long-poll has come: admission, the store with its flush to disk, the feed, the cache
//! and the data path all lie between.

use std::{sync::mpsc, thread, time::Instant};

use anyhow::{Context, ensure};
use mezame_tests::{Lab, http::TOKEN, namespace_guest::NamespaceGuest};
use serde_json::json;

use crate::{pinned::Cpu, population, row::Row, sample::median, seed};

const ROUNDS: usize = 15;

/// Measures with few instances known, then with 10,000.
pub fn measure(_: Cpu) -> anyhow::Result<Vec<Row>> {
    let lab = Lab::start()?;
    population::make(&lab.place.operator_socket(), 0, 10)?;
    let address = format!("{}/14", seed::address(0));
    let guest = lab.guest(&seed::device(0), &seed::mac(0), &[&address])?;
    let few = wake(&lab, &guest, 0)?;
    population::make(&lab.place.operator_socket(), 10, 10_000)?;
    let many = wake(&lab, &guest, ROUNDS + 1)?;
    Ok(vec![Row::alone("wake", few, "ms"), Row::alone("wake.10000", many, "ms")])
}

fn wake(lab: &Lab, guest: &NamespaceGuest, first: usize) -> anyhow::Result<f64> {
    let token = guest.token()?;
    let headers = [(TOKEN, token.as_str())];
    let mut connection = guest.connect()?;
    let mut times = Vec::new();
    for round in first..=first + ROUNDS {
        let now = connection.get("/mezame/v1/document", &headers)?;
        let etag =
            now.header("etag").context("a document without ETag")?.trim_matches('"').to_owned();
        let path = format!("/mezame/v1/document?watch={etag}&timeout=60");
        connection.write_request("GET", &path, &headers, b"")?;
        let (came, answered) = mpsc::channel();
        let time = thread::scope(|scope| {
            let connection = &mut connection;
            scope.spawn(move || came.send((connection.response(false), Instant::now())));
            await_watch(lab)?;
            let mut change = seed::guest(0);
            change[1]["tags"]["round"] = json!(round.to_string());
            let begin = Instant::now();
            population::apply(&lab.place.operator_socket(), change.into())?;
            let (reply, at) = answered.recv().context("the waiting guest is gone")?;
            let reply = reply?;
            ensure!(
                reply.status == 200 && reply.text().contains(&format!("\"round\":\"{round}\"")),
                "the waiting guest was answered {reply:?}"
            );
            anyhow::Ok(at.duration_since(begin))
        })?;
        // The first warms up.
        if round > first {
            times.push(time.as_secs_f64() * 1e3);
        }
    }
    median(&times).context("no round")
}

/// Waits until the server counts a waiting guest.
fn await_watch(lab: &Lab) -> anyhow::Result<()> {
    mezame_tests::wait::until("the guest's watch", mezame_tests::wait::SOON, || {
        let server = lab.server.as_ref().context("no server")?;
        ensure!(server.metrics()?.sum(WATCHES, &[]) >= 1.0, "nobody waits yet");
        Ok(())
    })
}

const WATCHES: &str = "mezame_watches";
