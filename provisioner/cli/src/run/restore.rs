//! `volume restore` and `volume capture`: from the archive into a volume, and back.

use mezame_model::api::volumes::{Capture, RestoreVolume, RestoreWay};

use super::{Session, freezing::freezing_of, image, job, told::told};
use crate::{
    command::{CaptureArguments, RestoreVolumeArguments},
    exit::Exit,
    failure::Failure,
    size,
};

pub(super) async fn restore(
    session: &Session<'_>,
    arguments: RestoreVolumeArguments,
) -> Result<Exit, Failure> {
    let (client, project) = (&session.client, session.project()?);
    let id = arguments.volume.volume.0;
    // Without an image it is cancelled: there is no third thing.
    let Some(given) = arguments.image else {
        client.abandon_restore(project, &id).await?;
        let said = format!("{id} is what it was before its restore was begun");
        return told(session, &id, "given-up", &said);
    };
    let asked = RestoreVolume {
        image: image::find(session, project, &given).await?,
        way: if arguments.over { RestoreWay::Over } else { RestoreWay::Beside },
        keep_old: arguments.keep_old,
    };
    let begun = client.restore_volume(project, &id, &asked).await?;
    let exit = job::follow(session, Some(project), begun, arguments.detach.detach).await?;
    if !arguments.detach.detach && !session.screen.is_data() {
        // It may be of another class and size now. It is restored, whether that can be told or not.
        if let Ok(now) = client.volume(project, &id).await {
            let (class, size) = (now.class.as_str(), size::show(now.size));
            session.screen.say(&format!("{id} is of the class '{class}' now, {size}"));
        }
    }
    Ok(exit)
}

pub(super) async fn capture(
    session: &Session<'_>,
    arguments: CaptureArguments,
) -> Result<Exit, Failure> {
    let (client, project) = (&session.client, session.project()?);
    let CaptureArguments { volume, name, sealed, qmp, freeze, detach } = arguments;
    let asked = Capture { name, sealed, qmp, freeze: freezing_of(freeze) };
    let begun = client.capture_volume(project, &volume.volume.0, &asked).await?;
    job::follow(session, Some(project), begun, detach.detach).await
}
