//! What calls about volumes fail of, as problems.

use axum::http::StatusCode;
use mezame_model::api::Problem;

use super::{
    Failure,
    images::{faulty, plain},
};
use crate::{
    control::ControlError,
    fault::chain,
    volumes::{
        VolumesError,
        executor::{ExecutorError, Reason},
    },
};

/// The site has no volumes.
pub(super) fn no_volumes() -> Problem {
    plain(
        StatusCode::NOT_FOUND,
        "no-volumes",
        "This site has no volumes",
        "the operator sets 'volumes' in the provisioner's settings",
    )
}

pub(super) fn problem(error: VolumesError) -> Problem {
    let conflict = |kind, title, detail: &str| plain(StatusCode::CONFLICT, kind, title, detail);
    match error {
        VolumesError::NotBegun(_) => {
            let why = chain(&error);
            tracing::error!(error = why, "volumes can't be worked with");
            let title = "Volumes can't be worked with now";
            plain(StatusCode::SERVICE_UNAVAILABLE, "volumes-away", title, &why)
        }
        VolumesError::Control(ControlError::Faults(faults)) => faulty(faults),
        VolumesError::Control(error) => Failure::from(error).problem(),
        VolumesError::Images(error) => Failure::from(error).problem(),
        VolumesError::Jobs(error) => Failure::from(error).problem(),
        VolumesError::Faults(faults) => faulty(faults),
        VolumesError::Executor(error) => refused(&error),
        VolumesError::NotReady => conflict(
            "not-ready",
            "The volume can't be used yet",
            "a job makes it; where none does, its making was cut short: delete it",
        ),
        VolumesError::Busy(id) => {
            let how =
                format!("see 'mezame job list --volume {id} --unfinished', and ask again then");
            conflict("busy", "Something else is done with the volume", &how)
        }
        VolumesError::MonitorBusy(_) => {
            conflict("busy", "Something else is done with the guest", &error.to_string())
        }
        VolumesError::OtherHost { .. } => {
            conflict("other-host", "The volume is on another host", &error.to_string())
        }
        VolumesError::NoRandomness(_) => {
            tracing::error!(error = chain(&error), "a call about volumes failed");
            Failure::Internal.problem()
        }
    }
}

fn refused(error: &ExecutorError) -> Problem {
    let (kind, title) = match error.reason {
        Reason::InUse => ("volume-in-use", "The volume is in use"),
        Reason::NoPool => ("no-pool-there", "The pool is not there"),
        Reason::Monitor => ("no-monitor", "QEMU can't be asked"),
        Reason::Exists | Reason::Conflict => {
            ("volume-conflict", "It does not go with what the volume is")
        }
        Reason::HalfRestored => ("half-restored", "The volume is half restored"),
        Reason::MasterInUse => ("master-in-use", "The master is in use"),
        Reason::Image => ("image-away", "The image can't be had"),
        Reason::NotFrozen => ("not-frozen", "The guest was not frozen"),
        Reason::Archive => ("no-archive-there", "The archive can't be used"),
        Reason::NoKey => ("image-away", "The project's key is not at hand"),
        Reason::NoDisk => ("no-room", "No disk is free and long enough"),
        Reason::NoRoom => ("no-room", "There is too little room"),
        Reason::Cancelled => ("cancelled", "It was ended"),
        Reason::Failed => {
            tracing::error!(error = error.message, "a volume's host failed");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return plain(status, "volume-failed", "The volume's host failed", &error.message);
        }
    };
    let detail = match error.reason {
        Reason::InUse => format!("{}: stop its guest", error.message),
        _ => error.message.clone(),
    };
    plain(StatusCode::CONFLICT, kind, title, &detail)
}
