//! `image archive`: the archive as a whole.

use mezame_model::api::images::ArchiveStatus;

use super::{Session, is_id, job, list};
use crate::{command::ArchiveCommand, exit::Exit, failure::Failure, size, text};

pub(super) async fn run(session: &Session<'_>, command: ArchiveCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        ArchiveCommand::Status => status(session, &client.archive().await?),
        ArchiveCommand::Create => {
            let made = client.create_archive().await?;
            session.screen.say(&format!("the archive is at {}", text::line(&made.place)));
            Ok(Exit::Success)
        }
        ArchiveCommand::Collect(how) => {
            job::follow(session, None, client.archive_work("collect").await?, how.detach).await
        }
        ArchiveCommand::Verify(how) => {
            job::follow(session, None, client.archive_work("verify").await?, how.detach).await
        }
        ArchiveCommand::Images => list(session, &mut client.images(None).await?),
        ArchiveCommand::Forget { image, .. } => {
            if !is_id(&image) {
                return Err(Failure::NoImageId { given: image });
            }
            client.forget_image(&image).await?;
            session.screen.say(&format!("{image} is forgotten"));
            Ok(Exit::Success)
        }
        ArchiveCommand::Quarantine { add, release } => {
            if let Some(pack) = add {
                client.set_quarantine(&pack.0, true).await?;
                session.screen.say(&format!("no new image counts on {}", pack.0));
            } else if let Some(pack) = release {
                client.set_quarantine(&pack.0, false).await?;
                session.screen.say(&format!("{} is released", pack.0));
            } else {
                let packs = client.quarantine().await?;
                if session.screen.is_data() {
                    session.screen.print_value(&packs)?;
                } else {
                    let lines: String =
                        packs.iter().map(|pack| format!("{}\n", text::line(pack))).collect();
                    session.screen.print(&lines)?;
                }
            }
            Ok(Exit::Success)
        }
    }
}

fn status(session: &Session<'_>, status: &ArchiveStatus) -> Result<Exit, Failure> {
    if session.screen.is_data() {
        session.screen.print_value(status)?;
        return Ok(Exit::Success);
    }
    let uploads =
        format!("{} of {}", size::show(status.uploading), size::show(status.uploading_most));
    let lines = [
        ("Place", text::line(&status.place)),
        ("Stored", format!("{} in {} packs", size::show(status.bytes), status.packs)),
        ("Images", status.records.to_string()),
        ("Under way", format!("{} sessions, {} jobs", status.sessions, status.jobs)),
        ("Uploads", uploads),
        ("Quarantined", format!("{} packs", status.quarantined)),
    ];
    let out: String =
        lines.iter().map(|(what, said)| format!("{:<13}{said}\n", format!("{what}:"))).collect();
    session.screen.print(&out)?;
    Ok(Exit::Success)
}
