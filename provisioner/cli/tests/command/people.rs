//! What is shown: tables, descriptions, reports, passwords, help.

use std::io::Write;

use mezame_model::{
    InstanceId, UserName,
    api::{Kind, StoredPassword, StoredReport},
    report::{HostKey, Outcome, Report, SealedPassword, StepReport},
};
use serde_json::json;

use crate::{command, fake::Fake, finish, run, write};

const AT: u64 = 1_795_435_200_000;

const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1lemFtZS1leGFtcGxlLWtleS0wMDAwMDAwMDAwMDEw root@web";

fn with_a_tenant() -> Fake {
    let fake = Fake::start();
    fake.put(Kind::Project, json!({"name": "demo", "description": "契約 1"}), json!({}));
    fake.put(Kind::Project, json!({"name": "empty"}), json!({}));
    fake.put(
        Kind::Network,
        json!({"project": "demo", "name": "lan", "vni": 1000, "mtu": 1450, "dns": ["192.168.0.1"],
               "subnets": [{"cidr": "192.168.0.0/20", "gateway": "192.168.0.1"},
                           {"cidr": "2001:db8::/64"}]}),
        json!({"id": "net-0123456789abcdef0"}),
    );
    fake.put(
        Kind::Port,
        json!({"project": "demo", "name": "web-0", "network": "lan", "mac": "52:54:00:12:34:56",
               "addresses": ["192.168.0.10", "2001:db8::10"], "device": "tap0123456789a"}),
        json!({"id": "eni-0123456789abcdef0", "instance": "web"}),
    );
    fake.put(
        Kind::Instance,
        json!({"project": "demo", "name": "web", "hostname": "web.example", "ports": ["web-0"],
               "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1lemFtZS1leGFtcGxlLWtleS0w a"],
               "users": [{"name": "alice", "sudo": true, "groups": ["wheel", "adm"]}],
               "user_data": "#!/bin/sh\necho hello\n", "tokens": "required", "tags": {"role": "web"},
               "instance_type": "m1.small", "dialects": ["ec2", "mezame"]}),
        json!({"id": "i-0123456789abcdef0", "state": "configured", "launched_at": AT / 1000,
               "addresses": ["192.168.0.10", "2001:db8::10"],
               "report": {"at_ms": AT, "configured_ms": 142, "host_keys": [
                   {"type": "ssh-ed25519", "public_key": HOST_KEY,
                    "fingerprint": "SHA256:IWrMfq4LNHFYYSVAIx7KpWii7TGHqr123sVwzqmkDQc"}]}}),
    );
    fake.contents().reports = vec![report(Outcome::Failed, "b2"), report(Outcome::Done, "b1")];
    fake
}

fn report(outcome: Outcome, boot: &str) -> StoredReport {
    let step = |step: &str, outcome, reason: &str, detail: &str| StepReport {
        step: step.into(),
        outcome,
        reason: reason.into(),
        detail: detail.into(),
        milliseconds: 3,
    };
    StoredReport {
        at_ms: AT,
        report: Report {
            instance_id: InstanceId::parse("i-0123456789abcdef0").unwrap(),
            agent: "0.1.0".into(),
            boot_id: boot.into(),
            run: 1,
            outcome,
            steps: vec![
                step("hostname", Outcome::Done, "", ""),
                // A guest writes this: it must not reach the terminal as it is.
                step("script", outcome, "script-exit", "line one\n\u{1b}[2Jexit 3"),
            ],
            configured_ms: Some(142),
            total_ms: 1234,
            host_keys: vec![HostKey { public_key: HOST_KEY.into() }],
        },
    }
}

#[test]
fn every_kind_has_a_table() {
    let fake = with_a_tenant();
    let mut all = String::new();
    for arguments in [
        &["get", "projects"][..],
        &["get", "networks", "-p", "demo"],
        &["get", "net", "lan", "-p", "demo", "-o", "wide"],
        &["get", "ports", "-p", "demo"],
        &["get", "po", "-p", "demo", "-o", "wide"],
        &["get", "inst", "-p", "demo"],
        &["get", "instances", "-A", "-o", "wide"],
        &["get", "instances", "-A", "-o", "name"],
    ] {
        all += &format!("$ mezame {}\n{}\n\n", arguments.join(" "), run(&fake, arguments));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn the_answer_of_the_api_is_data_for_programs() {
    let fake = with_a_tenant();
    let ran = run(&fake, &["get", "network", "lan", "-p", "demo", "-o", "json"]);
    let resource: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&resource["kind"], &resource["revision"]), (&json!("Network"), &json!(3)));
    let ran = run(&fake, &["get", "networks", "-p", "demo", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&list["items"][0], &list["generation"]), (&resource, &json!(5)));
    let ran = run(&fake, &["get", "networks", "-p", "demo", "-o", "yaml"]);
    assert!(ran.out.starts_with("items:\n- kind: Network\n"), "{ran}");
}

#[test]
fn documents_can_be_applied_again() {
    let fake = with_a_tenant();
    let ran = run(&fake, &["get", "instance", "web", "-p", "demo", "-o", "seed"]);
    insta::assert_snapshot!(ran);
    write(&fake, "again.yaml", &ran.out);
    let ran = run(&fake, &["apply", "-f", "again.yaml"]);
    assert_eq!(ran.code, 0, "{ran}");
    let mut sent = fake.contents().body[0].clone();
    assert_eq!(sent.as_object_mut().unwrap().remove("kind"), Some(json!("Instance")));
    assert_eq!(sent["user_data"], "#!/bin/sh\necho hello\n");
}

#[test]
fn a_description_has_status_report_and_host_keys_and_no_control_characters() {
    let fake = with_a_tenant();
    let ran = run(&fake, &["describe", "instance", "web", "-p", "demo"]);
    assert!(!ran.out.contains('\u{1b}'));
    insta::assert_snapshot!(ran);
}

#[test]
fn reports_are_a_table_or_all_their_steps() {
    let fake = with_a_tenant();
    insta::assert_snapshot!(run(&fake, &["reports", "web", "-p", "demo"]));
    insta::assert_snapshot!(run(&fake, &["reports", "web", "-p", "demo", "-o", "wide"]));
}

#[test]
fn what_is_not_there_is_named() {
    let fake = with_a_tenant();
    let ran = run(&fake, &["get", "port", "nope", "-p", "demo"]);
    assert_eq!(ran.code, 4);
    assert_eq!(ran.err, "mezame: port demo/nope: there is no such resource\n");
    let ran = run(&fake, &["get", "Port", "../x", "-p", "demo"]);
    assert_eq!(ran.code, 2, "{ran}");
    let ran = run(&fake, &["get", "pod"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("[possible values: projects, networks, ports, instances"), "{ran}");
    let ran = run(&fake, &["get", "instanses"]);
    assert!(ran.err.contains("a similar value exists: 'instances'"), "{ran}");
}

/// A key of ssh-keygen's own making, and the password sealed to it.
pub(crate) fn sealed(
    fake: &Fake,
    file: &str,
    kind: &str,
    passphrase: &str,
    user: &str,
) -> StoredPassword {
    let path = fake.path().join(file);
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", passphrase, "-C", "alice@example", "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    let recipient: age::ssh::Recipient = public.trim().parse().unwrap();
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
            .unwrap();
    let mut sealed = Vec::new();
    let armor = age::armor::ArmoredWriter::wrap_output(&mut sealed, age::armor::Format::AsciiArmor)
        .unwrap();
    let mut writer = encryptor.wrap_output(armor).unwrap();
    writer.write_all(format!("correct-horse-{user}\n").as_bytes()).unwrap();
    writer.finish().unwrap().finish().unwrap();
    StoredPassword {
        at_ms: AT,
        password: SealedPassword {
            user: UserName::parse(user).unwrap(),
            recipient: public.trim().into(),
            sealed: String::from_utf8(sealed).unwrap(),
            reset: None,
            nova: None,
        },
    }
}

#[test]
fn a_password_is_opened_with_the_key_that_it_is_sealed_to() {
    let fake = with_a_tenant();
    let arguments = ["get", "password", "web", "-p", "demo"];
    let ran = run(&fake, &arguments);
    assert_eq!(ran.code, 4, "{ran}");
    let passwords =
        vec![sealed(&fake, "ed", "ed25519", "", "alice"), sealed(&fake, "rsa", "rsa", "", "bob")];
    fake.contents().passwords = passwords;
    let ran = run(&fake, &arguments);
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.err.contains("--identity"), "{ran}");
    // One that was made before counts no more.
    let mut old = sealed(&fake, "old", "ed25519", "", "alice");
    old.at_ms -= 1;
    fake.contents().passwords.push(old);
    for (key, user) in [("ed", "alice"), ("rsa", "bob")] {
        let ran = run(&fake, &[&arguments[..], &["-i", key]].concat());
        assert_eq!((ran.code, ran.out), (0, format!("correct-horse-{user}\n")), "{}", ran.err);
    }
    let ran = run(&fake, &[&arguments[..], &["-i", "ed", "-i", "rsa"]].concat());
    insta::assert_snapshot!(ran);
    let ran = run(&fake, &[&arguments[..], &["-i", "ed", "--user", "bob"]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("it is sealed to ssh-rsa"), "{}", ran.err);
    let ran = run(&fake, &[&arguments[..], &["-i", "ed.pub"]].concat());
    assert_eq!(ran.code, 1, "{ran}");
}

#[test]
fn the_small_commands_do_one_call_each() {
    let fake = with_a_tenant();
    let ran = run(&fake, &["port", "attach", "web-0", "vnet7", "-p", "demo"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "port demo/web-0 is at vnet7\n"), "{}", ran.err);
    assert_eq!(run(&fake, &["port", "detach", "web-0", "-p", "demo"]).code, 0);
    assert_eq!(run(&fake, &["keys", "rotate", "sealing"]).code, 0);
    assert_eq!(run(&fake, &["keys", "rotate", "tokens"]).code, 0);
    assert_eq!(run(&fake, &["certificate"]).out, "-----BEGIN CERTIFICATE-----\n");
    let ran = run(&fake, &["version"]);
    assert_eq!(ran.out, format!("mezame {}\nprovisioner 9.9.9\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(
        fake.contents().asked,
        [
            "PUT /v1/projects/demo/ports/web-0/device",
            "DELETE /v1/projects/demo/ports/web-0/device",
            "POST /v1/keys/sealing/rotate",
            "POST /v1/keys/tokens/rotate",
            "GET /v1/identity-certificate",
            "GET /v1/version",
        ]
    );
    let ran = run(&fake, &["port", "attach", "web-0", "a-name-too-long-for-linux", "-p", "demo"]);
    assert_eq!(ran.code, 2, "{ran}");
}

#[test]
fn explanations_need_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let explain =
        |arguments: &[&str]| finish(command(folder.path()).arg("explain").args(arguments));
    insta::assert_snapshot!("explain_network", explain(&["network"]));
    insta::assert_snapshot!("explain_a_field", explain(&["instance.users[0].password"]));
    assert_eq!(explain(&[]).code, 0);
    let ran = explain(&["instance.nothing"]);
    assert_eq!(ran.code, 2);
    assert_eq!(explain(&["pod"]).code, 2);
}

#[test]
fn help_completion_and_manual_pages_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| finish(command(folder.path()).args(arguments));
    let help = run(&["--help"]);
    assert_eq!(help.code, 0);
    for text in ["Exit codes:", "Examples:", "MEZAME_TOKEN", "describe"] {
        assert!(help.out.contains(text), "{text}\n{help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completion", shell]).out;
        // fish's scripts know commands and flags only.
        let knows_kinds = shell == "fish" || script.contains("instances");
        assert!(script.contains("whoami") && knows_kinds, "{shell}");
    }
    assert_eq!(run(&["man", "."]).code, 0);
    assert!(folder.path().join("mezame-apply.1").is_file());
    assert_eq!(run(&["aply"]).code, 2);
    assert_eq!(run(&["version", "--client"]).code, 0);
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let fake = with_a_tenant();
    let mut child = command(fake.path())
        .env("MEZAME_SERVER", fake.socket())
        .args(["get", "projects"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
