//! Golden plans: what a document becomes, line by line.

mod network;
mod people;
mod windows;

use mezame_model::{Document, InstanceId};
use serde_json::json;

use super::*;
use crate::{
    facts::{Link, LinkKind, System},
    ledger::Ledger,
    user_data,
};

fn document(extra: serde_json::Value) -> Document {
    let mut value = json!({
        "version": 1, "generation": 7, "instance_id": "i-0123456789abcdef0", "name": "web",
        "hostname": "web.example",
    });
    for (key, field) in extra.as_object().unwrap() {
        value[key] = field.clone();
    }
    serde_json::from_value(value).unwrap()
}

fn facts() -> Facts {
    Facts {
        system: System::Unix,
        boot_id: "boot-1".into(),
        links: vec![Link {
            name: "eth0".into(),
            index: 2,
            mac: "52:54:00:00:00:01".parse().unwrap(),
            up: true,
            addresses: Vec::new(),
            kind: LinkKind::Card,
            bond: None,
        }],
        default_user: "root".into(),
        configures_network: true,
        has_certificates: false,
        now: 1_700_000_000,
        licence: None,
    }
}

fn text(document: &Document, vendor: &str, user: &str, history: &History, mode: Mode) -> String {
    let history = history.entering(&document.instance_id, "boot-1");
    let (vendor, user) = (user_data::parse(vendor.as_bytes()), user_data::parse(user.as_bytes()));
    plan(document, &vendor, &user, &facts(), &history, mode).to_string()
}

fn first(document: &Document, vendor: &str, user: &str) -> String {
    text(document, vendor, user, &History::default(), Mode::Boot)
}

#[test]
fn a_whole_document_becomes_steps_in_the_order_in_which_a_guest_needs_them() {
    let document = document(json!({
        "ssh_keys": ["ssh-ed25519 AAAA me"],
        "users": [
            {"name": "ops", "ssh_keys": ["ssh-rsa B"], "sudo": true, "groups": ["adm"], "password": "generate"},
            {"name": "db", "password": {"hash": "$6$salt$secret"}, "shell": "/bin/bash"},
        ],
        "interfaces": [
            {"mac": "52:54:00:00:00:01", "mtu": 1450, "addresses": ["192.168.0.10/24"],
             "gateways": ["192.168.0.1"], "dns": ["192.168.0.2"]},
            {"mac": "52:54:00:00:00:99", "mtu": 1500, "addresses": []},
        ],
        "secrets": ["api-token"],
    }));
    let vendor = "#cloud-config\nruncmd: [echo vendor]\ntimezone: Asia/Tokyo\n";
    let user = "#cloud-config\nhostname: mine\nbootcmd: [date]\nwrite_files:\n- {path: /a, content: x}\n\
        - {path: /b, content: y, defer: true}\npackages: [nginx]\nruncmd: [echo user]\nswap: {}\n\
        ssh_authorized_keys: [ssh-rsa C]\nchpasswd: {list: 'root:$6$a$b'}\n";
    assert_eq!(
        first(&document, vendor, user),
        "\
do      interface eth0: configure eth0 (52:54:00:00:00:01): mtu 1450, addresses 192.168.0.10/24, gateways [192.168.0.1], dns [192.168.0.2] [always]
skip    interface 52:54:00:00:00:99: no-such-interface: this guest has no device with that MAC
do      network configuration: write the network configuration of eth0 [always]
do      hostname: set the host name to mine [always]
do      own name: let the host find itself as web.example, mine [always]
do      user-data bootcmd: run user-data-bootcmd (15 bytes) [per boot]
do      user-data file /a: write 1 byte(s) to /a (mode 0644, owner root) [per instance]
do      password root: set root's password by its hash [per instance]
do      expire password root: have root choose a new password at the next login [per instance]
do      keys root: let 2 key(s) log in as root [always]
do      user ops: make sure that ops exists, in adm [always]
do      sudo ops: give ops sudo: ALL=(ALL:ALL) NOPASSWD:ALL [always]
do      generated password ops: make a password for ops and seal it to the user's key [per instance]
do      keys ops: let 1 key(s) log in as ops [always]
do      user db: make sure that db exists [always]
do      password db: set db's password by its hash [per instance]
do      vendor-data timezone: set the time zone to Asia/Tokyo [always]
do      secret api-token: store the secret api-token and acknowledge it [always]
do      user-data packages: packages: install [\"nginx\"] [per instance]
do      vendor-data runcmd: run vendor-data-runcmd (22 bytes) [per instance]
do      user-data file /b: write 1 byte(s) to /b (mode 0644, owner root) [per instance]
do      user-data runcmd: run user-data-runcmd (20 bytes) [per instance]
skip    user-data swap: unsupported-key: this key is not supported
"
    );
}

/// The history after a run in which these steps ended, or only began.
fn history_of(
    document: &Document,
    vendor: &str,
    user: &str,
    ended: fn(&Step) -> Option<bool>,
) -> History {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.begin_run(&document.instance_id, "boot-1").unwrap();
    let (vendor, user) = (user_data::parse(vendor.as_bytes()), user_data::parse(user.as_bytes()));
    let plan = plan(document, &vendor, &user, &facts(), ledger.history(), Mode::Boot);
    for planned in &plan.steps {
        let Planned::Do { step, .. } = planned else { continue };
        match ended(step) {
            Some(true) => ledger.done(step, Outcome::Done, "").unwrap(),
            Some(false) => ledger.started(step, None).unwrap(),
            None => {}
        }
        if let Action::Keys { user, .. } = &step.action {
            ledger.right(user, crate::ledger::Right::Keys, true).unwrap();
        }
    }
    ledger.history().clone()
}

const SCRIPT: &str = "#!/bin/sh\necho once\n";

#[test]
fn what_ran_is_kept_and_what_was_cut_off_is_reported_and_not_run_again() {
    let document = document(json!({}));
    let done = history_of(&document, "", SCRIPT, |_| Some(true));
    assert!(
        text(&document, "", SCRIPT, &done, Mode::Boot)
            .contains("keep    user-data script 1: done before, per instance\n")
    );
    let cut = history_of(&document, "", SCRIPT, |_| Some(false));
    assert!(text(&document, "", SCRIPT, &cut, Mode::Boot).contains(
        "fail    user-data script 1: interrupted: an earlier run was cut off in it; it says per \
         instance, so it is not run again\n"
    ));
}

#[test]
fn an_idempotent_step_that_was_cut_off_is_done_again() {
    let document = document(json!({}));
    let seed = "#cloud-config\nwrite_files: [{path: /a, content: x, append: true}]\n";
    let cut = history_of(&document, "", seed, |_| Some(false));
    assert!(text(&document, "", seed, &cut, Mode::Boot).contains("[per instance] (again)\n"));
}

#[test]
fn an_edited_script_is_not_run_in_the_old_ones_place_and_a_moved_one_not_twice() {
    let document = document(json!({}));
    let done = history_of(&document, "", SCRIPT, |_| Some(true));
    assert!(
        text(&document, "", "#!/bin/sh\necho edited\n", &done, Mode::Boot)
            .contains("skip    user-data script 1: changed-after-run:")
    );
    let moved = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: \
        text/x-shellscript-per-boot\n\n#!/bin/sh\nnew\n--b\nContent-Type: text/x-shellscript\n\n\
        #!/bin/sh\necho once\n\n--b--\n";
    let text = text(&document, "", moved, &done, Mode::Boot);
    assert!(text.contains("do      user-data script 1: run"), "{text}");
    assert!(text.contains("keep    user-data script 2: done before"), "{text}");
}

#[test]
fn the_same_script_twice_in_one_seed_is_two_scripts() {
    let twice = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/x-shellscript\n\n\
        #!/bin/sh\n--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--b--\n";
    let text = first(&document(json!({})), "", twice);
    assert_eq!(text.matches("do      user-data script").count(), 2, "{text}");
}

#[test]
fn another_instance_is_a_first_boot_again_and_loses_the_old_ones_keys() {
    let one = document(json!({"users": [{"name": "old", "ssh_keys": ["ssh-rsa A"]}]}));
    let done = history_of(&one, "", SCRIPT, |_| Some(true));
    let mut two = document(json!({}));
    two.instance_id = InstanceId::parse("i-0123456789abcdef1").unwrap();
    let text = text(&two, "", SCRIPT, &done, Mode::Boot);
    assert!(text.contains("do      user-data script 1: run"), "{text}");
    assert!(text.contains("do      keys old: let 0 key(s) log in as old"), "{text}");
}

#[test]
fn a_live_run_leaves_what_says_once_to_the_next_boot() {
    let document = document(json!({"ssh_keys": ["ssh-rsa A"]}));
    let text = text(&document, "", SCRIPT, &History::default(), Mode::Live);
    assert!(text.contains("do      keys root"), "{text}");
    assert!(text.contains("skip    user-data script 1: at-next-boot"), "{text}");
}

#[test]
fn a_changed_password_hash_is_set_and_an_unchanged_one_is_left_alone() {
    let with =
        |hash: &str| document(json!({"users": [{"name": "db", "password": {"hash": hash}}]}));
    let done = history_of(&with("$6$a"), "", "", |_| Some(true));
    assert!(text(&with("$6$a"), "", "", &done, Mode::Live).contains("keep    password db"));
    assert!(text(&with("$6$b"), "", "", &done, Mode::Live).contains("do      password db"));
}

#[test]
fn a_plan_shows_no_secret() {
    let document = document(json!({
        "users": [{"name": "db", "password": {"hash": "$6$salt$hunter2"}}],
    }));
    let seed = "#cloud-config\nwrite_files: [{path: /a, content: hunter2}]\npassword: hunter2\n\
        chpasswd: {list: 'db:hunter2'}\n";
    assert!(!first(&document, "#!/bin/sh\nhunter2\n", seed).contains("hunter2"));
}

#[test]
fn what_can_not_be_read_fails_aloud() {
    let text = first(&document(json!({})), "just words", "#cloud-config\na: {\n");
    assert!(text.contains("skip    vendor-data part 1: unknown-format"), "{text}");
    assert!(text.contains("fail    user-data part 1: bad-yaml: line 3"), "{text}");
}

#[test]
fn scripts_are_run_by_name_with_runcmd_among_them_and_hooks_before_bootcmd() {
    let part = |kind: &str, name: &str, body: &str| {
        let file = if name.is_empty() { String::new() } else { format!("; filename={name}") };
        format!("--b\nContent-Type: text/{kind}\nContent-Disposition: attachment{file}\n\n{body}\n")
    };
    let seed = [
        "Content-Type: multipart/mixed; boundary=b\n\n".to_owned(),
        part("x-shellscript", "z.sh", "#!/bin/sh\n#z"),
        part("x-shellscript", "", "#!/bin/sh\r\n#b\r"),
        part("x-shellscript-per-once", "zz", "#!/bin/sh\n#once"),
        part("cloud-config", "", "bootcmd: [a]\nruncmd: [b]"),
        part("cloud-boothook", "", "#!/bin/sh\n#hook"),
        "--b--\n".to_owned(),
    ]
    .concat();
    let text = first(&document(json!({})), "", &seed);
    let order: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("do      user-data ")?.split(':').next())
        .collect();
    assert_eq!(order, ["boothook 1", "bootcmd", "script 3", "script 2", "runcmd", "script 1"]);
    assert!(text.contains("script 2: run user-data-script-2 (12 bytes)"), "{text}");
}
