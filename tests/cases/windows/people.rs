//! Users of a Windows guest who are stopped, removed and started again, groups, sshd's settings, and
//! a link that a user has put where the agent writes.

use std::fs;

use mezame_model::report::Outcome;
use serde_json::json;

use super::{AGENT, Guest, step};

const USER_DATA: &str = "#cloud-config
groups: [crew: [ops, DEV]]
ssh_pwauth: false
users: [default, {name: Eve, sudo: false}]
";

const CONFIG: &str = "ProgramData/ssh/sshd_config";
const OWN: &str = "Users/dev/.ssh/authorized_keys";
const SHARED: &str = "ProgramData/ssh/administrators_authorized_keys";

#[test]
fn users_who_are_stopped_or_removed_are_shut_out_and_links_are_not_followed() {
    let mut guest = Guest::with(&json!({"user_data": USER_DATA}));
    fs::create_dir_all(guest.file("ProgramData/ssh")).unwrap();
    fs::write(guest.file(CONFIG), "Port 22\r\nMatch Group administrators\r\n").unwrap();

    let first = guest.run();
    for name in ["group crew", "ssh passwords", "lock password Eve", "keys dev", "keys ops"] {
        assert_eq!(step(&first, name).outcome, Outcome::Done, "{name}: {first}");
    }
    let record = guest.record();
    assert_eq!(record["groups"], json!({"crew": ["dev", "ops"]}));
    assert_eq!(record["locked"], json!(["Eve"]));
    assert_eq!(record["ssh_restarts"], 1);
    let config = "PasswordAuthentication no\r\nPort 22\r\nMatch Group administrators\r\n";
    assert_eq!(guest.text(CONFIG), config);
    // Files come to their places whole: none that was written beside them is left.
    for directory in ["Users/dev/.ssh", "ProgramData/ssh"] {
        let names = fs::read_dir(guest.file(directory)).unwrap();
        let names: Vec<_> = names.map(|it| it.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().contains("mezame")), "{names:?}");
    }

    // The user has another file of this name there, which is somebody else's.
    guest.wine.reboot().unwrap();
    let precious = guest.file("precious");
    fs::write(&precious, "somebody else's\n").unwrap();
    fs::remove_file(guest.file(OWN)).unwrap();
    fs::hard_link(&precious, guest.file(OWN)).unwrap();
    let second = guest.run();
    assert_eq!(step(&second, "keys dev").reason, "untrusted-path", "{second}");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "somebody else's\n");
    assert_eq!(step(&second, "ssh passwords").outcome, Outcome::Unchanged);
    assert_eq!(guest.record()["ssh_restarts"], 1);
    fs::remove_file(guest.file(OWN)).unwrap();
    lead_astray(&guest);
    // As a run leaves it that was killed when it had stopped sshd.
    let due = ["/v", "RestartSshServer", "/t", "REG_DWORD", "/d", "2", "/f"];
    let boot = format!(r"{AGENT}\Boot");
    guest.wine.output(&[&["reg", "add", &boot][..], &due].concat()).unwrap();
    let third = guest.run();
    assert_eq!(step(&third, "keys dev").outcome, Outcome::Done, "{third}");
    assert_eq!(guest.record()["ssh_restarts"], 2);
    guest.run();
    assert_eq!(guest.record()["ssh_restarts"], 2, "once");

    // One is stopped, the other taken out of the record.
    let all = guest.documents.last().unwrap()["users"].clone();
    let mut ops = all[0].clone();
    ops["stopped"] = json!(true);
    set_users(&mut guest, json!([ops]));
    let run = guest.run();
    for name in ["stop ops", "stop dev", "keys ops", "keys dev", "sudo ops"] {
        assert_eq!(step(&run, name).outcome, Outcome::Done, "{name}: {run}");
    }
    let record = guest.record();
    assert_eq!(record["stopped"], json!(["dev", "ops"]));
    assert_eq!(record["administrators"], json!(["Administrator"]));
    assert!(!guest.text(SHARED).contains("(ops)") && !guest.text(OWN).contains("ssh-ed25519"));

    // Both are wanted again.
    set_users(&mut guest, all);
    let run = guest.run();
    for name in ["start ops", "start dev", "keys dev"] {
        assert_eq!(step(&run, name).outcome, Outcome::Done, "{name}: {run}");
    }
    assert_eq!(guest.record()["stopped"], json!([]));
    assert_eq!(guest.record()["administrators"], json!(["Administrator", "ops"]));
}

/// A directory above the file's own leads elsewhere. Wine shows a link of the host's as a directory,
/// so it is as one that became a junction after it was looked at: only where things truly are tells.
fn lead_astray(guest: &Guest) {
    let (home, aside) = (guest.file("Users/dev"), guest.file("aside"));
    fs::rename(&home, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &home).unwrap();
    let run = guest.run();
    assert_eq!(step(&run, "keys dev").reason, "untrusted-path", "{run}");
    assert!(!aside.join(".ssh/authorized_keys").exists());
    fs::remove_file(&home).unwrap();
    fs::rename(&aside, &home).unwrap();
}

fn set_users(guest: &mut Guest, users: serde_json::Value) {
    guest.documents.last_mut().unwrap()["users"] = users;
    guest.lab.operator.apply(&guest.documents).unwrap();
}
