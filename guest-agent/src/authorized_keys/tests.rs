//! The user's lines stay, whatever they are.

use proptest::prelude::*;

use super::*;

fn lines(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[test]
fn a_block_is_added_below_the_users_lines_and_taken_away_again() {
    let user = b"ssh-ed25519 AAAA me@home";
    let with = edit(user, &lines(&["ssh-rsa B one", "ssh-rsa C two"])).unwrap();
    let text = String::from_utf8(with.clone()).unwrap();
    assert_eq!(
        text,
        format!("ssh-ed25519 AAAA me@home\n{BEGIN}\nssh-rsa B one\nssh-rsa C two\n{END}\n")
    );
    assert_eq!(keys(&with), ["ssh-rsa B one", "ssh-rsa C two"]);
    assert_eq!(edit(&with, &[]).unwrap(), b"ssh-ed25519 AAAA me@home\n");
}

#[test]
fn a_block_without_an_end_takes_no_line_of_the_user_with_it() {
    let text = format!("{BEGIN}\nssh-rsa MINE me\n");
    let edited = edit(text.as_bytes(), &lines(&["ssh-rsa B one"])).unwrap();
    let edited = String::from_utf8(edited).unwrap();
    assert!(edited.ends_with("ssh-rsa MINE me\n"), "{edited}");
    assert_eq!(keys(edited.as_bytes()), ["ssh-rsa B one"]);
}

#[test]
fn a_key_that_would_smuggle_a_second_line_is_no_key_line() {
    for bad in ["", "  ", "# comment", "ssh-rsa A\nssh-rsa B", "ssh-rsa A\0"] {
        assert!(!is_key_line(bad), "{bad:?}");
    }
}

fn key() -> impl Strategy<Value = String> {
    "ssh-(rsa|ed25519) [A-Za-z0-9+/=]{1,40} [ -~]{0,20}"
}

proptest! {
    #[test]
    fn whatever_the_user_wrote_stays(
        before in "[^\u{0}]{0,200}",
        after in "[^\u{0}]{0,200}",
        first in prop::collection::vec(key(), 1..4),
        second in prop::collection::vec(key(), 0..4),
    ) {
        prop_assume!(!before.contains("BEGIN mezame") && !after.contains("BEGIN mezame"));
        let text = edit(before.as_bytes(), &first).unwrap();
        let mut with_tail = text.clone();
        with_tail.extend_from_slice(after.as_bytes());
        let edited = edit(&with_tail, &second).unwrap_or_else(|| with_tail.clone());
        prop_assert!(edited.starts_with(before.as_bytes()));
        prop_assert!(edited.ends_with(after.as_bytes()));
        let trimmed: Vec<String> = second.iter().map(|key| key.trim().to_owned()).collect();
        prop_assert_eq!(keys(&edited), trimmed);
        prop_assert_eq!(edit(&edited, &second), None);
        prop_assert_eq!(edit(&edited, &first).map(|text| edit(&text, &first)), (first != second).then_some(None));
    }

    #[test]
    fn any_bytes_are_taken_and_a_second_edit_changes_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        wanted in prop::collection::vec(key(), 0..4),
    ) {
        let once = edit(&bytes, &wanted).unwrap_or_else(|| bytes.clone());
        prop_assert_eq!(edit(&once, &wanted), None);
    }
}

#[test]
fn users_that_share_a_file_have_a_block_each() {
    let (ada, bob) = (Block::of_user("ada"), Block::of_user("bob"));
    let mine = b"ssh-rsa MINE me\n";
    let one = ada.edit(mine, &["ssh-rsa A a".into()]).unwrap();
    let two = bob.edit(&one, &["ssh-rsa B b".into()]).unwrap();
    assert_eq!(ada.edit(&two, &["ssh-rsa A a".into()]), None);
    let without = ada.edit(&two, &[]).unwrap();
    assert_eq!(without, bob.edit(mine, &["ssh-rsa B b".into()]).unwrap());
    assert_eq!(bob.edit(&without, &[]).unwrap(), mine);
    // "ad" is not "ada".
    assert_eq!(Block::of_user("ad").edit(&two, &[]), None);
}
