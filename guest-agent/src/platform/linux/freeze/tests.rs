//! Hooks as they are on a system, and, where something can be mounted, real file systems.

use super::*;

fn hook(directory: &Path, name: &str, body: &str, mode: u32) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn system_of(hooks: &Path) -> LinuxSystem {
    let system = LinuxSystem::default();
    LinuxSystem { hooks: hooks.into(), score: Some(b"7".into()), ..system }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn hooks_are_programs_of_roots_in_the_order_of_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let (of, system) = (directory.path(), system_of(directory.path()));
    for (name, mode) in
        [("20-web", 0o755), ("10-db", 0o700), ("README", 0o644), ("db.bak", 0o755), (".x", 0o755)]
    {
        hook(of, name, "", mode);
    }
    if nix::unistd::Uid::effective().is_root() {
        assert_eq!(system.hooks().unwrap(), [of.join("10-db"), of.join("20-web")]);
    }
    hook(of, "30-anybody", "", 0o777);
    assert!(system.hooks().unwrap_err().contains("30-anybody"));
    assert!(system_of(&of.join("none")).hooks().unwrap().is_empty());
}

#[test]
fn a_hook_that_is_a_link_to_nothing_is_not_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/no/such", directory.path().join("10-db")).unwrap();
    let error = system_of(directory.path()).hooks().unwrap_err();
    assert!(error.contains("10-db: No such file"), "{error}");
}

#[test]
fn a_hook_hears_signals_and_may_be_killed_where_memory_is_short() {
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("told");
    let body = format!("cat /proc/self/status /proc/self/oom_score_adj >{}", told.display());
    let hook = hook(directory.path(), "10-db", &body, 0o700);
    let system = system_of(directory.path());
    // As in the helper: in a thread of its own, whose signals go with it.
    let call = || {
        nix::sys::signal::SigSet::all().thread_block().unwrap();
        system.call(&hook, Moment::Freeze, soon())
    };
    thread::scope(|scope| scope.spawn(call).join().unwrap()).unwrap();
    let told = fs::read_to_string(&told).unwrap();
    assert!(told.contains("SigBlk:\t0000000000000000\n") && told.ends_with("\n7\n"), "{told}");
}

#[test]
fn a_hook_is_told_the_moment_and_ended_when_its_time_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("told");
    let system = system_of(directory.path());
    let good = hook(directory.path(), "good", &format!("echo $1 >>{}", told.display()), 0o700);
    system.call(&good, Moment::Freeze, soon()).unwrap();
    system.call(&good, Moment::Thaw, soon()).unwrap();
    assert_eq!(fs::read_to_string(&told).unwrap(), "freeze\nthaw\n");
    let bad = hook(directory.path(), "bad", "exit 3", 0o700);
    assert!(system.call(&bad, Moment::Freeze, soon()).unwrap_err().contains('3'));
    let slow = hook(directory.path(), "slow", "sleep 1000", 0o700);
    let begin = Instant::now();
    let until = begin + Duration::from_millis(100);
    let error = system.call(&slow, Moment::Freeze, until).unwrap_err();
    assert_eq!(error, "it took too long");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_place_that_another_file_system_has_taken_is_not_frozen() {
    let mount = Mount { path: "/proc".into(), device: (8, 77), kind: "ext4".into() };
    // It may be one that holds a database: it is not taken for one that can't be frozen.
    assert!(matches!(LinuxSystem::default().freeze(&mount), Err(Refusal::Failed(_))));
    let gone = Mount { path: "/no/such".into(), ..mount.clone() };
    assert!(matches!(LinuxSystem::default().freeze(&gone), Err(Refusal::Failed(_))));
    assert!(LinuxSystem::default().thaw(&mount).is_err());
}

/// A file system in a file, mounted where nobody else sees it; none where that is not allowed.
fn mounted(directory: &Path) -> Option<Mount> {
    let (image, path) = (directory.join("image"), directory.join("place"));
    File::create(&image).unwrap().set_len(16 << 20).unwrap();
    fs::create_dir(&path).unwrap();
    let run = |program: &str, words: &[&std::ffi::OsStr]| {
        Command::new(program).args(words).status().is_ok_and(|status| status.success())
    };
    let own = "mkfs.ext4 -q \"$0\" && mount -o loop \"$0\" \"$1\"";
    let words = ["-c".as_ref(), own.as_ref(), image.as_os_str(), path.as_os_str()];
    let is_private = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok()
        && run("mount", &["--make-rprivate".as_ref(), "/".as_ref()]);
    if !is_private || !run("sh", &words) {
        eprintln!("skipped, nothing can be mounted here");
        return None;
    }
    let device = fs::metadata(&path).unwrap().dev();
    let device = (libc::major(device), libc::minor(device));
    Some(Mount { path: path.to_str().unwrap().into(), device, kind: "ext4".into() })
}

#[test]
fn what_is_not_where_it_was_frozen_any_more_thaws_by_the_descriptor_it_was_frozen_by() {
    let directory = tempfile::tempdir().unwrap();
    let body = || {
        let Some(mount) = mounted(directory.path()) else { return };
        let system = LinuxSystem::default();
        system.freeze(&mount).unwrap();
        let is_done = |program: &str, word: &str| {
            Command::new(program).arg(word).arg(&mount.path).status().unwrap().success()
        };
        // Its place leads elsewhere, and nothing else leads to it.
        assert!(is_done("umount", "-l"));
        let by_path = LinuxSystem::default().thaw(&mount);
        let thawed = system.thaw(&mount);
        assert_eq!((by_path.is_err(), thawed), (true, Ok(true)));
    };
    // In a thread of its own, whose mounts go with it.
    thread::scope(|scope| scope.spawn(body).join().unwrap());
}

#[test]
fn what_was_moved_is_found_by_the_next_agent_and_what_is_not_found_stays_noted() {
    let directory = tempfile::tempdir().unwrap();
    let body = || {
        let Some(mount) = mounted(directory.path()) else { return };
        let of = directory.path().join("notes");
        let system = LinuxSystem::noting(of.join("1"));
        let lost = Mount { path: "/no/such".into(), device: (8, 77), kind: "ext4".into() };
        let noted = [mount.clone(), lost.clone()];
        system.note(&noted).unwrap();
        system.freeze(&mount).unwrap();
        let moved = directory.path().join("moved");
        fs::create_dir(&moved).unwrap();
        let mut to_move = Command::new("mount");
        assert!(to_move.arg("--move").arg(&mount.path).arg(&moved).status().unwrap().success());
        // The mounts are this thread's alone.
        let mountinfo = "/proc/thread-self/mountinfo".into();
        let next = LinuxSystem { mountinfo, ..LinuxSystem::noting(of.join("1")) };
        let recovered = freezer::recover(&next, &noted);
        assert_eq!(system.thaw(&mount), Ok(false), "it goes on already");
        assert!(Command::new("umount").arg(&moved).status().unwrap().success());
        assert_eq!((recovered.thawed, recovered.left.len()), (1, 1));
        // One that ended late: another one's note is not its to remove.
        LinuxSystem::noting(of.join("2")).note(&[]).unwrap();
        let still = notes::thaw(&of);
        assert_eq!((still.thawed, still.left.len()), (0, 1));
        let noted: Vec<Mount> = serde_json::from_slice(&fs::read(of.join("1")).unwrap()).unwrap();
        assert_eq!(noted, [lost]);
        system.note(&[]).unwrap();
        assert!(!of.exists());
    };
    thread::scope(|scope| scope.spawn(body).join().unwrap());
}
