//! The ways of the BSDs, on Linux: with stand-ins for the tools that only they have.
//!
//! This shows that the agent calls them as their manuals say, keeps their locks, and makes no
//! secret an argument. It does not show what the real ones do.

use std::fs;

use mezame_tests::client_machine::ClientMachine;
use serde_json::json;

use super::{ADAS_KEY, Appliance, HASH, KEY, Tool, run, succeed};

/// A machine whose `uname -s` is this.
fn machine_of(appliance: &Appliance, system: &str, tools: &[Tool]) -> ClientMachine {
    let machine = appliance.machine(tools);
    // Found before /usr/bin.
    machine.write("/usr/sbin/uname", &format!("#!/bin/sh\necho {system}\n")).unwrap();
    fs::remove_file(machine.path("/usr/sbin/chpasswd")).unwrap();
    machine
}

const MASTER: &str = "root:*:0:0::0:0:Charlie &:/root:/bin/sh\n\
                      adam:old:1001:100::0:0::/home/adam:/bin/sh\n\
                      ada:old:1000:100::0:0:Ada:/home/ada:/bin/sh\n";

#[test]
fn netbsds_ways_are_myname_and_the_lock_of_vipw() {
    let appliance = Appliance::new(&json!({}));
    let machine = machine_of(&appliance, "NetBSD", &[Tool::Tnftp, Tool::Nc]);
    machine.write("/etc/master.passwd", MASTER).unwrap();
    // pwd_mkdb(8): -p also makes the old file; the new one takes its place.
    let pwd_mkdb = "#!/bin/sh\necho \"$*\" >>/root/pwd_mkdb\n[ \"$1\" = -p ] && mv \"$2\" /etc/master.passwd\n";
    machine.write("/usr/sbin/pwd_mkdb", pwd_mkdb).unwrap();
    // Somebody is in vipw(8).
    machine.write("/etc/ptmp", "held").unwrap();
    let ended = run(&machine, &["dash"]);
    assert!(ended.stderr.contains("password ada: failed, tool-failed"), "{}", ended.stderr);
    assert_eq!(machine.read("/etc/ptmp").unwrap(), "held");
    assert_eq!(machine.read("/etc/master.passwd").unwrap(), MASTER);
    fs::remove_file(machine.path("/etc/ptmp")).unwrap();
    succeed(&machine, &["dash"]);
    let expected = MASTER.replace("ada:old:1000", &format!("ada:{HASH}:1000"));
    assert_eq!(machine.read("/etc/master.passwd").unwrap(), expected);
    assert!(!machine.path("/etc/ptmp").exists());
    assert_eq!(machine.read("/root/pwd_mkdb").unwrap(), "-p /etc/ptmp\n");
    assert_eq!(machine.read("/etc/myname").unwrap(), "woken.example\n");
    assert!(machine.path("/var/db/mezame-agent-sh/instances").exists());
    for (path, key) in [("/root", KEY), ("/home/ada", ADAS_KEY)] {
        let keys = machine.read(&format!("{path}/.ssh/authorized_keys")).unwrap();
        assert!(keys.lines().any(|line| line == key), "{keys}");
    }
    // Nothing is done twice.
    succeed(&machine, &["dash"]);
    assert_eq!(machine.read("/root/pwd_mkdb").unwrap(), "-p /etc/ptmp\n");
}

#[test]
fn freebsds_ways_are_pw_and_sysrc() {
    let appliance = Appliance::new(&json!({}));
    let machine = machine_of(&appliance, "FreeBSD", &[Tool::Curl]);
    // pw(8): -H reads the encrypted password from a descriptor.
    let pw = "#!/bin/sh\necho \"pw $*\" >>/root/called\ncase $1 in\n\
              useradd) useradd -m \"$3\" ;;\nusermod) cat >>/root/called ;;\nesac\n";
    machine.write("/usr/sbin/pw", pw).unwrap();
    let sysrc = "#!/bin/sh\ncase $1 in\n-n) cat /root/rc ;;\n*) echo \"sysrc $1\" >>/root/called && \
                 echo \"${1#*=}\" >/root/rc ;;\nesac\n";
    machine.write("/usr/sbin/sysrc", sysrc).unwrap();
    succeed(&machine, &["dash"]);
    let expected = format!(
        "sysrc hostname=woken.example\npw useradd -n ada -m\npw usermod -n ada -H 0\n{HASH}\n"
    );
    assert_eq!(machine.read("/root/called").unwrap(), expected);
    succeed(&machine, &["dash"]);
    assert_eq!(machine.read("/root/called").unwrap(), expected);
}
