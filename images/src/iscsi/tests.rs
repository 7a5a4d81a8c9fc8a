//! Names, URLs and secrets, without a target; those with one are in `images/tests/iscsi`.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

fn lun(text: &str) -> Lun {
    Lun::parse(text).unwrap()
}

#[test]
fn a_lun_is_read_from_its_url_and_written_as_the_same() {
    let written = |text: &str| lun(text).to_string();
    let full = "iscsi://mezame@10.0.0.1:3261/iqn.2026-01.org.example:store.A-1/7";
    assert_eq!(written(full), full);
    assert_eq!(
        written("iscsi://STORE.example/iqn.2026-01.a/0"),
        "iscsi://store.example:3260/iqn.2026-01.a/0"
    );
    assert_eq!(
        written("iscsi://[FD00:0::1]/eui.02004567A425678D/255"),
        "iscsi://[fd00::1]:3260/eui.02004567A425678D/255"
    );
    assert_eq!(lun(full).bare(), full.replace("mezame@", ""));
}

#[test]
fn what_is_no_lun_is_refused_by_the_part_that_is_wrong() {
    let target = "iqn.2026-01.org.example:a";
    let fault = |text: &str| Lun::parse(text).unwrap_err();
    assert_eq!(fault("http://a/iqn.2026-01.a/0"), AddressError::NotIscsi);
    assert_eq!(fault(&format!("iscsi://a/{target}")), AddressError::Parts);
    assert_eq!(fault(&format!("iscsi://a/{target}/1/2")), AddressError::Parts);
    for number in ["", "-1", "+1", "01", "256", "x"] {
        let fault = fault(&format!("iscsi://a/{target}/{number}"));
        assert_eq!(fault, AddressError::Number { highest: 255 }, "{number}");
    }
    for host in [
        "",
        "a b",
        "1.2.3",
        "1.2.3.256",
        "-a",
        "a..b",
        "[::1",
        "[1.2.3.4]",
        "[fe80::1%eth0]",
        "::1",
    ] {
        let fault = fault(&format!("iscsi://{host}/{target}/0"));
        assert!(matches!(fault, AddressError::Host(_)), "{host}: {fault:?}");
    }
    for port in [":", ":0", ":65536", ":03260", ":x", ":1:2"] {
        let fault = fault(&format!("iscsi://a{port}/{target}/0"));
        assert!(matches!(fault, AddressError::Port(_)), "{port}: {fault:?}");
    }
    assert_eq!(fault(&"a".repeat(1025)), AddressError::TooLong);
}

#[test]
fn a_secret_in_a_url_is_refused_and_not_repeated() {
    for text in [
        "iscsi://u%hunter2hunter2@a/iqn.2026-01.a/0",
        "iscsi://u%hunter2hunter2@b@a/iqn.2026-01.a/0",
    ] {
        let fault = Lun::parse(text).unwrap_err();
        assert_eq!(fault, AddressError::User);
        assert!(!format!("{fault} {fault:?}").contains("hunter2"));
    }
}

#[test]
fn names_are_of_the_three_forms_of_the_rfcs() {
    for name in [
        "iqn.2001-04.com.example",
        "iqn.2001-04.com.example:storage.disk2.sys1.xyz",
        "iqn.2000-01.com.synology:NAS.Target-1.0123",
        "eui.02004567A425678D",
        "naa.52004567BA64678D",
        "naa.62004567BA64678D0123456789ABCDEF",
    ] {
        assert_eq!(IscsiName::parse(name).unwrap().as_str(), name);
    }
    let long = format!("iqn.2001-04.com.example:{}", "a".repeat(200));
    for name in [
        "",
        "iqn.",
        "iqn.2001-04",
        "iqn.2001-13.a",
        "iqn.2001-00.a",
        "iqn.201-04.a",
        "iqn.2001-4.a",
        "iqn.2001-04.",
        "iqn.2001-04.a:",
        "iqn.2001-04.A",
        "iqn.2001-04.a..b",
        "iqn.2001-04.a:b/c",
        "iqn.2001-04.a:b c",
        "iqn.2001-04.a:b,c",
        "iqn.2001-04.a:\u{e9}",
        "eui.0200",
        "naa.3x",
        "IQN.2001-04.a",
        "eui.02004567A425678G",
        "naa.52004567BA64678D0",
        &long,
    ] {
        assert!(IscsiName::parse(name).is_err(), "{name}");
    }
}

#[test]
fn a_hypervisor_has_one_name_which_does_not_tell_its_machine_id() {
    let id = "0123456789abcdef0123456789abcdef";
    let name = InitiatorName::of_machine(&format!("{id}\n"));
    assert_eq!(name, InitiatorName::of_machine(id));
    assert_eq!(InitiatorName::parse(name.as_str()), Ok(name.clone()));
    assert!(name.as_str().starts_with("naa.3") && !name.as_str().contains("123456"), "{name}");
    assert_ne!(name, InitiatorName::of_machine("another"));
    let file = "## comment\nInitiatorName=iqn.1993-08.org.debian:01:abc\n";
    let named = InitiatorName::in_file(file).unwrap().unwrap();
    assert_eq!(named.as_str(), "iqn.1993-08.org.debian:01:abc");
    assert_eq!(InitiatorName::in_file("GenerateName=yes"), Ok(None));
    assert!(InitiatorName::in_file("InitiatorName=x").is_err());
}

#[test]
fn secrets_have_a_length_and_are_shown_by_nothing() {
    let secret = |text: &str| ChapSecret::parse(Zeroizing::new(text.into()));
    for text in ["", "elevenchars", "twelve chars", "\u{e9}twelvechars", &"a".repeat(256)] {
        assert!(secret(text).is_err(), "{text}");
    }
    let (target, user) =
        (IscsiName::parse("iqn.2026-01.a").unwrap(), ChapUser::parse("u").unwrap());
    let initiator = InitiatorName::of_machine("m");
    let access = LunAccess::new(initiator, std::path::Path::new("/run")).with(
        target,
        user,
        secret("twelve-chars").ok().unwrap(),
    );
    assert!(!format!("{access:?}").contains("twelve"));
    let with = lun("iscsi://u@a/iqn.2026-01.a/1");
    let node = with.node(Some(access.initiator()), "v.chap").to_string();
    assert!(node.contains("\"password-secret\":\"v.chap\"") && !node.contains("twelve"), "{node}");
    assert_eq!(access.keys().accounts().of(&with).unwrap().unwrap().expose(), "twelve-chars");
    // Of another user, or another target, there is none; without a user none is wanted.
    for text in ["iscsi://v@a/iqn.2026-01.a/1", "iscsi://u@a/iqn.2026-01.b/1"] {
        let fault = access.keys().accounts().of(&lun(text)).err().unwrap();
        assert!(fault.to_string().starts_with("the key of "), "{fault}");
    }
    assert!(access.keys().accounts().of(&lun("iscsi://a/iqn.2026-01.b/1")).unwrap().is_none());
}

#[test]
fn a_serial_number_is_taken_from_what_the_tool_says_and_never_guessed() {
    use super::seal::serial_in;
    assert_eq!(serial_in("Unit Serial Number:[      beaf12]\n").as_deref(), Some("beaf12"));
    for said in
        ["", "Unit Serial Number:[", "Unit Serial Number:[   ]", "Unit Serial Number:[\u{1}a]"]
    {
        assert_eq!(serial_in(said), None, "{said}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic_and_what_is_taken_is_written_as_the_same(
        text in "\\PC{0,60}", parts in "(iscsi://)?([a-z%]{0,4}@)?[\\[\\]a-f0-9.:]{0,20}/(iqn|naa|eui)[.0-9a-z:-]{0,20}/[0-9]{0,4}"
    ) {
        for text in [text, parts] {
            if let Ok(lun) = Lun::parse(&text) {
                prop_assert_eq!(&Lun::parse(&lun.to_string()), &Ok(lun.clone()));
                let json = serde_json::to_string(&lun).unwrap();
                prop_assert_eq!(serde_json::from_str::<Lun>(&json).unwrap(), lun);
            }
            let _ = InitiatorName::in_file(&text);
            let _ = super::seal::serial_in(&text);
        }
    }

    #[test]
    fn every_lun_that_there_can_be_is_read(
        address in any::<std::net::Ipv6Addr>(), four in any::<std::net::Ipv4Addr>(), port in 1_u16..,
        month in 1..=12, own in "[a-zA-Z0-9.:-]{1,40}", number: u8, user in "[a-zA-Z0-9._:-]{1,20}"
    ) {
        for host in [format!("[{address}]"), four.to_string(), "store.example".into()] {
            let text = format!("iscsi://{user}@{host}:{port}/iqn.2026-{month:02}.org.example:{own}/{number}");
            let lun = Lun::parse(&text).unwrap();
            prop_assert_eq!(lun.to_string(), text);
            prop_assert_eq!(lun.number(), number);
        }
    }
}
