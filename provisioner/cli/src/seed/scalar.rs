//! Plain scalars to values, by YAML's core schema.
//!
//! <https://yaml.org/spec/1.2.2/#103-core-schema>. Only `true` and `false` are booleans: `no`,
//! `on` and `52:54:00:12:34:56` are texts, as their writer meant them.

use serde_json::{Number, Value};

/// Why a scalar has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// `.inf`, `.nan` and numbers beyond what a double holds.
    NotFinite,
    /// The text is not of the type that its tag says.
    NotOfTag,
    /// A tag that is not of the core schema.
    UnknownTag,
}

/// The value of a plain scalar without a tag.
pub(super) fn plain(text: &str) -> Result<Value, Unreadable> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match number(text)? {
            Some(number) => Value::Number(number),
            None => Value::String(text.into()),
        },
    })
}

/// The value of a scalar with a tag of the core schema (its suffix, such as `str`).
pub(super) fn tagged(suffix: &str, text: &str) -> Result<Value, Unreadable> {
    let value = match suffix {
        "str" => return Ok(Value::String(text.into())),
        "null" | "bool" | "int" | "float" => plain(text)?,
        _ => return Err(Unreadable::UnknownTag),
    };
    let fits = match (suffix, &value) {
        ("null", Value::Null) | ("bool", Value::Bool(_)) | ("float", Value::Number(_)) => true,
        ("int", Value::Number(number)) => !number.is_f64(),
        _ => false,
    };
    if fits { Ok(value) } else { Err(Unreadable::NotOfTag) }
}

fn number(text: &str) -> Result<Option<Number>, Unreadable> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(b'0'..=b'9' | b'.') => (false, text),
        _ => return Ok(None),
    };
    if let Some(octal) = text.strip_prefix("0o") {
        return Ok(radix(octal, 8));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return Ok(radix(hex, 16));
    }
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(Unreadable::NotFinite);
    }
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let whole = if negative {
            text.parse::<i64>().ok().map(Number::from)
        } else {
            digits.parse::<u64>().ok().map(Number::from)
        };
        if whole.is_some() {
            return Ok(whole);
        }
    }
    if !is_float(digits) {
        return Ok(None);
    }
    let float: f64 = text.parse().map_err(|_| Unreadable::NotFinite)?;
    Number::from_f64(float).map(Some).ok_or(Unreadable::NotFinite)
}

fn radix(digits: &str, radix: u32) -> Option<Number> {
    let all = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    all.then(|| u64::from_str_radix(digits, radix).ok()).flatten().map(Number::from)
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let mantissa = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
        }
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa && exponent
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_core_schemas_spellings_are_not_texts() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("true", json!(true)),
            ("False", json!(false)),
            ("1500", json!(1500)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("007", json!(7)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("18446744073709551615", json!(u64::MAX)),
        ] {
            assert_eq!(plain(text), Ok(value), "{text:?}");
        }
        for text in [
            "no",
            "on",
            "y",
            "52:54:00:12:34:56",
            "1_000",
            "0x",
            "0o8",
            "1.2.3",
            "10.0.0.0/24",
            "-",
            ".",
            "+",
            "e3",
            "1e",
            "--1",
            "0x-1",
            "nan",
            "inf",
            "i-0123",
            "٣",
        ] {
            assert_eq!(plain(text), Ok(json!(text)), "{text:?}");
        }
    }

    #[test]
    fn what_json_can_not_hold_is_refused() {
        for text in [".inf", "-.INF", ".nan", "1e999"] {
            assert_eq!(plain(text), Err(Unreadable::NotFinite), "{text:?}");
        }
    }

    #[test]
    fn a_tag_says_the_type_and_a_text_of_another_is_refused() {
        assert_eq!(tagged("str", "123"), Ok(json!("123")));
        assert_eq!(tagged("int", "123"), Ok(json!(123)));
        assert_eq!(tagged("int", "1.5"), Err(Unreadable::NotOfTag));
        assert_eq!(tagged("bool", "yes"), Err(Unreadable::NotOfTag));
        assert_eq!(tagged("binary", "aGk="), Err(Unreadable::UnknownTag));
    }
}
