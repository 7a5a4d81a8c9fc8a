//! Sizes in bytes, as people write and read them.

/// The text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size; write it as 500MiB, 20GiB or 1TiB")]
pub struct SizeError(String);

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

/// Reads `20GiB`; also `20G`. A number alone counts bytes.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let wrong = || SizeError(text.chars().take(40).collect());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let is_unit =
        |name: &str| unit.eq_ignore_ascii_case(name) || unit == name.trim_end_matches("iB");
    let factor = UNITS.iter().find(|(name, _)| is_unit(name)).ok_or_else(wrong)?.1;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// For people: `1.5 GiB`.
pub fn show(bytes: u64) -> String {
    match UNITS.iter().find(|(_, factor)| bytes >= *factor) {
        Some((unit, factor)) if *factor > 1 => {
            let tenths = bytes / (factor / 10).max(1);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        assert_eq!(parse("20GiB"), Ok(20 << 30));
        assert_eq!(parse("20G"), Ok(20 << 30));
        assert_eq!(parse("7mib"), Ok(7 << 20));
        assert_eq!(parse("512"), Ok(512));
        for bad in ["", "G", "-1", "1.5G", "1GB", "99999999999T", "1 GiB"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        let shown: Vec<String> =
            [0, 1023, 1024, 1536 << 20, 16 << 40].into_iter().map(show).collect();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 GiB", "16.0 TiB"]);
    }
}
