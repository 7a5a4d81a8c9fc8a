//! Activating Windows with a key management service (KMS): what `slmgr.vbs` is told, and what its
//! answers mean. Pure.
//!
//! The service's host is 169.254.169.250 unless another one is named: there the hypervisor relays
//! to the network's own hosts (docs/link-local.md). No service is emulated, here or in a test.
//! The words are Microsoft's ("Slmgr.vbs options for volume activation").

use mezame_model::SecretString;

/// Where the hypervisor relays licence activation.
pub const HOST: &str = "169.254.169.250";

/// How this guest is to be activated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Licence {
    /// The product key; without one the image has its own.
    pub key: Option<SecretString>,
    /// The activation host, `HOST` or `HOST:PORT`.
    pub host: Option<String>,
}

/// Whether a text has the form of a product key: five times five letters or digits.
pub fn is_product_key(text: &str) -> bool {
    let is_group = |group: &str| {
        group.len() == 5
            && group.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    text.split('-').count() == 5 && text.split('-').all(is_group)
}

/// Whether a text can name an activation host: no word of it reaches slmgr as an option.
pub fn is_host(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(fine) && !text.starts_with('-')
}

/// What slmgr is told, in this order.
pub fn commands(licence: &Licence) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    if let Some(key) = &licence.key {
        out.push(vec!["/ipk".to_owned(), key.expose().to_owned()]);
    }
    let host = licence.host.as_deref().unwrap_or(HOST);
    out.push(vec!["/skms".to_owned(), host.to_owned()]);
    out.push(vec!["/ato".to_owned()]);
    out
}

/// The number of an error in what slmgr says; its texts are translated, its numbers are not.
pub fn error_number(output: &str) -> Option<&str> {
    output.match_indices("0x").find_map(|(at, _)| {
        let number = output.get(at..at + 10)?;
        let rest = output[at + 10..].chars().next();
        let is_hex = number[2..].bytes().all(|byte| byte.is_ascii_hexdigit());
        let ends = rest.is_none_or(|char| !char.is_ascii_hexdigit());
        // Errors have the highest bit set (MS-ERREF, section 2.1).
        (is_hex && ends && number[2..3].starts_with(['8', '9', 'A', 'B', 'C', 'D', 'E', 'F', 'c']))
            .then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_comes_first_then_the_host_then_the_activation() {
        let key = SecretString::new("AAAAA-BBBBB-CCCCC-DDDDD-EEEEE".into());
        let licence = Licence { key: Some(key), host: None };
        let words: Vec<String> = commands(&licence).iter().map(|it| it.join(" ")).collect();
        let wanted = ["/ipk AAAAA-BBBBB-CCCCC-DDDDD-EEEEE", "/skms 169.254.169.250", "/ato"];
        assert_eq!(words, wanted);
        assert!(!format!("{licence:?}").contains("AAAAA"));
        let licence = Licence { key: None, host: Some("kms.example:1688".into()) };
        assert_eq!(commands(&licence)[0], ["/skms", "kms.example:1688"]);
    }

    #[test]
    fn an_error_is_known_by_its_number_in_any_language() {
        let said = "Fehler: 0xC004F074 Der Softwarelizenzierungsdienst hat gemeldet, dass\u{2026}";
        assert_eq!(error_number(said), Some("0xC004F074"));
        assert_eq!(error_number("Error: 0x8007007B"), Some("0x8007007B"));
        for fine in
            ["Product activated successfully.", "0x0", "", "0x", "0x\u{2026}\u{2026}", "0x00000000"]
        {
            assert_eq!(error_number(fine), None, "{fine:?}");
        }
    }

    #[test]
    fn keys_and_hosts_of_another_form_are_refused() {
        assert!(is_product_key("AAAAA-BBBBB-CCCCC-DDDDD-12345"));
        for bad in ["", "AAAAA", "aaaaa-BBBBB-CCCCC-DDDDD-EEEEE", "AAAAA-BBBBB-CCCCC-DDDDD-EEEE/"] {
            assert!(!is_product_key(bad), "{bad:?}");
        }
        assert!(is_host("kms.example") && is_host("169.254.169.250:1688"));
        for bad in ["", "/ato", "a b", "a;b", "-x"] {
            assert!(!is_host(bad), "{bad:?}");
        }
    }
}
