//! Going on after a successor has failed: what it failed of may keep the control plane from being opened
//! here, too, as a file of the operator's that both read. Guests are served from what is known meanwhile.

use std::time::Duration;

use crate::{
    chain,
    control_plane::{ControlPlane, NoControlPlane, OpenPlane},
};

/// Between two tries, at first and at most.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The control plane that a process has which goes on.
pub(super) struct Held {
    pub(super) control: OpenPlane,
    /// Whether it is none: the true one is to be opened again.
    pub(super) is_away: bool,
}

impl Held {
    /// Opens it; where it can't be, there is none until it can.
    pub(super) async fn opened(control: &dyn ControlPlane) -> Self {
        let away = match control.open().await {
            Ok(control) => return Self { control, is_away: false },
            Err(error) => error,
        };
        tracing::error!(
            error = chain(&*away),
            "the control plane can't be opened; guests are served on without, and it is tried again"
        );
        Self { control: NoControlPlane::nobody(), is_away: true }
    }

    /// Opens what is away, once it can be; never, where nothing is.
    pub(super) async fn opened_again(is_away: bool, control: &dyn ControlPlane) -> OpenPlane {
        if !is_away {
            return std::future::pending().await;
        }
        let mut pause = PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            match control.open().await {
                Ok(open) => {
                    tracing::info!("the control plane is open again");
                    return open;
                }
                Err(error) => {
                    tracing::error!(
                        error = chain(&*error),
                        "the control plane can't be opened yet"
                    );
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
