//! `image import`: what is asked for, the file, and what came of it.

use std::{
    fs::{self, File},
    path::Path,
    sync::atomic::Ordering,
    time::Duration,
};

use mezame_model::{
    ProjectName,
    api::{
        images::{ImageFormat, NewImage},
        jobs::Job,
    },
};

use super::{Session, job};
use crate::{
    client::{error::ClientError, images::Sent},
    command::{ImportArguments, Label},
    exit::Exit,
    failure::Failure,
    progress::Bar,
};

/// Between two drawings of the bar.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(
    session: &Session<'_>,
    arguments: ImportArguments,
) -> Result<Exit, Failure> {
    let project = session.project()?;
    let (path, detach) = (arguments.file.clone(), arguments.detach);
    let at = |source| Failure::ImageFile { path: path.clone(), source };
    let file = File::open(&path).map_err(at)?;
    let about = file.metadata().map_err(at)?;
    if !about.is_file() {
        return Err(at(std::io::Error::other("it is no file")));
    }
    let new = what(arguments, about.len())?;
    let begun = session.client.begin_import(project, &new).await?;
    if !detach {
        job::tell_how_to_wait(session, Some(project), &begun);
    }
    let job = match send(session, project, &begun, file, about.len()).await {
        Ok(job) => job,
        // Where the archive wanted no more of it, its job says why better than the connection.
        Err(error @ (ClientError::Broken { .. } | ClientError::TimedOut { .. })) => {
            let job = session.client.job(Some(project), &begun.id).await;
            job.ok().filter(|job| job.state.is_end()).ok_or(error)?
        }
        Err(ClientError::Sent(source)) => return Err(at(source)),
        Err(error) => return Err(error.into()),
    };
    if detach {
        return job::follow(session, Some(project), job, detach).await;
    }
    job::wait(session, Some(project), job).await
}

fn what(arguments: ImportArguments, size: u64) -> Result<NewImage, Failure> {
    let read = |path: &Path| {
        let at = |source| Failure::ImageFile { path: path.into(), source };
        fs::read_to_string(path).map_err(at)
    };
    let format = match arguments.format {
        Some(format) => format.0,
        None => by_name(&arguments.file)?,
    };
    let mut trusted = Vec::new();
    for path in &arguments.trust {
        let text = read(path)?;
        let lines = text.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#'));
        trusted.extend(lines.map(str::to_owned));
    }
    let labels = arguments.labels.into_iter().map(|Label(key, value)| (key, value));
    let file_name = || Some(arguments.file.file_name()?.to_string_lossy().into_owned());
    Ok(NewImage {
        name: arguments.name,
        format,
        size: Some(size),
        labels: labels.collect(),
        sha256: arguments.sha256,
        sha512: arguments.sha512,
        signature: arguments.signature.as_deref().map(read).transpose()?,
        trusted,
        largest: arguments.largest,
        source: arguments.source.or_else(file_name),
    })
}

/// The form that a file's name says. What is in it is not looked at: a raw disk's first bytes are
/// whatever its guest wrote there.
fn by_name(path: &Path) -> Result<ImageFormat, Failure> {
    let end = path.extension().map(|end| end.to_string_lossy().to_ascii_lowercase());
    match end.as_deref() {
        Some("raw" | "img") => Ok(ImageFormat::Raw),
        Some("qcow2") => Ok(ImageFormat::Qcow2),
        Some("vmdk") => Ok(ImageFormat::Vmdk),
        Some("vhdx") => Ok(ImageFormat::Vhdx),
        _ => Err(Failure::ImageForm { path: path.into() }),
    }
}

async fn send(
    session: &Session<'_>,
    project: &ProjectName,
    begun: &Job,
    file: File,
    length: u64,
) -> Result<Job, ClientError> {
    let sent = Sent::default();
    let mut bar = Bar::new(session.screen);
    let sending = session.client.upload(project, &begun.id, file, length, &sent);
    let mut sending = std::pin::pin!(sending);
    loop {
        tokio::select! {
            answer = &mut sending => return answer,
            () = tokio::time::sleep(PAUSE) => {
                bar.show("sending", sent.load(Ordering::Relaxed), length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_form_is_what_its_name_says_and_is_not_guessed() {
        for (name, form) in [
            ("a.qcow2", Some(ImageFormat::Qcow2)),
            ("/x/a.b.IMG", Some(ImageFormat::Raw)),
            ("a.vmdk", Some(ImageFormat::Vmdk)),
            ("a.vhdx", Some(ImageFormat::Vhdx)),
            ("a.iso", None),
            ("qcow2", None),
        ] {
            assert_eq!(by_name(Path::new(name)).ok(), form, "{name}");
        }
    }
}
