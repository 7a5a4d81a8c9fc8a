//! Images, from the command to a real archive and back.

use std::fs;

use mezame_provisioner::ImageSettings;

use super::*;

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
    let jobs = real.run(&["image", "jobs", "-p", "a"]);
    assert!(jobs.out.contains("import") && jobs.out.contains("verify"), "{jobs}");
    assert!(!jobs.out.contains("collect"), "{jobs}");
    assert_eq!(real.json(&["image", "archive", "jobs"]).as_array().unwrap().len(), 3);
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
    let detached =
        real.run(&["image", "import", "disk.raw", "-p", "a", "--name", "later", "--detach"]);
    good(&detached);
    let job = detached.out.trim();
    if job.starts_with("job-") {
        good(&real.run(&["image", "jobs", job, "-p", "a"]));
    }
}
