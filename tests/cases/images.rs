//! The image archive from an operator's command to the store and back: the real daemon, the real
//! `mezame`, and a qcow2 that QEMU made.

use std::{fs, path::Path, time::Duration};

use anyhow::{Result, ensure};
use mezame_tests::{lab::Lab, operator::project, process, wait};
use serde_json::Value;

/// The disk that the qcow2 is of: data, zeros, and a length that is no multiple of a chunk.
fn disk() -> Vec<u8> {
    let mut disk: Vec<u8> =
        (0..12_000_256u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    disk[3_000_000..9_000_000].fill(0);
    disk
}

fn qemu_img(words: &[&str]) -> Result<()> {
    process::succeed(process::command("qemu-img").args(words))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}

#[test]
fn a_qcow2_goes_in_comes_out_is_shared_deleted_and_its_room_is_freed() {
    let archive = tempfile::tempdir().unwrap();
    let place = archive.path().join("archive");
    let mut lab = Lab::start_with(&["--image-archive", text(&place)]).unwrap();
    let folder = archive.path();
    let (raw, qcow2) = (folder.join("disk.raw"), folder.join("disk.qcow2"));
    fs::write(&raw, disk()).unwrap();
    let (from, to) = (text(&raw), text(&qcow2));
    qemu_img(&["convert", "-c", "-f", "raw", "-O", "qcow2", from, to]).unwrap();
    let sum = process::output(process::command("sha256sum").arg(&qcow2)).unwrap();
    let sha256 = sum.split_whitespace().next().unwrap();
    let mezame = lab.operator.clone();
    mezame.apply(&[project("a"), project("b")]).unwrap();
    let json = |words: &[&str]| -> Value {
        let out = mezame.run(&[words, &["-o", "json"]].concat()).unwrap();
        serde_json::from_str(&out).unwrap()
    };

    // Nothing makes an archive by itself.
    assert!(mezame.run(&["image", "list", "-p", "a"]).is_err());
    assert!(!place.exists());
    mezame.run(&["image", "archive", "create"]).unwrap();
    let import = ["image", "import", to, "-p", "a", "--name", "debian", "--sha256", sha256, "-q"];
    let id = mezame.run(&import).unwrap().trim().to_owned();
    let listed = json(&["image", "list", "-p", "a"]);
    assert_eq!((&listed[0]["id"], &listed[0]["name"]), (&id.as_str().into(), &"debian".into()));
    let shown = json(&["image", "show", "debian", "-p", "a"]);
    // QEMU gives a disk whole sectors.
    let size = fs::metadata(&raw).unwrap().len().next_multiple_of(512);
    assert_eq!((&shown["size"], &shown["sha256"]), (&size.into(), &sha256.into()));
    assert_eq!(shown["format"], "qcow2");

    let out = folder.join("out.raw");
    mezame.run(&["image", "export", "debian", text(&out), "-p", "a"]).unwrap();
    qemu_img(&["compare", "-f", "raw", "-F", "qcow2", text(&out), to]).unwrap();
    process::succeed(process::command("cmp").arg("-n").arg("12000256").args([&raw, &out])).unwrap();

    mezame.run(&["image", "share", "debian", "-p", "a", "--with", "b"]).unwrap();
    assert_eq!(json(&["image", "list", "-p", "b"])[0]["id"], id.as_str());
    let lent = folder.join("lent.raw");
    mezame.run(&["image", "export", "debian", text(&lent), "-p", "b"]).unwrap();
    process::succeed(process::command("cmp").args([&out, &lent])).unwrap();
    assert!(mezame.run(&["image", "delete", "debian", "-p", "b"]).is_err());

    // A restart, and one by a kill, keep images, shares and what became of jobs.
    lab.server().process.kill().unwrap();
    lab.server =
        Some(lab.place.start_with(&["--standalone", "--image-archive", text(&place)]).unwrap());
    wait::until("the archive after a restart", Duration::from_secs(20), || {
        let out = mezame.run(&["image", "verify", "debian", "-p", "b", "-o", "json"])?;
        let job: Value = serde_json::from_str(&out)?;
        ensure!(job["figures"]["damaged"] == 0 && job["state"] == "done", "{job}");
        Ok(())
    })
    .unwrap();
    let jobs = json(&["job", "list", "-p", "a"]);
    assert_eq!((&jobs[0]["what"], &jobs[0]["state"]), (&"import".into(), &"done".into()));

    mezame.run(&["image", "delete", "debian", "-p", "a"]).unwrap();
    assert_eq!(json(&["image", "list", "-p", "b"]), serde_json::json!([]));
    let before = json(&["image", "archive", "status"])["bytes"].as_u64().unwrap();
    assert!(before > 0);
    let collected = json(&["image", "archive", "collect"]);
    assert_eq!(collected["figures"]["freed"], before, "{collected}");
    assert_eq!(json(&["image", "archive", "status"])["bytes"], 0);
    // Nothing is left of what was sent.
    assert_eq!(fs::read_dir(lab.place.state().join("uploads")).unwrap().count(), 0);
}

#[test]
fn an_import_that_a_kill_cuts_short_is_told_as_interrupted() {
    let archive = tempfile::tempdir().unwrap();
    let place = archive.path().join("archive");
    let flags = ["--image-archive", text(&place)];
    let mut lab = Lab::start_with(&flags).unwrap();
    let mezame = lab.operator.clone();
    mezame.apply(&[project("a")]).unwrap();
    mezame.run(&["image", "archive", "create"]).unwrap();
    // A file of which only the first bytes come.
    let mut socket = mezame_tests::http::Connection::local(&lab.place.operator_socket()).unwrap();
    let asked = br#"{"name": "x", "format": "raw"}"#;
    let kind = ("Content-Type", "application/json");
    let begun = socket.send("POST", "/v1/projects/a/images", &[kind], asked).unwrap();
    let job = begun.json().unwrap()["id"].as_str().unwrap().to_owned();
    let head = format!(
        "PUT /v1/projects/a/jobs/{job}/content HTTP/1.1\r\nHost: localhost\r\n\
         Content-Length: 1000000\r\n\r\nonly this"
    );
    socket.write_raw(head.as_bytes()).unwrap();
    let state = |mezame: &mezame_tests::operator::Operator| -> Result<Value> {
        let out = mezame.run(&["job", "list", "--all-projects", "-o", "json"])?;
        Ok(serde_json::from_str::<Value>(&out)?[0]["state"].clone())
    };
    wait::until("the upload to begin", Duration::from_secs(20), || {
        let state = state(&mezame)?;
        ensure!(state == "uploading", "{state}");
        Ok(())
    })
    .unwrap();
    lab.server().process.kill().unwrap();
    let all: Vec<&str> = ["--standalone"].into_iter().chain(flags).collect();
    lab.server = Some(lab.place.start_with(&all).unwrap());
    wait::until("the job after a restart", Duration::from_secs(20), || {
        let state = state(&mezame)?;
        ensure!(state == "interrupted", "{state}");
        Ok(())
    })
    .unwrap();
    assert_eq!(fs::read_dir(lab.place.state().join("uploads")).unwrap().count(), 0);
}
