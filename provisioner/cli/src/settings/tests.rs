//! Which source of settings wins, and what is wrong with them.

use std::path::Path;

use super::*;

const FILE: &str = "current: lab\ncontexts:\n  lab:\n    server: https://lab.example:8443\n    \
                    token_file: ~/lab.token\n    project: tenant-a\n  here: {}\n";

fn home_with(file: &str) -> (tempfile::TempDir, Environment) {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join(".config/mezame")).unwrap();
    fs::write(home.path().join(".config/mezame/config.yaml"), file).unwrap();
    fs::write(home.path().join("lab.token"), "from-file\n").unwrap();
    let environment = Environment { home: Some(home.path().into()), ..Environment::default() };
    (home, environment)
}

fn token(settings: &Settings) -> Option<&str> {
    settings.client.token.as_ref().map(SecretString::expose)
}

#[test]
fn without_any_setting_the_local_socket_is_used() {
    let settings = Settings::gather(&ConnectionFlags::default(), &Environment::default()).unwrap();
    assert_eq!(settings.client.address.to_string(), "unix:/run/mezame/provisioner.sock");
    assert_eq!(settings.project, None);
}

#[test]
fn the_current_context_is_used_and_a_token_file_that_others_can_read_is_warned_of() {
    let (home, environment) = home_with(FILE);
    fs::set_permissions(home.path().join("lab.token"), fs::Permissions::from_mode(0o644)).unwrap();
    let settings = Settings::gather(&ConnectionFlags::default(), &environment).unwrap();
    assert_eq!(settings.client.address.to_string(), "https://lab.example:8443");
    assert_eq!(token(&settings), Some("from-file"));
    assert_eq!(settings.project.as_ref().map(ProjectName::as_str), Some("tenant-a"));
    assert!(settings.warnings[0].contains("mode 644"), "{:?}", settings.warnings);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let (_home, mut environment) = home_with(FILE);
    environment.token = Some(SecretString::new("from-environment".into()));
    assert!(!format!("{environment:?}").contains("from-environment"));
    environment.project = Some("tenant-b".into());
    let mut flags = ConnectionFlags::default();
    let settings = Settings::gather(&flags, &environment).unwrap();
    assert_eq!(token(&settings), Some("from-environment"));
    assert_eq!(settings.project.as_ref().map(ProjectName::as_str), Some("tenant-b"));
    flags.project = ProjectName::parse("tenant-c").ok();
    flags.context = Some("here".into());
    let settings = Settings::gather(&flags, &environment).unwrap();
    assert_eq!(settings.project.as_ref().map(ProjectName::as_str), Some("tenant-c"));
    assert_eq!(settings.client.address, ServerAddress::default());
}

#[test]
fn a_misspelt_setting_and_an_unknown_context_are_named() {
    let (_home, environment) = home_with("contexts: {lab: {sever: x}}");
    let flags = ConnectionFlags::default();
    assert!(matches!(Settings::gather(&flags, &environment), Err(SettingsError::Form { .. })));
    let (_home, environment) = home_with(FILE);
    let flags = ConnectionFlags { context: Some("prod".into()), ..flags };
    let error = Settings::gather(&flags, &environment).unwrap_err();
    assert!(error.to_string().ends_with("no context \"prod\"; it has: here, lab"), "{error}");
    let flags = ConnectionFlags { config: Some(Path::new("/none").into()), ..flags };
    assert!(matches!(
        Settings::gather(&flags, &environment),
        Err(SettingsError::Unreadable { .. })
    ));
}
