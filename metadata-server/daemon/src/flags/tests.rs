//! Tests of the flags: names, sources and their order of precedence.

use super::*;

fn configured(arguments: &[&str], file: &str) -> anyhow::Result<Configured> {
    let command = Command::try_parse_from(std::iter::once(&"metadata-server").chain(arguments))?;
    command.flags.over(parse(file)?).complete()
}

#[test]
fn an_empty_file_gives_the_defaults() {
    for file in ["", "# nothing\n"] {
        let configured = configured(&[], file).unwrap();
        assert_eq!(configured.service, Settings::default());
        assert!(configured.provisioner.is_none());
    }
}

#[test]
fn a_flag_wins_over_the_file() {
    let configured =
        configured(&["--drain", "3s"], "drain: 30s\nidle_time: 2m\nstate_dir: /s\n").unwrap();
    assert_eq!(configured.service.drain, Duration::from_secs(3));
    assert_eq!(configured.service.limits.idle_time, Duration::from_secs(120));
    assert_eq!(configured.service.state, Path::new("/s"));
}

#[test]
fn the_control_plane_lives_in_the_services_directories() {
    let configured = configured(&["--standalone", "--state", "/s", "--run", "/r"], "").unwrap();
    let provisioner = configured.provisioner.unwrap();
    assert_eq!(provisioner.state_dir, Path::new("/s"));
    assert_eq!(provisioner.socket.as_deref(), Some(Path::new("/r/provisioner.sock")));
}

#[test]
fn a_section_of_the_control_plane_lives_there_too_unless_it_says_where() {
    let of = |section: &str| {
        let file = format!("standalone: true\nstate_dir: /s\nprovisioner: {section}\n");
        let configured = configured(&["--run", "/r"], &file).unwrap();
        let provisioner = configured.provisioner.unwrap();
        (provisioner.state_dir, provisioner.socket)
    };
    let socket = Some(PathBuf::from("/r/provisioner.sock"));
    assert_eq!(of("{region: here}"), ("/s".into(), socket.clone()));
    assert_eq!(of("{state_dir: /var/lib/mezame}"), ("/var/lib/mezame".into(), socket));
    assert_eq!(of("{socket: /x}"), ("/s".into(), Some("/x".into())));
    assert_eq!(of("{socket: null}"), ("/s".into(), None));
}

#[test]
fn the_image_archives_place_is_a_flag_or_stands_in_the_file() {
    let by_flag = configured(&["--standalone", "--image-archive", "/a"], "").unwrap();
    let images = by_flag.provisioner.unwrap().images.unwrap();
    assert_eq!(images.directory.as_deref(), Some(Path::new("/a")));
    let file = "standalone: true\nprovisioner:\n  images:\n    jobs: 3\n    s3:\n      \
                endpoint: https://s3.example\n      bucket: one\n      credentials_file: /c\n";
    let images = configured(&[], file).unwrap().provisioner.unwrap().images.unwrap();
    assert_eq!((images.jobs, images.s3.unwrap().region.as_str()), (3, "us-east-1"));
    let none = configured(&["--standalone"], "").unwrap();
    assert_eq!(none.provisioner.unwrap().images, None);
}

#[test]
fn the_place_of_volumes_is_a_flag_or_stands_in_the_file() {
    let by_flag = ["--standalone", "--image-archive", "/a", "--volumes", "/v"];
    let volumes = configured(&by_flag, "").unwrap().provisioner.unwrap().volumes.unwrap();
    assert_eq!(volumes.pools["default"], std::path::PathBuf::from("/v/pool").into());
    assert_eq!(volumes.masters.as_deref(), Some(Path::new("/v/masters")));
    // Guests are frozen by the metadata-server of the same process, unless another is named.
    assert_eq!(volumes.freeze_socket.as_deref(), Some(Path::new("/run/mezame/freeze.sock")));
    let there = configured(&["--run-dir", "/r", "--standalone", "--volumes", "/v"], "").unwrap();
    let volumes = there.provisioner.unwrap().volumes.unwrap();
    assert_eq!(volumes.freeze_socket.as_deref(), Some(Path::new("/r/freeze.sock")));
    let file = "standalone: true\nprovisioner:\n  images: {directory: /a}\n  volumes:\n    \
                pools: {fast: /f, slow: /s}\n    default_pool: fast\n    masters: /m\n    freeze_socket: /q\n";
    let volumes = configured(&[], file).unwrap().provisioner.unwrap().volumes.unwrap();
    assert_eq!((volumes.pools.len(), volumes.default_pool.as_deref()), (2, Some("fast")));
    assert_eq!(volumes.freeze_socket.as_deref(), Some(Path::new("/q")));
}

#[test]
fn a_pool_of_disks_that_makes_no_sense_is_told_with_its_place() {
    let refused = |pool: &str| {
        let file = format!(
            "standalone: true\nprovisioner:\n  images: {{directory: /a}}\n  volumes:\n    masters: \
             /m\n    pools:\n      disks: {pool}\n"
        );
        format!("{:#}", configured(&[], &file).unwrap_err())
    };
    let told = refused("{devices: [vdb]}");
    assert!(told.contains("provisioner.volumes.pools.disks"), "{told}");
    assert!(told.contains("name it by what stays the same, as /dev/disk/by-id/"), "{told}");
    let told = refused("{iscsi: {portal: 10.0.0.5, target: iqn.2026-01.net.example, luns: [300]}}");
    assert!(told.contains("provisioner.volumes.pools.disks") && told.contains("300"), "{told}");
}

#[test]
fn the_veths_peer_is_named_after_it() {
    let configured = configured(&["--veth", "abc0"], "").unwrap();
    assert_eq!(configured.service.names.peer.as_str(), "abc0p");
}

#[test]
fn what_can_not_be_right_is_refused_with_the_settings_name() {
    for (file, word) in [
        ("workers: 0", "workers"),
        ("wrokers: 1", "wrokers"),
        ("namespace: a/b", "namespace"),
        ("drain: soon", "500ms"),
        ("veth: a\nveth_peer: a", "veth_peer"),
        ("headers: 4", "headers"),
        ("provisioner: {}", "standalone"),
        ("log_format: xml", "xml"),
    ] {
        let error = format!("{:#}", configured(&[], file).unwrap_err());
        assert!(error.contains(word), "{file}: {error}");
    }
}

#[test]
fn the_example_file_is_valid_and_says_the_defaults() {
    let example = include_str!("../../metadata-server.yaml");
    assert_eq!(configured(&[], example).unwrap().service, Settings::default());
    let uncommented: String = example
        .lines()
        .filter_map(|line| line.strip_prefix("#").or(Some(line)))
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    let all = configured(&["--standalone"], &uncommented).unwrap();
    assert_eq!(all.service, Settings::default());
    assert_eq!(all.provisioner, Some(mezame_provisioner::Settings::default()));
}

#[test]
fn the_example_file_names_every_setting() {
    let example = include_str!("../../metadata-server.yaml");
    for name in Partial::NAMES {
        let stands = |line: &str| {
            let line = line.trim_start_matches('#');
            // One deeper is the control plane's.
            let line = line.strip_prefix(' ').unwrap_or(line);
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
        };
        assert!(example.lines().any(stands), "{name}");
    }
}
