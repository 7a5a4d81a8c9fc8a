//! Who besides the system could change a file of Windows, by its security descriptor as a text.
//! Pure.
//!
//! The language is Microsoft's ("Security Descriptor String Format", "ACE Strings", "SID Strings").
//! What is not understood counts as a right to write: a mistake refuses, and lets nobody in.

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whoever may write it, delete it, or say who may.
    File,
    /// Whoever may take away what is in it, or say who may. Who may only add to it can't change
    /// what is there; whose a new file is, that file tells.
    Directory,
}

/// The system, administrators, the built-in administrator, and the installer of Windows' own files.
const TRUSTED: [&str; 6] = [
    "SY",
    "BA",
    "LA",
    "S-1-5-18",
    "S-1-5-32-544",
    "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
];

/// `DELETE`, `WRITE_DAC`, `WRITE_OWNER`, `GENERIC_ALL`.
const OWN: u32 = 0x0001_0000 | 0x0004_0000 | 0x0008_0000 | 0x1000_0000;
/// `FILE_WRITE_DATA`, `FILE_APPEND_DATA`, `FILE_WRITE_EA`, `FILE_WRITE_ATTRIBUTES`,
/// `GENERIC_WRITE`.
const WRITE: u32 = 0x2 | 0x4 | 0x10 | 0x100 | 0x4000_0000;
/// `FILE_DELETE_CHILD`.
const DELETE_CHILD: u32 = 0x40;

/// Rights by their letters.
const LETTERS: [(&str, u32); 26] = [
    ("GA", 0x1000_0000),
    ("GR", 0x8000_0000),
    ("GW", 0x4000_0000),
    ("GX", 0x2000_0000),
    ("RC", 0x2_0000),
    ("SD", 0x1_0000),
    ("WD", 0x4_0000),
    ("WO", 0x8_0000),
    ("FA", 0x1f_01ff),
    ("FR", 0x12_0089),
    ("FW", 0x12_0116),
    ("FX", 0x12_00a0),
    ("KA", 0xf_003f),
    ("KR", 0x2_0019),
    ("KW", 0x2_0006),
    ("KX", 0x2_0019),
    ("CC", 0x1),
    ("DC", 0x2),
    ("LC", 0x4),
    ("SW", 0x8),
    ("RP", 0x10),
    ("WP", 0x20),
    ("DT", 0x40),
    ("LO", 0x80),
    ("CR", 0x100),
    ("AS", 0x100_0000),
];

/// Somebody other than the system and administrators who owns it or could change it.
pub fn outsider(descriptor: &str, kind: Kind) -> Option<String> {
    let unknown = || Some("nobody that it says".to_owned());
    let Some((owner, list)) = parts(descriptor) else { return unknown() };
    if !TRUSTED.contains(&owner) {
        return Some(owner.to_owned());
    }
    let Some((flags, entries)) = list.split_once('(') else {
        // An empty list lets nobody in; none at all lets everybody.
        return (list.is_empty() || list.contains("NO_ACCESS_CONTROL")).then(|| "WD".to_owned());
    };
    if flags.contains("NO_ACCESS_CONTROL") {
        return Some("WD".to_owned());
    }
    let Some(entries) = entries.strip_suffix(')') else { return unknown() };
    entries.split(")(").find_map(|entry| {
        let fields: Vec<&str> = entry.split(';').collect();
        let [type_, flags, rights, _, _, who, ..] = fields.as_slice() else { return unknown() };
        // One that only what is made in it gets is of no weight here.
        let only_inherited = pairs(flags).any(|flag| flag == "IO");
        let harmless = *type_ == "D" || only_inherited || TRUSTED.contains(who);
        (!harmless && mask(rights) & wanted(kind) != 0).then(|| (*who).to_owned())
    })
}

fn wanted(kind: Kind) -> u32 {
    match kind {
        Kind::File => OWN | WRITE,
        Kind::Directory => OWN | DELETE_CHILD,
    }
}

/// The owner, and the access list with its flags.
fn parts(descriptor: &str) -> Option<(&str, &str)> {
    let owner = descriptor.strip_prefix("O:")?;
    let end = owner.find(':').map(|colon| colon.saturating_sub(1));
    let (owner, rest) = owner.split_at_checked(end.unwrap_or(owner.len()))?;
    let list = rest.find("D:").map_or("", |at| &rest[at + 2..]);
    // What is audited comes behind it.
    Some((owner, list.find("S:").map_or(list, |at| &list[..at])))
}

fn pairs(letters: &str) -> impl Iterator<Item = &str> {
    (0..letters.len()).step_by(2).filter_map(|at| letters.get(at..at + 2))
}

fn mask(rights: &str) -> u32 {
    if let Some(number) = rights.strip_prefix("0x") {
        return u32::from_str_radix(number, 16).unwrap_or(u32::MAX);
    }
    if rights.len() & 1 == 1 || !rights.is_ascii() {
        return u32::MAX;
    }
    let value =
        |pair: &str| LETTERS.iter().find(|(known, _)| *known == pair).map(|(_, bits)| *bits);
    pairs(rights).map(|pair| value(pair).unwrap_or(u32::MAX)).fold(0, |all, bits| all | bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(descriptor: &str) -> Option<String> {
        outsider(descriptor, Kind::File)
    }

    #[test]
    fn what_only_the_system_and_administrators_change_is_trusted() {
        for descriptor in [
            "O:SYD:PAI(A;;FA;;;SY)(A;;FA;;;BA)",
            "O:BAG:DUD:AI(A;ID;FA;;;SY)(A;ID;FA;;;BA)(A;ID;0x1200a9;;;BU)",
            "O:LAD:P(A;;FA;;;SY)",
            "O:SYD:P",
            "O:SYD:(D;;FA;;;WD)(A;OICIIO;GA;;;CO)(A;;FR;;;WD)",
        ] {
            assert_eq!(file(descriptor), None, "{descriptor}");
        }
    }

    #[test]
    fn whoever_owns_it_or_may_write_it_is_named() {
        let eve = "S-1-5-21-1-2-3-1001";
        for (descriptor, who) in [
            (format!("O:{eve}G:DUD:P(A;;FA;;;SY)"), eve),
            (format!("O:SYG:SYD:(A;;FA;;;SY)(A;;FA;;;{eve})"), eve),
            ("O:BAD:(A;;0x100116;;;BU)".to_owned(), "BU"),
            ("O:BAD:(A;;CCDC;;;AU)S:AI(AU;SA;FA;;;SY)".to_owned(), "AU"),
            ("O:BAD:(A;;??;;;BU)".to_owned(), "BU"),
            ("O:BAD:(XA;;FA;;;BU;(1))".to_owned(), "BU"),
            ("O:BAD:NO_ACCESS_CONTROL".to_owned(), "WD"),
            ("O:BAG:BA".to_owned(), "WD"),
        ] {
            assert_eq!(file(&descriptor).as_deref(), Some(who), "{descriptor}");
        }
        assert!(file("").is_some() && file("G:SYD:").is_some());
        assert!(file("O:SYD:(A;;FA").is_some());
    }

    #[test]
    fn in_a_directory_adding_is_no_change_of_what_is_there() {
        // As a directory has it that an administrator has made below ProgramData.
        let made = "O:BAG:DUD:AI(A;OICIID;FA;;;SY)(A;OICIID;FA;;;BA)(A;OICIIOID;GA;;;CO)\
                    (A;OICIID;0x1200a9;;;BU)(A;CIID;DCLCRPCR;;;BU)";
        assert_eq!(outsider(made, Kind::Directory), None);
        assert_eq!(file(made).as_deref(), Some("BU"));
        let open = "O:BAD:(A;OICI;FA;;;WD)";
        assert_eq!(outsider(open, Kind::Directory).as_deref(), Some("WD"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", tail in "[A-Z();:x0-9]{0,40}") {
            let _ = outsider(&text, Kind::File);
            let _ = outsider(&format!("O:SYD:{tail}"), Kind::Directory);
            let _ = outsider(&format!("O:{text}D:({text})"), Kind::File);
        }
    }
}
