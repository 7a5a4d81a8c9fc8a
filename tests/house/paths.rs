//! The paths that a source names, its `use` trees expanded: enough of Rust's grammar to tell who
//! looks at whom, and no more.
//!
//! Names that a macro makes up, and modules that are written out within a file, are not followed.

use std::path::Path;

/// A path by its segments, from the crate or from another crate's name. A glob ends in `*`.
pub(crate) type Segments = Vec<String>;

/// Cuts comments out, empties literals, and drops the modules that only tests compile.
pub(crate) fn code(text: &str) -> String {
    without_test_modules(&without_prose(text))
}

/// All paths of a code: those that it imports, and those that it writes out, with what it imported
/// put in for their heads. `module` is the path of the code's own module within its crate.
pub(crate) fn paths(code: &str, module: &[String]) -> Vec<Segments> {
    let tokens = tokens(code);
    let mut imports = Vec::new();
    let mut written = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let next = tokens.get(at + 1).map(String::as_str);
        if token == "use" && next != Some("<") {
            at += 1;
            tree(&tokens, &mut at, &[], &mut imports);
        } else if is_name(token) {
            let mut path = vec![token.clone()];
            while tokens.get(at + 1).is_some_and(|token| token == "::")
                && tokens.get(at + 2).is_some_and(|token| is_name(token))
            {
                path.push(tokens[at + 2].clone());
                at += 2;
            }
            // A name alone is a local one, or is in an import.
            if path.len() > 1 {
                written.push(path);
            }
        }
        at += 1;
    }
    let mut all = Vec::new();
    for path in imports.iter().map(|import| &import.path).chain(&written) {
        resolve(path, &imports, module, 0, &mut all);
    }
    all.sort();
    all.dedup();
    all
}

/// The path of a file's module within its crate, whose sources are in `root`.
pub(crate) fn module_of(file: &Path, root: &Path) -> Segments {
    let relative = file.strip_prefix(root).unwrap().with_extension("");
    let names = relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    names.filter(|name| name != "lib").collect()
}

/// One name that a `use` binds.
struct Import {
    path: Segments,
    name: String,
}

/// Parses one tree of a `use` (the reference's UseTree) and leaves `at` behind it.
fn tree(tokens: &[String], at: &mut usize, prefix: &[String], imports: &mut Vec<Import>) {
    let mut path = prefix.to_vec();
    loop {
        let Some(token) = tokens.get(*at) else { return };
        match token.as_str() {
            "::" => *at += 1,
            "{" => {
                *at += 1;
                while tokens.get(*at).is_some_and(|token| token != "}") {
                    tree(tokens, at, &path, imports);
                    if tokens.get(*at).is_some_and(|token| token == ",") {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            // Nothing of it is bound under a name, and `self` in braces is the path before them.
            "self" if !path.is_empty() => *at += 1,
            name if name == "*" || (is_name(name) && name != "as") => {
                path.push(token.clone());
                *at += 1;
            }
            _ => break,
        }
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if tokens.get(*at).is_some_and(|token| token == "as") {
        name = tokens.get(*at + 1).cloned().unwrap_or_default();
        *at += 2;
    }
    imports.push(Import { path, name });
}

/// Puts what was imported in for a path's head, for as long as that is an import itself.
fn resolve(
    path: &[String],
    imports: &[Import],
    module: &[String],
    depth: u32,
    all: &mut Vec<Segments>,
) {
    let Some((head, rest)) = path.split_first() else { return };
    let parent = &module[..module.len().saturating_sub(1)];
    let below = |base: &[String]| [&["crate".to_owned()][..], base, rest].concat();
    match head.as_str() {
        "crate" => all.push(path.to_vec()),
        "self" => all.push(below(module)),
        "super" if rest.first().is_some_and(|next| next == "super") => {
            resolve(rest, imports, parent, depth, all);
        }
        "super" => all.push(below(parent)),
        _ => {
            all.push(path.to_vec());
            let is_own = |import: &&Import| import.name == *head && import.path != [head.clone()];
            // A name may be bound in several places, and in a circle by mistake.
            for import in imports.iter().filter(is_own).filter(|_| depth < 4) {
                let longer = [&import.path[..], rest].concat();
                resolve(&longer, imports, module, depth + 1, all);
            }
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::`, and every other character that is no space.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_part(first) {
            rest.find(|c| !is_part(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    tokens
}

/// Cuts comments out and empties the literals of strings and characters.
fn without_prose(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = literal(rest) {
            code.push_str("\"\"");
            length
        } else {
            // A name whole: its last letter must not be taken for a literal's prefix.
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            let length = if is_part(first) {
                rest.find(|c| !is_part(c)).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            code.push_str(&rest[..length]);
            length
        };
        rest = &rest[length..];
    }
    code
}

/// The length of a comment that may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the literal that a text begins with, if it begins with one.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let quoted = text.strip_prefix(prefix).unwrap_or_default();
        let quoted = if prefix.ends_with('r') { quoted.trim_start_matches('#') } else { quoted };
        quoted.starts_with('"') || (!prefix.ends_with('r') && quoted.starts_with('\''))
    })?;
    let body = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let marks = body.find('"')?;
        let end = format!("\"{}", &body[..marks]);
        let length = body[marks + 1..].find(&end).map(|length| length + end.len());
        return Some(length.map_or(text.len(), |length| prefix.len() + marks + 1 + length));
    }
    let quote = body.chars().next()?;
    if quote == '\'' {
        // A lifetime or a label has no quote behind its first letter.
        let mut letters = body[1..].chars();
        if letters.next() != Some('\\') && letters.next() != Some('\'') {
            return None;
        }
    }
    let mut is_escaped = false;
    for (at, letter) in body.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if letter == '\\' {
            is_escaped = true;
        } else if letter == quote {
            return Some(prefix.len() + at + 1);
        }
    }
    Some(text.len())
}

/// Drops each module under `#[cfg(test)]`, and nothing else. Prose is out already.
fn without_test_modules(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(found) = rest.find(MARK) {
        let after = &rest[found + MARK.len()..];
        let length = test_module(after);
        kept.push_str(&rest[..found]);
        rest = &after[length..];
    }
    kept + rest
}

/// The length of the module that comes next, its other attributes included; 0 if none does.
fn test_module(code: &str) -> usize {
    let mut at = 0;
    let skip_spaces = |at: usize| at + code[at..].len() - code[at..].trim_start().len();
    loop {
        at = skip_spaces(at);
        if !code[at..].starts_with('#') {
            break;
        }
        at += code[at..].find(']').map_or(0, |end| end + 1);
    }
    if code[at..].starts_with("pub") {
        at += "pub".len();
        at = skip_spaces(at);
        if code[at..].starts_with('(') {
            at += code[at..].find(')').map_or(0, |end| end + 1);
        }
        at = skip_spaces(at);
    }
    if !code[at..].starts_with("mod ") {
        return 0;
    }
    let mut depth = 0;
    for (length, letter) in code[at..].char_indices() {
        match letter {
            ';' if depth == 0 => return at + length + 1,
            '{' => depth += 1,
            '}' if depth == 1 => return at + length + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn joined(code: &str, module: &[&str]) -> Vec<String> {
    let module: Vec<String> = module.iter().map(|&name| name.to_owned()).collect();
    paths(code, &module).iter().map(|path| path.join("::")).collect()
}

#[test]
fn grouped_imports_are_expanded_and_put_in_for_heads() {
    let code = "
        use std::{
            fmt, fs as files,
            net::{self, Ipv4Addr},
        };
        pub(crate) use ::ring::rand::*;
        fn f<'a>() -> impl Sized + use<'a> {
            files::read(fmt::Error).map(<u8>::from);
            std::env::args();
        }";
    assert_eq!(
        joined(code, &[]),
        [
            "files::read",
            "fmt::Error",
            "ring::rand::*",
            "std::env::args",
            "std::fmt",
            "std::fmt::Error",
            "std::fs",
            "std::fs::read",
            "std::net",
            "std::net::Ipv4Addr",
        ]
    );
}

#[test]
fn own_modules_are_named_from_the_crate_on() {
    let code = "use super::{ec2, super::tree}; use self::keys::A; fn f() { ec2::root() }";
    assert_eq!(
        joined(code, &["view", "nocloud"]),
        [
            "crate::tree",
            "crate::view::ec2",
            "crate::view::ec2::root",
            "crate::view::nocloud::keys::A",
            "ec2::root"
        ]
    );
    let (file, root) = (Path::new("/a/src/view/ec2/keys.rs"), Path::new("/a/src"));
    assert_eq!(module_of(file, root), ["view", "ec2", "keys"]);
}

#[test]
fn imports_of_imports_are_followed_and_a_circle_has_an_end() {
    assert!(
        joined("use std as s; use s::{fs as f}; f::read()", &[]).contains(&"std::fs::read".into())
    );
    assert!(!joined("use a::b as a; a::c()", &[]).is_empty());
}

#[test]
fn of_a_code_only_prose_and_test_modules_are_dropped() {
    let text = r###"
        // tokio::spawn
        /* std::fs /* nested */ std::env */
        fn a<'x>(b: &'x str) -> char { "std::fs\" {"; r#"{ " std::fs"#; b'{'; '\''; '"' }
        #[cfg(test)]
        fn only_for_tests() {}
        #[cfg(test)]
        #[path = "x.rs"]
        pub(crate) mod tests { fn c() { if true { std::process::exit(1) } } }
        #[cfg(test)]
        mod fixture;
        fn last() { std::thread::yield_now() }
    "###;
    let code = code(text);
    for gone in ["tokio", "std::fs", "std::env", "std::process", "mod "] {
        assert!(!code.contains(gone), "{gone} in {code}");
    }
    for kept in ["fn a<'x>", "fn only_for_tests", "fn last", "std::thread"] {
        assert!(code.contains(kept), "no {kept} in {code}");
    }
}
