//! What is written into files of the operator's own: disks and keys of volumes.

use serde_json::Value;

use super::{Real, example_seed};
use crate::command;

#[test]
fn a_disk_is_written_into_a_file_of_the_operators_own() {
    use std::os::unix::fs::PermissionsExt;

    let real = Real::start();
    real.write("seed.yaml", &example_seed());
    assert_eq!(real.run(&["apply", "-f", "seed.yaml"]).code, 0);
    let disk = ["disk", "web", "-p", "tenant-a", "--format", "cidata", "--to", "seed.img"];
    let ran = real.run(&disk);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran}");
    assert!(ran.err.contains("seed.img is the cidata disk of instance tenant-a/web"), "{ran}");
    let path = real.folder.path().join("seed.img");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let image = std::fs::read(&path).unwrap();
    assert_eq!((&image[43..54], &image[510..512]), (&b"CIDATA     "[..], &b"\x55\xaa"[..]));
    let id = real.example_ids().1;
    let id = format!("instance-id: \"{}\"", id.as_str());
    assert!(image.windows(id.len()).any(|it| it == id.as_bytes()), "the guest's own id is in it");
    // Nothing is replaced unasked; asked, it is, by the same bytes.
    let ran = real.run(&disk);
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.err.contains("--force"), "{ran}");
    assert_eq!(real.run(&[&disk[..], &["--force"]].concat()).code, 0);
    assert!(std::fs::read(&path).unwrap() == image);
    let mut to_output = command(real.folder.path());
    to_output.env("MEZAME_SERVER", real.socket()).args(&disk[..6]).args(["--to", "-"]);
    let output = to_output.output().unwrap();
    assert!(output.status.success() && output.stdout == image && output.stderr.is_empty());
}

#[test]
fn a_disk_that_is_not_to_be_had_is_refused_with_its_mend_and_leaves_no_file() {
    let real = Real::start();
    real.write("seed.yaml", &example_seed());
    assert_eq!(real.run(&["apply", "-f", "seed.yaml"]).code, 0);
    for (instance, format, code, said) in [
        ("none", "cidata", 4, "no such resource"),
        ("web", "config-2", 5, "mend: add 'openstack' to the instance's dialects"),
        ("web", "iso9660", 2, "possible values: config-2, cidata"),
    ] {
        let ran =
            real.run(&["disk", instance, "-p", "tenant-a", "--format", format, "--to", "seed.img"]);
        assert_eq!(ran.code, code, "{ran}");
        assert!(ran.err.contains(said), "{said}\n{ran}");
        assert!(!real.folder.path().join("seed.img").exists(), "{ran}");
    }
}

#[test]
fn a_volumes_key_is_told_once_into_a_file_of_the_operators_own() {
    use std::os::unix::fs::PermissionsExt;
    let real = Real::start();
    real.write("seed.yaml", &example_seed());
    assert_eq!(real.run(&["apply", "-f", "seed.yaml"]).code, 0);
    let key = |words: &[&str]| real.run(&[&["key"], words, &["-p", "tenant-a"]].concat());
    let file = real.folder.path().join("root.key");
    let ran = key(&["create", "web", "root", "--to", "root.key", "--window", "10m"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // One that is refused leaves no file, and one that is there stays.
    let ran = key(&["create", "web", "root", "--to", "other.key"]);
    assert!(ran.code != 0 && ran.err.contains("there is a key 'root' already"), "{ran}");
    assert!(!real.folder.path().join("other.key").exists());
    assert_ne!(key(&["create", "web", "data", "--to", "root.key"]).code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let ran = key(&["rotate", "web", "root", "--to", "-"]);
    assert_eq!((ran.code, ran.out.len(), ran.err.as_str()), (0, 64, ""), "{ran}");
    let ran = key(&["list", "web"]);
    let row: Vec<&str> = ran.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["root", "active", "2,1", "per-start", "600s", "-"], "{ran}");
    assert!(!ran.out.contains(&text));
    assert_eq!(key(&["revoke", "web", "root", "--version", "1"]).code, 0);
    assert_eq!(key(&["revoke", "web", "root"]).code, 0);
    let ran = key(&["list", "web", "-o", "json"]);
    let shown: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&shown[0]["state"], &shown[0]["versions"][0]), (&"revoked".into(), &2.into()));
    assert_eq!(key(&["restore", "web", "root"]).code, 0);
    assert_eq!(key(&["destroy", "web", "root"]).code, 2, "it must be meant");
    assert_eq!(key(&["destroy", "web", "root", "--yes"]).code, 0);
    real.write("short.key", "too short");
    let ran = key(&["create", "web", "root", "--key-file", "short.key"]);
    assert!(ran.code != 0 && ran.err.contains("the key has 9 bytes"), "{ran}");
    assert!(real.folder.path().join("short.key").exists(), "it is the operator's own");
    assert_eq!(key(&["create", "web", "root"]).code, 2, "from somewhere it must come");
}
