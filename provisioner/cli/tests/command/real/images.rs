//! Images, from the command to a real archive and back.

use std::{fs, sync::atomic::Ordering};

use mezame_provisioner::ImageSettings;

use super::{
    way::{Then, Way},
    *,
};

/// A control plane with an archive in its folder, and the projects `a` and `b`.
fn gallery() -> Real {
    let real = Real::with(|settings, folder| {
        let directory = Some(folder.join("archive"));
        settings.images = Some(ImageSettings { directory, ..ImageSettings::default() });
    });
    real.write("projects.yaml", "{kind: Project, name: a}\n---\n{kind: Project, name: b}\n");
    good(&real.run(&["apply", "-q", "-f", "projects.yaml"]));
    real
}

fn good(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran}");
}

fn disk() -> Vec<u8> {
    let mut disk: Vec<u8> = (0..3_000_000u32).map(|at| (at.wrapping_mul(97) >> 7) as u8).collect();
    disk[500_000..2_000_000].fill(0);
    disk
}

#[test]
fn an_image_goes_to_the_archive_and_comes_back() {
    let real = gallery();
    let before = real.run(&["image", "list", "-p", "a"]);
    assert_eq!(before.code, 5, "{before}");
    assert!(before.err.contains("image archive create"), "{before}");
    good(&real.run(&["image", "archive", "create"]));
    fs::write(real.folder.path().join("disk.img"), disk()).unwrap();
    let words = ["image", "import", "disk.img", "-p", "a", "--name", "web", "--label", "os=x=y"];
    let ran = real.run(&words);
    good(&ran);
    let id = ran.out.trim().to_owned();
    assert!(id.starts_with("img-"), "{ran}");
    let listed = real.run(&["image", "list", "-p", "a"]);
    assert!(listed.out.contains(&id) && listed.out.contains("2.8 MiB"), "{listed}");
    assert_eq!(real.run(&["image", "list", "-p", "a", "-o", "name"]).out, format!("image/{id}\n"));
    let shown = real.json(&["image", "show", "web", "-p", "a"]);
    assert_eq!((&shown["labels"]["os"], &shown["source"]), (&"x=y".into(), &"disk.img".into()));

    good(&real.run(&["image", "export", "web", "out.raw", "-p", "a"]));
    let out = real.folder.path().join("out.raw");
    assert!(fs::read(&out).unwrap() == disk());
    let again = real.run(&["image", "export", "web", "out.raw", "-p", "a"]);
    assert_eq!(again.code, 2, "{again}");
    good(&real.run(&["image", "export", "web", "out.raw", "-p", "a", "--force"]));

    let verified = real.run(&["image", "verify", "web", "-p", "a"]);
    good(&verified);
    assert!(verified.err.contains("damaged 0"), "{verified}");
    good(&real.run(&["image", "share", "web", "-p", "a", "--with", "b"]));
    assert_eq!(real.json(&["image", "list", "-p", "b"])[0]["id"], id.as_str());
    let refused = real.run(&["image", "delete", "web", "-p", "b"]);
    assert_eq!(refused.code, 7, "{refused}");
    good(&real.run(&["image", "unshare", "web", "-p", "a", "--with", "b"]));
    let gone = real.run(&["image", "show", "web", "-p", "b"]);
    assert_eq!(gone.code, 4, "{gone}");

    good(&real.run(&["image", "delete", &id, "-p", "a"]));
    let collected = real.json(&["image", "archive", "collect"]);
    assert_eq!(collected["figures"]["deleted"], 1);
    assert_eq!(real.json(&["image", "archive", "status"])["bytes"], 0);
    let jobs = real.run(&["job", "list", "-p", "a"]);
    assert!(jobs.out.contains("import") && jobs.out.contains("verify"), "{jobs}");
    assert!(!jobs.out.contains("collect"), "{jobs}");
    let all = real.json(&["job", "list", "--all-projects"]);
    assert_eq!(all.as_array().unwrap().len(), 3);
    assert_eq!(real.json(&["job", "list", "-A", "--unfinished"]), serde_json::json!([]));
    let of_a_volume = ["job", "list", "-p", "a", "--volume", "web"];
    assert_eq!(real.json(&of_a_volume), serde_json::json!([]));
    assert_eq!(real.run(&["job", "list", "-A", "-p", "a"]).code, 2);
    // The one of the archive as a whole is no project's.
    let collect = all[0]["id"].as_str().unwrap();
    let shown = real.run(&["job", "show", collect, "-A"]);
    assert!(shown.out.contains("What:        collect\n"), "{shown}");
    assert!(shown.out.contains("State:       done\n"), "{shown}");
    let missing = real.run(&["job", "show", collect, "-p", "a"]);
    assert_eq!(missing.code, 4, "{missing}");
    assert!(missing.err.contains("the project 'a' has no job"), "{missing}");
}

#[test]
fn a_file_that_is_not_what_was_meant_is_refused_with_the_reason() {
    let real = gallery();
    good(&real.run(&["image", "archive", "create"]));
    fs::write(real.folder.path().join("disk.qcow2"), disk()).unwrap();
    let import = |more: &[&str]| {
        let words = ["image", "import", "disk.qcow2", "-p", "a", "--name", "x"];
        real.run(&[&words, more].concat())
    };
    let no_qcow2 = import(&[]);
    assert_eq!(no_qcow2.code, 3, "{no_qcow2}");
    assert!(no_qcow2.err.contains("format: ") && no_qcow2.err.contains("mend: "), "{no_qcow2}");
    let digest = import(&["--format", "raw", "--sha256", &"00".repeat(32)]);
    assert_eq!(digest.code, 3, "{digest}");
    assert!(digest.err.contains("sha256: "), "{digest}");
    let digest = import(&["--format", "raw", "--sha512", "12"]);
    assert_eq!(digest.code, 3, "{digest}");
    let larger = import(&["--format", "raw", "--largest", "1MiB"]);
    assert!(larger.code == 3 && larger.err.contains("largest: "), "{larger}");
    let form = real.run(&["image", "import", "config", "-p", "a", "--name", "x"]);
    assert_eq!(form.code, 1, "{form}");
    fs::write(real.folder.path().join("config"), "").unwrap();
    let form = real.run(&["image", "import", "config", "-p", "a", "--name", "x"]);
    assert_eq!(form.code, 2, "{form}");
    assert!(real.run(&["image", "list", "-p", "a"]).out.is_empty());
}

#[test]
fn a_site_without_an_archive_says_so() {
    let real = Real::start();
    let ran = real.run(&["image", "archive", "status"]);
    assert!(ran.code == 4 && ran.err.contains("no image archive"), "{ran}");
}

#[test]
fn two_images_of_a_name_are_named_by_their_ids() {
    let real = gallery();
    good(&real.run(&["image", "archive", "create"]));
    fs::write(real.folder.path().join("disk.raw"), disk()).unwrap();
    for _ in 0..2 {
        good(&real.run(&["image", "import", "disk.raw", "-p", "a", "--name", "web", "-q"]));
    }
    let ran = real.run(&["image", "delete", "web", "-p", "a"]);
    assert_eq!(ran.code, 2, "{ran}");
    assert_eq!(ran.err.matches("img-").count(), 2, "{ran}");
    let words = ["image", "import", "disk.raw", "-p", "a", "--name", "later", "--detach"];
    good(&real.run(&words));
    // Whether it has ended by now or not.
    let job = real.json(&["job", "list", "-p", "a"])[0]["id"].as_str().unwrap().to_owned();
    let waited = real.run(&["job", "wait", &job, "-p", "a"]);
    good(&waited);
    assert!(waited.out.starts_with("img-"), "{waited}");
}

#[test]
fn a_name_is_the_projects_own_image_before_one_that_others_share() {
    let real = gallery();
    good(&real.run(&["image", "archive", "create"]));
    fs::write(real.folder.path().join("disk.raw"), disk()).unwrap();
    let import = |project: &str| {
        let words = ["image", "import", "disk.raw", "-p", project, "--name", "debian", "-q"];
        let ran = real.run(&words);
        good(&ran);
        ran.out.trim().to_owned()
    };
    let theirs = import("b");
    good(&real.run(&["image", "share", "debian", "-p", "b", "--all"]));
    assert_eq!(real.json(&["image", "show", "debian", "-p", "a"])["id"], theirs.as_str());
    let exported = real.run(&["image", "export", "debian", "their.raw", "-p", "a"]);
    good(&exported);
    assert!(exported.err.contains("of the project b"), "{exported}");
    let own = import("a");
    assert_eq!(real.json(&["image", "show", "debian", "-p", "a"])["id"], own.as_str());
    good(&real.run(&["image", "share", "debian", "-p", "a", "--with", "b"]));
    good(&real.run(&["image", "delete", "debian", "-p", "a"]));
    let left = real.json(&["image", "list", "-p", "a"]);
    assert_eq!((left.as_array().unwrap().len(), &left[0]["id"]), (1, &theirs.as_str().into()));
}

#[test]
fn an_operators_job_is_waited_for_by_its_id_and_a_jobs_id_is_said_at_once() {
    let real = gallery();
    good(&real.run(&["image", "archive", "create"]));
    fs::write(real.folder.path().join("disk.raw"), disk()).unwrap();
    let imported = real.run(&["image", "import", "disk.raw", "-p", "a", "--name", "x"]);
    good(&imported);
    assert!(imported.err.contains("mezame job wait job-"), "{imported}");
    let detached = real.run(&["image", "archive", "verify", "--detach"]);
    good(&detached);
    let job = real.json(&["job", "list", "--all-projects"])[0]["id"].as_str().unwrap().to_owned();
    let waited = real.run(&["job", "wait", &job, "--all-projects"]);
    good(&waited);
    assert!(waited.err.contains("scrub done"), "{waited}");
}

#[test]
fn an_export_of_a_damaged_image_says_so_and_leaves_nothing() {
    let real = gallery();
    good(&real.run(&["image", "archive", "create"]));
    fs::write(real.folder.path().join("disk.raw"), disk()).unwrap();
    good(&real.run(&["image", "import", "disk.raw", "-p", "a", "--name", "x", "-q"]));
    for pack in fs::read_dir(real.folder.path().join("archive/packs")).unwrap() {
        let pack = pack.unwrap().path();
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
    }
    let ran = real.run(&["image", "export", "x", "out.raw", "-p", "a"]);
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.err.contains("image verify") && !ran.err.contains("mezame get"), "{ran}");
    assert!(ran.err.contains("of its 3000000 bytes"), "{ran}");
    assert_eq!(left_over(&real), 0);
}

/// Files that an export has begun.
fn left_over(real: &Real) -> usize {
    let files = fs::read_dir(real.folder.path()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".mezame-") || name == "out.raw").count()
}

#[test]
fn an_export_goes_on_where_its_connection_broke() {
    let real = gallery();
    good(&real.run(&["image", "archive", "create"]));
    fs::write(real.folder.path().join("disk.raw"), disk()).unwrap();
    good(&real.run(&["image", "import", "disk.raw", "-p", "a", "--name", "x", "-q"]));
    let way = Way::to(&real, 800_000, Then::Cut);
    let words = ["image", "export", "x", "out.raw", "-p", "a"];
    let ran = way.run(&real, &words);
    good(&ran);
    assert!(fs::read(real.folder.path().join("out.raw")).unwrap() == disk());
    assert!(way.ended() >= 3, "it was not cut");
}

#[test]
fn a_job_is_waited_for_though_connections_break() {
    let real = gallery();
    good(&real.run(&["image", "archive", "create"]));
    // It waits for its file until it is cancelled.
    let asked = real.post("/v1/projects/a/images", r#"{"name": "x", "format": "raw"}"#);
    let job = real.json(&["job", "list", "-p", "a"])[0]["id"].as_str().unwrap().to_owned();
    assert!(asked.contains(&job), "{asked}");
    let way = Way::to(&real, 1500, Then::Cut);
    let mut waiting = command(real.folder.path());
    waiting.env("MEZAME_SERVER", &way.socket).args(["job", "wait", &job, "-p", "a"]);
    let waiting = std::thread::spawn(move || finish(&mut waiting));
    while way.ended() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    good(&real.run(&["job", "cancel", &job, "-p", "a"]));
    let ran = waiting.join().unwrap();
    assert!(ran.code == 1 && ran.err.contains("cancelled"), "{ran}");
}

#[test]
fn an_export_that_is_ended_leaves_no_file_and_half_an_image_is_no_success() {
    let real = gallery();
    good(&real.run(&["image", "archive", "create"]));
    fs::write(real.folder.path().join("disk.raw"), disk()).unwrap();
    good(&real.run(&["image", "import", "disk.raw", "-p", "a", "--name", "x", "-q"]));
    let way = Way::to(&real, 800_000, Then::Stall);
    let mut export = command(real.folder.path());
    export.env("MEZAME_SERVER", &way.socket).args(["image", "export", "x", "out.raw", "-p", "a"]);
    let mut export = export.spawn().unwrap();
    while way.ended() < 1 || left_over(&real) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let kill = std::process::Command::new("kill").arg(export.id().to_string()).status().unwrap();
    assert!(kill.success());
    assert_eq!(export.wait().unwrap().code(), Some(1));
    assert_eq!(left_over(&real), 0);

    let mut export = command(real.folder.path());
    export.env("MEZAME_SERVER", real.socket()).args(["image", "export", "x", "-", "-p", "a"]);
    let mut export = export.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut taken = [0; 10];
    export.stdout.take().unwrap().read_exact(&mut taken).unwrap();
    assert_eq!(export.wait().unwrap().code(), Some(1));
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_told_as_that() {
    let real = gallery();
    good(&real.run(&["image", "archive", "create"]));
    let path = real.folder.path().join("disk.raw");
    fs::write(&path, vec![7; 64 << 20]).unwrap();
    let way = Way::to(&real, u64::MAX, Then::Cut);
    way.slow.store(true, Ordering::SeqCst);
    let mut import = command(real.folder.path());
    import.env("MEZAME_SERVER", &way.socket);
    import.args(["image", "import", "disk.raw", "-p", "a", "--name", "x"]);
    let import = std::thread::spawn(move || finish(&mut import));
    while way.sent.load(Ordering::SeqCst) < 1 << 20 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fs::File::options().write(true).open(&path).unwrap().set_len(2 << 20).unwrap();
    way.slow.store(false, Ordering::SeqCst);
    let ran = import.join().unwrap();
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.err.contains("disk.raw can't be read"), "{ran}");
}
