//! `image`: images of disks in the archive.
//!
//! Nothing here reads a disk's form: the archive checks and converts what it is sent. A file goes
//! out, and an image comes in, part by part.

mod archive;
mod export;
mod files;
mod import;

use mezame_model::{ProjectName, api::images::Image};

use super::{
    Session, job,
    told::{SPACE, told},
};
use crate::{
    command::{ImageCommand, ShareArguments},
    exit::Exit,
    failure::Failure,
    screen::Format,
    size,
    table::Table,
    text,
};

pub(super) async fn run(session: &Session<'_>, command: ImageCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        ImageCommand::Import(arguments) => import::run(session, arguments).await,
        ImageCommand::List => {
            let mut images = client.images(Some(session.project()?)).await?;
            list(session, &mut images)
        }
        ImageCommand::Show(image) => {
            let project = session.project()?;
            let id = find(session, project, &image.image).await?;
            show(session, &client.image(project, &id).await?)
        }
        ImageCommand::Export { image, file, force } => {
            export::run(session, &image.image, &file, force).await
        }
        ImageCommand::Partitions(image) => files::partitions(session, &image.image).await,
        ImageCommand::Ls(folder) => files::list(session, &folder).await,
        ImageCommand::Cat(file) => files::print(session, &file, "content").await,
        ImageCommand::Tar(file) => files::print(session, &file, "tar").await,
        ImageCommand::Verify { image, detach } => {
            let project = session.project()?;
            let id = find(session, project, &image.image).await?;
            let job = client.verify_image(project, &id).await?;
            job::follow(session, Some(project), job, detach).await
        }
        ImageCommand::Share(arguments) => share(session, arguments, true).await,
        ImageCommand::Unshare(arguments) => share(session, arguments, false).await,
        ImageCommand::Delete(image) => {
            let project = session.project()?;
            let id = find(session, project, &image.image).await?;
            client.delete_image(project, &id).await?;
            told(session, &id, "deleted", &format!("{id} is deleted{SPACE}"))
        }
        ImageCommand::Archive(command) => archive::run(session, command).await,
    }
}

/// The id of an image that is named by it, or by a name that only one has. What others share comes
/// after what is the project's own: nobody else decides what a name means in it.
pub(super) async fn find(
    session: &Session<'_>,
    project: &ProjectName,
    given: &str,
) -> Result<String, Failure> {
    if is_id(given) {
        return Ok(given.into());
    }
    let images = session.client.images(Some(project)).await?;
    let named = images.iter().filter(|image| image.name.as_deref() == Some(given));
    let (own, shared): (Vec<&Image>, Vec<&Image>) =
        named.partition(|image| image.project == project.as_str());
    match if own.is_empty() { shared } else { own }.as_slice() {
        [image] => Ok(image.id.clone()),
        [] => Err(Failure::NoImage { name: given.into(), project: project.to_string() }),
        several => {
            let ids = several.iter().map(|image| image.id.clone()).collect();
            Err(Failure::SeveralImages { name: given.into(), ids })
        }
    }
}

/// `img-` and 32 hexadecimal digits.
fn is_id(text: &str) -> bool {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.strip_prefix("img-").is_some_and(|rest| rest.len() == 32 && rest.bytes().all(is_hex))
}

fn list(session: &Session<'_>, images: &mut [Image]) -> Result<Exit, Failure> {
    let screen = session.screen;
    images.sort_by(|one, other| (one.created_ms, &one.id).cmp(&(other.created_ms, &other.id)));
    let name = |it: &Image| format!("image/{}", it.id);
    if !screen.wants_table(images, "there are no images", name)? {
        return Ok(Exit::Success);
    }
    let is_wide = screen.format == Format::Wide;
    let short = ["NAME", "ID", "PROJECT", "KIND", "SIZE", "CREATED"];
    let more = ["FORMAT", "SHA256", "SIGNER", "LABELS"].into_iter().filter(|_| is_wide);
    let mut table = Table::new(short.into_iter().chain(more));
    for image in images.iter() {
        let mut cells = vec![
            image.name.clone().unwrap_or_default(),
            image.id.clone(),
            image.project.clone(),
            image.kind.clone(),
            size::show(image.size),
            text::timestamp(image.created_ms),
        ];
        if is_wide {
            cells.extend(
                [&image.format, &image.sha256, &image.signer]
                    .map(|it| it.clone().unwrap_or_default()),
            );
            cells.push(labels(image));
        }
        table.row(cells);
    }
    screen.print(&table.render(0))?;
    Ok(Exit::Success)
}

fn labels(image: &Image) -> String {
    let labels = image.labels.iter().map(|(label, value)| format!("{label}={value}"));
    labels.collect::<Vec<_>>().join(",")
}

fn show(session: &Session<'_>, image: &Image) -> Result<Exit, Failure> {
    if session.screen.is_data() {
        session.screen.print_value(image)?;
        return Ok(Exit::Success);
    }
    let shares = image.shares.as_ref().map(|shares| {
        let all = shares.all.then(|| "all projects".to_owned());
        all.into_iter().chain(shares.projects.clone()).collect::<Vec<_>>().join(", ")
    });
    let size = format!("{} ({} bytes)", size::show(image.size), image.size);
    let mut out = String::new();
    for (what, said) in [
        ("Name", image.name.clone()),
        ("Id", Some(image.id.clone())),
        ("Project", Some(image.project.clone())),
        ("Kind", Some(image.kind.clone())),
        ("Size", Some(size)),
        ("Created", Some(text::timestamp(image.created_ms))),
        ("Content", Some(image.content.clone())),
        ("Key", image.key.clone()),
        ("Labels", Some(labels(image))),
        ("Format", image.format.clone()),
        ("SHA-256", image.sha256.clone()),
        ("Signer", image.signer.clone()),
        ("Source", image.source.clone()),
        ("Shared with", shares),
    ] {
        if let Some(said) = said.filter(|said| !said.is_empty()) {
            out += &format!("{:<13}{}\n", format!("{what}:"), text::line(&said));
        }
    }
    session.screen.print(&out)?;
    Ok(Exit::Success)
}

async fn share(
    session: &Session<'_>,
    arguments: ShareArguments,
    is_shared: bool,
) -> Result<Exit, Failure> {
    let project = session.project()?;
    let id = find(session, project, &arguments.image.image).await?;
    let with = arguments.with.as_ref();
    session.client.set_share(project, &id, with, is_shared).await?;
    let whom = with.map_or("all projects".to_owned(), |with| format!("the project {with}"));
    let done = if is_shared { "is shared" } else { "is no longer shared" };
    let result = if is_shared { "shared" } else { "unshared" };
    told(session, &id, result, &format!("{id} {done} with {whom}"))
}
