//! `guest-agent seal`: forgets this guest, so that an image of its disk can be captured.
//!
//! A clone has another instance id, so what runs once an instance runs again in it without this.
//! What must not go into an image goes here: secrets, sealed passwords, output of scripts, what
//! says "once" for ever, and on Windows the routes of the network that the image was made in, the
//! agent's notes in the registry and the certificate that it made for WinRM. Accounts, files and
//! settings stay: they are the image. So do the notes of what users were given, and the list of the
//! VLANs and bonds that the agent has made: the image's files make those in each clone, too, and its
//! agent takes back what its own record doesn't name.

use std::fs;

use crate::{
    boot::run::RunError,
    ledger::Ledger,
    platform::{Platform, create_private_directory},
    settings::{LINKS, Settings},
};

/// Forgets the guest. Fails where another agent runs, which would note again what is forgotten.
pub fn seal(
    settings: &Settings,
    platform: &dyn Platform,
    say: &mut dyn FnMut(&str),
) -> Result<(), RunError> {
    let state = settings.state();
    let failed = |source| RunError::State { path: state.clone(), source };
    create_private_directory(&state).map_err(failed)?;
    let mut ledger = Ledger::open(&state)?;
    for route in platform.clear_stale_routes()? {
        say(&format!("a stale route was taken away: {route}"));
    }
    platform.forget()?;
    for entry in fs::read_dir(&state).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.ends_with("ledger") || path.ends_with(LINKS) {
            continue;
        }
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.map_err(failed)?;
    }
    // The ledger is last, and only then unlocked: cut off before, this can be run once more.
    let is_left = ledger.forget()?;
    drop(ledger);
    if !is_left {
        fs::remove_file(state.join("ledger")).map_err(failed)?;
    }
    platform.flush()?;
    say("this guest is forgotten; shut it down and capture its disk");
    Ok(())
}

#[cfg(test)]
mod tests {
    use mezame_model::InstanceId;

    use super::*;
    use crate::{ledger::Right, platform::fake::Fake};

    #[test]
    fn nothing_of_the_guest_is_left_and_a_running_agent_is_not_disturbed() {
        let root = tempfile::tempdir().unwrap();
        let settings = Settings { root: root.path().into(), ..Settings::default() };
        let state = settings.state();
        fs::create_dir_all(state.join("secrets")).unwrap();
        fs::write(state.join("secrets/token"), "hunter2").unwrap();
        fs::write(state.join("last-report.json"), "{}").unwrap();
        let fake = Fake::new("boot", Vec::new());
        let running = Ledger::open(&state).unwrap();
        let refused = seal(&settings, &fake, &mut |_| {}).unwrap_err();
        assert_eq!(refused.reason(), "already-running");
        assert!(state.join("secrets/token").exists());
        drop(running);
        seal(&settings, &fake, &mut |_| {}).unwrap();
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
        // Once more does no harm.
        seal(&settings, &fake, &mut |_| {}).unwrap();
    }

    /// The files that make them stay in the image.
    #[test]
    fn what_devices_were_made_is_known_to_a_clone_which_takes_away_what_it_is_not_to_have() {
        let root = tempfile::tempdir().unwrap();
        let settings = Settings { root: root.path().into(), ..Settings::default() };
        let state = settings.state();
        fs::create_dir_all(&state).unwrap();
        let list = r#"[{"name":"bond0","form":{"bond":{"cards":["eth0","eth1"]}}}]"#;
        fs::write(state.join(LINKS), list).unwrap();
        fs::write(state.join("last-network.json"), "[]").unwrap();
        seal(&settings, &Fake::new("boot", Vec::new()), &mut |_| {}).unwrap();
        assert_eq!(fs::read_to_string(state.join(LINKS)).unwrap(), list);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
    }

    #[test]
    fn what_users_were_given_is_known_to_a_clone_which_takes_it_back() {
        let root = tempfile::tempdir().unwrap();
        let settings = Settings { root: root.path().into(), ..Settings::default() };
        let state = settings.state();
        fs::create_dir_all(&state).unwrap();
        let instance = InstanceId::parse("i-0123456789abcdef0").unwrap();
        let mut ledger = Ledger::open(&state).unwrap();
        ledger.begin_run(&instance, "boot-1").unwrap();
        ledger.right("ops", Right::Keys, true).unwrap();
        drop(ledger);
        seal(&settings, &Fake::new("boot", Vec::new()), &mut |_| {}).unwrap();
        let known = Ledger::look(&state).unwrap();
        assert!(known.has("ops", Right::Keys) && known.instance.is_none());
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
    }
}
