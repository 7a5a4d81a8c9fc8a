//! What is told, for each state that a guest can be in.

use std::num::NonZeroU16;

use proptest::prelude::*;

use super::*;

const OURS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const OLD: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
const THEIRS: &str = "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC";

fn wanted(https: bool, port: u16, basic: bool) -> Winrm {
    Winrm { https, port: NonZeroU16::new(port).unwrap(), basic }
}

fn names() -> Names {
    Names::of("Web.example").unwrap()
}

fn now(lines: &str) -> Now {
    Now::parse(&format!("{lines}\nend\n")).unwrap()
}

fn told(wanted: &Winrm, lines: &str) -> String {
    told_with(wanted, lines, &Noted::default())
}

fn told_with(wanted: &Winrm, lines: &str, noted: &Noted) -> String {
    let script = changes(wanted, &names(), &now(lines), noted).unwrap().unwrap_or_default();
    assert!(!script.contains('"') && !LOOK.contains('"'), "it is one word: {script}");
    script
}

/// A guest that is as [`wanted`] has it by default.
fn settled() -> String {
    format!("basic false\nlistener 5986 {OURS}\ncertificate {OURS} 300 web,web.example")
}

#[test]
fn a_first_listener_gets_a_new_certificate_for_the_hosts_names() {
    let script = told(&wanted(true, 5986, false), "service changed\r\nbasic false\r");
    assert!(script.starts_with(HEAD), "{script}");
    let at = |part: &str| script.find(part).unwrap_or_else(|| panic!("no {part:?} in {script}"));
    let made = at("DnsName=@('web','web.example')");
    let marked = at(".FriendlyName='Mezame WinRM'");
    let listens = at("New-WSManInstance -ResourceURI winrm/config/Listener -SelectorSet \
                      @{Address='*';Transport='HTTPS'} -ValueSet @{Hostname='web';\
                      CertificateThumbprint=$t;Port='5986'}");
    assert!(made < marked && marked < listens, "{script}");
    assert!(!script.contains("Basic") && !script.contains("Remove"), "{script}");
    assert!(now("service changed\nbasic true").is_service_changed);
}

#[test]
fn a_guest_that_is_as_it_is_to_be_is_told_nothing() {
    assert_eq!(told(&wanted(true, 5986, false), &settled()), "");
    // However Windows writes it.
    let turned = settled().replace("web,web.example", "Web.Example,web,web");
    assert_eq!(told(&wanted(true, 5986, false), &turned), "");
    let spaced = settled().replace(&format!("5986 {OURS}"), &format!("5986 {}", "aa ".repeat(20)));
    assert_eq!(told(&wanted(true, 5986, false), &spaced), "");
    assert_eq!(now(&settled()).thumbprint().map(Thumbprint::as_str), Some(OURS));
    let nothing_of_ours = format!("basic true\nlistener 5986 {THEIRS}");
    assert_eq!(told(&wanted(false, 5986, false), &nothing_of_ours), "");
    assert_eq!(now(&nothing_of_ours).thumbprint(), None);
}

#[test]
fn another_port_keeps_the_certificate_and_basic_is_as_the_record_says() {
    let script = told(&wanted(true, 443, true), &settled());
    let listener =
        format!("$t='{OURS}'; Set-WSManInstance {SELECTOR} -ValueSet @{{Hostname='web';");
    assert!(script.contains(&listener) && script.contains("Port='443'"), "{script}");
    assert!(script.ends_with(r"Service\Auth\Basic -Value $true -Force;"), "{script}");
    assert!(!script.contains("New-SelfSignedCertificate") && !script.contains("Remove"));
    let script = told(&wanted(true, 5986, false), &settled().replace("basic false", "basic True"));
    assert_eq!(
        script,
        format!(r"{HEAD}Set-Item WSMan:\localhost\Service\Auth\Basic -Value $false -Force;")
    );
}

#[test]
fn a_certificate_for_another_name_or_near_its_end_is_made_anew_and_the_old_one_goes_last() {
    for old in ["300 other", "29 web,web.example", "-3 web,web.example", "300"] {
        let lines = format!("basic false\nlistener 5986 {OLD}\ncertificate {OLD} {old}");
        let script = told(&wanted(true, 5986, false), &lines);
        let made = script.find("New-SelfSignedCertificate @o").unwrap();
        let bound = script.find("Set-WSManInstance").unwrap();
        let gone =
            script.find(&format!(r"Remove-Item 'Cert:\LocalMachine\My\{OLD}' -DeleteKey")).unwrap();
        assert!(made < bound && bound < gone, "{script}");
    }
    // Cut off after it was made, or before the old one was gone.
    let cut = format!("basic false\ncertificate {OURS} 300 web,web.example");
    let script = told(&wanted(true, 5986, false), &cut);
    assert!(script.contains(&format!("$t='{OURS}'; New-WSManInstance")), "{script}");
    let script = told(&wanted(true, 5986, false), &format!("{}\ncertificate {OLD} 9 x", settled()));
    assert_eq!(script, format!(r"{HEAD}Remove-Item 'Cert:\LocalMachine\My\{OLD}' -DeleteKey;"));
}

#[test]
fn a_listener_of_somebody_elses_is_left_and_said() {
    for lines in [&format!("basic false\nlistener 5986 {THEIRS}"), "basic false\nlistener 5986"] {
        let result = changes(&wanted(true, 5986, false), &names(), &now(lines), &Noted::default());
        assert!(matches!(result, Err(WinrmError::Taken { .. })), "{result:?}");
    }
    // The agent's own one, whose certificate somebody has deleted.
    let noted = Noted { thumbprint: Thumbprint::parse(THEIRS), basic: false };
    let lines = format!("basic false\nlistener 5986 {THEIRS}");
    let script = told_with(&wanted(true, 5986, false), &lines, &noted);
    assert!(script.contains("New-SelfSignedCertificate @o") && script.contains("Set-WSMan"));
    let script = told_with(&wanted(false, 5986, false), &lines, &noted);
    assert!(script.contains("Remove-WSManInstance"), "{script}");
}

#[test]
fn off_takes_away_what_the_agent_has_made_and_nothing_else() {
    let lines = settled().replace("basic false", "basic true");
    let script = told(&wanted(false, 5986, false), &lines);
    let wanted_script = format!(
        r"{HEAD}Remove-WSManInstance {SELECTOR}; Remove-Item 'Cert:\LocalMachine\My\{OURS}' -DeleteKey;"
    );
    assert_eq!(script, wanted_script, "Basic was the image's");
    let noted = Noted { thumbprint: None, basic: true };
    let script = told_with(&wanted(false, 5986, false), &lines, &noted);
    assert!(script.ends_with("-Value $false -Force;"), "{script}");
}

#[test]
fn no_text_of_a_record_but_a_host_name_gets_into_a_script() {
    for bad in ["", "a'b", "a b", "a;b", "$a", "a\nb", "ä", "-a", "a..b", "web.example."] {
        assert_eq!(Names::of(bad), Err(WinrmError::Name(bad.into())), "{bad:?}");
    }
    assert_eq!(Names::of("web").unwrap(), Names(vec!["web".into()]));
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    for said in [
        "",
        "end",
        "basic true",
        "basic true\ncertificate x 3 a\nend",
        "basic\nend",
        "basic true\nlistener\nend",
        "basic true\ncertificate\nend",
    ] {
        assert!(matches!(Now::parse(said), Err(WinrmError::Answer(_))), "{said:?}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_the_reader_panic(said: String) {
        let _ = Now::parse(&said);
    }
}
