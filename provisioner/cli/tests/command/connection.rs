//! Getting there: sockets, TLS, tokens, contexts, and what is said when it fails.

use std::os::unix::{fs::PermissionsExt, net::UnixListener};

use crate::{Ran, command, fake::Fake, finish, run, write};

fn over_tls(fake: &Fake, host: &str, arguments: &[&str]) -> Ran {
    let mut command = command(fake.path());
    let server = format!("https://{host}:{}", fake.tls.port());
    command.args(["--server", &server, "--ca-file", "ca.pem"]).args(arguments);
    finish(&mut command)
}

#[test]
fn a_socket_that_is_missing_is_named_with_what_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let ran = finish(command(folder.path()).args(["-s", "unix:none.sock", "get", "projects"]));
    assert_eq!(ran.code, 6);
    insta::assert_snapshot!(ran);
}

#[test]
fn a_socket_that_nobody_listens_on_any_more_is_told_from_one_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(folder.path().join("old.sock")).unwrap());
    let ran = finish(command(folder.path()).args(["-s", "unix:old.sock", "get", "projects"]));
    assert_eq!(ran.code, 6);
    assert!(ran.err.contains("left behind by one that no longer runs"), "{ran}");
}

#[test]
fn a_socket_that_the_caller_may_not_use_says_who_may() {
    let fake = Fake::start();
    std::fs::set_permissions(fake.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    std::fs::set_permissions(fake.socket(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = format!("unix:{}", fake.socket().display());
    let mut command = command(std::path::Path::new("/"));
    command.args(["-s", &server, "get", "projects"]);
    // Root may do everything, so the command is run as somebody else.
    std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    assert!(
        !command.output().is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied),
        "root is needed to run the command as another user; run this test as root"
    );
    let ran = finish(&mut command);
    assert_eq!(ran.code, 7, "{ran}");
    assert!(ran.err.contains("only root and members of the socket's group may connect"), "{ran}");
}

#[test]
fn a_server_on_the_network_is_believed_by_its_authority_and_asked_with_a_token() {
    let fake = Fake::start();
    fake.contents().token = Some("secret-token".into());
    write(&fake, "token", "secret-token\n");
    let path = fake.path().join("token");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ran = over_tls(&fake, "localhost", &["--token-file", "token", "get", "projects"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "there are no projects\n"));
    let ran = over_tls(&fake, "localhost", &["get", "projects"]);
    assert_eq!(ran.code, 7);
    assert!(ran.err.contains("--token-file or MEZAME_TOKEN"), "{ran}");
}

#[test]
fn a_certificate_of_another_authority_or_for_another_name_is_refused() {
    let fake = Fake::start();
    let ran = over_tls(&fake, "127.0.0.1", &["get", "projects"]);
    assert_eq!(ran.code, 6);
    assert!(ran.err.contains("no trusted connection") && ran.err.contains("--ca-file"), "{ran}");
    let other = Fake::start();
    std::fs::copy(other.path().join("ca.pem"), fake.path().join("ca.pem")).unwrap();
    let ran = over_tls(&fake, "localhost", &["get", "projects"]);
    assert_eq!(ran.code, 6);
    assert_eq!(fake.contents().asked, Vec::<String>::new());
}

#[test]
fn a_token_is_never_sent_in_the_clear() {
    let ran = finish(command(std::path::Path::new("/")).args([
        "-s",
        "http://127.0.0.1:1",
        "get",
        "projects",
    ]));
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("https://"), "{ran}");
}

#[test]
fn a_context_of_the_settings_file_names_server_and_project() {
    let fake = Fake::start();
    let config = format!(
        "current: here\ncontexts:\n  here:\n    server: unix:{}\n    project: demo\n",
        fake.socket().display()
    );
    write(&fake, ".config/mezame/config.yaml", config);
    let ran = finish(command(fake.path()).args(["get", "ports"]));
    // The fake has no such project: it was asked.
    assert_eq!(ran.code, 4, "{ran}");
    assert_eq!(fake.contents().asked, ["GET /v1/projects/demo/ports"]);
}

#[test]
fn a_project_is_asked_for_where_none_was_chosen() {
    let fake = Fake::start();
    let ran = run(&fake, &["get", "ports"]);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.err,
        "mezame: no project was chosen\n  mend: name it with -p PROJECT or MEZAME_PROJECT\n"
    );
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(folder.path().join("mute.sock")).unwrap();
    let ran = finish(command(folder.path()).args([
        "-s",
        "unix:mute.sock",
        "--request-timeout",
        "100ms",
        "get",
        "projects",
    ]));
    assert_eq!(ran.code, 6);
    assert!(ran.err.contains("did not answer within 0.1 s"), "{ran}");
}
