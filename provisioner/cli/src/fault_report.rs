//! Faults as a compiler shows them: file, line and column, the line itself, and how to mend it.
//!
//! The first line of each is in the form that editors and CI systems jump to.

use std::{collections::BTreeSet, fmt::Write};

use serde_json::{Value, json};

use crate::{
    bundle::{Excerpt, LocatedFault},
    screen::{Paint, paint},
    text,
};

/// How many characters of a long line are shown around what is marked.
const WINDOW: usize = 100;

/// All faults for people, ending with how many there are.
pub fn render(faults: &[LocatedFault], color: bool) -> String {
    let mut out = String::new();
    for fault in faults {
        render_one(&mut out, fault, color);
        out.push('\n');
    }
    let files: BTreeSet<_> = faults.iter().filter_map(|fault| fault.file.as_ref()).collect();
    let _ = write!(
        out,
        "{} in {}; nothing was changed",
        text::count(faults.len(), "fault"),
        text::count(files.len(), "file")
    );
    out
}

/// All faults for programs.
pub fn to_value(faults: &[LocatedFault]) -> Value {
    let faults: Vec<Value> = faults
        .iter()
        .map(|fault| {
            json!({
                "file": fault.file,
                "line": fault.place.map(|place| place.line),
                "column": fault.place.map(|place| place.column),
                "document": fault.document,
                "path": fault.path,
                "message": fault.message,
                "mend": fault.mend,
            })
        })
        .collect();
    json!({ "faults": faults })
}

fn render_one(out: &mut String, fault: &LocatedFault, color: bool) {
    let mut at = String::new();
    if let Some(file) = &fault.file {
        at += &text::line(file);
    }
    if let Some(place) = fault.place {
        let _ = write!(at, ":{}:{}", place.line, place.column);
    }
    if at.is_empty() {
        at += &text::line(&fault.document);
    }
    let error = paint(color, Paint::Red, "error:");
    let message = paint(color, Paint::Bold, &text::line(&fault.message));
    let _ = writeln!(out, "{at}: {error} {message}");
    let number = fault.place.map(|place| place.line.to_string()).unwrap_or_default();
    let margin = " ".repeat(number.len());
    if let Some(excerpt) = &fault.excerpt {
        let (line, blanks, carets) = window(excerpt);
        let carets = paint(color, Paint::Red, &"^".repeat(carets));
        let _ = writeln!(out, " {number} | {line}\n {margin} | {}{carets}", " ".repeat(blanks));
    }
    let place: Vec<String> = [fault.document.as_str(), fault.path.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(text::line)
        .collect();
    if !place.is_empty() {
        let _ = writeln!(out, " {margin} = in {}", place.join(", "));
    }
    if !fault.mend.is_empty() {
        let mend = paint(color, Paint::Green, "mend:");
        let _ = writeln!(out, " {margin} = {mend} {}", text::line(&fault.mend));
    }
}

/// A part of the line around the mark, and the columns before and of the mark.
fn window(excerpt: &Excerpt) -> (String, usize, usize) {
    let chars: Vec<char> = excerpt.text.chars().collect();
    let start = excerpt.marked.start.min(chars.len());
    let from = if start > WINDOW { start - WINDOW / 2 } else { 0 };
    let to = chars.len().min(from + WINDOW + WINDOW / 2);
    let columns = |range: std::ops::Range<usize>| {
        let part: String = chars.get(range).unwrap_or_default().iter().collect();
        text::width(&part)
    };
    let before = if from > 0 { "… " } else { "" };
    let after = if to < chars.len() { " …" } else { "" };
    let line: String = chars[from..to].iter().collect();
    let end = excerpt.marked.end.min(to).max(start);
    let blanks = columns(from..start) + before.chars().count();
    (format!("{before}{}{after}", line.trim_end()), blanks, columns(start..end).max(1))
}
