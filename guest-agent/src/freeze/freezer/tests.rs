//! The freeze on a model of a system: its order, and each thing that can go wrong in it.

use std::{
    path::Path,
    sync::{Condvar, mpsc},
    thread,
    time::Duration,
};

use super::*;

const LONG: Duration = Duration::from_secs(60);

/// A system whose deeds are written down, and some of which fail.
#[derive(Default)]
struct Model {
    hooks: Vec<&'static str>,
    mounts: Vec<&'static str>,
    passed_over: Vec<&'static str>,
    /// What does not thaw for now, and what was noted last.
    stubborn: Mutex<Vec<&'static str>>,
    noted: Mutex<Vec<String>>,
    /// What fails, by the word that is written down of it.
    fails: Vec<(&'static str, Option<Refusal>)>,
    said: Mutex<Vec<String>>,
    /// A freeze that is held here until it is let go, and who is told that it is there.
    held: Option<(&'static str, mpsc::Sender<()>)>,
    let_go: (Mutex<bool>, Condvar),
}

impl Model {
    fn with(hooks: &[&'static str], mounts: &[&'static str]) -> Self {
        Self { hooks: hooks.into(), mounts: mounts.into(), ..Self::default() }
    }

    fn say(&self, word: String) -> Result<(), Option<Refusal>> {
        let fails = self.fails.iter().find(|(failing, _)| *failing == word);
        self.said.lock().unwrap().push(word);
        fails.map_or(Ok(()), |(_, why)| Err(why.clone()))
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

impl System for Model {
    fn hooks(&self) -> Result<Vec<PathBuf>, String> {
        Ok(self.hooks.iter().map(PathBuf::from).collect())
    }

    fn call(&self, hook: &Path, moment: Moment, _until: Instant) -> Result<(), String> {
        let word = format!("{} {}", hook.display(), moment.word());
        self.say(word).map_err(|_| "status 1".into())
    }

    fn mounts(&self) -> Result<Found, String> {
        let passed_over = self.passed_over.iter().copied().map(String::from).collect();
        Ok(Found { to_freeze: self.mounts.iter().copied().map(mount).collect(), passed_over })
    }

    fn note(&self, mounts: &[Mount]) -> Result<(), String> {
        *self.noted.lock().unwrap() = mounts.iter().map(|mount| mount.path.clone()).collect();
        self.say(format!("note {}", mounts.len())).map_err(|_| "no /run".into())
    }

    fn sync(&self) {
        let _ = self.say("sync".into());
    }

    fn freeze(&self, mount: &Mount) -> Result<(), Refusal> {
        if let Some((path, there)) = &self.held
            && *path == mount.path
        {
            there.send(()).unwrap();
            let waiting = self.let_go.0.lock().unwrap();
            drop(self.let_go.1.wait_timeout_while(waiting, LONG, |it| !*it).unwrap());
        }
        self.say(format!("freeze {}", mount.path)).map_err(Option::unwrap)
    }

    fn thaw(&self, mount: &Mount) -> Result<bool, String> {
        if self.stubborn.lock().unwrap().contains(&&*mount.path) {
            return Err("EIO".into());
        }
        Ok(self.say(format!("thaw {}", mount.path)).is_ok())
    }
}

fn mount(path: &str) -> Mount {
    Mount { path: path.to_owned(), device: (8, 1), kind: "ext4".into() }
}

fn frozen_by(freezer: &Freezer<'_>) -> Result<Frozen, FreezeError> {
    freezer.freeze(Instant::now() + LONG)
}

#[test]
fn hooks_come_first_and_everything_is_taken_back_in_the_opposite_order() {
    let model = Model::with(&["db", "web"], &["/srv", "/"]);
    let freezer = Freezer::new(&model, LONG);
    let frozen = frozen_by(&freezer).unwrap();
    assert_eq!(frozen.file_systems, ["/srv", "/"]);
    let before = ["db freeze", "web freeze", "sync", "note 2", "freeze /srv", "freeze /"];
    assert_eq!(model.said(), before);
    assert!(freezer.thaw().was_frozen);
    let after = ["thaw /", "thaw /srv", "note 0", "web thaw", "db thaw"];
    assert_eq!(model.said()[before.len()..], after);
    assert!(!freezer.thaw().was_frozen, "it was not frozen any more");
    assert_eq!(frozen_by(&freezer), Err(FreezeError::Late), "a freezer freezes once");
    assert!(!model.said()[before.len() + after.len()..].iter().any(|it| it.contains('/')));
}

#[test]
fn a_hook_that_fails_means_that_nothing_is_frozen_and_those_that_were_called_are_told() {
    let mut model = Model::with(&["db", "web", "mail"], &["/"]);
    model.fails.push(("web freeze", None));
    let freezer = Freezer::new(&model, LONG);
    let error = frozen_by(&freezer).unwrap_err();
    assert_eq!(error.to_string(), "the hook web failed: status 1");
    assert_eq!(model.said(), ["db freeze", "web freeze", "note 0", "web thaw", "db thaw"]);
    assert!(!freezer.thaw().was_frozen);
}

#[test]
fn what_can_not_be_frozen_is_left_out_and_named() {
    let mut model = Model::with(&[], &["/boot/efi", "/"]);
    model.passed_over.push("/tank (zfs): why");
    model.fails.push(("freeze /boot/efi", Some(Refusal::Unable("not supported".into()))));
    let freezer = Freezer::new(&model, LONG);
    let frozen = frozen_by(&freezer).unwrap();
    assert_eq!(frozen.file_systems, ["/"]);
    assert_eq!(frozen.skipped, ["/tank (zfs): why", "/boot/efi (ext4): not supported"]);
    assert!(freezer.thaw().was_frozen);
    assert!(!model.said().contains(&"thaw /boot/efi".to_owned()));
}

#[test]
fn where_there_is_nothing_to_freeze_that_is_no_freeze() {
    let model = Model::with(&["db"], &[]);
    assert_eq!(frozen_by(&Freezer::new(&model, LONG)), Err(FreezeError::Nothing));
    assert_eq!(model.said().last().unwrap(), "db thaw");
}

#[test]
fn what_is_partly_frozen_thaws_where_one_fails() {
    for (why, is_others) in [(Refusal::Failed("EIO".into()), false), (Refusal::Already, true)] {
        let mut model = Model::with(&[], &["/a", "/b", "/c"]);
        model.fails.push(("freeze /b", Some(why)));
        let error = frozen_by(&Freezer::new(&model, LONG)).unwrap_err();
        assert_eq!(matches!(error, FreezeError::Already(_)), is_others);
        let said = model.said();
        assert!(said.contains(&"thaw /a".to_owned()));
        // What others have frozen is theirs.
        assert!(!said.contains(&"thaw /b".to_owned()) && !said.contains(&"freeze /c".to_owned()));
    }
}

#[test]
fn no_note_no_freeze() {
    let mut model = Model::with(&[], &["/"]);
    model.fails.push(("note 1", None));
    let error = frozen_by(&Freezer::new(&model, LONG)).unwrap_err();
    assert_eq!(error, FreezeError::System("no /run".into()));
    assert!(!model.said().contains(&"freeze /".to_owned()));
}

#[test]
fn one_that_takes_too_long_does_not_hold_up_those_that_are_frozen() {
    let (there, is_there) = mpsc::channel();
    let mut model = Model::with(&["db"], &["/fast", "/slow", "/never"]);
    model.held = Some(("/slow", there));
    let freezer = Freezer::new(&model, LONG);
    thread::scope(|scope| {
        let freezing = scope.spawn(|| frozen_by(&freezer));
        is_there.recv_timeout(LONG).unwrap();
        // The time is over, by another thread.
        assert!(freezer.thaw().was_frozen);
        assert!(model.said().contains(&"thaw /fast".to_owned()));
        *model.let_go.0.lock().unwrap() = true;
        model.let_go.1.notify_all();
        assert_eq!(freezing.join().unwrap(), Err(FreezeError::Late));
    });
    let said = model.said();
    assert_eq!(said.last().unwrap(), "note 0");
    assert!(said.contains(&"thaw /slow".to_owned()) && !said.contains(&"freeze /never".to_owned()));
}

#[test]
fn when_the_time_is_over_before_it_begins_nothing_is_done() {
    let model = Model::with(&["db"], &["/"]);
    let error = Freezer::new(&model, LONG).freeze(Instant::now()).unwrap_err();
    assert_eq!(error, FreezeError::Late);
    assert_eq!(model.said(), ["note 0"]);
}

#[test]
fn one_that_somebody_else_has_thawed_was_not_frozen_until_now() {
    let mut model = Model::with(&[], &["/a", "/b"]);
    model.fails.push(("thaw /a", None));
    let freezer = Freezer::new(&model, LONG);
    frozen_by(&freezer).unwrap();
    assert!(!freezer.thaw().was_frozen);
    assert!(model.said().contains(&"thaw /b".to_owned()), "the other one goes on all the same");
}

#[test]
fn what_a_killed_agent_left_goes_on_and_its_hooks_are_told() {
    let model = Model::with(&["db", "web"], &[]);
    let noted = ["/srv", "/"].map(mount);
    assert_eq!(recover(&model, &noted), Recovered { thawed: 2, left: Vec::new() });
    assert_eq!(model.said(), ["thaw /", "thaw /srv", "note 0", "web thaw", "db thaw"]);
    let mut model = Model::with(&["db"], &[]);
    model.fails.extend([("thaw /", None), ("thaw /srv", None)]);
    assert_eq!(recover(&model, &noted), Recovered::default());
    assert!(!model.said().contains(&"db thaw".to_owned()), "nobody was told of a freeze");
}

#[test]
fn what_does_not_thaw_is_told_kept_noted_and_tried_again() {
    let model = Model::with(&[], &["/a", "/b", "/c"]);
    let freezer = Freezer::new(&model, LONG);
    frozen_by(&freezer).unwrap();
    *model.stubborn.lock().unwrap() = vec!["/a", "/c"];
    let thawed = freezer.thaw();
    assert_eq!(
        thawed,
        Thawed { was_frozen: false, left: vec!["/c: EIO".into(), "/a: EIO".into()] }
    );
    let reason = "still frozen: /c: EIO, /a: EIO".to_owned();
    assert_eq!(Done::from(thawed), Done::Failed { reason });
    assert!(model.said().contains(&"thaw /b".to_owned()));
    assert_eq!(*model.noted.lock().unwrap(), ["/a", "/c"]);
    *model.stubborn.lock().unwrap() = vec!["/a"];
    assert_eq!(freezer.thaw().left, ["/a: EIO"]);
    assert_eq!(*model.noted.lock().unwrap(), ["/a"]);
    model.stubborn.lock().unwrap().clear();
    assert_eq!(freezer.thaw(), Thawed::default());
    assert!(model.noted.lock().unwrap().is_empty());
    assert_eq!(model.said().iter().filter(|said| said.starts_with("thaw")).count(), 3);
}

#[test]
fn what_the_next_agent_can_not_thaw_stays_noted_for_the_one_after_it() {
    let model = Model::with(&["db"], &[]);
    *model.stubborn.lock().unwrap() = vec!["/srv"];
    let recovered = recover(&model, &["/srv", "/"].map(mount));
    assert_eq!(recovered, Recovered { thawed: 1, left: vec!["/srv: EIO".into()] });
    assert_eq!(*model.noted.lock().unwrap(), ["/srv"]);
}

#[test]
fn what_is_being_frozen_while_the_others_thaw_stays_noted() {
    let (there, is_there) = mpsc::channel();
    let mut model = Model::with(&[], &["/fast", "/slow"]);
    model.held = Some(("/slow", there));
    let freezer = Freezer::new(&model, LONG);
    thread::scope(|scope| {
        let freezing = scope.spawn(|| frozen_by(&freezer));
        is_there.recv_timeout(LONG).unwrap();
        freezer.thaw();
        // Whoever comes after a helper that is killed now finds it.
        assert_eq!(*model.noted.lock().unwrap(), ["/slow"]);
        *model.let_go.0.lock().unwrap() = true;
        model.let_go.1.notify_all();
        freezing.join().unwrap().unwrap_err();
    });
    assert!(model.noted.lock().unwrap().is_empty());
}
