//! A service that lies, and users who put things into the way: nothing is run, and nothing is
//! written outside of where it belongs.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

use mezame_tests::{client_machine::ClientMachine, process};
use serde_json::json;

use super::{ADAS_KEY, AGENT, Appliance, HASH, KEY, Tool, run, stand_in::StandIn, succeed};

/// Values of which each would be harm done if it were more than a text.
const HARM: &[&str] = &[
    "$(touch /pwned)",
    "`touch /pwned`",
    "x; touch /pwned",
    "$x\ntouch /pwned",
    "'; touch /pwned; '",
    "\"; touch /pwned; \"",
    "../../../../pwned",
    "/pwned",
    "-f",
    "--help",
    "-",
    "%s%n%d",
    "%",
    "\\",
    "*",
    "~root",
    "a b",
    "a\tb",
    "root:x:0:0::/:/bin/sh",
    "é",
];

/// Runs the agent against a service that says this.
fn told(appliance: &Appliance, machine: &ClientMachine, texts: &[(&str, &[u8])]) -> process::Ended {
    let liar = StandIn::start(appliance.guest.namespace(), texts);
    let mut agent = machine.command(&["timeout", "60", "dash", AGENT, "run"]);
    process::run(agent.env("MEZAME_ENDPOINT", &liar.endpoint).env("MEZAME_TIMEOUT", "5")).unwrap()
}

/// All that must be as it was.
fn important(machine: &ClientMachine) -> [String; 4] {
    ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/hosts"].map(|it| machine.read(it).unwrap())
}

#[test]
fn a_value_that_is_no_name_is_refused_and_does_nothing() {
    let appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    let before = important(&machine);
    let hostname = machine.read("/etc/hostname").unwrap_or_default();
    for harm in HARM {
        let lines = format!("{harm}\n");
        let ended = told(
            &appliance,
            &machine,
            &[
                ("instance-id", b"i-1\n"),
                ("hostname", lines.as_bytes()),
                ("users/", lines.as_bytes()),
            ],
        );
        let said = &ended.stderr;
        assert_eq!(ended.status.code(), Some(1), "{harm:?}: {said}");
        assert!(said.contains("bad-value"), "{harm:?}: {said}");
        assert_eq!(important(&machine), before, "{harm:?}: {said}");
        assert_eq!(machine.read("/etc/hostname").unwrap_or_default(), hostname, "{harm:?}");
        assert!(!machine.path("/pwned").exists(), "{harm:?}: {said}");
    }
}

#[test]
fn an_instance_id_that_is_none_ends_the_run() {
    let appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    for harm in HARM.iter().filter(|harm| !harm.contains('\n')) {
        let line = format!("{harm}\n");
        let ended = told(&appliance, &machine, &[("instance-id", line.as_bytes())]);
        assert_eq!(ended.status.code(), Some(3), "{harm:?}: {}", ended.stderr);
        assert!(!machine.path("/pwned").exists());
    }
}

#[test]
fn a_hash_or_a_shell_that_is_none_is_refused_and_a_key_is_only_a_line() {
    let appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    succeed(&machine, &["dash"]);
    let before = important(&machine);
    for harm in HARM.iter().filter(|harm| !harm.contains('\n')) {
        let line = format!("{harm}\n");
        let ended = told(
            &appliance,
            &machine,
            &[
                ("instance-id", b"i-2\n"),
                ("users/", b"ada/\n"),
                ("users/ada/password-hash", line.as_bytes()),
                ("users/ada/ssh-keys", line.as_bytes()),
            ],
        );
        // Some are what a hash may be, and set; nothing else is changed by them.
        let [passwd, _, group, hosts] = important(&machine);
        assert_eq!([&passwd, &group, &hosts], [&before[0], &before[2], &before[3]], "{harm:?}");
        let keys = machine.read("/home/ada/.ssh/authorized_keys").unwrap();
        assert!(keys.lines().any(|it| it == *harm), "{harm:?}: {keys}{}", ended.stderr);
        let ended = told(
            &appliance,
            &machine,
            &[
                ("instance-id", b"i-2\n"),
                ("users/", b"eve/\n"),
                ("users/eve/shell", format!("/bin/sh{harm}\n").as_bytes()),
            ],
        );
        let is_harmless = harm.chars().all(|it| it.is_ascii_alphanumeric() || "/._-".contains(it));
        assert!(
            is_harmless || ended.stderr.contains("user eve: failed, bad-value"),
            "{harm:?}: {}",
            ended.stderr
        );
        machine
            .output(60, &["sh", "-c", "! id eve 2>/dev/null || userdel -r eve 2>/dev/null"])
            .unwrap();
        assert!(!machine.path("/pwned").exists(), "{harm:?}");
    }
}

#[test]
fn user_data_is_run_or_handed_over_as_it_is_and_whatever_else_it_may_be_does_nothing() {
    let appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    fs::create_dir_all(machine.path("/etc/mezame/handlers")).unwrap();
    let handler = "#!/bin/sh\n[ -s \"$1\" ] || exit 10\ncp \"$1\" /root/handed\necho 'it said \"no\" \\ $(touch /pwned)'\nexit 9\n";
    machine.write("/etc/mezame/handlers/kind", handler).unwrap();
    let document = b"#kind of\x00 a $(touch /pwned)\n%s\\n\xff\n";
    let ended = told(&appliance, &machine, &[("instance-id", b"i-3\n"), ("user-data", document)]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("kind: failed, handler: it said"), "{}", ended.stderr);
    assert_eq!(fs::read(machine.path("/root/handed")).unwrap(), document);
    for (number, other) in [
        &b"#../../root/evil\n"[..],
        b"#cloud-config\n",
        b"\x1f\x8b\x08\0\0\0",
        b"touch /pwned\n",
        b"#\n",
        b"\n",
        b"#$(touch /pwned)",
        &[b'#'; 100_000],
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("i-4{number}\n");
        let ended =
            told(&appliance, &machine, &[("instance-id", id.as_bytes()), ("user-data", other)]);
        assert_eq!(ended.status.code(), Some(0), "{number}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("user-data: skipped, unsupported-format"),
            "{}",
            ended.stderr
        );
    }
    // More than the service ever has.
    let long = vec![b'#'; 3 << 20];
    let ended = told(&appliance, &machine, &[("instance-id", b"i-5\n"), ("user-data", &long)]);
    assert_eq!(ended.status.code(), Some(3), "{}", ended.stderr);
    assert!(!machine.path("/pwned").exists());
}

#[test]
fn a_user_who_puts_links_into_the_way_leads_the_agent_nowhere() {
    let mut appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    succeed(&machine, &["dash"]);
    let shadow = machine.read("/etc/shadow").unwrap();
    let roots_keys = machine.read("/root/.ssh/authorized_keys").unwrap();
    let home = machine.path("/home/ada");
    let ada = |key: &str| json!({"users": [{"name": "ada", "ssh_keys": [key], "password": {"hash": HASH}}]});
    // The directory is another's.
    fs::remove_dir_all(home.join(".ssh")).unwrap();
    symlink("/root/.ssh", home.join(".ssh")).unwrap();
    appliance.change(&ada(KEY));
    let ended = run(&machine, &["dash"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("keys ada: failed, file"), "{}", ended.stderr);
    assert_eq!(machine.read("/root/.ssh/authorized_keys").unwrap(), roots_keys);
    // The file is another's, and so is the one that the new text is written to.
    fs::remove_file(home.join(".ssh")).unwrap();
    machine
        .output(
            60,
            &[
                "su",
                "-s",
                "/bin/sh",
                "ada",
                "-c",
                "mkdir -m 700 ~/.ssh && ln -s /etc/shadow ~/.ssh/authorized_keys && \
                 ln -s /etc/shadow ~/.ssh/.mezame-new",
            ],
        )
        .unwrap();
    appliance.change(&ada(ADAS_KEY));
    run(&machine, &["dash"]);
    assert_eq!(machine.read("/etc/shadow").unwrap(), shadow);
    // What she can't read does not come to be hers either.
    let keys = fs::read_to_string(home.join(".ssh/authorized_keys")).unwrap();
    assert!(!keys.contains("root:"), "{keys}");
}

#[test]
fn a_user_who_puts_a_pipe_in_place_of_the_keys_holds_nothing_up() {
    let mut appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    succeed(&machine, &["dash"]);
    let make = "rm -f ~/.ssh/authorized_keys && mkfifo ~/.ssh/authorized_keys";
    machine.output(60, &["su", "-s", "/bin/sh", "ada", "-c", make]).unwrap();
    appliance.change(&json!({"users": [{"name": "ada", "ssh_keys": [ADAS_KEY]}]}));
    run(&machine, &["dash"]);
    let file = machine.path("/home/ada/.ssh/authorized_keys");
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
    assert!(fs::read_to_string(file).unwrap().contains(ADAS_KEY));
}

#[test]
fn a_default_user_who_is_stopped_is_left_no_key_of_the_instances() {
    let user = |stopped: bool| json!({"users": [{"name": "ada", "stopped": stopped}]});
    let mut appliance = Appliance::new(&user(false));
    let machine = appliance.machine(&[Tool::Curl]);
    let as_default = ["env", "MEZAME_DEFAULT_USER=ada", "dash"];
    succeed(&machine, &as_default);
    let keys = || machine.read("/home/ada/.ssh/authorized_keys").unwrap();
    assert!(!keys().is_empty());
    appliance.change(&user(true));
    let ended = run(&machine, &as_default);
    assert!(ended.stderr.contains("stop ada: skipped, unsupported"), "{}", ended.stderr);
    assert!(!keys().contains("ssh-"));
}

#[test]
fn a_home_below_what_a_user_owns_is_not_made_by_root() {
    let appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    succeed(&machine, &["dash"]);
    // She leads the way to eve's home, and it leads elsewhere.
    machine
        .output(60, &["su", "-s", "/bin/sh", "ada", "-c", "ln -s /etc ~/way && mkdir ~/own"])
        .unwrap();
    for (name, home) in [("eve", "/home/ada/way/eve"), ("bob", "/home/ada/own/bob")] {
        machine.output(60, &["useradd", "-M", "-d", home, name]).unwrap();
        let listed = format!("{name}/\n");
        let texts = [("instance-id", &b"i-6\n"[..]), ("users/", listed.as_bytes())];
        let ended = told(&appliance, &machine, &texts);
        assert!(ended.stderr.contains(&format!("keys {name}: failed")), "{}", ended.stderr);
        assert!(!machine.path(home).exists(), "{home}");
    }
    // Where nobody but root can put anything it is made.
    machine.output(60, &["useradd", "-M", "-d", "/home/joe", "joe"]).unwrap();
    told(&appliance, &machine, &[("instance-id", b"i-6\n"), ("users/", b"joe/\n")]);
    let made = fs::metadata(machine.path("/home/joe")).unwrap();
    assert!(made.is_dir() && made.uid() >= 1000);
}

#[test]
fn a_users_file_that_has_no_end_is_given_up() {
    let mut appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    succeed(&machine, &["dash"]);
    // The script's bound is half a minute; a test has not that much.
    let short = "#!/bin/sh\n[ \"$1\" != 30 ] || { shift && set -- 3 \"$@\"; }\nexec /usr/bin/timeout \"$@\"\n";
    machine.write("/usr/sbin/timeout", short).unwrap();
    let endless = "truncate -s 900G ~/.ssh/authorized_keys";
    machine.output(60, &["su", "-s", "/bin/sh", "ada", "-c", endless]).unwrap();
    appliance.change(&json!({"users": [{"name": "ada", "ssh_keys": [KEY]}], "hostname": "after"}));
    let ended = run(&machine, &["dash"]);
    assert!(ended.stderr.contains("keys ada: failed, file"), "{}", ended.stderr);
    assert_eq!(machine.read("/etc/hostname").unwrap(), "after\n");
}
