//! The marks of each cloud, and texts that only look like them.

use proptest::prelude::*;

use super::*;

type Script = (Vec<u8>, Frequency, Language);

fn scripts(text: &str) -> Vec<Script> {
    let of = |content| match content {
        Content::Script { body, frequency, language } => Some((body, frequency, language)),
        _ => None,
    };
    parse(text.as_bytes()).unwrap_or_default().into_iter().filter_map(of).collect()
}

fn refusals(text: &str) -> Vec<&'static str> {
    let of = |content| match content {
        Content::Refused { reason, .. } => Some(reason),
        _ => None,
    };
    parse(text.as_bytes()).unwrap_or_default().into_iter().filter_map(of).collect()
}

fn power_shell(arguments: &[&str]) -> Language {
    let arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
    Language::PowerShell(PowerShell { arguments, narrow: false })
}

#[test]
fn ec2s_batch_script_runs_before_its_powershell_whatever_the_order() {
    let text = "<powershell>\r\nWrite-Host 1\r\n</powershell>\r\n<script>\r\necho 2\r\n</script>";
    let once = Frequency::PerInstance;
    let wanted: [Script; 2] = [
        (b"echo 2\r\n".into(), once, Language::Batch),
        (b"Write-Host 1\r\n".into(), once, power_shell(&[])),
    ];
    assert_eq!(scripts(text), wanted);
    assert!(refusals(text).is_empty());
}

#[test]
fn ec2s_persist_means_each_boot_and_its_arguments_go_to_powershell() {
    let text = "<PERSIST> True </PERSIST><PowerShellArguments>-NoProfile  -Sta\
        </PowerShellArguments><PowerShell>exit 3</POWERSHELL><runAsLocalSystem>true\
        </runAsLocalSystem>";
    let language = power_shell(&["-NoProfile", "-Sta"]);
    assert_eq!(scripts(text), [(b"exit 3".to_vec(), Frequency::PerBoot, language)]);
    assert!(refusals(text).is_empty());
    let once = "<script>x</script><persist>false</persist>";
    assert_eq!(scripts(once)[0].1, Frequency::PerInstance);
}

#[test]
fn openstacks_first_lines_are_known_and_the_whole_text_is_the_script() {
    let wide = power_shell(&[]);
    let narrow = Language::PowerShell(PowerShell { narrow: true, ..PowerShell::default() });
    for (line, language) in [
        ("rem cmd", Language::Batch),
        ("REM CMD", Language::Batch),
        ("#ps1_sysnative", wide.clone()),
        ("#ps1", wide),
        ("#ps1_x86", narrow),
    ] {
        for end in ["\r\nexit 1\r\n", "\nexit 1", ""] {
            let text = format!("{line}{end}");
            let wanted = (text.clone().into_bytes(), Frequency::PerInstance, language.clone());
            assert_eq!(scripts(&text), std::slice::from_ref(&wanted), "{text:?}");
            assert_eq!(scripts(&format!("\u{feff}{text}")), [wanted], "{text:?} with its mark");
        }
    }
}

#[test]
fn what_only_looks_like_a_mark_is_none() {
    for text in ["rem cmdx", "#ps1x\n", "#ps2", "<scripts>", "<script", "x <script>y</script>", ""]
    {
        assert_eq!(parse(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn what_stands_outside_the_tags_and_what_has_no_end_is_told() {
    assert_eq!(refusals("<script>a</script> echo b"), ["unknown-format"]);
    assert_eq!(refusals("<script>a</script><script>b</script>"), ["unknown-format"]);
    assert_eq!(refusals("<script>a</script><powershell>b"), ["damaged"]);
    assert_eq!(refusals("<script>a</powershell>"), ["damaged"]);
    // A tag inside of another one is that one's text.
    let nested = "<script>echo ^<powershell^> <powershell> x</script>";
    assert_eq!(scripts(nested).len(), 1);
    assert!(refusals(nested).is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_taken_and_no_script_is_longer_than_they_are(bytes: Vec<u8>) {
        let marked = [b"<script>".as_slice(), &bytes].concat();
        for text in [bytes, marked] {
            for content in parse(&text).unwrap_or_default() {
                if let Content::Script { body, .. } = content {
                    prop_assert!(body.len() <= text.len());
                }
            }
        }
    }

    #[test]
    fn what_stands_between_the_tags_comes_out_unchanged(body in "[a-z <>/\r\n%^&|]{0,80}") {
        prop_assume!(!body.to_ascii_lowercase().contains("</script>"));
        let text = format!("<script>{body}</script>");
        prop_assert_eq!(&scripts(&text)[0].0, body.trim_ascii_start().as_bytes());
    }
}
