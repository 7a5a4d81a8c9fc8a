//! The socket by which a program of this host has a guest's file systems frozen and thawed.
//!
//! A line of JSON each way ([`Asking`], [`Told`]). The socket is this process's user's alone: guests
//! reach nothing of the host's file systems, and nobody else may hold a guest up. Where a connection
//! by which a guest was frozen ends before the guest has thawed, it is thawed.
//!
//! It reads no guest's disk and keeps nothing.

use std::{io, path::Path, sync::Arc, time::Duration};

use mezame_model::freeze::{Asking, Done, Told, Unanswered, Wanted};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedReadHalf},
    task::{AbortHandle, JoinSet},
};

use crate::{
    listener::{Serving, pause_after},
    orders::{Freezes, Freezing, order},
};

/// The longest question, in bytes.
const LONGEST_LINE: u64 = 4 << 10;
/// Open connections; each is of a backup that is under way.
const MOST_CONNECTIONS: usize = 256;
/// How long a connection may say nothing: longer than any freeze.
const IDLE: Duration = Duration::from_secs(120);

/// The listener and its connections; they end with this.
#[derive(Debug)]
pub(crate) struct FreezeServer(AbortHandle);

impl FreezeServer {
    /// Opens the socket; a predecessor's at the same path is replaced without a gap.
    pub(crate) fn open(serving: &Arc<Serving>, path: &Path) -> io::Result<Self> {
        let listener = crate::unix::listen(path)?;
        Ok(Self(tokio::spawn(accept(Arc::clone(serving), listener)).abort_handle()))
    }
}

impl Drop for FreezeServer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept(serving: Arc<Serving>, listener: UnixListener) {
    let (mut connections, freezes) = (JoinSet::new(), Arc::new(Freezes::default()));
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MOST_CONNECTIONS {
            connections.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(Arc::clone(&serving), Arc::clone(&freezes), stream));
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Serves one connection to its end.
async fn serve(serving: Arc<Serving>, freezes: Arc<Freezes>, stream: UnixStream) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut held = None;
    while let Some(line) = next_line(&mut read).await {
        let told = match serde_json::from_slice::<Asking>(&line) {
            Ok(asking) => tell(&serving, &freezes, &mut held, &asking).await,
            Err(_) => Told::No(Unanswered::Malformed),
        };
        // Plain values.
        let mut line = serde_json::to_vec(&told).unwrap_or_default();
        line.push(b'\n');
        if write.write_all(&line).await.is_err() {
            break;
        }
    }
    if let Some(held) = held {
        let thawed = order(&serving.identities, held.instance(), Wanted::Thaw).await;
        tracing::warn!(
            instance = %held.instance(), ?thawed,
            "who had a guest frozen went away before it was thawed"
        );
    }
}

async fn tell(
    serving: &Serving,
    freezes: &Arc<Freezes>,
    held: &mut Option<Freezing>,
    asking: &Asking,
) -> Told {
    let Asking { instance, wanted } = asking;
    if let Wanted::Freeze { .. } = wanted {
        // By one connection one guest is frozen, once.
        let Some(freezing) = Freezing::begin(freezes, instance).filter(|_| held.is_none()) else {
            return Told::No(Unanswered::Busy);
        };
        *held = Some(freezing);
    }
    let done = order(&serving.identities, instance, *wanted).await;
    tracing::info!(%instance, ?wanted, ?done, "a guest's agent was asked");
    // What was taken and not answered may be frozen.
    let is_frozen = match (wanted, &done) {
        (Wanted::Freeze { .. }, done) => {
            matches!(done, Ok(Done::Frozen { .. }) | Err(Unanswered::Late))
        }
        (Wanted::Thaw, Ok(Done::Thawed { .. })) => false,
        (Wanted::Thaw, _) => true,
    };
    if !is_frozen {
        held.take_if(|held| held.instance() == instance);
    }
    done.map_or_else(Told::No, Told::Done)
}

/// The next line, unless it is too long, late or the last.
async fn next_line(read: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut bounded = read.take(LONGEST_LINE);
    let reading = bounded.read_until(b'\n', &mut line);
    let is_read = matches!(tokio::time::timeout(IDLE, reading).await, Ok(Ok(_)));
    (is_read && line.pop() == Some(b'\n')).then_some(line)
}
