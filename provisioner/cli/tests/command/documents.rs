//! `apply`, `delete` and `edit`: what is sent, and how faults are shown.

use mezame_model::api::{Kind, Problem};
use serde_json::json;

use crate::{
    command,
    fake::{Fake, fault, faulty},
    finish, run, write,
};

const SEED: &str = "\
kind: Project
name: demo
---
kind: Network
name: lan
vni: 1000
mtu: 9999
subnets:
  - cidr: 192.168.0.0/20
    gateway: 10.0.0.1
---
kind: Instance
name: web
ports: [web-0, web-1]
users:
  - name: alice
    password: {hash: hunter2}
    colour: green
secrets:
  db: open-sesame
user_data: |
  #!/bin/sh
  echo secret
";

#[test]
fn faults_of_the_control_plane_are_shown_at_their_lines_and_no_secret_with_them() {
    let fake = Fake::start();
    write(&fake, "seeds/a.yaml", SEED);
    fake.contents().refuse = Some(faulty(vec![
        fault(1, "mtu", "9999 is not between 576 and 9216", "leave it out for 1450"),
        fault(1, "subnets[0].gateway", "10.0.0.1 is not in 192.168.0.0/20", "give one in it"),
        fault(2, "ports[1]", "there is no port 'web-1'", "add it to the seed"),
        fault(2, "users[0].password.hash", "this is no crypt(3) hash", "use mkpasswd"),
        fault(2, "users[0].colour", "there is no field 'colour'", "remove it"),
        fault(2, "secrets.db", "the secret is too long", "shorten it"),
        fault(2, "hostname", "'' is no host name", ""),
        fault(2, "user_data", "too long", "compress it"),
    ]));
    let ran = run(&fake, &["-p", "demo", "apply", "-f", "seeds"]);
    assert_eq!(ran.code, 3);
    for secret in ["hunter2", "open-sesame", "echo secret"] {
        assert!(!ran.err.contains(secret), "{ran}");
    }
    insta::assert_snapshot!(ran);
}

#[test]
fn faults_are_data_for_programs() {
    let fake = Fake::start();
    write(&fake, "a.yaml", SEED);
    fake.contents().refuse = Some(faulty(vec![fault(1, "mtu", "no", "do")]));
    let ran = run(&fake, &["-p", "demo", "apply", "-f", "a.yaml", "-o", "json"]);
    let faults: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        faults["faults"][0],
        json!({"file": "a.yaml", "line": 7, "column": 6, "document": "Network demo/lan",
               "path": "mtu", "message": "no", "mend": "do"})
    );
    assert_eq!(ran.code, 3);
}

#[test]
fn faults_of_the_text_are_shown_all_at_once_and_nothing_is_sent() {
    let fake = Fake::start();
    write(
        &fake,
        "bad.yaml",
        "kind: Network\nvni: 1\nvni: 2\n---\nkind: Nework\n---\nkind: Instance\nusers:\n  - name: \
         bob\n    password:\n      hash: \"$6$never-shown\n---\nkind: Port\nmac:\n\t- x\n",
    );
    write(&fake, "data.yaml", "kind: Instance\nname: x\nuser_data_file: missing.sh\n");
    let ran = run(&fake, &["apply", "-p", "demo", "-f", "bad.yaml", "-f", "data.yaml"]);
    assert_eq!(ran.code, 3);
    assert!(!ran.err.contains("never-shown"), "{ran}");
    insta::assert_snapshot!(ran);
    assert_eq!(fake.contents().asked, Vec::<String>::new());
}

#[test]
fn a_seed_is_applied_and_shown_as_a_table() {
    let fake = Fake::start();
    write(&fake, "a.yaml", SEED);
    fake.put(
        Kind::Network,
        json!({"kind": "Network", "project": "demo", "name": "lan", "vni": 1000, "mtu": 1450,
               "subnets": [{"cidr": "192.168.0.0/20", "gateway": "10.0.0.1"}]}),
        json!({}),
    );
    let dry = run(&fake, &["apply", "-p", "demo", "-f", "a.yaml", "--dry-run"]);
    assert_eq!(fake.contents().generation, 1);
    insta::assert_snapshot!("a_dry_run_shows_a_diff", dry);
    let exit = run(&fake, &["apply", "-p", "demo", "-f", "a.yaml", "-n", "--exit-code", "-q"]);
    assert_eq!((exit.code, exit.err.as_str()), (8, ""));
    insta::assert_snapshot!(run(&fake, &["apply", "-p", "demo", "-f", "a.yaml"]));
    let again = run(&fake, &["apply", "-p", "demo", "-f", "a.yaml", "-n", "--exit-code"]);
    assert_eq!(again.code, 0, "{again}");
    assert!(again.err.starts_with("0 to create, 0 to update, 3 unchanged"), "{again}");
}

#[test]
fn the_diff_has_colour_where_it_is_asked_for() {
    let fake = Fake::start();
    write(&fake, "a.yaml", "kind: Project\nname: demo\ndescription: x\n");
    let ran = run(&fake, &["apply", "-f", "a.yaml", "--dry-run", "--color", "always", "-q"]);
    assert_eq!(
        ran.out,
        "\u{1b}[32m+ Project demo\u{1b}[0m\n\u{1b}[32m+     description: x\u{1b}[0m\n"
    );
    let ran = run(&fake, &["apply", "-f", "a.yaml", "--dry-run", "-q"]);
    assert!(!ran.out.contains('\u{1b}'), "{ran}");
}

#[test]
fn user_data_comes_from_a_file_beside_the_seed_and_the_seed_from_standard_input() {
    let fake = Fake::start();
    write(&fake, "seeds/a.json", r#"{"kind": "Instance", "name": "w", "user_data_file": "b.sh"}"#);
    write(&fake, "seeds/b.sh", "#!/bin/sh\n");
    assert_eq!(run(&fake, &["apply", "-p", "demo", "-f", "seeds"]).code, 0);
    assert_eq!(
        fake.contents().body,
        json!([{"kind": "Instance", "name": "w", "project": "demo", "user_data": "#!/bin/sh\n"}])
    );
    let stdin = std::fs::File::open(fake.path().join("seeds/a.json")).unwrap();
    write(&fake, "b.sh", [0xff, 0x00]);
    let mut command = command(fake.path());
    command.env("MEZAME_SERVER", fake.socket()).env("MEZAME_PROJECT", "demo").stdin(stdin);
    assert_eq!(finish(command.args(["apply", "-f", "-"])).code, 0);
    assert_eq!(fake.contents().body[0]["user_data_base64"], "/wA=");
}

#[test]
fn a_file_that_is_missing_and_a_folder_without_seeds_are_usage_errors() {
    let fake = Fake::start();
    let ran = run(&fake, &["apply", "-f", "none.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("none.yaml can't be read: No such file"), "{ran}");
    write(&fake, "empty/readme.txt", "");
    assert_eq!(run(&fake, &["apply", "-f", "empty"]).code, 2);
    assert_eq!(run(&fake, &["apply"]).code, 2);
}

#[test]
fn a_document_is_applied_only_at_the_revision_that_was_named() {
    let fake = Fake::start();
    fake.put(Kind::Project, json!({"kind": "Project", "name": "demo"}), json!({}));
    write(&fake, "a.yaml", "kind: Project\nname: demo\ndescription: new\n");
    let ran = run(&fake, &["apply", "-f", "a.yaml", "--if-revision", "7"]);
    assert_eq!(ran.code, 5, "{ran}");
    let ran = run(&fake, &["apply", "-f", "a.yaml", "--if-revision", "1"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "project demo: generation 2\n"));
    assert_eq!(
        fake.contents().asked,
        ["PUT /v1/projects/demo if-match=\"7\"", "PUT /v1/projects/demo if-match=\"1\""]
    );
}

#[test]
fn a_seed_is_deleted_with_those_first_that_refer_to_others() {
    let fake = Fake::start();
    write(
        &fake,
        "a.yaml",
        "kind: Project\nname: demo\n---\nkind: Instance\nname: web\n---\nkind: Port\nname: p\n",
    );
    fake.put(Kind::Project, json!({"name": "demo"}), json!({}));
    fake.put(Kind::Port, json!({"project": "demo", "name": "p"}), json!({}));
    let ran = run(&fake, &["delete", "-p", "demo", "-f", "a.yaml"]);
    assert_eq!(ran.code, 4, "{ran}");
    assert_eq!(ran.out, "instance demo/web not there\nport demo/p deleted\nproject demo deleted\n");
    let ran = run(&fake, &["delete", "-p", "demo", "-f", "a.yaml", "--ignore-missing"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(
        fake.contents().asked[..3],
        [
            "DELETE /v1/projects/demo/instances/web if-match=*",
            "DELETE /v1/projects/demo/ports/p if-match=*",
            "DELETE /v1/projects/demo if-match=*",
        ]
    );
}

#[test]
fn what_others_refer_to_is_not_deleted_and_they_are_named() {
    let fake = Fake::start();
    fake.contents().refuse = Some(Problem {
        kind: "in-use".into(),
        title: "something refers to it".into(),
        status: 409,
        detail: String::new(),
        faults: vec![fault(0, "", "the port 'web-0' is in it", "delete that first")],
    });
    let ran = run(&fake, &["delete", "network", "lan", "-p", "demo"]);
    assert_eq!(ran.code, 5);
    insta::assert_snapshot!(ran);
}

#[test]
fn a_change_in_the_editor_is_saved_at_the_revision_that_was_shown() {
    let fake = Fake::start();
    let spec = json!({"kind": "Network", "project": "demo", "name": "lan", "vni": 1000});
    fake.put(Kind::Network, spec, json!({}));
    let edit = |script: &str| {
        let mut command = command(fake.path());
        command.env("MEZAME_SERVER", fake.socket()).env("EDITOR", script);
        finish(command.args(["edit", "network", "lan", "-p", "demo"]))
    };
    let ran = edit("true");
    assert_eq!((ran.code, ran.err.as_str()), (0, "nothing was changed\n"));
    let ran = edit("sed -i s/1000/2000/");
    assert_eq!((ran.code, ran.err.as_str()), (0, "network demo/lan changed; generation 2\n"));
    assert_eq!(fake.contents().body["vni"], 2000);
    assert!(fake.contents().asked.last().unwrap().ends_with("if-match=\"1\""));
    let ran = edit("sed -i s/2000/[/");
    assert_eq!(ran.code, 3, "{ran}");
    let kept = ran.err.trim_end().rsplit(' ').next().unwrap();
    assert!(std::fs::read_to_string(kept).unwrap().contains("vni: ["), "{ran}");
    std::fs::remove_file(kept).unwrap();
    let ran = edit("false");
    assert_eq!(ran.code, 1, "{ran}");
}

#[test]
fn what_somebody_else_changed_meanwhile_is_not_overwritten() {
    let fake = Fake::start();
    let spec = json!({"kind": "Network", "project": "demo", "name": "lan", "vni": 1000});
    fake.put(Kind::Network, spec, json!({}));
    fake.contents().refuse = Some(Problem {
        kind: "precondition".into(),
        title: "the resource is at revision 9".into(),
        status: 412,
        detail: String::new(),
        faults: Vec::new(),
    });
    let mut command = command(fake.path());
    command.env("MEZAME_SERVER", fake.socket()).env("EDITOR", "sed -i s/1000/2000/");
    let ran = finish(command.args(["edit", "network", "lan", "-p", "demo"]));
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("nothing was overwritten"), "{ran}");
    std::fs::remove_file(ran.err.trim_end().rsplit(' ').next().unwrap()).unwrap();
}

#[test]
fn thousands_of_faults_in_a_long_seed_are_shown_at_once() {
    let fake = Fake::start();
    let count = 5000;
    let document = |n: usize| format!("---\nkind: Port\nname: p{n}\nmac: wrong\n");
    write(&fake, "long.yaml", (0..count).map(document).collect::<String>());
    let faults = (0..count).map(|n| fault(n, "mac", "no MAC", "give one")).collect();
    fake.contents().refuse = Some(faulty(faults));
    let ran = run(&fake, &["apply", "-p", "demo", "-f", "long.yaml"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.starts_with("long.yaml:4:6: error: no MAC\n"));
    assert!(ran.err.contains("long.yaml:20000:6: error: no MAC\n"));
    assert!(ran.err.ends_with("5000 faults in 1 file; nothing was changed\n"));
}
