//! `image export`: an image into a file, which is sparse, and there whole or not at all.

use std::{
    fs::File,
    io::{self, IsTerminal, Seek, SeekFrom, Write},
    path::Path,
};

use super::{super::disk, Session, find};
use crate::{
    client::{error::ClientError, images::Content},
    exit::Exit,
    failure::Failure,
    progress::Bar,
    size,
};

/// Standard output, on the command line.
const STANDARD_OUTPUT: &str = "-";
/// Parts of this length that are zeros become holes.
const BLOCK: usize = 4096;

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
    let mut content = session.client.image_content(project, &id).await?;
    if is_stream {
        let mut out = io::stdout().lock();
        receive(session, &mut content, &mut |bytes| out.write_all(bytes)).await?;
        io::stdout().flush()?;
        return Ok(Exit::Success);
    }
    let at = |source| Failure::Output { path: path.into(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // Nobody but its owner may open it: mode 0600 from its first moment on.
    let file = tempfile::Builder::new()
        .prefix(".mezame-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(at)?;
    let mut out = file.as_file();
    let result = receive(session, &mut content, &mut |bytes| write_sparse(&mut out, bytes)).await;
    result.map_err(|failure| match failure {
        Failure::Write(source) => at(source),
        other => other,
    })?;
    out.set_len(content.size).map_err(at)?;
    out.sync_all().map_err(at)?;
    let put = if force { file.persist(path) } else { file.persist_noclobber(path) };
    put.map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => Failure::OutputThere { path: path.into(), is_file: true },
        _ => at(error.error),
    })?;
    session.screen.say(&format!(
        "{} is {id} as a raw disk, {}; it holds what the disk held, secrets included",
        path.display(),
        size::show(content.size),
    ));
    Ok(Exit::Success)
}

/// Gives all that comes to who writes it; fails where it is not all of the image.
async fn receive(
    session: &Session<'_>,
    content: &mut Content,
    write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut bar = Bar::new(session.screen);
    let mut done = 0;
    while let Some(bytes) = content.next().await? {
        write(&bytes)?;
        done += bytes.len() as u64;
        bar.show("receiving", done, content.size);
    }
    if done == content.size {
        return Ok(());
    }
    let short = io::Error::from(io::ErrorKind::UnexpectedEof);
    Err(ClientError::Body(short.into()).into())
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
