//! `image partitions`, `ls`, `cat` and `tar`: single files out of an image.

use std::io::{self, IsTerminal, Write};

use super::{super::Session, find};
use crate::{
    client::files::Spot,
    command::{FileArguments, FolderArguments},
    exit::Exit,
    failure::Failure,
    size,
    table::Table,
    text,
};

pub(super) async fn partitions(session: &Session<'_>, image: &str) -> Result<Exit, Failure> {
    let (screen, project) = (session.screen, session.project()?);
    let id = find(session, project, image).await?;
    let disk = session.client.image_partitions(project, &id).await?;
    if screen.is_data() {
        screen.print_value(&disk)?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["NUMBER", "OFFSET", "SIZE", "NAME", "HOLDS", "READABLE"]);
    for partition in disk.partitions {
        table.row([
            partition.number.to_string(),
            partition.offset.to_string(),
            size::show(partition.size),
            text::line(&partition.name),
            partition.holds,
            if partition.is_readable { "yes" } else { "no" }.to_owned(),
        ]);
    }
    screen.print(&table.render(0))?;
    Ok(Exit::Success)
}

pub(super) async fn list(session: &Session<'_>, folder: &FolderArguments) -> Result<Exit, Failure> {
    let (screen, project) = (session.screen, session.project()?);
    let id = find(session, project, &folder.image.image).await?;
    let spot = Spot { project, image: &id, partition: folder.partition, path: &folder.path };
    let mut files = session.client.image_files(spot, None).await?;
    while files.more {
        let Some(last) = files.items.last() else { break };
        let after = match &last.bytes {
            Some(digits) => bytes_of(digits),
            None => last.name.clone().into_bytes(),
        };
        let next = session.client.image_files(spot, Some(&after)).await?;
        files.items.extend(next.items);
        files.more = next.more;
    }
    if screen.is_data() {
        screen.print_value(&files)?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["MODE", "OWNER", "SIZE", "MODIFIED", "NAME"]);
    for file in files.items {
        let kind = match file.kind.as_str() {
            "folder" => 'd',
            "link" => 'l',
            "file" => '-',
            _ => '?',
        };
        let target = file.target.map(|target| format!(" -> {}", text::line(&target)));
        let modified = u64::try_from(file.modified).unwrap_or(0).saturating_mul(1000);
        table.row([
            format!("{kind}{:04o}", file.mode),
            format!("{}:{}", file.uid, file.gid),
            file.size.to_string(),
            text::timestamp(modified),
            format!("{}{}", text::line(&file.name), target.unwrap_or_default()),
        ]);
    }
    screen.print(&table.render(0))?;
    Ok(Exit::Success)
}

/// Prints what is at a place, `content` or `tar`. A guest's file can have what a terminal obeys, so
/// one is not written to.
pub(super) async fn print(
    session: &Session<'_>,
    file: &FileArguments,
    what: &str,
) -> Result<Exit, Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::ImageTerminal);
    }
    let project = session.project()?;
    let id = find(session, project, &file.image.image).await?;
    let spot = Spot { project, image: &id, partition: file.partition, path: &file.path };
    let mut content = session.client.image_file(spot, what).await?;
    let at = |source| Failure::Output { path: "standard output".into(), source };
    let mut out = io::stdout().lock();
    while let Some(part) = content.next().await? {
        out.write_all(&part).map_err(at)?;
    }
    out.flush().map_err(at)?;
    Ok(Exit::Success)
}

/// What hexadecimal digits stand for.
fn bytes_of(digits: &str) -> Vec<u8> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).filter_map(pair).collect()
}
