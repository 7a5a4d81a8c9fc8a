//! Steps of a Windows alone: ways in from outside, its licence, and scripts that stand in tags.

use mezame_model::{Document, report::Outcome};

use super::{Planned, Planner, seed};
use crate::{
    facts::{Facts, System},
    step::{Action, Frequency, Step},
    user_data::windows,
};

impl Planner<'_> {
    /// Ways into a Windows; its certificate is for the name that it gets.
    pub(super) fn remote_access(&mut self, document: &Document, facts: &Facts) {
        let name = self.steps.iter().find_map(|planned| match planned {
            Planned::Do { step: Step { action: Action::Hostname(name), .. }, .. } => Some(name),
            _ => None,
        });
        let hostname = name.unwrap_or(&document.hostname).clone();
        let desktop = document.remote_desktop.map(Action::RemoteDesktop);
        let winrm = document.winrm.map(|wanted| Action::Winrm { wanted, hostname });
        for (key, action) in [("remote desktop", desktop), ("winrm", winrm)] {
            let Some(action) = action else { continue };
            if facts.system == System::Windows {
                self.always(key.into(), action);
            } else {
                let detail = "it is for Windows, and this is another system".into();
                self.settle(key.into(), Outcome::Skipped, "other-system", detail);
            }
        }
    }

    pub(super) fn licence(&mut self, facts: &Facts) {
        let Some(licence) = &facts.licence else { return };
        self.once(Step {
            key: "licence".into(),
            frequency: Frequency::PerInstance,
            fingerprint: None,
            action: Action::Activate(licence.clone()),
        });
    }

    /// Scripts that stand in tags, as Google's agent runs them on Windows.
    pub(super) fn startup_tags(&mut self, document: &Document, facts: &Facts) {
        if facts.system != System::Windows {
            return;
        }
        for tag in windows::STARTUP_TAGS {
            let Some(body) = document.tags.get(tag) else { continue };
            let language = windows::language_of_tag(tag);
            let key = format!("tag {tag}");
            self.once(seed::run(key, Frequency::PerBoot, body.as_bytes(), &language, 0));
        }
        for tag in windows::UNSUPPORTED_TAGS {
            if document.tags.get(tag).is_some() {
                let detail = "this tag is not supported".into();
                self.settle(format!("tag {tag}"), Outcome::Skipped, "unsupported-key", detail);
            }
        }
    }
}
