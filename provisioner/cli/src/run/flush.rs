//! `volume flush`: how long running guests' writes wait until they are durable.

use std::time::Duration;

use mezame_model::api::volumes::{FlushState, Monitor, Volume, VolumeFlush};

use super::Session;
use crate::{command::FlushArguments, exit::Exit, failure::Failure, text as form};

pub(super) async fn run(session: &Session<'_>, arguments: FlushArguments) -> Result<Exit, Failure> {
    let (client, project) = (&session.client, session.project()?);
    let monitor = Monitor { qmp: arguments.qmp };
    let mut volumes = Vec::new();
    for id in &arguments.volumes {
        let volume = match (arguments.begin || monitor.qmp.is_some(), arguments.end) {
            (true, _) => client.flush_volume(project, &id.0, &monitor).await?,
            (false, true) => client.end_volume_flush(project, &id.0).await?,
            (false, false) => client.volume(project, &id.0).await?,
        };
        volumes.push(volume);
    }
    if session.screen.is_data() {
        session.screen.print_value(&volumes)?;
        return Ok(Exit::Success);
    }
    let lines = volumes.iter().map(|volume| {
        let said = match text(volume) {
            said if said.is_empty() => "its class is not flushed".into(),
            said => form::line(&said),
        };
        format!("{}: {said}\n", volume.id)
    });
    session.screen.print(&lines.collect::<String>())?;
    Ok(Exit::Success)
}

/// How a volume is flushed, in a line; nothing of one whose class is not.
pub(super) fn text(volume: &Volume) -> String {
    let Some(interval) = volume.flush_ms else {
        let waits =
            |flush: &VolumeFlush| format!("no; its limits wait for {}", flush.qmp.display());
        return volume.flush.as_ref().map(waits).unwrap_or_default();
    };
    let every = format!("{:?}", Duration::from_millis(interval.into()));
    let Some(flush) = &volume.flush else {
        let how = match &volume.qmp {
            Some(_) => "its guest is off, or flushes were ended: 'volume flush --begin'",
            None => "it is not said which QEMU has it",
        };
        return format!("within {every}, not now: {how}");
    };
    let until = flush.durable_until_ms.map(|ms| format!(", durable until {}", form::timestamp(ms)));
    let late = match flush.lates {
        0 => String::new(),
        times => {
            format!(", {} late", form::count(usize::try_from(times).unwrap_or(usize::MAX), "time"))
        }
    };
    let state = match flush.state {
        FlushState::Waiting => format!("within {every}: waits for {}", flush.qmp.display()),
        FlushState::Kept => format!("within {every}: kept{}{late}", until.unwrap_or_default()),
        FlushState::Late => format!("within {every}: NOT KEPT{}{late}", until.unwrap_or_default()),
    };
    let why = flush.why.as_ref().map(|why| format!(" ({why})"));
    state + &why.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use mezame_model::api::volumes::{Limits, VolumeClass, VolumeState};

    use super::*;

    fn volume(flush_ms: Option<u32>, flush: Option<VolumeFlush>) -> Volume {
        Volume {
            id: "web".into(),
            project: "p".into(),
            owner: "me".into(),
            host: "here".into(),
            pool: "fast".into(),
            place: None,
            image: None,
            size: 1 << 20,
            class: VolumeClass::Bounded,
            flush_ms,
            flush,
            encrypted: false,
            keys: Vec::new(),
            qmp: None,
            limits: Limits::default(),
            state: VolumeState::Ready,
            created_ms: 0,
            restoring: None,
            resizing: None,
            rotating: false,
            job: None,
            kept: Vec::new(),
        }
    }

    #[test]
    fn a_line_says_whether_the_interval_is_kept_and_what_is_in_the_way() {
        assert_eq!(text(&volume(None, None)), "");
        let said = text(&volume(Some(500), None));
        assert_eq!(said, "within 500ms, not now: it is not said which QEMU has it");
        let flush = VolumeFlush {
            qmp: "/run/web.qmp".into(),
            state: FlushState::Waiting,
            durable_until_ms: None,
            flushes: 0,
            failures: 0,
            lates: 0,
            why: Some("it is not there".into()),
        };
        let said = text(&volume(None, Some(flush.clone())));
        assert_eq!(said, "no; its limits wait for /run/web.qmp");
        let said = text(&volume(Some(1000), Some(flush.clone())));
        assert_eq!(said, "within 1s: waits for /run/web.qmp (it is not there)");
        let until = Some(1_767_225_600_000);
        let kept =
            VolumeFlush { state: FlushState::Kept, durable_until_ms: until, why: None, ..flush };
        let said = text(&volume(Some(1000), Some(kept.clone())));
        assert_eq!(said, "within 1s: kept, durable until 2026-01-01T00:00:00Z");
        let late = VolumeFlush { state: FlushState::Late, lates: 2, ..kept };
        let said = text(&volume(Some(1000), Some(late)));
        assert_eq!(said, "within 1s: NOT KEPT, durable until 2026-01-01T00:00:00Z, 2 times late");
    }
}
