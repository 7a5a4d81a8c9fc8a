//! What the program that converts may do.

use super::*;

/// What marks the process that has the capabilities of the daemon's unit and no others.
const IN_UNIT: &str = "MEZAME_TEST_IN_UNIT";

/// What a program says that runs as `qemu-img` does.
fn in_sandbox(place: &Place, script: &str, user: Option<u32>) -> String {
    let path = place.path("disk.raw");
    let mut file = place.file(&path, ForeignFormat::Qcow2);
    file.largest = 77 << 20;
    let out = convert::sandbox("sh", &file, user).args(["-c", script]).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// Without root nothing would be looked at, and that is not to pass.
fn assert_root(needed: &str) {
    assert!(nix::unistd::geteuid().is_root(), "root is needed for {needed}");
}

#[test]
fn the_program_that_converts_can_do_little() {
    let place = Place::make();
    let limits = in_sandbox(&place, "cat /proc/self/limits /proc/self/status", None);
    let words: Vec<Vec<&str>> =
        limits.lines().map(|line| line.split_whitespace().collect()).collect();
    for wanted in [
        &["Max", "file", "size", "80740352"][..],
        &["Max", "address", "space", "2147483648"],
        &["Max", "cpu", "time", "60"],
        &["Max", "core", "file", "size", "0"],
        &["NoNewPrivs:", "1"],
    ] {
        assert!(words.iter().any(|line| line.starts_with(wanted)), "{wanted:?}: {limits}");
    }
    assert_root("another user");
    let script = "id -u; id -g; id -G; grep Cap /proc/self/status";
    let who = in_sandbox(&place, script, Some(65525));
    let mut words = who.split_whitespace();
    assert_eq!([words.next(), words.next(), words.next()], [Some("65525"); 3], "{who}");
    let capabilities: Vec<&str> = words.filter(|word| !word.starts_with("Cap")).collect();
    assert_eq!(capabilities, ["0000000000000000"; 5], "{who}");
}

#[test]
fn the_program_that_converts_ends_with_who_waits_for_it() {
    let place = Place::make();
    let path = place.path("disk.raw");
    let file = place.file(&path, ForeignFormat::Qcow2);
    let mut command = convert::sandbox("sh", &file, None);
    command.args(["-c", "echo begun; exec sleep 60"]).stdout(std::process::Stdio::piped());
    let mut child = std::thread::scope(|scope| {
        let start = scope.spawn(|| {
            let mut child = command.spawn().unwrap();
            let mut begun = [0; 6];
            io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut begun).unwrap();
            child
        });
        start.join().unwrap()
    });
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
}

#[test]
fn one_conversion_can_not_look_into_another() {
    assert_root("two users");
    let place = Place::make();
    let path = place.path("disk.raw");
    let file = place.file(&path, ForeignFormat::Qcow2);
    let take = || user::Lease::take(file.patience, || false).unwrap().unwrap();
    let (one, other) = (take(), take());
    let mut command = convert::sandbox("sh", &file, Some(one.user));
    command.args(["-c", "echo begun; exec sleep 60"]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut begun = [0; 6];
    io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut begun).unwrap();
    let script = format!("ls /proc/{}/fd >/dev/null 2>&1 && echo seen || echo nothing", child.id());
    let (of_same, of_other) = (
        in_sandbox(&place, &script, Some(one.user)),
        in_sandbox(&place, &script, Some(other.user)),
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((of_same.trim(), of_other.trim()), ("seen", "nothing"));
}

#[test]
fn a_program_that_is_not_there_and_a_full_disk_are_no_faults_of_the_file() {
    let place = Place::make();
    let path = place.path("disk.raw");
    let (file, disk) = (File::open(&path).unwrap(), tempfile::tempfile().unwrap());
    let import = place.file(&path, ForeignFormat::Qcow2);
    let run = |program, arguments: &[&str]| {
        let (file, disk, import) = (&file, &disk, &import);
        let conversion =
            convert::Conversion { program, file, disk, import, watch: &Unwatched, user: None };
        conversion.run(arguments, &[])
    };
    let missing = run("mezame-no-such-program", &["check"]).unwrap_err();
    assert!(
        matches!(&missing, ForeignError::Program(why)
        if why.to_string().contains("mezame-no-such-program")),
        "{missing:?}"
    );
    let script = "echo 'error while writing at byte 0: No space left on device' >&2; exit 1";
    let full = run("sh", &["-c", script, "/dev/fd/1"]);
    assert!(matches!(full, Err(ForeignError::Room { .. })), "{full:?}");
    let fault = run("sh", &["-c", "echo 'it is no image' >&2; exit 1", "/dev/fd/1"]);
    assert!(matches!(fault, Err(ForeignError::Conversion { .. })), "{fault:?}");
}

/// The capabilities that the daemon has under systemd, as setpriv(1) writes them.
fn bounding_set() -> String {
    let unit = include_str!("../../../../../metadata-server/daemon/metadata-server.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let names = line
        .split_whitespace()
        .map(|name| format!(",+{}", name.strip_prefix("CAP_").unwrap().to_ascii_lowercase()));
    format!("-all{}", names.collect::<String>())
}

#[test]
fn the_capabilities_of_the_daemons_unit_are_enough_for_an_import_and_for_its_end() {
    assert_root("capabilities that can be taken away");
    if std::env::var_os(IN_UNIT).is_some() {
        return import_and_end();
    }
    // This test once more, as systemd starts the daemon.
    let name = "the_capabilities_of_the_daemons_unit_are_enough_for_an_import_and_for_its_end";
    let name = format!("archive::foreign::tests::sandbox::{name}");
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set", &bounding_set(), "--"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", &name, "--nocapture"]);
    let out = command.env(IN_UNIT, "1").output().unwrap();
    assert!(out.status.success(), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stdout).contains("imported and ended"), "{out:?}");
}

fn import_and_end() {
    let place = Place::make();
    place.run("qemu-img", &["convert", "-O", "qcow2", "disk.raw", "disk.qcow2"]);
    let path = place.path("disk.qcow2");
    place.assert_whole(&place.import(&place.file(&path, ForeignFormat::Qcow2)).unwrap());
    // One that would go on: who ends it must be allowed to.
    let lease = user::Lease::take(Duration::from_secs(60), || false).unwrap().unwrap();
    let file = place.file(&path, ForeignFormat::Qcow2);
    let mut command = convert::sandbox("sh", &file, Some(lease.user));
    command.args(["-c", "echo begun; exec sleep 60"]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut begun = [0; 6];
    io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut begun).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    println!("imported and ended");
}
