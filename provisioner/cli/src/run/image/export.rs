//! `image export`: an image into a file, which is sparse, and there whole or not at all.
//!
//! Where the connection breaks, or the provisioner is restarted, it goes on from the place that it
//! has come to. An image is read out again and again in vain where it is damaged there.

use std::{
    fs::File,
    io::{self, IsTerminal, Seek, SeekFrom, Write},
    path::Path,
    time::{Duration, Instant},
};

use mezame_model::ProjectName;
use tokio::signal::unix::{SignalKind, signal};

use super::{super::disk, Session, find};
use crate::{client::error::ClientError, exit::Exit, failure::Failure, progress::Bar, size};

/// Standard output, on the command line.
const STANDARD_OUTPUT: &str = "-";
/// Parts of this length that are zeros become holes.
const BLOCK: usize = 4096;
/// Answers that break off without one byte more, before the image is given up.
const TRIES: u32 = 4;
/// Before the second of these; before each further one it is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// How long it is asked again where nobody answers at all.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) async fn run(
    session: &Session<'_>,
    image: &str,
    path: &Path,
    force: bool,
) -> Result<Exit, Failure> {
    let project = session.project()?;
    let is_stream = path.as_os_str() == STANDARD_OUTPUT;
    if is_stream && io::stdout().is_terminal() {
        return Err(Failure::ImageTerminal);
    }
    if !is_stream {
        disk::check(path, force)?;
    }
    let id = find(session, project, image).await?;
    let owner = session.client.image(project, &id).await?.project;
    let mut export = Export { session, project, id: &id, done: 0, size: None };
    if is_stream {
        // Half an image is no result, so that whoever took it has had enough of it or died.
        let at = |source| Failure::Output { path: "standard output".into(), source };
        let mut out = io::stdout().lock();
        let result = export.receive(&mut |bytes| out.write_all(bytes)).await;
        result.map_err(|failure| match failure {
            Failure::Write(source) => at(source),
            other => other,
        })?;
        out.flush().map_err(at)?;
        return Ok(Exit::Success);
    }
    // What has no name yet is gone with it.
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let size = tokio::select! {
        done = export.write_file(path, force) => done?,
        _ = interrupt.recv() => return Err(Failure::Signal),
        _ = terminate.recv() => return Err(Failure::Signal),
    };
    session.screen.say(&format!(
        "{} is {id} of the project {owner} as a raw disk, {}; it holds what the disk held, secrets \
         included",
        path.display(),
        size::show(size),
    ));
    Ok(Exit::Success)
}

/// An image that is read out.
struct Export<'a> {
    session: &'a Session<'a>,
    project: &'a ProjectName,
    id: &'a str,
    /// How much of it came.
    done: u64,
    /// Its length, once an answer said it.
    size: Option<u64>,
}

impl Export<'_> {
    /// Writes it beside the place, and puts it there once it is whole; its length.
    async fn write_file(&mut self, path: &Path, force: bool) -> Result<u64, Failure> {
        let at = |source| Failure::Output { path: path.into(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Nobody but its owner may open it: mode 0600 from its first moment on.
        let file = tempfile::Builder::new()
            .prefix(".mezame-")
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .map_err(at)?;
        let mut out = file.as_file();
        let result = self.receive(&mut |bytes| write_sparse(&mut out, bytes)).await;
        let size = result.map_err(|failure| match failure {
            Failure::Write(source) => at(source),
            other => other,
        })?;
        out.set_len(size).map_err(at)?;
        out.sync_all().map_err(at)?;
        let put = if force { file.persist(path) } else { file.persist_noclobber(path) };
        put.map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::OutputThere { path: path.into(), is_file: true }
            }
            _ => at(error.error),
        })?;
        Ok(size)
    }

    /// Gives all that comes to who writes it, in as many answers as it takes; the image's length.
    async fn receive(
        &mut self,
        write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, Failure> {
        let mut bar = Bar::new(self.session.screen);
        let (mut since, mut tries, mut before) = (Instant::now(), 0, 0);
        loop {
            let (failed, has_begun) = match self.receive_once(write, &mut bar).await {
                Ok(size) => return Ok(size),
                Err(Failure::Client(error)) if error.is_passing() => {
                    let has_begun = matches!(error, ClientError::Body(_));
                    (error, has_begun)
                }
                Err(other) => return Err(other),
            };
            if self.done > before {
                (since, tries, before) = (Instant::now(), 0, self.done);
            }
            tries += u32::from(has_begun);
            let Some(size) = self.size else { return Err(failed.into()) };
            if tries >= TRIES || since.elapsed() > PATIENCE {
                let (id, at) = (self.id.to_owned(), self.done);
                return Err(Failure::ImageUnread { id, at, size, source: failed.into() });
            }
            tokio::time::sleep(PAUSE * 2u32.pow(tries)).await;
        }
    }

    async fn receive_once(
        &mut self,
        write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        bar: &mut Bar,
    ) -> Result<u64, Failure> {
        let client = &self.session.client;
        let mut content = client.image_content(self.project, self.id, self.done).await?;
        let size = *self.size.get_or_insert(content.size);
        if content.size != size {
            return Err(broken_off().into());
        }
        let mut skipped = self.done - content.start;
        while let Some(bytes) = content.next().await? {
            // An answer that begins at the beginning, though more of it is there already.
            let skip = usize::try_from(skipped).unwrap_or(usize::MAX).min(bytes.len());
            skipped -= skip as u64;
            write(&bytes[skip..])?;
            self.done += (bytes.len() - skip) as u64;
            bar.show("receiving", self.done, size);
        }
        if self.done == size { Ok(size) } else { Err(broken_off().into()) }
    }
}

fn broken_off() -> ClientError {
    ClientError::Body(io::Error::from(io::ErrorKind::UnexpectedEof).into())
}

/// Writes at the file's place, and leaves holes for zeros.
fn write_sparse(out: &mut &File, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        let hole = if zeros == rest.len() { zeros } else { zeros - zeros % BLOCK };
        if hole > 0 {
            out.seek(SeekFrom::Current(i64::try_from(hole).unwrap_or(i64::MAX)))?;
            rest = &rest[hole..];
            continue;
        }
        // Up to where a block of zeros may begin.
        let end = rest.len().min(BLOCK);
        out.write_all(&rest[..end])?;
        rest = &rest[end..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_written_sparsely_reads_as_what_came() {
        let mut bytes = vec![0; 3 << 20];
        for at in [0, 5000, 5001, 1 << 20, (2 << 20) + 17] {
            bytes[at] = 1;
        }
        for part in [1000, BLOCK, 100_000, 3 << 20] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let mut out = file.as_file();
            for part in bytes.chunks(part) {
                write_sparse(&mut out, part).unwrap();
            }
            out.set_len(bytes.len() as u64).unwrap();
            out.sync_all().unwrap();
            assert!(std::fs::read(file.path()).unwrap() == bytes, "parts of {part}");
            assert!(out.metadata().unwrap().blocks() * 512 < 1 << 20, "parts of {part}");
        }
    }
}
